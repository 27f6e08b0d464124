"""The writing half of the SQLite store: the journal, its ledger, and checkpoints.

A commit, of any number of logs, is one statement. It appends a row of commands to the journal, but
only if the journal's last row is the last row that this process saw. If another process was first,
its rows are read and the commit is planned again (see `ledger`). Checkpoints move the journal into
tables in the background. Opening the file after a crash reads the rest of the journal.

Everything here runs on the store's one writer thread, unless its docstring says otherwise.

Long because requests, other processes' rows and checkpoints change one state
through one connection, and each must begin where the others stopped.
"""

import heapq
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from runcast.errors import BackendError, RuncastError, StoreUnavailable, StoreUnusable
from runcast.stores.base import PAGE_BYTES, Change, ChangePage, LogInfo, Page, epoch_is_over
from runcast.stores.changes import Data, Point
from runcast.stores.ledger import Ledger, Log, copy_info
from runcast.stores.paging import age_of, cut_pages
from runcast.stores.plans import (
    AppendCommand,
    CheckpointCommand,
    Command,
    CreateCommand,
    OnceUse,
)
from runcast.stores.sqlite.file import about, explain, identify
from runcast.stores.sqlite.indexes import save_state
from runcast.stores.sqlite.leases import Lease
from runcast.stores.sqlite.sweeping import sweep_dead
from runcast.stores.sqlite.tables import (
    delete_lease,
    load_data_id,
    load_lease,
    load_log,
    load_once,
    note_written,
    save_lease,
    write_tables,
)

__all__ = (
    "CHECKPOINT_BYTES",
    "FIRST_ROW",
    "Journal",
)

T = TypeVar("T")

CHECKPOINT_BYTES: Final = 8 * 1024 * 1024
"""A checkpoint is due at the latest when the journal holds this much. It is the most that opening
the file after a crash has to read, and the most that the ledger holds in memory."""

_LEAST_CHECKPOINT_BYTES: Final = 2 * 1024 * 1024
_CHECKPOINT_BYTES_PER_LOG: Final = 4096
"""It is made earlier if few logs have changed. Commits wait for a checkpoint, so a short one is
better. But each changed log costs a row or two, however little of it is moved."""

_PUT_OFF: Final = 4
"""Factor by which a journal may exceed CHECKPOINT_BYTES while the write-ahead log must not grow: a
checkpoint writes everything twice."""

_NOTED: Final = 256
"""Logs that changed last, as each checkpoint has them for processes that missed rows: 20 KB."""

_PAGE_BYTES: Final = 4096
"""Size of SQLite's pages."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Command | CheckpointCommand]).decode

FIRST_ROW: Final = _encode([CheckpointCommand()])
"""The journal's first row: so there is always a last row to compare with."""

_APPEND: Final = (
    "INSERT INTO journal (id, commands) SELECT ?, ? WHERE (SELECT max(id) FROM journal) = ?"
)


class Journal:
    """Plans requests, makes their commands durable, and applies them.

    Args:
        changed: called with what other processes changed; None for all logs.
        wal_bytes: bound of the write-ahead log; several checkpoints should fit into it.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: str,
        changed: Callable[[Sequence[Change | None]], None],
        *,
        read_only: bool = False,
        wal_bytes: int,
    ) -> None:
        self._connection = connection
        self._path = path
        self._file = identify(path)
        self._changed = changed
        self._lock = threading.Lock()
        self._ledger = Ledger(self._load, self._load_once)
        self._last = 0
        self._bytes = 0
        self._wal_bytes = wal_bytes
        self._version = -1
        self.read_only = read_only
        self._data_id = self._load_data_id()
        self.written_bytes = 0
        """About how many bytes this process has written into the file so far."""
        self._undue_bytes = 0
        self._catch_up()

    # For readers, from their threads.

    @property
    def data_id(self) -> str:
        """Names the data in the file."""
        return self._data_id

    @property
    def last(self) -> int:
        """The last journal row that the state contains."""
        return self._last

    def peek(
        self, log_id: str, after_seq: int | None = None, max_bytes: int = PAGE_BYTES
    ) -> Log | None:
        """Return a copy of a log that changed since the last checkpoint, or None. From any thread.

        Its pages hold the events after `after_seq`, up to `max_bytes`; no pages without
        `after_seq`.
        """
        with self._lock:
            log = self._ledger.logs.get(log_id)
            if log is None:
                return None
            if after_seq is None:
                return _copy(log)
            return _copy(log, cut_pages(log.pages, after_seq, max_bytes))

    def is_deleted(self, log_id: str) -> bool:
        """Return whether a log was deleted since the last checkpoint. From any thread."""
        with self._lock:
            return log_id in self._ledger.deleted

    def changed_logs(
        self, belongs: Callable[[LogInfo], bool], newest: int | None = None
    ) -> tuple[list[LogInfo], set[str]]:
        """Return the logs of a list that changed since the last checkpoint, and the ids of all
        logs that changed or were deleted. From any thread.

        Args:
            newest: only this many logs, the newest; None for all.
        """
        with self._lock:
            ledger = self._ledger
            # `list`: a plan may be loading a log into the ledger at this moment, without a lock.
            infos = [log.info for log in list(ledger.logs.values())]
            hidden = {info.log_id for info in infos} | ledger.deleted
            found = [info for info in infos if belongs(info)]
            if newest is not None and len(found) > newest:
                found = heapq.nlargest(newest, found, key=age_of)
            return [copy_info(info) for info in found], hidden

    # Requests.

    def transact(
        self, plan: Callable[[Ledger], tuple[Sequence[Command], T]], *, exclusive: bool = False
    ) -> T:
        """Plan, make durable and apply. Return the plan's result or raise its error.

        Args:
            plan: may run several times; must change nothing.
            exclusive: hold the file's write lock before the plan begins, because the plan reads
                tables that change without the journal (leases).
        """
        while True:
            refusal: RuncastError | None = None
            commands: Sequence[Command] = ()
            last = self._last
            if exclusive:
                self._execute("BEGIN IMMEDIATE")
            try:
                try:
                    commands, result = plan(self._ledger)
                except RuncastError as error:
                    refusal = error
                # A refusal counts only if it was decided on the newest state.
                durable = self._append(commands)
            finally:
                if exclusive:
                    self._end_transaction(last)
            if not durable:
                self._catch_up()
                continue
            if refusal is not None:
                raise refusal
            with self._lock:
                self._ledger.apply(self._last, commands)
            return result

    def _end_transaction(self, last: int) -> None:
        try:
            self._execute("COMMIT")
        except BackendError:
            self._connection.rollback()
            self._last = last
            raise

    def _append(self, commands: Sequence[Command | CheckpointCommand]) -> bool:
        """Append a row; without commands, only check that no other process appended."""
        if not commands:
            row = self._execute("SELECT max(id) FROM journal").fetchone()
            return bool(row[0] == self._last)
        data = _encode(commands)
        self.check_file()
        if self._execute(_APPEND, (self._last + 1, data, self._last)).rowcount != 1:
            return False
        self._last += 1
        self._bytes += len(data)
        self.written_bytes += len(data)
        return True

    def check_file(self) -> None:
        """Raise `StoreUnavailable` if the file was removed or replaced. From any thread.

        SQLite would go on writing to a file without a name, and the data could never be read.
        """
        if identify(self._path) != self._file:
            problem = "was removed or replaced while it was in use; put it back or restart"
            raise about(StoreUnavailable, self._path, problem)

    def info(self, log_id: str) -> LogInfo:
        """Return a copy of a log's description. Raises `NotFound`."""
        return copy_info(self._ledger.get(log_id).info)

    def load_lease(self, owner_id: str) -> Lease | None:
        """Return an owner's lease, or None."""
        try:
            return load_lease(self._connection, owner_id)
        except sqlite3.Error as error:
            raise explain(error, self._path) from error

    def save_lease(self, lease: Lease) -> None:
        """Write an owner's lease; it replaces the old one."""
        try:
            save_lease(self._connection, lease)
        except sqlite3.Error as error:
            raise explain(error, self._path) from error

    def delete_lease(self, owner_id: str) -> None:
        """Remove an owner's lease, if any."""
        try:
            delete_lease(self._connection, owner_id)
        except sqlite3.Error as error:
            raise explain(error, self._path) from error

    def save_state(self, log_id: str, epoch: str, seq: int, state: bytes) -> None:
        """Keep the state that a log's events up to `seq` led to. Raises `NotFound`, `Stale`."""
        log = self._ledger.get(log_id)
        if log.info.epoch != epoch:
            raise epoch_is_over(log.info, epoch)
        self.check_file()
        try:
            save_state(self._connection, log.key, seq, state)
        except sqlite3.Error as error:
            raise explain(error, self._path) from error
        self.written_bytes += len(state)

    # Other processes.

    def refresh(self) -> None:
        """Read the rows that other processes appended."""
        if self._execute("SELECT max(id) FROM journal").fetchone()[0] != self._last:
            self._catch_up()

    def poll(self) -> None:
        """Read rows that other processes appended; without new rows this costs microseconds."""
        version = self._execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self.refresh()
            self._version = version  # only now: after a failure the read is tried again

    def _catch_up(self) -> None:
        # Read the journal and the tables from one snapshot.
        self._execute("BEGIN")
        try:
            changed = self._read_rows()
        finally:
            self._connection.rollback()  # it only read, and a commit could fail
        if changed:
            self._changed(changed)

    def _read_rows(self) -> list[Change | None]:
        """Read and apply other processes' rows, within the caller's transaction."""
        rows = self._execute(
            "SELECT id, commands FROM journal WHERE id > ? ORDER BY id", (self._last,)
        ).fetchall()
        return self._apply_rows(rows) if rows else []

    def _apply_rows(self, rows: Sequence[tuple[int, bytes]]) -> list[Change | None]:
        """Apply other processes' rows. Do what can fail first, so that no row is applied twice."""
        known: dict[int, list[Command]] = {}
        mark = CheckpointCommand()
        missed, size = rows[0][0] != self._last + 1, self._bytes
        for number, data in rows:
            row = self._decode_row(data)
            if isinstance(row, CheckpointCommand):
                # The tables hold everything before, maybe more than the rows that we know.
                known, missed, size, mark = {}, True, 0, row
            else:
                known[number] = row
                size += len(data)
        commands = [command for row in known.values() for command in row]
        next_key = self._stored_next_key()
        if missed:
            with self._lock:
                self._ledger.forget()
        self._ledger.fetch(commands)
        before = {each.log_id: self._ledger.logs.get(each.log_id) for each in commands}
        if rows[0][0] != self._last + 1:
            since = mark.since or Point(rows[0][0], 0)
            self._ledger.recent.bridge(self._last, since, mark.noted)
        with self._lock:
            for number, row in known.items():
                self._ledger.apply(number, row)
            self._ledger.next_key = max(self._ledger.next_key, next_key)
        self._bytes, self._last = size, rows[-1][0]
        return [None] if missed else self._changes(commands, before)

    def _changes(
        self, commands: Sequence[Command], before: Mapping[str, Log | None]
    ) -> list[Change | None]:
        """Return what the commands changed, by log. The ledger keeps the same pages until the next
        checkpoint, so that handing them over needs no memory."""
        pages: dict[str, list[Page]] = {log_id: [] for log_id in before}
        for command in commands:
            if isinstance(command, AppendCommand):
                pages[command.log_id] += command.pages
            elif isinstance(command, CreateCommand):
                pages[command.log_id].clear()
        changes: list[Change | None] = []
        for log_id, appended in pages.items():
            now = self._ledger.logs.get(log_id)
            log = now or before[log_id]
            if log is not None:  # else created and deleted in these rows: nobody saw it
                changes.append(Change(copy_info(log.info), now is None, tuple(appended)))
        return changes

    def changes(self, after: str, limit: int) -> ChangePage:
        """Return which logs changed after a point, in any process; see `Changes.changes`."""
        self.refresh()
        data = Data(self._data_id, self._last)
        return self._ledger.recent.page(after, limit, data, self._ledger.peek)

    def _decode_row(self, data: bytes) -> list[Command] | CheckpointCommand:
        """Return a row's commands, or the checkpoint that the row is."""
        try:
            row = _decode(data)
        except msgspec.MsgspecError as error:
            problem = f"holds a journal that is damaged ({error})"
            raise about(StoreUnusable, self._path, problem) from error
        marks = [each for each in row if isinstance(each, CheckpointCommand)]
        return (
            marks[-1]
            if marks
            else [each for each in row if not isinstance(each, CheckpointCommand)]
        )

    # Checkpoints.

    @property
    def is_full(self) -> bool:
        """Whether a checkpoint is due."""
        return self._bytes >= self._undue_bytes + self._checkpoint_bytes and not self.read_only

    @property
    def is_overfull(self) -> bool:
        """Whether a postponed checkpoint must be made now."""
        return self.is_full and self._bytes >= _PUT_OFF * self._checkpoint_bytes

    @property
    def _checkpoint_bytes(self) -> int:
        """How much the journal may hold before a checkpoint."""
        wanted = max(_LEAST_CHECKPOINT_BYTES, _CHECKPOINT_BYTES_PER_LOG * len(self._ledger.logs))
        return min(CHECKPOINT_BYTES, self._wal_bytes // 8, wanted)

    def checkpoint(self) -> None:
        """Move the journal into the tables. Does nothing if the journal is empty."""
        if not self._bytes or self.read_only:
            return
        self._undue_bytes = self._bytes  # if this one fails
        self._execute("BEGIN IMMEDIATE")
        try:
            # First read other processes' rows. From now on nobody can append, so the journal is
            # moved before it grows.
            changed = self._read_rows()
        except BaseException:
            self._connection.rollback()
            raise
        if changed:
            self._changed(changed)
        last = self._last
        try:
            if not self._bytes:  # another process has just moved the journal
                self._execute("ROLLBACK")
                return
            since, noted = self._ledger.recent.last(_NOTED)
            self._append([CheckpointCommand(noted, since)])
            segments = {id(log): log.segment for log in self._ledger.logs.values()}
            try:
                # Delete first, so that the new rows reuse the space in the file.
                self._execute("DELETE FROM journal WHERE id < ?", (self._last,))
                write_tables(self._connection, self._ledger)
                self._execute("COMMIT")
            except BaseException:
                for log in self._ledger.logs.values():
                    log.segment = segments[id(log)]
                raise
        except sqlite3.Error as error:
            self._undo_checkpoint(last)
            raise explain(error, self._path) from error
        except BackendError:
            self._undo_checkpoint(last)
            raise
        self.written_bytes += self._bytes
        self._bytes = self._undue_bytes = 0
        with self._lock:
            self._keep_active()

    def _undo_checkpoint(self, last: int) -> None:
        # SQLite may have rolled back by itself, and the row may or may not have been appended.
        self._connection.rollback()
        self._last = last

    def _keep_active(self) -> None:
        """Drop what the tables now hold, except the logs that are still being written."""
        active = {
            log_id: log
            for log_id, log in self._ledger.logs.items()
            if log.pages and not log.info.closed
        }
        for log in active.values():
            log.attachment = None
            log.pages.clear()
            log.once.clear()
            note_written(log)
        self._ledger.forget()
        self._ledger.logs.update(active)

    def sweep(self, *, gives_back: bool = True) -> bool:
        """Delete some data of deleted logs; return whether there may be more.

        Args:
            gives_back: whether to give free pages back to the disk once all data is deleted.
        """
        try:
            touched = sweep_dead(self._connection, gives_back=gives_back)
        except sqlite3.Error as error:
            raise explain(error, self._path) from error
        self.written_bytes += touched * _PAGE_BYTES
        return touched > 0

    def close(self) -> None:
        """Make a last checkpoint, so that the next open has no journal to read."""
        try:
            self.checkpoint()
        finally:
            self._connection.close()

    # Tables.

    def _load(self, log_id: str) -> Log | None:
        try:
            return load_log(self._connection, log_id)
        except sqlite3.Error as error:
            raise explain(error, self._path) from error

    def _load_data_id(self) -> str:
        try:
            return load_data_id(self._connection, may_write=not self.read_only)
        except sqlite3.Error as error:
            raise explain(error, self._path) from error

    def _load_once(self, log: Log, once: str) -> OnceUse | None:
        try:
            return load_once(self._connection, log, once)
        except sqlite3.Error as error:
            raise explain(error, self._path) from error

    def _stored_next_key(self) -> int:
        row = self._execute("SELECT value FROM counters WHERE name = 'next_key'").fetchone()
        return int(row[0])

    def _execute(self, sql: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        try:
            return self._connection.execute(sql, parameters)
        except sqlite3.Error as error:
            raise explain(error, self._path) from error


def _copy(log: Log, pages: Sequence[Page] = ()) -> Log:
    """Return a copy for readers, with these pages and without the log's keys."""
    info, attachment = copy_info(log.info), log.attachment
    return Log(log.key, info, list(pages), {}, log.snapshot, log.segment, attachment=attachment)
