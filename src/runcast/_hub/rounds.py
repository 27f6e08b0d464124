"""Periodic tasks of a process."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from runcast._logs import get_logger
from runcast.errors import RuncastError

__all__ = ("Rounds",)

_log: Final = get_logger("runcast.runs")


class Rounds:
    """Calls a step after each pause, in its own task, until it is closed.

    An error is logged, and the next round tries again.

    Args:
        pause_s: pause between two rounds.
        what: the task, as warnings name it.
    """

    def __init__(self, step: Callable[[], Awaitable[None]], pause_s: float, what: str) -> None:
        self._step = step
        self._pause_s = pause_s
        self._what = what
        self._task: asyncio.Task[None] | None = None
        self._is_ending = False

    def open(self) -> None:
        """Begin, with a pause. Idempotent."""
        if self._task is None:
            self._is_ending = False
            self._task = asyncio.create_task(self._repeat(), name=f"runcast {self._what}")

    async def close(self) -> None:
        """End; a running round is cancelled. Idempotent."""
        if self._task is not None:
            # A library that the step calls may swallow the cancellation.
            self._is_ending = True
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None

    async def _repeat(self) -> None:
        while not self._is_ending:
            await asyncio.sleep(self._pause_s)
            try:
                await self._step()
            except RuncastError as error:
                _log.warning("%s failed and will be tried again: %s", self._what, error)
            except Exception:  # noqa: BLE001 - see above
                _log.exception("%s failed unexpectedly", self._what)
