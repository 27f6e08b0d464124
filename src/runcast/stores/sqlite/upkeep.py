"""The writer thread's maintenance: checkpoints, and giving disk space and memory back."""

from typing import Final

from runcast._clock import Clock
from runcast._logs import get_logger
from runcast.errors import BackendError
from runcast.stores.sqlite.heap import give_back_memory
from runcast.stores.sqlite.journal import Journal
from runcast.stores.sqlite.wal import WriteAheadLog

__all__ = ("Upkeep",)

_log: Final = get_logger("runcast.stores.sqlite")

_QUIET_S: Final = 1.0
"""After a quiet second the journal is moved into the tables, so that a busy time need not do it."""

_LONGEST_S: Final = 30.0
"""A store that is never quiet moves the journal this often, because only then can deleted data go.
After a failed sweep, the next one also waits this long."""

_SWEEP_S: Final = 0.1
"""Pause between two sweeps: each holds up commits for milliseconds; 10 MB can go per second."""

_SWEEP_BYTES: Final = 512 * 1024
"""Or a sweep after so many written bytes, if that is earlier: half of what a sweep frees."""

_BURST_BYTES: Final = 8 * 1024 * 1024
"""Least bytes written before free memory is given back in the next quiet second: fewer bytes leave
little to give back, and memory that was given back must be fetched again."""


class Upkeep:
    """Schedules the maintenance. Its methods are called on the writer thread.

    Args:
        poll_s: idle time before `when_idle` is called, seconds.
    """

    def __init__(
        self, path: str, journal: Journal, wal: WriteAheadLog, clock: Clock, poll_s: float
    ) -> None:
        self._path = path
        self._journal = journal
        self._wal = wal
        self._clock = clock
        self._poll_s = poll_s
        self._quiet_s = 0.0  # since the last write
        self._written_bytes = 0
        self._checkpoint_at = clock.monotonic() + _LONGEST_S
        self._sweep_at = clock.monotonic()
        self._swept_at_bytes = 0  # bytes written at the last sweep
        self._trimmed_at_bytes = 0  # bytes written when memory was last given back
        self._may_sweep = True  # an earlier process may have left data to delete
        self._logged = ""

    def when_idle(self) -> None:
        """Read other processes' rows, and do maintenance while idle."""
        self._quiet_s += self._poll_s
        try:
            self._journal.poll()
            self._work(is_quiet=self._quiet_s >= _QUIET_S)
        except BackendError as error:
            self._log_once(error)

    def after_job(self) -> None:
        """Do maintenance that must not wait for an idle time."""
        if self._journal.written_bytes != self._written_bytes:  # a lease leaves it quiet
            self._written_bytes, self._quiet_s = self._journal.written_bytes, 0.0
        try:
            self._work(is_quiet=False)
        except BackendError as error:
            self._log_once(error)

    def _work(self, is_quiet: bool) -> None:
        journal, now = self._journal, self._clock.monotonic()
        if journal.read_only:
            return
        # Set the next time first, so that a failure is not retried at once.
        is_due = is_quiet or journal.is_full or now >= self._checkpoint_at
        if is_quiet:
            self._quiet_s = 0.0
        if (is_due and not self._wal.is_long) or journal.is_overfull:
            self._checkpoint_at = now + _LONGEST_S
            journal.checkpoint()
            self._may_sweep, self._logged = True, ""
        if self._may_sweep and not self._wal.is_long:
            self._sweep(now)
        self._wal.look(journal.written_bytes, is_quiet=is_quiet)
        if is_quiet and journal.written_bytes - self._trimmed_at_bytes >= _BURST_BYTES:
            self._trimmed_at_bytes = journal.written_bytes
            give_back_memory()

    def _sweep(self, now: float) -> None:
        journal = self._journal
        if now >= self._sweep_at:
            self._sweep_at = now + _LONGEST_S
            self._may_sweep = journal.sweep()
            self._sweep_at = now + _SWEEP_S
        elif journal.written_bytes - self._swept_at_bytes >= _SWEEP_BYTES:
            # Deletion keeps pace with writing, however fast the writing is.
            self._swept_at_bytes = journal.written_bytes
            journal.sweep(gives_back=False)
            self._swept_at_bytes = journal.written_bytes

    def _log_once(self, error: BackendError) -> None:
        """Log a failure once, until something succeeds; it may repeat fifty times a second."""
        if error.message != self._logged:
            _log.warning("the upkeep of %s failed and will be tried again: %s", self._path, error)
        self._logged = error.message
