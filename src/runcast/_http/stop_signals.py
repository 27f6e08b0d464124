"""Notice the signal that stops the process, before the server waits for its open streams.

A server that gets SIGTERM waits until every response is finished. Only then does it end the
application's lifespan. A stream does not finish by itself, so both would wait for each other. The
handler that was installed before (uvicorn's, asyncio's or uvloop's) is called after ours.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

__all__ = ("StopSignals",)

_NAMES: Final = ("SIGINT", "SIGTERM", "SIGQUIT")
"""Signals that stop uvicorn, hypercorn, granian and gunicorn."""

_Handler = Callable[[int, FrameType | None], Any]


class StopSignals:
    """Calls `stop` on the loop when a signal stops the process.

    Only the main thread may handle signals. If the loop runs in another thread, no signal is
    noticed, and streams end together with the application's lifespan.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._chained: dict[int, tuple[_Handler, _Handler]] = {}
        """For each signal the earlier handler and ours."""

    def listen(self) -> None:
        """Chain our handlers before the installed ones; default handlers stay. Idempotent."""
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        for name in _NAMES:
            number = getattr(signal, name, None)
            before = signal.getsignal(number) if number is not None else None
            if number is None or not callable(before) or self._is_ours(number, before):
                continue
            ours = self._chain(loop, before)
            signal.signal(number, ours)
            self._chained[number] = before, ours

    def _is_ours(self, number: int, handler: object) -> bool:
        return number in self._chained and self._chained[number][1] is handler

    def _chain(self, loop: asyncio.AbstractEventLoop, before: _Handler) -> _Handler:
        def handle(number: int, frame: FrameType | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: no stream is open
                loop.call_soon_threadsafe(self._stop)
            before(number, frame)

        return handle

    def forget(self) -> None:
        """Restore the earlier handlers, unless ours were replaced. Idempotent."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, (before, ours) in self._chained.items():
            if signal.getsignal(number) is ours:
                signal.signal(number, before)
        self._chained.clear()
