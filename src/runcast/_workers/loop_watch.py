"""A watchdog for the event loop: it names the code that blocks the loop.

A coroutine that blocks stops everything on the loop: streams, requests, leases, other runs. Only
another thread can notice that. The watchdog keeps asking the loop for an answer. If no answer comes
in time, it looks where the loop's thread is.
"""

import asyncio
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple

from runcast._clock import Clock
from runcast._logs import get_logger
from runcast._producing.context import run_id_in
from runcast._workers.left_behind import place_of

__all__ = ("FunctionAt", "LoopWatch")

_log: Final = get_logger("runcast.loop")

_LOOKS: Final = 2
"""Checks within the time that the loop may be blocked."""

_LOOP_FILES: Final = ("base_events.py", "events.py", "runners.py")
_ASYNCIO: Final = str(Path(asyncio.__file__).parent)
_STDLIB: Final = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), "<")
_OURS: Final = str(Path(__file__).parent.parent)


class FunctionAt(NamedTuple):
    """A function that the loop runs, and its run."""

    name: str
    run_id: str


class LoopWatch:
    """Watches the loop that `open` is called on.

    Args:
        blocked_s: how long a call may block before it is named, seconds; 0 turns the watch off.
        find: returns the function that one of our frames drives; None for other frames.
    """

    def __init__(
        self, clock: Clock, blocked_s: float, find: Callable[[FrameType], FunctionAt | None]
    ) -> None:
        self._clock = clock
        self._blocked_s = blocked_s
        self._every_s = blocked_s / _LOOKS
        self._find = find
        self._stop: threading.Event | None = None

    def open(self) -> None:
        """Begin. Idempotent. May be called again after `close`."""
        if not self._blocked_s or self._stop is not None:
            return
        self._stop = threading.Event()
        watching = (self._stop, asyncio.get_running_loop(), threading.get_ident())
        threading.Thread(
            target=self._watch, args=watching, name="runcast-watchdog", daemon=True
        ).start()

    def close(self) -> None:
        """End. Idempotent."""
        if self._stop is not None:
            self._stop.set()
            self._stop = None

    def _watch(
        self, stop: threading.Event, loop: asyncio.AbstractEventLoop, thread_id: int
    ) -> None:
        has_answered, is_named = threading.Event(), False
        has_answered.set()
        asked_at = looked_at = self._clock.monotonic()
        while not stop.wait(self._every_s):
            now, before = self._clock.monotonic(), looked_at
            looked_at = now
            if has_answered.is_set():
                asked_at, is_named = now, False
                has_answered.clear()
                try:
                    loop.call_soon_threadsafe(has_answered.set)
                except RuntimeError:  # the loop is closed
                    return
            elif not is_named and now - asked_at >= self._blocked_s:
                frames = list(_frames(sys._current_frames().get(thread_id)))
                # The whole process may have been stopped, or the machine asleep; then the loop gets
                # its time again. Or C code held the interpreter, which ends in a function's frame.
                was_stopped = now - before > self._every_s + self._blocked_s
                if was_stopped and not any(map(self._find, frames)):
                    asked_at = now
                else:
                    is_named = True
                    self._name(frames, loop, now - asked_at)

    def _name(
        self, frames: list[FrameType], loop: asyncio.AbstractEventLoop, blocked_s: float
    ) -> None:
        function = next(filter(None, map(self._find, frames)), None)
        run_id = function.run_id if function is not None else _run_of_task(loop)
        who = f"the function {function.name!r}" if function is not None else "something"
        whose = f" of run {run_id}" if run_id else ""
        place = _place(frames, self._find)
        _log.warning(
            "%s%s blocks the event loop since %.1f s, and with it all other runs and requests: %s",
            *(who, whose, blocked_s, place),
        )


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames of the code that the loop runs now, innermost first."""
    while frame is not None:
        folder, _, file = frame.f_code.co_filename.rpartition("/")
        if folder == _ASYNCIO and file in _LOOP_FILES:
            return
        yield frame
        frame = frame.f_back


def _place(frames: list[FrameType], find: Callable[[FrameType], FunctionAt | None]) -> str:
    """Return the place in the function (or in code outside packages), and in the code it called."""
    for index, frame in enumerate(frames):
        if find(frame) is not None:
            frames = frames[:index]
            break
    kinds = [(_kind(frame), frame) for frame in frames]
    called = [frame for kind, frame in kinds if kind in ("own", "package")] or frames
    own = [frame for kind, frame in kinds if kind == "own"] or called
    if not called:
        return "it no longer blocks"
    inner, outer = place_of(called[0]), place_of(own[-1])
    return f"at {outer}" if inner == outer else f"at {outer}, in {inner}"


def _kind(frame: FrameType) -> str:
    file = frame.f_code.co_filename
    if file.startswith(_OURS):
        return "runcast"
    if "/site-packages/" in file or "/dist-packages/" in file:
        return "package"
    return "library" if file.startswith(_STDLIB) else "own"


def _run_of_task(loop: asyncio.AbstractEventLoop) -> str:
    """Return the run of a task that a function started; "" if unknown."""
    task = asyncio.current_task(loop)
    get_context = getattr(task, "get_context", None)  # Python 3.12 and later
    return run_id_in(get_context()) if get_context is not None else ""
