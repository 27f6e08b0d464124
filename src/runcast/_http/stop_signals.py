"""Notice the signal that stops the process, before the server waits for its open streams.

A server that gets SIGTERM waits until every response is finished. Only then does it end the
application's lifespan. A stream does not finish by itself, so both would wait for each other. The
handler that was installed before (uvicorn's, asyncio's or uvloop's) is called after ours.

With `drain_s`, SIGTERM first begins a drain: the earlier handler is called when the drain is over.
That needs a handler that Python calls, as uvicorn's. The handlers of event loops (hypercorn,
granian) are no such handlers: the loop reads the signal from a file descriptor, whatever ours does.
"""

import asyncio
import contextlib
import signal
import threading
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

__all__ = ("StopSignals",)

_NAMES: Final = ("SIGINT", "SIGTERM", "SIGQUIT")
"""Signals that stop uvicorn, hypercorn, granian and gunicorn."""

_LOOPS: Final = ("asyncio", "uvloop")
"""Packages whose handlers belong to an event loop."""

_Handler = Callable[[int, FrameType | None], Any]


class StopSignals:
    """Calls `stop` on the loop when a signal stops the process.

    Only the main thread may handle signals. If the loop runs in another thread, no signal is
    noticed, and streams end together with the application's lifespan.

    Args:
        drain: called on the loop when SIGTERM begins a drain.
        drain_s: how long a drain takes, seconds. Another signal ends it; SIGINT begins none.
    """

    def __init__(
        self,
        stop: Callable[[], None],
        *,
        drain: Callable[[], None] = lambda: None,
        drain_s: float = 0.0,
    ) -> None:
        self._stop = stop
        self._drain = drain
        self._drain_s = drain_s
        self._has_warned = False
        self._is_draining = False
        self._end_of_drain: asyncio.TimerHandle | None = None
        self._chained: dict[int, tuple[_Handler, _Handler]] = {}
        """For each signal the earlier handler and ours."""

    def listen(self) -> None:
        """Chain our handlers before the installed ones; default handlers stay. Idempotent."""
        if threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            for name in _NAMES:
                number = getattr(signal, name, None)
                before = signal.getsignal(number) if number is not None else None
                if number is None or not callable(before) or self._is_ours(number, before):
                    continue
                ours = self._chain(loop, before)
                signal.signal(number, ours)
                self._chained[number] = before, ours
        if self._drain_s and not self._has_warned and not self._can_drain():
            self._has_warned = True
            warnings.warn(
                "drain_s has no effect under this server: SIGTERM ends it at once; use `runcast "
                "serve` or uvicorn, or let what stops it wait first (a preStop hook)",
                RuntimeWarning,
                stacklevel=2,
            )

    def _is_ours(self, number: int, handler: object) -> bool:
        return number in self._chained and self._chained[number][1] is handler

    def _can_drain(self) -> bool:
        before = self._chained.get(signal.SIGTERM, (None,))[0]
        return before is not None and not _belongs_to_loop(before)

    def _chain(self, loop: asyncio.AbstractEventLoop, before: _Handler) -> _Handler:
        drains = self._drain_s > 0 and not _belongs_to_loop(before)

        def handle(number: int, frame: FrameType | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: no stream is open
                if drains and number == signal.SIGTERM and not self._is_draining:
                    loop.call_soon_threadsafe(self._begin_drain, loop, before)
                    self._is_draining = True
                    return
                loop.call_soon_threadsafe(self._end)
            before(number, frame)

        return handle

    def _begin_drain(self, loop: asyncio.AbstractEventLoop, before: _Handler) -> None:
        def end() -> None:
            self._end()
            before(signal.SIGTERM, None)

        self._drain()
        self._end_of_drain = loop.call_later(self._drain_s, end)

    def _end(self) -> None:
        if self._end_of_drain is not None:
            self._end_of_drain.cancel()
            self._end_of_drain = None
        self._stop()

    def forget(self) -> None:
        """Restore the earlier handlers, unless ours were replaced. Idempotent.

        The earlier handler gets a SIGTERM whose drain is not over.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        chained, self._chained = self._chained, {}
        for number, (before, ours) in chained.items():
            if signal.getsignal(number) is ours:
                signal.signal(number, before)
        if self._end_of_drain is not None:
            self._end_of_drain.cancel()
            self._end_of_drain = None
            chained[signal.SIGTERM][0](signal.SIGTERM, None)
        self._is_draining = False


def _belongs_to_loop(handler: _Handler) -> bool:
    """Return whether an event loop installed this handler, and reads the signal by itself."""
    return getattr(handler, "__module__", "").partition(".")[0] in _LOOPS
