"""Whether Ctrl-C is why a block of code is left."""

import asyncio
import signal
from typing import Final

__all__ = ("INTERRUPTED", "was_interrupted")

INTERRUPTED: Final = "interrupted"
"""Why runs are cancelled that Ctrl-C ended."""


def was_interrupted(error: BaseException | None) -> bool:
    """Tell whether code is left because of SIGINT.

    On a loop SIGINT cancels the main task, so the code sees a `CancelledError` like any other.
    `asyncio.Runner`, which `asyncio.run` uses, counts the signals that it got. The count has no
    public name; without it a cancelled task is taken for one that its program cancelled.
    Source: `asyncio.Runner._on_sigint`.
    """
    if not isinstance(error, asyncio.CancelledError):
        return isinstance(error, KeyboardInterrupt)
    handler = getattr(signal.getsignal(signal.SIGINT), "func", None)
    return bool(getattr(getattr(handler, "__self__", None), "_interrupt_count", 0))
