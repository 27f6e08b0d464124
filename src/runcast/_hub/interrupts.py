"""Waits that end early or notice signals, and whether Ctrl-C ended a block of code."""

import asyncio
import signal
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    import concurrent.futures

__all__ = ("INTERRUPTED", "result_of", "wait_for_first", "was_interrupted")

T = TypeVar("T")

INTERRUPTED: Final = "interrupted"
"""The reason for cancelling a run that Ctrl-C ended."""

_LOOK_S: Final = 0.5
"""Longest time in which a signal does not end the main thread's wait."""


def result_of(future: "concurrent.futures.Future[T]") -> T:
    """Wait in a thread for a future, and return its result or raise its error.

    Signal handlers, and so Ctrl-C, run in the main thread. Its wait for a lock misses a signal
    that arrives after Python's last check and before the wait, or that the system delivers to
    another thread. So the main thread looks for signals every 0.5 s.
    """
    is_main = threading.current_thread() is threading.main_thread()
    while True:
        try:
            return future.result(_LOOK_S if is_main else None)
        except TimeoutError:
            if future.done():  # the error may be the future's own
                return future.result()


def was_interrupted(error: BaseException | None) -> bool:
    """Return whether code is left because of SIGINT.

    On a loop SIGINT cancels the main task, so the code sees a `CancelledError` like any other.
    `asyncio.Runner`, which `asyncio.run` uses, counts the signals that it got. The count has no
    public name. Without it, the program itself seems to have cancelled the task.
    Source: `asyncio.Runner._on_sigint`.
    """
    if not isinstance(error, asyncio.CancelledError):
        return isinstance(error, KeyboardInterrupt)
    handler = getattr(signal.getsignal(signal.SIGINT), "func", None)
    return bool(getattr(getattr(handler, "__self__", None), "_interrupt_count", 0))


async def wait_for_first(*waits: Coroutine[Any, Any, object]) -> None:
    """Return once one of these is done; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
