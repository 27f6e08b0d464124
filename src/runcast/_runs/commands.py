"""What other processes do to the logs of runs at work here, which can only be commands."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from runcast._hub.hub import Hub
from runcast._producing.labels import CANCEL_LABEL
from runcast._runs.run import Run
from runcast.errors import BackendError, NotFound
from runcast.stores.base import SharedStore

__all__ = ("REPLACED", "Commands")

REPLACED: Final = "replaced by a new run of the same id"
"""Why a run is cancelled whose log began anew."""


class Commands:
    """Cancels runs that others cancelled, deleted, or began anew.

    Args:
        runs: those at work here, by id.
    """

    def __init__(self, hub: Hub, runs: Mapping[str, Run]) -> None:
        self._hub = hub
        self._runs = runs
        self._obeying: set[asyncio.Task[None]] = set()
        self._stop_listening: Callable[[], None] = lambda: None

    def open(self) -> None:
        """Listen for commands from now on. Idempotent; it may follow `close`."""
        self.close()
        if isinstance(self._hub.store, SharedStore):
            self._stop_listening = self._hub.store.listen(self.look)

    def close(self) -> None:
        """Listen no more. Idempotent."""
        self._stop_listening()
        self._stop_listening = lambda: None

    def look(self, run_id: str | None) -> None:
        """Look soon what was done to a log; None: to any."""
        for changed in [run_id] if run_id is not None else list(self._runs):
            if changed in self._runs:
                task = asyncio.create_task(self._obey(self._runs[changed]))
                self._obeying.add(task)
                task.add_done_callback(self._obeying.discard)

    async def _obey(self, run: Run) -> None:
        try:
            info = await self._hub.info(run.run_id)
        except NotFound:
            run.cancel("deleted")
        except BackendError:
            return
        else:
            if info.epoch != run.epoch:
                run.cancel(REPLACED)
            elif CANCEL_LABEL in info.labels:
                run.cancel(info.labels[CANCEL_LABEL])
