"""Hearing that the process is to end, before the server waits for its open streams.

A server that got SIGTERM waits until every response is finished, and only then ends the
application's lifespan. A stream is never finished by itself, so both would wait for each other.
The handler that is installed (uvicorn's, asyncio's or uvloop's) is called after ours.
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
"""Signals by which uvicorn, hypercorn, granian and gunicorn are told to end."""

_Handler = Callable[[int, FrameType | None], Any]


class StopSignals:
    """Calls `stop` on the loop when a signal tells the process to end.

    Only the main thread may handle signals. If the loop runs in another thread, nothing is heard,
    and streams end when the application's lifespan does.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._chained: dict[int, tuple[_Handler, _Handler]] = {}
        """For each signal the handler that was there, and ours."""

    def listen(self) -> None:
        """Chain handlers before those that are installed; default ones stay. Idempotent."""
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
        """Put the handlers back that were there, where nobody has replaced ours. Idempotent."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, (before, ours) in self._chained.items():
            if signal.getsignal(number) is ours:
                signal.signal(number, before)
        self._chained.clear()
