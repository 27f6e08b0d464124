"""Waits of a run that end when the run is cancelled: for answers, and for messages."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ("Waits",)

T = TypeVar("T")


class Waits:
    """Waits that `cancel` ends, whichever task awaits them. Call on one loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_cancelled = False

    async def wait(self, awaited: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns. Raises `CancelledError` once `cancel` was called."""
        task = asyncio.create_task(awaited)
        self._tasks.add(task)
        if self._is_cancelled:
            task.cancel()
        try:
            return await task
        finally:
            task.cancel()
            self._tasks.discard(task)

    def cancel(self) -> None:
        """End all waits, and those that begin later."""
        self._is_cancelled = True
        for task in self._tasks:
            task.cancel()
