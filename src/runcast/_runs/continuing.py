"""What this process can do for a run without an owner: run it for the first time, or again."""

from collections.abc import Callable

from runcast._producing.labels import ANSWERED_LABEL
from runcast._runs.attempts import Attempt, Attempts
from runcast._runs.launch import ATTACHING, Launch, unknown_function
from runcast._runs.launches import Launches
from runcast._runs.recoverable import Recoverable
from runcast._runs.recovery import Begin, ContinuesRuns
from runcast.errors import InvalidInputs, RuncastError
from runcast.events.outcome import Outcome, failed_with
from runcast.stores.base import LogInfo

__all__ = ("Continuing",)


class Continuing(ContinuesRuns):
    """Finds a run's next attempt, for `Recovery`.

    Args:
        begin: begins an attempt of a run that this process has claimed.
        is_worker: this process runs what a launcher hands over.
    """

    def __init__(
        self,
        attempts: Attempts,
        launches: Launches,
        begin: Callable[[Attempt, LogInfo], None],
        *,
        is_worker: bool,
    ) -> None:
        self._attempts = attempts
        self._launches = launches
        self._begin = begin
        self._is_worker = is_worker

    async def after_launch(self, info: LogInfo) -> Begin | Outcome | None:
        """Return what runs a run that waits for a worker, or how the run must end; None if this
        process is no worker, or the run waits for an answer."""
        if not self._is_worker:
            return None
        if info.status == "queued":
            try:
                attempt = await self._attempts.first(info)
            except RuncastError as error:
                return failed_with(error)
            return self._beginning_of(attempt) or unknown_function(info)
        if ANSWERED_LABEL in info.labels:
            return await self.after_answer(info) or unknown_function(info)
        known = Recoverable.of(info.labels)
        if known is None:
            return None
        return await self.after_crash(info, known) or unknown_function(info)

    async def launch_again(self, info: LogInfo) -> bool:
        """Hand a run without an owner to another worker; see `Launches.again`."""
        return await self._launches.again(info)

    async def after_answer(self, info: LogInfo) -> Begin | None:
        """Return what continues an answered run; None if this process cannot."""
        return self._beginning_of(await self._attempts.after_answer(info))

    async def after_crash(self, info: LogInfo, known: Recoverable) -> Begin | Outcome | None:
        """Return what continues a run after a crash, or how it must end; None if this process
        cannot continue it."""
        launch = Launch.of(info.labels)
        if launch is not None and launch.engine == ATTACHING:
            return None  # the code that attaches next continues it
        try:
            return self._beginning_of(await self._attempts.after_crash(info, known))
        except InvalidInputs as error:
            return failed_with(error)

    def _beginning_of(self, attempt: Attempt | None) -> Begin | None:
        """Return what begins an attempt, once its run is claimed."""
        if attempt is None:
            return None
        found = attempt

        def begin(claimed: LogInfo) -> None:
            self._begin(found, claimed)

        return begin
