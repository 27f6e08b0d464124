"""Logs in one SQLite file: the embedded store.

One thread writes (see `sqlite_journal`); a few read. Several processes may use one file on one
machine.
"""

import asyncio
import logging
import math
import secrets
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self, TypeVar, cast

from runcast.clock import Clock, SystemClock
from runcast.errors import (
    BackendError,
    Conflict,
    NotFound,
    RuncastError,
    RunClosed,
    StoreReadOnly,
    StoreUnavailable,
)
from runcast.events.position import Position, is_run_id
from runcast.stores.base import PAGE_BYTES, Append, Appended, LogInfo, Owner, Page, Store
from runcast.stores.ledger import (
    ClaimCommand,
    Command,
    DeleteCommand,
    Ledger,
    Log,
    TrimCommand,
    is_text,
)
from runcast.stores.machine import is_alive, is_dead
from runcast.stores.paging import check_limit, check_position, cut_pages, join_pages, matches
from runcast.stores.sqlite_file import explain, open_file, open_reader
from runcast.stores.sqlite_journal import FIRST_ROW, Journal
from runcast.stores.sqlite_tables import load_log, load_owner, read_segments, select_logs
from runcast.stores.worker import Worker

__all__ = ("SQLiteStore",)

T = TypeVar("T")

_log: Final = logging.getLogger("runcast.stores.sqlite")

_READERS: Final = 2
"""Threads that read. Replay is a memory copy for the most part; more would only take turns."""

_IDLE_CHECKPOINT_S: Final = 1.0
"""A quiet second is used to move the journal into the tables, so that it need not be done later."""

_WAL_CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
"""Bytes committed between two copies of the write-ahead log into the file (SQLite's own
default)."""

_WAL_LIMIT_PAGES: Final = 16_384
"""64 MiB of write-ahead log: beyond it the log is begun anew even if writers must wait for that."""


class SQLiteStore(Store):
    """Keeps logs in an SQLite file, for one machine.

    A commit survives the death of the process at once; with `full_sync` it survives the loss of
    power too, and otherwise the last moments before a power loss may be gone.

    Args:
        path: the file; it is made when it is not there. A file that can only be read serves
        readers. full_sync: wait for the disk at each commit.
        poll_s: how often other processes' commits are looked for, seconds.
    """

    def __init__(
        self,
        path: str,
        clock: Clock | None = None,
        *,
        full_sync: bool = False,
        poll_s: float = 0.02,
    ) -> None:
        self._path = path
        self._clock = clock or SystemClock()
        self._full_sync = full_sync
        self._poll_s = poll_s
        self._listeners: dict[
            object, tuple[Callable[[str | None], None], asyncio.AbstractEventLoop]
        ] = {}
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._journal: Journal | None = None
        self._writer: Worker | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._wal_copier: ThreadPoolExecutor | None = None
        self._copying_wal = False
        self._idle_s = 0.0

    # Opening and closing.

    async def open(self) -> Self:
        if self._writer is not None:
            return self
        writer = Worker(
            "runcast-write", idle=self._when_idle, idle_s=self._poll_s, after=self._after_job
        )
        try:
            self._journal = await writer.run(self._open_journal)
        except BaseException:
            await asyncio.to_thread(writer.stop)
            raise
        self._writer = writer
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="runcast-read")
        self._wal_copier = ThreadPoolExecutor(1, thread_name_prefix="runcast-wal")
        return self

    def _open_journal(self) -> Journal:
        try:
            connection = open_file(
                self._path, full_sync=self._full_sync, first_journal_row=FIRST_ROW
            )
            read_only = False
        except StoreReadOnly:
            connection, read_only = open_reader(self._path), True
        try:
            return Journal(connection, self._path, self._tell, read_only=read_only)
        except BaseException:
            connection.close()
            raise

    async def close(self) -> None:
        writer, readers, copier, journal = (
            self._writer,
            self._readers,
            self._wal_copier,
            self._journal,
        )
        self._writer = self._readers = self._wal_copier = self._journal = None
        if writer is None or readers is None or copier is None or journal is None:
            return

        def finish() -> None:
            writer.stop()
            readers.shutdown()
            copier.shutdown()
            for connection in self._connections:
                connection.close()
            self._connections.clear()
            self._local = threading.local()
            try:
                journal.close()
            except BackendError as error:
                _log.warning("%s was closed without a checkpoint: %s", self._path, error)

        await asyncio.to_thread(finish)

    # Writing.

    async def create(
        self,
        log_id: str,
        *,
        owner_id: str = "",
        labels: Mapping[str, str] | None = None,
        ttl_s: float | None = None,
        replace: bool = False,
    ) -> LogInfo:
        now, entropy = self._clock.time(), secrets.randbits(9)

        def plan(ledger: Ledger) -> tuple[list[Command], None]:
            command = ledger.plan_create(
                log_id,
                now=now,
                entropy=entropy,
                owner_id=owner_id,
                labels=labels,
                ttl_s=ttl_s,
                replace=replace,
            )
            return [command], None

        return await self._write(lambda journal: _then_info(journal, log_id, plan))

    async def commit(self, group: Sequence[Append]) -> list[Appended | RuncastError]:
        now = self._clock.time()
        return await self._write(
            lambda journal: journal.transact(lambda ledger: ledger.plan_appends(group, now))
        )

    async def trim(self, log_id: str, first: int, snapshot: bytes) -> LogInfo:
        def plan(ledger: Ledger) -> tuple[list[Command], None]:
            info = ledger.get(log_id).info
            kept = min(first, info.head)
            return ([TrimCommand(log_id, kept, snapshot)] if kept > info.first else []), None

        return await self._write(lambda journal: _then_info(journal, log_id, plan))

    async def delete(self, log_id: str) -> None:
        def plan(ledger: Ledger) -> tuple[list[Command], None]:
            ledger.get(log_id)
            return [DeleteCommand(log_id)], None

        await self._write(lambda journal: journal.transact(plan))

    async def claim(self, log_id: str, owner_id: str) -> LogInfo:
        def take(journal: Journal) -> LogInfo:
            def plan(ledger: Ledger) -> tuple[list[Command], None]:
                info = ledger.get(log_id).info
                if info.closed:
                    raise RunClosed(f"the run {log_id!r} has ended; it needs no owner")
                if info.owner_id not in ("", owner_id) and self._lives(
                    journal.load_owner(info.owner_id)
                ):
                    raise Conflict(f"the run {log_id!r} is owned by a process that lives")
                return [ClaimCommand(log_id, owner_id, info.fence + 1)], None

            journal.transact(plan, exclusive=True)
            return journal.info(log_id)

        return await self._write(take)

    async def renew(self, owner: Owner, ttl_s: float) -> None:
        now = self._clock.time()
        await self._write(lambda journal: journal.save_owner(owner, now, ttl_s))

    # Reading.

    async def read(self, log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
        return await self._read(lambda: self._read_page(log_id, after, max_bytes))

    async def info(self, log_id: str) -> LogInfo:
        return await self._read(lambda: self._get(log_id).info)

    async def snapshot(self, log_id: str) -> tuple[int, bytes] | None:
        return await self._read(lambda: self._get(log_id).snapshot)

    async def list(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> list[LogInfo]:
        check_limit(limit)
        if not all(is_text(name) and is_text(value) for name, value in (labels or {}).items()):
            return []  # no log bears what none may be given
        conditions = ["1"]
        parameters: list[object] = []
        if before is not None:
            conditions.append("(created_at, log_id) < (?, ?)")
            parameters.extend(before)
        for name, value in (labels or {}).items():
            conditions.append(
                "EXISTS (SELECT 1 FROM json_each(labels) WHERE key = ? AND value = ?)"
            )
            parameters.extend((name, value))

        def belongs(info: LogInfo) -> bool:
            return matches(info, labels) and (before is None or _age(info) < before)

        found = await self._read(
            lambda: self._select(
                " AND ".join(conditions), parameters, "created_at DESC, log_id DESC", limit, belongs
            )
        )
        return sorted(found, key=_age, reverse=True)[:limit]

    async def expired(self, limit: int = 100) -> Sequence[str]:
        now = self._clock.time()

        def belongs(info: LogInfo) -> bool:
            return _expiry(info) <= now

        found = await self._read(
            lambda: self._select(
                "ttl_s IS NOT NULL AND closed_at + ttl_s <= ?",
                [now],
                "closed_at + ttl_s",
                limit,
                belongs,
            )
        )
        return [info.log_id for info in sorted(found, key=_expiry)][:limit]

    async def orphans(self, limit: int = 100) -> Sequence[LogInfo]:
        def find() -> Sequence[LogInfo]:
            alive: dict[str, bool] = {}

            def belongs(info: LogInfo) -> bool:
                if info.closed or not info.owner_id:
                    return False
                if info.owner_id not in alive:
                    alive[info.owner_id] = self._lives(load_owner(self._reader(), info.owner_id))
                return not alive[info.owner_id]

            open_logs = self._select(
                "closed_at IS NULL AND owner_id != ''", [], "created_at", -1, belongs
            )
            return [info for info in open_logs if belongs(info)][:limit]

        return await self._read(find)

    def _read_page(self, log_id: str, after: Position, max_bytes: int) -> Page:
        while True:
            log = self._get(log_id)
            check_position(log.info, after)
            pages = log.pages
            if after.seq < log.info.head and (not pages or after.seq + 1 < pages[0].first):
                pages = read_segments(self._reader(), log.key, after.epoch, after.seq, max_bytes)
            pages = cut_pages(pages, after.seq)
            if pages or after.seq >= log.info.head:
                return join_pages(log.info, after, pages, max_bytes)
            # The log was trimmed, replaced or deleted between our two looks: look again.

    def _get(self, log_id: str) -> Log:
        """Return a copy of a log. The journal is asked first: see `Journal.peek`."""
        log = self._require(self._journal).peek(log_id)
        if log is None and not self._require(self._journal).is_deleted(log_id):
            log = load_log(self._reader(), log_id) if is_run_id(log_id) else None
        if log is None:
            raise NotFound(f"there is no run {log_id!r}; GET /runs lists those that are kept")
        return log

    def _select(
        self,
        where: str,
        parameters: Sequence[object],
        order: str,
        limit: int,
        belongs: Callable[[LogInfo], bool],
    ) -> Sequence[LogInfo]:
        """Return logs from the tables, except that those changed since are as the journal has them.

        The journal is asked first: what a checkpoint moves between the two looks is then in both,
        and counted once.
        """
        changed, hidden = self._require(self._journal).changed_logs()
        hidden.update(log.info.log_id for log in changed)
        stored = select_logs(
            self._reader(), where, parameters, order, limit + len(hidden) if limit > 0 else -1
        )
        return [info for info in stored if info.log_id not in hidden] + [
            log.info for log in changed if belongs(log.info)
        ]

    def _lives(self, found: tuple[Owner, float] | None) -> bool:
        if found is None or is_dead(found[0]):
            return False
        return is_alive(found[0]) or found[1] > self._clock.time()

    # Other processes.

    def listen(self, callback: Callable[[str | None], None]) -> Callable[[], None]:
        key = object()
        self._listeners[key] = (callback, asyncio.get_running_loop())

        def stop() -> None:
            self._listeners.pop(key, None)

        return stop

    def _tell(self, changed: Sequence[str | None]) -> None:
        for key, (_, loop) in list(self._listeners.items()):
            for log_id in changed:
                try:
                    loop.call_soon_threadsafe(self._call, key, log_id)
                except RuntimeError:
                    self._listeners.pop(key, None)  # its loop is closed

    def _call(self, key: object, log_id: str | None) -> None:
        found = self._listeners.get(key)  # it may have left since this call was put into its loop
        if found is not None:
            found[0](log_id)

    # Threads.

    async def _write(self, job: Callable[[Journal], T]) -> T:
        writer, journal = self._require(self._writer), self._require(self._journal)
        return await writer.run(lambda: job(journal))

    async def _read(self, job: Callable[[], T]) -> T:
        """Do a job on a reading thread, with everything known that any process committed before."""
        loop = asyncio.get_running_loop()

        def read() -> tuple[bool, T | None]:
            try:
                newest = self._reader().execute("SELECT max(id) FROM journal").fetchone()[0]
                if newest > self._require(self._journal).last:
                    return False, None
                return True, job()
            except sqlite3.Error as error:
                raise explain(error, self._path) from error

        while True:
            ready, result = await loop.run_in_executor(self._require(self._readers), read)
            if ready:
                return cast("T", result)
            await self._write(lambda journal: journal.refresh())

    def _reader(self) -> sqlite3.Connection:
        """Return this thread's own reading connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            self._require(self._journal).check_file()
            connection = self._local.connection = open_reader(self._path)
            self._connections.append(connection)
        return connection

    def _require(self, part: T | None) -> T:
        if part is None:
            raise StoreUnavailable(f"the store {self._path} is not open; use `async with store:`")
        return part

    def _when_idle(self) -> None:
        journal = self._journal
        if journal is None:
            return
        try:
            journal.poll()
            self._idle_s += self._poll_s
            if self._idle_s >= _IDLE_CHECKPOINT_S and not journal.read_only:
                self._idle_s = 0.0  # at once: what fails is tried again later, not at each poll
                journal.checkpoint()
                journal.sweep()
        except BackendError as error:
            _log.warning("maintenance of %s failed and will be retried: %s", self._path, error)

    def _after_job(self) -> None:
        journal = self._journal
        if journal is None:
            return
        self._idle_s = 0.0
        try:
            if journal.is_full:
                journal.checkpoint()
        except BackendError as error:
            _log.warning("a checkpoint of %s failed and will be retried: %s", self._path, error)
        if journal.wal_bytes >= _WAL_CHECKPOINT_BYTES and not self._copying_wal:
            journal.wal_bytes = 0
            self._copying_wal = True
            self._require(self._wal_copier).submit(self._copy_wal)

    def _copy_wal(self) -> None:
        """Copy the write-ahead log into the file, without making commits wait for the disk."""
        try:
            connection = open_file(
                self._path, full_sync=False, first_journal_row=FIRST_ROW, make=False
            )
            try:
                _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if pages > _WAL_LIMIT_PAGES:
                    connection.execute("PRAGMA wal_checkpoint(RESTART)")
            finally:
                connection.close()
        except (sqlite3.Error, BackendError) as error:
            _log.warning("the write-ahead log of %s was not copied: %s", self._path, error)
        finally:
            self._copying_wal = False


def _then_info(
    journal: Journal, log_id: str, plan: Callable[[Ledger], tuple[list[Command], None]]
) -> LogInfo:
    journal.transact(plan)
    return journal.info(log_id)


def _age(info: LogInfo) -> tuple[float, str]:
    return (info.created_at, info.log_id)


def _expiry(info: LogInfo) -> float:
    if info.closed_at is None or info.ttl_s is None:
        return math.inf
    return info.closed_at + info.ttl_s
