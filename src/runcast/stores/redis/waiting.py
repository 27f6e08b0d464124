"""How calls of the client library are awaited: for how long, and what a cancellation does."""

import asyncio
import contextlib
from collections.abc import Awaitable, Iterator
from typing import Final, TypeVar

__all__ = ("TIMEOUT_S", "heeding_cancellation", "in_time")

T = TypeVar("T")

TIMEOUT_S: Final = 5.0
"""How long an answer may take: a script on a loaded server takes milliseconds."""


@contextlib.contextmanager
def heeding_cancellation() -> Iterator[None]:
    """Raise `CancelledError` at the end of a block if its task was cancelled meanwhile.

    The client library sends with `asyncio.wait_for`, which swallows a cancellation before Python
    3.12 if it comes just when the data has been sent. The task would go on, and whatever waits for
    its end would wait for ever.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        yield
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError


async def in_time(call: Awaitable[T]) -> T:
    """Return what a call returns; raise `TimeoutError` if it takes longer than `TIMEOUT_S`."""
    async with asyncio.timeout(TIMEOUT_S):
        return await call
