"""The store contract in its simplest words: the model that the real stores are compared with.

Everything is a list or a dict, nothing is cached or indexed, so that it can be checked by reading
it beside `runcast.stores.base`. It shares no code with the stores but the contract itself.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Self

from runcast._clock import Clock
from runcast.errors import (
    Conflict,
    Gone,
    InvalidValue,
    NotFound,
    PeerError,
    RuncastError,
    RunClosed,
    Stale,
)
from runcast.events.fold import apply
from runcast.events.lifecycle import Standing, Status
from runcast.events.model import decode_event
from runcast.events.position import RUN, Position, frame_record, make_epoch, make_log_id
from runcast.events.snapshot import Snapshot
from runcast.stores.base import (
    MAX_LABELS,
    PAGE_BYTES,
    Append,
    Appended,
    LogInfo,
    Owner,
    Page,
    Store,
)


@dataclass
class NaiveLog:
    """A log; `frames[n]` is the frame with `seq` n + 1, whether trimmed or not."""

    info: LogInfo
    frames: list[bytes] = field(default_factory=list)
    once: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    snapshot: tuple[int, bytes] | None = None
    state: Snapshot = field(default_factory=Snapshot)
    """The fold of all its events, whatever becomes of them."""


@dataclass
class NaiveData:
    """What stores have in common that stand for several processes."""

    logs: dict[str, NaiveLog] = field(default_factory=dict)
    leases: dict[str, float] = field(default_factory=dict)
    listeners: dict[object, Callable[[str | None], None]] = field(default_factory=dict)


class NaiveStore(Store):
    """Keeps logs in a dict, which outlives it and which several may have."""

    def __init__(self, clock: Clock, data: NaiveData | None = None) -> None:
        self.clock = clock
        self.data = data or NaiveData()

    @property
    def logs(self) -> dict[str, NaiveLog]:
        return self.data.logs

    async def open(self) -> Self:
        return self

    async def close(self) -> None:
        pass

    def listen(self, callback: Callable[[str | None], None]) -> Callable[[], None]:
        key = object()
        self.data.listeners[key] = callback
        return lambda: self.data.listeners.pop(key, None) and None

    def tell(self, log_id: str) -> None:
        for callback in self.data.listeners.values():
            callback(log_id)

    def find(self, log_id: str) -> NaiveLog:
        if log_id not in self.logs:
            raise NotFound(log_id)
        return self.logs[log_id]

    def merge(self, old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
        merged = {name: value for name, value in {**old, **new}.items() if value}
        if len(merged) > MAX_LABELS:
            raise InvalidValue("labels")
        return merged

    async def create(
        self,
        log_id: str,
        *,
        kind: str = RUN,
        owner_id: str = "",
        labels: Mapping[str, str] | None = None,
        ttl_s: float | None = None,
        replace: bool = False,
    ) -> LogInfo:
        log_id = make_log_id(kind, log_id)
        old = self.logs.get(log_id)
        if old and not replace:
            raise Conflict(log_id)
        info = LogInfo(
            log_id=log_id,
            epoch=make_epoch(self.clock.time(), 0, after=old.info.epoch if old else ""),
            created_at=self.clock.time(),
            labels=self.merge({}, labels or {}),
            ttl_s=ttl_s,
            owner_id=owner_id,
            fence=old.info.fence + 1 if old else 1,
        )
        self.logs[log_id] = NaiveLog(info)
        self.tell(log_id)
        return await self.info(log_id)

    async def commit(self, group: Sequence[Append]) -> list[Appended | RuncastError]:
        outcomes: list[Appended | RuncastError] = []
        for append in group:
            try:
                outcomes.append(self.append(append))
            except RuncastError as error:
                outcomes.append(error)
        return outcomes

    def append(self, append: Append) -> Appended:
        log = self.find(append.log_id)
        info = log.info
        if append.epoch not in ("", info.epoch):
            raise Stale(append.epoch)
        if append.once and append.once.key in log.once:
            digest, first, last = log.once[append.once.key]
            if digest != append.once.digest:
                raise Conflict(append.once.key)
            return Appended(info.epoch, first, last, (), info.closed, repeated=True)
        if append.fence not in (None, info.fence):
            raise Stale(str(append.fence))
        if info.closed:
            raise RunClosed(append.log_id)
        if any(b"\n" in record or b"\r" in record for record in append.records):
            raise InvalidValue("records")
        info.labels = self.merge(info.labels, append.labels or {})
        first = info.head + 1
        head = b"id: %b-" % info.epoch.encode()
        frames = [frame_record(head, seq, body) for seq, body in enumerate(append.records, first)]
        log.frames += frames
        info.head = len(log.frames)
        for seq, body in enumerate(append.records, first):
            with suppress(PeerError):  # it is no event
                apply(log.state, decode_event(b'{"seq":%d,%b' % (seq, body)))
        asked = tuple(question.interrupt_id for question in log.state.interrupts)
        info.standing = Standing(log.state.status, asked)
        info.bytes += sum(map(len, frames))
        if append.close:
            info.closed, info.closed_at = True, self.clock.time()
        if append.once:
            log.once[append.once.key] = (append.once.digest, first, info.head)
        pages: list[Page] = []
        while (last := pages[-1].last if pages else first - 1) < info.head:
            pages.append(self.page(log, last, PAGE_BYTES))
        self.tell(append.log_id)
        return Appended(info.epoch, first, info.head, tuple(pages), info.closed)

    def page(self, log: NaiveLog, after: int, max_bytes: int) -> Page:
        info = log.info
        chosen: list[bytes] = []
        for frame in log.frames[after:]:
            if chosen and sum(map(len, chosen)) + len(frame) > max_bytes:
                break
            chosen.append(frame)
        last = after + len(chosen)
        closed = info.closed and last == info.head
        return Page(info.epoch, after + 1, last, b"".join(chosen), closed)

    async def read(self, log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
        log = self.find(log_id)
        if after.epoch != log.info.epoch:
            raise Gone(log_id, "replaced")
        if after.seq > log.info.head:
            raise Gone(log_id, "rewound")
        if after.seq < log.info.first - 1:
            raise Gone(log_id, "trimmed")
        return self.page(log, after.seq, max_bytes)

    async def info(self, log_id: str) -> LogInfo:
        return deepcopy(self.find(log_id).info)

    async def trim(self, log_id: str, first: int, snapshot: bytes) -> LogInfo:
        log = self.find(log_id)
        first = min(first, log.info.head)
        if first > log.info.first:
            log.info.first = first
            log.snapshot = (first - 1, snapshot)
        return await self.info(log_id)

    async def snapshot(self, log_id: str) -> tuple[int, bytes] | None:
        return self.find(log_id).snapshot

    async def delete(self, log_id: str) -> None:
        self.find(log_id)
        del self.logs[log_id]

    async def expired(self, limit: int = 100) -> Sequence[str]:
        ends = [
            (log.info.closed_at + log.info.ttl_s, log_id)
            for log_id, log in self.logs.items()
            if log.info.closed_at is not None and log.info.ttl_s is not None
        ]
        return [log_id for end, log_id in sorted(ends) if end <= self.clock.time()][:limit]

    async def renew(self, owner: Owner, ttl_s: float) -> None:
        self.data.leases[owner.owner_id] = self.clock.monotonic() + ttl_s
        if not ttl_s:
            del self.data.leases[owner.owner_id]

    def is_alive(self, owner_id: str) -> bool:
        return self.data.leases.get(owner_id, 0) > self.clock.monotonic()

    async def claim(self, log_id: str, owner_id: str) -> LogInfo:
        info = self.find(log_id).info
        if info.closed:
            raise RunClosed(log_id)
        if info.owner_id != owner_id and self.is_alive(info.owner_id):
            raise Conflict(log_id)
        info.owner_id = owner_id
        info.fence += 1
        return await self.info(log_id)

    async def orphans(self, limit: int = 100) -> Sequence[LogInfo]:
        return [
            deepcopy(log.info)
            for log in self.logs.values()
            if not log.info.closed and log.info.owner_id and not self.is_alive(log.info.owner_id)
        ][:limit]

    async def list(
        self,
        *,
        kind: str | None = RUN,
        status: Status | None = None,
        labels: Mapping[str, str] | None = None,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> list[LogInfo]:
        keyed = {(log.info.created_at, log.info.log_id): log.info for log in self.logs.values()}
        return [
            deepcopy(keyed[key])
            for key in sorted(keyed, reverse=True)
            if (before is None or key < before)
            and kind in (None, keyed[key].kind)
            and status in (None, keyed[key].status)
            and (labels or {}).items() <= keyed[key].labels.items()
        ][:limit]
