"""SQLite's write-ahead log: copied into the file in the background, and kept within its bound.

Copying alone does not bound the log. SQLite restarts the log only at a moment when everything has
been copied and nobody reads from it. Under a flood of commits there is no such moment. So once the
log is half as long as its bound, commits are held up for some milliseconds while it is emptied.

While a reader holds a snapshot, for example a backup, the log cannot be emptied. Then commits
become slow: the log may grow by half its bound in a minute. So, with what a checkpoint adds, it
stays within twice its bound for a minute. A reader that stays longer makes the log grow further at
this pace, because stopping all commits would be worse.
"""

import math
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Final

from runcast._clock import Clock
from runcast._logs import get_logger
from runcast.errors import BackendError
from runcast.stores.sqlite.file import explain, open_copier

__all__ = ("WAL_BYTES", "WriteAheadLog")

WAL_BYTES: Final = 64 * 1024 * 1024
"""Default bound of the log."""

_COPY_BYTES: Final = 4 * 1024 * 1024
"""Most bytes written between two copies (SQLite's own default), and most that is left uncopied when
idle."""

_EMPTY_S: Final = 0.25
"""How long commits are held up for readers to finish, so that the log can be emptied."""

_AGAIN_S: Final = 1.0
"""Pause before another attempt to empty a log that is too long."""

_SLOW_S: Final = 60.0
"""Time in which a log that cannot be emptied may grow by half its bound."""

_log: Final = get_logger("runcast.stores.sqlite")


class WriteAheadLog:
    """Copies the log on its own thread and connection, so that no commit waits for the copy.

    Its methods are called on the store's writer thread, and `close` after that thread has ended;
    the properties are read from any thread.

    Args:
        bound_bytes: the length beyond which commits wait.
    """

    def __init__(self, path: str, clock: Clock, bound_bytes: int = WAL_BYTES) -> None:
        self._path = path
        self._clock = clock
        self._bound = bound_bytes
        self._part = min(_COPY_BYTES, bound_bytes // 8)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="runcast-wal")
        self._size = 0
        self._looked_at = 0  # bytes written at the last look
        self._copied_at = 0  # bytes written when the last copy began
        self._is_copying = self._is_emptying = False
        self._tried_at = self._long_since = clock.monotonic()
        self._has_warned = False

    @property
    def must_wait(self) -> bool:
        """Whether commits must wait: the log is being emptied, or must not grow now."""
        return self._is_emptying or self._size > self._allowed

    @property
    def is_long(self) -> bool:
        """Whether the log has reached its usual length; postpone writes that can wait."""
        return self._size >= self._bound

    @property
    def _allowed(self) -> float:
        if self._size < self._bound:
            return self._bound
        waited_s = self._clock.monotonic() - self._long_since
        return self._bound * (1 + waited_s / _SLOW_S / 2)

    def look(self, written_bytes: int, *, is_quiet: bool = False) -> None:
        """Begin a copy if one is due.

        Args:
            written_bytes: bytes that this process has written to the store.
            is_quiet: no commit would be held up now.
        """
        # Each look is a system call, so do not look after every commit.
        if not (is_quiet or self.is_long or written_bytes - self._looked_at >= self._part // 8):
            return
        self._looked_at = written_bytes
        self._measure()
        if self._is_copying:
            return
        now = self._clock.monotonic()
        is_due = written_bytes - self._copied_at >= self._part
        if is_due or (is_quiet and self._size > self._part) or self._is_overdue(now):
            self._copied_at, self._tried_at, self._is_copying = written_bytes, now, True
            self._thread.submit(self._copy, is_quiet)

    def _is_overdue(self, now: float) -> bool:
        return self.is_long and now - self._tried_at >= _AGAIN_S

    def _measure(self) -> None:
        try:
            size = os.stat(f"{self._path}-wal").st_size
        except OSError:
            size = 0  # the log or the store is missing; then commits report it
        if size < self._bound:
            self._has_warned = False
        elif self._size < self._bound:
            self._long_since = self._clock.monotonic()
        self._size = size

    def close(self) -> None:
        """Finish the copy in progress. Blocks."""
        self._thread.shutdown()

    # On the copier's thread.

    def _copy(self, is_quiet: bool) -> None:
        try:
            # When idle, do not wait: the idle time may end at any moment, and there is time to
            # retry.
            wait_s = 0.0 if is_quiet else _EMPTY_S
            with closing(open_copier(self._path, wait_s=wait_s)) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if is_quiet or self._size >= self._bound / 2:
                    self._empty(connection)
        except sqlite3.Error as error:
            self._warn(explain(error, self._path))
        except BackendError as error:
            self._warn(error)
        finally:
            self._is_copying = False

    def _empty(self, connection: sqlite3.Connection) -> None:
        """Copy the rest, wait for readers, and truncate the log."""
        self._is_emptying = True
        try:
            done = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._measure()
        finally:
            self._is_emptying = False
        is_busy, length, _ = done
        if is_busy and length < 0:
            self._tried_at = -math.inf  # another process is copying; that takes only a moment
        elif is_busy and self.is_long and not self._has_warned:
            self._has_warned = True
            _log.warning(
                "the write-ahead log of %s is %d MiB long and cannot be emptied, because something "
                "has been reading from it for long (a backup?); commits are slowed until it ends",
                self._path,
                self._size // 2**20,
            )

    def _warn(self, error: BackendError) -> None:
        _log.warning("the write-ahead log of %s was not copied: %s", self._path, error)
