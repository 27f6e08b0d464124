"""The reading half of the SQLite store: queries on a few threads, each with its own connection.

Committed data is in two places: in the tables and, since the last checkpoint, in the journal. Each
query looks in the journal first and in the tables second. If a checkpoint moves data between the
two looks, the data is found in both; it is never missed.
"""

import asyncio
import math
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, cast

from runcast._clock import Clock
from runcast.errors import NotFound, StoreUnavailable, StoreUnusable
from runcast.events.position import Position, describe_log, is_log_id
from runcast.stores.base import MAX_LABELS, PAGE_BYTES, LogInfo, Page
from runcast.stores.ledger import Log
from runcast.stores.model import is_text
from runcast.stores.paging import Filter, age_of, check_limit, check_position, join_pages
from runcast.stores.sqlite.attachments import load_attachment
from runcast.stores.sqlite.file import about, explain, open_reader
from runcast.stores.sqlite.indexes import BY_LABEL, choose_label, load_state
from runcast.stores.sqlite.journal import Journal
from runcast.stores.sqlite.leases import is_owning
from runcast.stores.sqlite.tables import load_lease, load_log, read_segments, select_logs

__all__ = ("Reading",)

T = TypeVar("T")

_THREADS: Final = 2
"""A replay mostly copies memory; more threads would only take turns."""


_MOST_LOOKS: Final = 100
"""Looks that may miss the events after a position before they count as lost: one look in thousands
meets a change by another process."""


class _ChangedMeanwhile(Exception):
    """The two looks of a query contradict each other: repeat the query."""


class Reading:
    """Answers queries. A result contains all that any process committed before the query.

    Args:
        refresh: makes the journal read what other processes appended.
    """

    def __init__(
        self, path: str, clock: Clock, journal: Journal, refresh: Callable[[], Awaitable[None]]
    ) -> None:
        self._path = path
        self._clock = clock
        self._journal = journal
        self._refresh = refresh
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="runcast-read")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []

    def close(self) -> None:
        """Finish the queries in progress and close the connections. Blocks."""
        self._threads.shutdown()
        for connection in self._connections:
            connection.close()

    # Queries; each raises what the `Store` method of the same purpose raises.

    async def page(self, log_id: str, after: Position, max_bytes: int) -> Page:
        return await self._ask(lambda: self._page(log_id, after, max_bytes))

    async def info(self, log_id: str) -> LogInfo:
        return await self._ask(lambda: self._get(log_id).info)

    async def attachment(self, log_id: str) -> tuple[str, bytes]:
        return await self._ask(lambda: self._attachment(log_id))

    async def snapshot(self, log_id: str) -> tuple[int, bytes] | None:
        return await self._ask(lambda: self._get(log_id).snapshot)

    async def saved_state(self, log_id: str, epoch: str) -> tuple[int, bytes] | None:
        def load() -> tuple[int, bytes] | None:
            log = self._get(log_id)
            return load_state(self._connection, log.key) if log.info.epoch == epoch else None

        return await self._ask(load)

    async def list(self, wanted: Filter, limit: int) -> list[LogInfo]:
        check_limit(limit)
        labels = wanted.labels
        can_be_borne = all(is_text(name) and is_text(value) for name, value in labels.items())
        if not can_be_borne or len(labels) > MAX_LABELS:
            return []  # no log can have such a label
        listed = choose_label(labels) if wanted.kind is not None else None
        source, created_at, log_id = "logs", "created_at", "log_id"
        conditions = ["1"]
        parameters: list[object] = []
        if listed is not None:
            source, created_at, log_id = BY_LABEL, "since", "of_log"
            conditions.append("of_kind = ? AND name = ? AND value = ?")
            parameters.extend((wanted.kind, listed, labels[listed]))
        for column, value in (("kind", wanted.kind), ("status", wanted.status)):
            if value is not None:
                conditions.append(f"{column} = ?")
                parameters.append(value)
        if wanted.before is not None:
            conditions.append(f"({created_at}, {log_id}) < (?, ?)")
            parameters.extend(wanted.before)
        for name, value in labels.items():
            if name != listed:
                conditions.append(
                    "EXISTS (SELECT 1 FROM json_each(labels) WHERE key = ? AND value = ?)"
                )
                parameters.extend((name, value))
        found = await self._ask(
            lambda: self._select(
                " AND ".join(conditions),
                parameters,
                f"{created_at} DESC, {log_id} DESC",
                limit,
                wanted.matches,
                newest=limit,
                source=source,
            )
        )
        return sorted(found, key=age_of, reverse=True)[:limit]

    async def expired(self, limit: int) -> Sequence[str]:
        now = self._clock.time()
        found = await self._ask(
            lambda: self._select(
                "ttl_s IS NOT NULL AND closed_at + ttl_s <= ?",
                [now],
                "closed_at + ttl_s",
                limit,
                lambda info: _expiry(info) <= now,
            )
        )
        return [info.log_id for info in sorted(found, key=_expiry)][:limit]

    async def orphans(self, limit: int) -> Sequence[LogInfo]:
        return await self._ask(lambda: self._orphans()[:limit])

    # On the reading threads.

    def _page(self, log_id: str, after: Position, max_bytes: int) -> Page:
        log = self._get(log_id, after.seq, max_bytes)
        check_position(log.info, after)
        pages = log.pages
        if after.seq < log.info.head and (not pages or after.seq + 1 < pages[0].first):
            pages = read_segments(self._connection, log.key, after.epoch, after.seq, max_bytes)
            if not pages or after.seq + 1 < pages[0].first:
                raise _ChangedMeanwhile  # the log was trimmed, replaced or deleted
        return join_pages(log.info, after, pages, max_bytes)

    def _get(self, log_id: str, after_seq: int | None = None, max_bytes: int = PAGE_BYTES) -> Log:
        """Return a copy of a log, with the pages that `Journal.peek` adds. Raises `NotFound`."""
        log = self._journal.peek(log_id, after_seq, max_bytes)
        if log is None and not self._journal.is_deleted(log_id) and is_log_id(log_id):
            log = load_log(self._connection, log_id)
        if log is None:
            raise NotFound(f"there is no {describe_log(log_id)}")
        return log

    def _attachment(self, log_id: str) -> tuple[str, bytes]:
        log = self._get(log_id)
        if log.attachment is not None:
            return log.info.epoch, log.attachment
        return log.info.epoch, load_attachment(self._connection, log.key)

    def _orphans(self) -> Sequence[LogInfo]:
        owning: dict[str, bool] = {}

        def is_owned(info: LogInfo) -> bool:
            if info.owner_id not in owning:
                lease = load_lease(self._connection, info.owner_id)
                owning[info.owner_id] = is_owning(lease, self._clock)
            return owning[info.owner_id]

        open_logs = self._select(
            "closed_at IS NULL AND owner_id != ''",
            [],
            "created_at",
            -1,
            lambda info: not info.closed and bool(info.owner_id),
        )
        return [info for info in open_logs if not is_owned(info)]

    def _select(
        self,
        where: str,
        parameters: Sequence[object],
        order: str,
        limit: int,
        belongs: Callable[[LogInfo], bool],
        newest: int | None = None,
        source: str = "logs",
    ) -> Sequence[LogInfo]:
        """Return logs from the tables; a log that changed since is taken from the journal. -1 sets
        no limit.

        Args:
            belongs: the condition, as a function of a log; called while commits wait.
            newest: see `Journal.changed_logs`.
            source: see `select_logs`.
        """
        changed, hidden = self._journal.changed_logs(belongs, newest)
        stored = select_logs(self._connection, where, parameters, order, limit, hidden, source)
        return [*stored, *changed]

    @property
    def _connection(self) -> sqlite3.Connection:
        """This thread's own connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            self._journal.check_file()
            connection = self._local.connection = open_reader(self._path)
            self._connections.append(connection)
        return connection

    async def _ask(self, query: Callable[[], T]) -> T:
        def look() -> tuple[bool, T | None]:
            try:
                newest = self._connection.execute("SELECT max(id) FROM journal").fetchone()[0]
                if newest > self._journal.last:
                    return False, None
                return True, query()
            except sqlite3.Error as error:
                raise explain(error, self._path) from error

        loop = asyncio.get_running_loop()
        looks_left = _MOST_LOOKS
        while looks_left:
            try:
                looking = loop.run_in_executor(self._threads, look)
            except RuntimeError:
                raise about(StoreUnavailable, self._path, "was closed") from None
            try:
                is_current, result = await looking
            except _ChangedMeanwhile:
                is_current, result = False, None
                looks_left -= 1
            if is_current:
                return cast("T", result)
            await self._refresh()  # another process has committed since the last look
        problem = "is damaged: events that it should have are not there"
        raise about(StoreUnusable, self._path, problem)


def _expiry(info: LogInfo) -> float:
    if info.closed_at is None or info.ttl_s is None:
        return math.inf
    return info.closed_at + info.ttl_s
