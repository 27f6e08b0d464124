"""Waits that end early, and whether Ctrl-C ended a block of code."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, Final

__all__ = ("INTERRUPTED", "wait_for_first", "was_interrupted")

INTERRUPTED: Final = "interrupted"
"""The reason for cancelling a run that Ctrl-C ended."""


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
