"""Logs in one SQLite file: the embedded store.

One thread writes (see `journal`), and a few threads read (see `reading`). Several processes may
use one file on one machine.
"""

import asyncio
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Self, TypeVar

from runcast._clock import Clock, SystemClock
from runcast._logs import get_logger
from runcast.errors import (
    BackendError,
    Conflict,
    RuncastError,
    RunClosed,
    StoreReadOnly,
    StoreUnavailable,
)
from runcast.events.lifecycle import Status
from runcast.events.position import RUN, Position, describe_log, make_log_id
from runcast.stores.base import (
    MAX_LIST,
    PAGE_BYTES,
    Append,
    Appended,
    Change,
    ChangePage,
    LogInfo,
    Owner,
    Page,
    Store,
)
from runcast.stores.ledger import Ledger
from runcast.stores.machine import this_boot
from runcast.stores.paging import Filter, check_limit
from runcast.stores.plans import ClaimCommand, Command
from runcast.stores.sqlite.file import about, open_file, open_reader
from runcast.stores.sqlite.journal import FIRST_ROW, Journal
from runcast.stores.sqlite.leases import Lease, is_owning
from runcast.stores.sqlite.reading import Reading
from runcast.stores.sqlite.upkeep import Upkeep
from runcast.stores.sqlite.wal import WAL_BYTES, WriteAheadLog
from runcast.stores.sqlite.worker import Worker

__all__ = ("SQLiteStore",)

T = TypeVar("T")

_log: Final = get_logger("runcast.stores.sqlite")

_WAL_WAIT_S: Final = 0.01
"""Pause between two checks whether the write-ahead log has room again."""

_Plan = Callable[[Ledger], tuple[list[Command], None]]


class _Open(NamedTuple):
    """The parts of an open store."""

    writer: Worker
    journal: Journal
    wal: WriteAheadLog
    upkeep: Upkeep
    reading: Reading


class SQLiteStore(Store):
    """Keeps logs in an SQLite file, for one machine.

    A commit survives the death of the process at once. With `full_sync` it also survives a loss
    of power; without it, a loss of power may lose the last moments.

    Args:
        path: the file; it is created if missing. A file that can only be read serves readers.
        full_sync: wait for the disk at each commit.
        wal_bytes: length of the write-ahead log beyond which commits wait until the log is copied
            into the file. With what is written meanwhile, the log stays below twice this length.
        poll_s: pause between two looks for other processes' commits, seconds.
    """

    def __init__(
        self,
        path: str,
        clock: Clock | None = None,
        *,
        full_sync: bool = False,
        wal_bytes: int = WAL_BYTES,
        poll_s: float = 0.02,
    ) -> None:
        self._path = os.path.abspath(path)  # a function may change the working directory
        self._clock = clock or SystemClock()
        self._full_sync = full_sync
        self._wal_bytes = wal_bytes
        self._poll_s = poll_s
        self._listeners: dict[
            object, tuple[Callable[[Change | None], None], asyncio.AbstractEventLoop]
        ] = {}
        self._parts: _Open | None = None

    @property
    def path(self) -> str:
        """The file."""
        return self._path

    @property
    def identity(self) -> str:
        return "" if self._parts is None else f"sqlite-{self._parts.journal.data_id}"

    # Opening and closing.

    async def open(self) -> Self:
        if self._parts is not None:
            return self
        writer = Worker(
            "runcast-write", idle=self._when_idle, idle_s=self._poll_s, after=self._after_job
        )
        try:
            journal = await writer.run(self._open_journal)
        except BaseException:
            await _finish(writer.stop)
            raise

        async def refresh() -> None:
            await writer.run(journal.refresh)

        wal = WriteAheadLog(self._path, self._clock, self._wal_bytes)
        upkeep = Upkeep(self._path, journal, wal, self._clock, self._poll_s)
        reading = Reading(self._path, self._clock, journal, refresh)
        self._parts = _Open(writer, journal, wal, upkeep, reading)
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
            return Journal(
                connection, self._path, self._notify, wal_bytes=self._wal_bytes, read_only=read_only
            )
        except BaseException:
            connection.close()
            raise

    async def close(self) -> None:
        parts, self._parts = self._parts, None
        if parts is None:
            return

        def finish() -> None:
            # Close readers first: they may still ask the writer to read other processes' rows.
            parts.reading.close()
            parts.writer.stop()
            parts.wal.close()
            try:
                parts.journal.close()
            except BackendError as error:
                _log.warning("%s was closed without a checkpoint: %s", self._path, error)

        await _finish(finish)

    @property
    def _opened(self) -> _Open:
        if self._parts is None:
            raise about(StoreUnavailable, self._path, "is not open; use `async with store:`")
        return self._parts

    # Writing.

    async def commit(self, group: Sequence[Append]) -> list[Appended | RuncastError]:
        wal = self._opened.wal
        while wal.must_wait:
            await asyncio.sleep(_WAL_WAIT_S)
            await self._write(lambda journal: None)  # looks at the log after each job
        now = self._clock.time()
        return await self._write(
            lambda journal: journal.transact(lambda ledger: ledger.plan_appends(group, now))
        )

    async def create(
        self,
        log_id: str,
        *,
        kind: str = RUN,
        owner_id: str = "",
        labels: Mapping[str, str] | None = None,
        ttl_s: float | None = None,
        replace: bool | str = False,
        attachment: bytes = b"",
    ) -> LogInfo:
        log_id = make_log_id(kind, log_id)
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
                attachment=attachment,
            )
            return [command], None

        return await self._write(lambda journal: _then_info(journal, log_id, plan))

    async def trim(self, log_id: str, first: int, snapshot: bytes) -> LogInfo:
        return await self.trim_epoch(log_id, "", first, snapshot)

    async def trim_epoch(self, log_id: str, epoch: str, first: int, snapshot: bytes) -> LogInfo:
        def plan(ledger: Ledger) -> tuple[list[Command], None]:
            command = ledger.plan_trim(log_id, first, snapshot, epoch)
            return ([] if command is None else [command]), None

        return await self._write(lambda journal: _then_info(journal, log_id, plan))

    async def save_state(self, log_id: str, epoch: str, seq: int, state: bytes) -> None:
        await self._write(lambda journal: journal.save_state(log_id, epoch, seq, state))

    async def delete(self, log_id: str) -> None:
        await self._delete(log_id, "")

    async def delete_epoch(self, log_id: str, epoch: str) -> None:
        await self._delete(log_id, epoch)

    async def _delete(self, log_id: str, epoch: str) -> None:
        def plan(ledger: Ledger) -> tuple[list[Command], None]:
            return [ledger.plan_delete(log_id, epoch)], None

        await self._write(lambda journal: journal.transact(plan))

    async def claim(self, log_id: str, owner_id: str) -> LogInfo:
        def take(journal: Journal) -> LogInfo:
            def plan(ledger: Ledger) -> tuple[list[Command], None]:
                info = ledger.get(log_id).info
                if info.closed:
                    raise RunClosed(f"the {describe_log(log_id)} has ended; it needs no owner")
                is_free = info.owner_id in ("", owner_id)
                if not is_free and is_owning(journal.load_lease(info.owner_id), self._clock):
                    raise Conflict(f"the {describe_log(log_id)} is owned by a process that lives")
                return [ClaimCommand(log_id, owner_id, info.fence + 1)], None

            journal.transact(plan, exclusive=True)
            return journal.info(log_id)

        return await self._write(take)

    async def renew(self, owner: Owner, ttl_s: float) -> None:
        expires_at, ends = self._clock.time() + ttl_s, self._clock.monotonic() + ttl_s

        def renew(journal: Journal) -> None:
            if ttl_s > 0:
                journal.save_lease(Lease(owner, expires_at, this_boot(), ends))
            else:
                journal.delete_lease(owner.owner_id)

        await self._write(renew)

    async def _write(self, job: Callable[[Journal], T]) -> T:
        """Run a job on the writer thread."""
        parts = self._opened
        return await parts.writer.run(lambda: job(parts.journal))

    # Reading.

    async def read(self, log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
        return await self._opened.reading.page(log_id, after, max_bytes)

    async def info(self, log_id: str) -> LogInfo:
        return await self._opened.reading.info(log_id)

    async def attachment(self, log_id: str) -> tuple[str, bytes]:
        return await self._opened.reading.attachment(log_id)

    async def snapshot(self, log_id: str) -> tuple[int, bytes] | None:
        return await self._opened.reading.snapshot(log_id)

    async def saved_state(self, log_id: str, epoch: str) -> tuple[int, bytes] | None:
        return await self._opened.reading.saved_state(log_id, epoch)

    async def list(
        self,
        *,
        kind: str | None = RUN,
        status: Status | None = None,
        labels: Mapping[str, str] | None = None,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> list[LogInfo]:
        wanted = Filter(kind, status, labels or {}, before)
        return await self._opened.reading.list(wanted, limit)

    async def changes(self, after: str = "", *, limit: int = MAX_LIST) -> ChangePage:
        check_limit(limit)
        return await self._write(lambda journal: journal.changes(after, limit))

    async def expired(self, limit: int = 100) -> Sequence[str]:
        return await self._opened.reading.expired(limit)

    async def orphans(self, limit: int = 100) -> Sequence[LogInfo]:
        return await self._opened.reading.orphans(limit)

    # Other processes.

    def listen(self, callback: Callable[[Change | None], None]) -> Callable[[], None]:
        key = object()
        self._listeners[key] = (callback, asyncio.get_running_loop())

        def stop() -> None:
            self._listeners.pop(key, None)

        return stop

    def _notify(self, changed: Sequence[Change | None]) -> None:
        for key, (_, loop) in list(self._listeners.items()):
            try:
                loop.call_soon_threadsafe(self._call, key, changed)
            except RuntimeError:
                self._listeners.pop(key, None)  # the listener's loop is closed

    def _call(self, key: object, changed: Sequence[Change | None]) -> None:
        for change in changed:
            if (found := self._listeners.get(key)) is not None:  # it may have ended since
                found[0](change)

    # Maintenance on the writer thread.

    def _when_idle(self) -> None:
        if self._parts is not None:
            self._parts.upkeep.when_idle()

    def _after_job(self) -> None:
        if self._parts is not None:
            self._parts.upkeep.after_job()


async def _finish(call: Callable[[], None]) -> None:
    """Run a blocking call at the end, in its own thread: functions may keep all threads of the
    loop's executor busy for ever."""
    closer = Worker("runcast-close")
    try:
        await closer.run(call)
    finally:
        await closer.stopped()


def _then_info(journal: Journal, log_id: str, plan: _Plan) -> LogInfo:
    journal.transact(plan)
    return journal.info(log_id)
