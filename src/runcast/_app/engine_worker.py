"""A process of a task engine's worker: it runs what a server has handed over."""

from collections.abc import Callable

from runcast._app.hub import OpenHub
from runcast._app.in_thread import OpenHubInThread
from runcast._hub.forks import Home, make_lock

__all__ = ("EngineWorker",)


class EngineWorker:
    """Runs handed-over runs in this process, on a hub that the first one opens.

    An engine may fork its processes after this object was made: each opens a hub of its own.

    Args:
        make: makes the hub, with `is_worker`.
    """

    def __init__(self, make: Callable[[], OpenHub]) -> None:
        self._make = make
        self._lock = make_lock()
        self._home = Home()
        self._hub: OpenHubInThread | None = None

    def run(self, run_id: str, epoch: str) -> None:
        """Run a run to its end, if it has not ended and no other worker has it; blocks.

        If the caller is interrupted, the hub is closed: a run whose function recovers is left for
        another worker, any other is cancelled.

        Raises `BackendError`.
        """
        try:
            self._open()._run_launched(run_id, epoch)
        except (SystemExit, KeyboardInterrupt):
            self.close()
            raise

    def _open(self) -> OpenHubInThread:
        with self._lock:
            if not self._home.is_here:
                self._home, self._hub = Home(), None
            if self._hub is None:
                self._hub = OpenHubInThread(self._make()).open()
            return self._hub

    def close(self) -> None:
        """Close the hub of this process. Idempotent."""
        with self._lock:
            hub, self._hub = (self._hub, None) if self._home.is_here else (None, None)
        if hub is not None:
            hub.close()
