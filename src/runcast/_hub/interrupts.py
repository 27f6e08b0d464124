"""Waits that end early, and whether Ctrl-C is why a block of code is left."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, Final

__all__ = ("INTERRUPTED", "wait_for_first", "was_interrupted")

INTERRUPTED: Final = "interrupted"
"""Why runs are cancelled that Ctrl-C ended."""


def was_interrupted(error: BaseException | None) -> bool:
    """Return whether code is left because of SIGINT.

    On a loop SIGINT cancels the main task, so the code sees a `CancelledError` like any other.
    `asyncio.Runner`, which `asyncio.run` uses, counts the signals that it got. The count has no
    public name; without it a cancelled task is taken for one that its program cancelled.
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
