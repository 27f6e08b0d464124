"""Copying SQLite's write-ahead log into the file, behind the commits."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from runcast._logs import get_logger
from runcast.errors import BackendError
from runcast.stores.sqlite.file import explain, open_file
from runcast.stores.sqlite.journal import FIRST_ROW

__all__ = ("WalCopier",)

_COPY_BYTES: Final = 4 * 1024 * 1024
"""Bytes written between two copies (SQLite's own default)."""

_LIMIT_PAGES: Final = 16_384
"""64 MiB of write-ahead log: beyond it the log is begun anew even if writers must wait for that."""

_log: Final = get_logger("runcast.stores.sqlite")


class WalCopier:
    """A thread with a connection of its own, so that no commit waits for the disk.

    Its methods are called from the store's writer thread, and `close` once that has ended.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="runcast-wal")
        self._bytes = 0  # written when the last copy began
        self._is_copying = False

    def consider(self, written_bytes: int) -> None:
        """Begin a copy if it is time for one, given how much was ever written."""
        if written_bytes - self._bytes >= _COPY_BYTES and not self._is_copying:
            self._bytes = written_bytes
            self._is_copying = True
            self._thread.submit(self._copy)

    def close(self) -> None:
        """Finish the copy under way. Blocks."""
        self._thread.shutdown()

    def _copy(self) -> None:
        try:
            connection = open_file(
                self._path, full_sync=False, first_journal_row=FIRST_ROW, make=False
            )
            try:
                _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if pages > _LIMIT_PAGES:
                    connection.execute("PRAGMA wal_checkpoint(RESTART)")
            except sqlite3.Error as error:
                raise explain(error, self._path) from error
            finally:
                connection.close()
        except BackendError as error:
            _log.warning("the write-ahead log of %s was not copied: %s", self._path, error)
        finally:
            self._is_copying = False
