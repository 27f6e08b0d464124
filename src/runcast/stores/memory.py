"""Logs in this process's memory: for tests, and for runs that may end with the process."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Self

from runcast._clock import Clock, SystemClock
from runcast.errors import Conflict, RuncastError, RunClosed
from runcast.events.lifecycle import Status
from runcast.events.position import RUN, Position, describe_log, make_log_id
from runcast.stores.base import (
    MAX_LIST,
    PAGE_BYTES,
    Append,
    Appended,
    ChangePage,
    LogInfo,
    Owner,
    Page,
    Store,
    epoch_is_over,
)
from runcast.stores.changes import Data
from runcast.stores.ledger import Ledger, copy_info
from runcast.stores.paging import Filter, age_of, check_limit, check_position, cut_pages, join_pages
from runcast.stores.plans import ClaimCommand, Command, DeleteCommand

__all__ = ("MemoryStore",)


class MemoryStore(Store):
    """Keeps logs in memory until they are trimmed or deleted; they are lost with the process."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._ledger = Ledger()
        self._row = 0
        self._data_id = secrets.token_hex(4)
        self._leases: dict[str, float] = {}
        self._states: dict[str, tuple[str, int, bytes]] = {}

    @property
    def is_lasting(self) -> bool:
        return False

    async def open(self) -> Self:
        return self

    async def close(self) -> None:
        """Keep all logs: a memory store may be opened again."""

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
        now, entropy = self._beginning()
        command = self._ledger.plan_create(
            log_id,
            now=now,
            entropy=entropy,
            owner_id=owner_id,
            labels=labels,
            ttl_s=ttl_s,
            replace=replace,
            attachment=attachment,
        )
        self._apply(command)
        return await self.info(log_id)

    def _beginning(self) -> tuple[float, int]:
        """Return the time of a log that begins now, and what distinguishes its epoch."""
        return self._clock.time(), secrets.randbits(9)

    async def commit(self, group: Sequence[Append]) -> list[Appended | RuncastError]:
        commands, outcomes = self._ledger.plan_appends(group, self._clock.time())
        self._apply(*commands)
        return outcomes

    async def read(self, log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
        log = self._ledger.get(log_id)
        check_position(log.info, after)
        return join_pages(log.info, after, cut_pages(log.pages, after.seq, max_bytes), max_bytes)

    async def info(self, log_id: str) -> LogInfo:
        return copy_info(self._ledger.get(log_id).info)

    async def attachment(self, log_id: str) -> tuple[str, bytes]:
        log = self._ledger.get(log_id)
        return log.info.epoch, log.attachment or b""

    async def list(
        self,
        *,
        kind: str | None = RUN,
        status: Status | None = None,
        labels: Mapping[str, str] | None = None,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> list[LogInfo]:
        check_limit(limit)
        wanted = Filter(kind, status, labels or {}, before)
        found = [log.info for log in self._ledger.logs.values() if wanted.matches(log.info)]
        found.sort(key=age_of, reverse=True)
        return [copy_info(info) for info in found[:limit]]

    async def changes(self, after: str = "", *, limit: int = MAX_LIST) -> ChangePage:
        check_limit(limit)
        data = Data(self._data_id, self._row)
        return self._ledger.recent.page(after, limit, data, self._ledger.peek)

    async def trim(self, log_id: str, first: int, snapshot: bytes) -> LogInfo:
        return await self.trim_epoch(log_id, "", first, snapshot)

    async def trim_epoch(self, log_id: str, epoch: str, first: int, snapshot: bytes) -> LogInfo:
        command = self._ledger.plan_trim(log_id, first, snapshot, epoch)
        if command is not None:
            self._apply(command)
        return await self.info(log_id)

    async def snapshot(self, log_id: str) -> tuple[int, bytes] | None:
        return self._ledger.get(log_id).snapshot

    async def save_state(self, log_id: str, epoch: str, seq: int, state: bytes) -> None:
        info = self._ledger.get(log_id).info
        if info.epoch != epoch:
            raise epoch_is_over(info, epoch)
        self._states[log_id] = (epoch, seq, state)

    async def saved_state(self, log_id: str, epoch: str) -> tuple[int, bytes] | None:
        self._ledger.get(log_id)
        of_epoch, seq, state = self._states.get(log_id, ("", 0, b""))
        return (seq, state) if of_epoch == epoch else None

    async def delete(self, log_id: str) -> None:
        self._apply(self._ledger.plan_delete(log_id))

    async def delete_epoch(self, log_id: str, epoch: str) -> None:
        self._apply(self._ledger.plan_delete(log_id, epoch))

    async def expired(self, limit: int = 100) -> Sequence[str]:
        now = self._clock.time()
        ended = sorted(
            (info.closed_at + info.ttl_s, info.log_id)
            for info in (log.info for log in self._ledger.logs.values())
            if info.closed_at is not None and info.ttl_s is not None
        )
        return [log_id for expires_at, log_id in ended if expires_at <= now][:limit]

    async def renew(self, owner: Owner, ttl_s: float) -> None:
        if ttl_s > 0:
            self._leases[owner.owner_id] = self._clock.monotonic() + ttl_s
        else:
            self._leases.pop(owner.owner_id, None)

    async def claim(self, log_id: str, owner_id: str) -> LogInfo:
        info = self._ledger.get(log_id).info
        if info.closed:
            raise RunClosed(f"the {describe_log(log_id)} has ended; it needs no owner")
        if info.owner_id and info.owner_id != owner_id and self._is_alive(info.owner_id):
            raise Conflict(f"the {describe_log(log_id)} is owned by a process that lives")
        self._apply(ClaimCommand(log_id, owner_id, info.fence + 1))
        return await self.info(log_id)

    async def orphans(self, limit: int = 100) -> Sequence[LogInfo]:
        return [
            copy_info(log.info)
            for log in self._ledger.logs.values()
            if not log.info.closed and log.info.owner_id and not self._is_alive(log.info.owner_id)
        ][:limit]

    def _apply(self, *commands: Command) -> None:
        self._row += 1
        self._ledger.apply(self._row, commands)
        for command in commands:
            if isinstance(command, DeleteCommand):
                self._states.pop(command.log_id, None)
        # A memory store has no tables to clean up.
        self._ledger.dead_keys.clear()
        self._ledger.deleted.clear()

    def _is_alive(self, owner_id: str) -> bool:
        return self._leases.get(owner_id, 0.0) > self._clock.monotonic()
