"""A run that a worker elsewhere runs, as its starter sees it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from runcast._functions.function import Function
from runcast._hub.hub import Hub
from runcast._logs import get_logger
from runcast._runs.following import follow
from runcast._runs.run import Run
from runcast.errors import RuncastError
from runcast.events.outcome import TAKEN_OVER, Outcome

__all__ = ("LaunchedRun",)

_log: Final = get_logger("runcast.runs")


class LaunchedRun(Run[Any]):
    """A run that was handed to a worker, or that waits for code that attaches to it.

    It costs nothing until somebody waits for its end: then its log is watched. `status` is the
    present one only after the end.

    Args:
        function: what the run calls; None if the run is no call of a function.
        ask_to_cancel: cancels the run, wherever it is.
    """

    def __init__(
        self,
        hub: Hub,
        run_id: str,
        epoch: str,
        name: str,
        function: Function[..., Any] | None,
        ask_to_cancel: Callable[[str, str], Awaitable[None]],
    ) -> None:
        super().__init__(run_id, epoch, name)
        self._hub = hub
        self._may_stream = function is not None and function.is_streaming
        self._ask_to_cancel = ask_to_cancel
        self._following: asyncio.Task[None] | None = None
        self._cancelling: asyncio.Task[None] | None = None

    async def wait(self) -> Outcome:
        """Wait for the end and return the run's outcome; see `Run.wait`."""
        self._home.check("the wait for a run")
        if self._following is None:
            name = f"runcast-follow-{self.run_id}"
            self._following = asyncio.create_task(self._follow(), name=name)
        return await super().wait()

    async def _follow(self) -> None:
        known = TAKEN_OVER
        try:
            known = await follow(self._hub, self.run_id, self.epoch)
        finally:
            self._settle(known)

    async def streams(self) -> bool:
        """Return True if the function is a generator function; else wait for the end.

        Whether another function returns an iterator is known only where it runs.
        """
        if not self._may_stream:
            await self.wait()
        return self._may_stream

    def cancel(self, reason: str = "cancelled") -> None:
        """Ask the run to end; see `Run.cancel`."""
        super().cancel(reason)
        if self._cancelling is None:
            self._cancelling = asyncio.create_task(self._cancel())

    async def _cancel(self) -> None:
        try:
            await self._ask_to_cancel(self.run_id, self.cancel_reason)
        except RuncastError as error:
            _log.warning("run %s could not be cancelled: %s", self.run_id, error)
