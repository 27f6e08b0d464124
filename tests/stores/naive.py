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
    OutOfSequence,
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
    MAX_APPENDS_TOGETHER,
    MAX_ATTACHMENT_BYTES,
    MAX_LABELS,
    MAX_LIST,
    MAX_PRODUCERS,
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


@dataclass
class NaiveLog:
    """A log; `frames[n]` is the frame with `seq` n + 1, whether trimmed or not."""

    info: LogInfo
    frames: list[bytes] = field(default_factory=list)
    once: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    snapshot: tuple[int, bytes] | None = None
    producers: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)
    """(number, first, last) of each append, by producer."""
    groups: dict[str, int] = field(default_factory=dict)
    """Of each producer, how many of its appends were made in its last commit."""
    has_forgotten: bool = False
    attachment: bytes = b""
    state: Snapshot = field(default_factory=Snapshot)
    """The fold of all its events, whatever becomes of them."""


@dataclass
class NaiveData:
    """What stores have in common that stand for several processes."""

    logs: dict[str, NaiveLog] = field(default_factory=dict)
    leases: dict[str, float] = field(default_factory=dict)
    listeners: dict[object, Callable[[Change | None], None]] = field(default_factory=dict)
    changed: list[Change] = field(default_factory=list)
    """Every change that there ever was."""


class NaiveStore(Store):
    """Keeps logs in a dict, which outlives it and which several may have."""

    def __init__(self, clock: Clock, data: NaiveData | None = None) -> None:
        self.clock = clock
        self.data = data or NaiveData()
        self.turns: dict[tuple[str, str], int] = {}
        """Of producers in the present commit: the number of what was tried last."""
        self.before: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
        """Of producers that have appended in the present commit: those of the one before."""
        self.kept: dict[str, dict[str, int]] = {}
        """By log, those that will be remembered, with the last `seq` of each."""

    @property
    def logs(self) -> dict[str, NaiveLog]:
        return self.data.logs

    async def open(self) -> Self:
        return self

    async def close(self) -> None:
        pass

    def listen(self, callback: Callable[[Change | None], None]) -> Callable[[], None]:
        key = object()
        self.data.listeners[key] = callback
        return lambda: self.data.listeners.pop(key, None) and None

    def tell(self, change: Change) -> None:
        self.data.changed.append(change)
        for callback in self.data.listeners.values():
            callback(change)

    async def changes(self, after: str = "", *, limit: int = MAX_LIST) -> ChangePage:
        if not 1 <= limit <= MAX_LIST:
            raise InvalidValue(str(limit))
        if not after:
            return ChangePage([], f"n{len(self.data.changed)}")
        if not after[1:].isdigit():
            raise InvalidValue(after)
        newest: dict[str, tuple[int, Change]] = {}
        for number, change in enumerate(self.data.changed[int(after[1:]) :], int(after[1:]) + 1):
            newest.pop(change.log_id, None)
            newest[change.log_id] = number, change
        found = list(newest.values())[:limit]
        return ChangePage(
            [Change(change.info, change.is_deleted) for _, change in found],
            f"n{found[-1][0]}" if found else after,
        )

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
        replace: bool | str = False,
        attachment: bytes = b"",
    ) -> LogInfo:
        log_id = make_log_id(kind, log_id)
        old = self.logs.get(log_id)
        if old and replace not in (True, old.info.epoch):
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
        if len(attachment) > MAX_ATTACHMENT_BYTES:
            raise InvalidValue("attachment")
        self.logs[log_id] = NaiveLog(info)
        self.logs[log_id].attachment = attachment
        self.tell(Change(deepcopy(info)))
        return await self.info(log_id)

    async def attachment(self, log_id: str) -> tuple[str, bytes]:
        log = self.find(log_id)
        return log.info.epoch, log.attachment

    async def commit(self, group: Sequence[Append]) -> list[Appended | RuncastError]:
        outcomes: list[Appended | RuncastError] = []
        self.turns, self.before, self.kept = {}, {}, {}
        for append in group:
            try:
                outcomes.append(self.append(append))
            except RuncastError as error:
                outcomes.append(error)
        self.forget()
        return outcomes

    def append(self, append: Append) -> Appended:
        log = self.find(append.log_id)
        info = log.info
        found = self.find_repeat(log, append)
        if found is not None:
            return Appended(info.epoch, *found[1:], (), info.closed, repeated=True, is_resent=True)
        is_next = self.is_next(log, append)
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
        labels = self.merge(info.labels, append.labels or {})
        if len(append.attachment) > MAX_ATTACHMENT_BYTES:
            raise InvalidValue("attachment")
        self.check_producer(log, append, is_next)
        info.labels = labels
        log.attachment = append.attachment or log.attachment
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
        self.note(log, append, first)
        pages: list[Page] = []
        while (last := pages[-1].last if pages else first - 1) < info.head:
            pages.append(self.page(log, last, PAGE_BYTES))
        self.tell(Change(deepcopy(info), pages=tuple(pages)))
        return Appended(
            info.epoch, first, info.head, tuple(pages), info.closed, labels=dict(labels)
        )

    def find_repeat(self, log: NaiveLog, append: Append) -> tuple[int, int, int] | None:
        if append.producer is None:
            return None
        producer_id, number = append.producer.producer_id, append.producer.number
        text = producer_id.encode("utf-8", "surrogatepass")
        if not 0 < len(producer_id) <= 128 or b"\0" in text or b"\xed\xa0" in text or number < 1:
            raise InvalidValue(producer_id)
        known = self.known_of(log, producer_id) + self.before.get((append.log_id, producer_id), [])
        return next((each for each in known if each[0] == number), None)

    def known_of(self, log: NaiveLog, producer_id: str) -> list[tuple[int, int, int]]:
        """Return the appends that a producer made in its last commit."""
        made = log.producers.get(producer_id, [])
        return made[len(made) - log.groups.get(producer_id, 0) :][-MAX_APPENDS_TOGETHER:]

    def is_next(self, log: NaiveLog, append: Append) -> bool:
        """Tell whether an append is the next of its producer; then the one behind it is, too."""
        if append.producer is None:
            return True
        producer_id, number = append.producer.producer_id, append.producer.number
        made, key = log.producers.get(producer_id, [(0, 0, 0)]), (append.log_id, producer_id)
        is_next = number == self.turns.get(key, made[-1][0]) + 1
        if is_next:
            self.turns[key] = number
        return is_next

    def check_producer(self, log: NaiveLog, append: Append, is_next: bool) -> None:
        if append.producer is None:
            return
        producer_id, retried = append.producer.producer_id, append.producer.retried
        if producer_id not in log.producers and retried and log.has_forgotten and not append.once:
            raise OutOfSequence(producer_id, None)
        if not is_next:
            made = log.producers.get(producer_id, [(0, 0, 0)])
            raise OutOfSequence(
                producer_id, self.turns.get((append.log_id, producer_id), made[-1][0]) + 1
            )

    def note(self, log: NaiveLog, append: Append, first: int) -> None:
        if append.producer is None:
            return
        producer_id, number = append.producer.producer_id, append.producer.number
        if (append.log_id, producer_id) not in self.before:
            self.before[append.log_id, producer_id] = self.known_of(log, producer_id)
            log.groups[producer_id] = 0
        log.groups[producer_id] += 1
        known = dict(log.producers)
        log.producers.setdefault(producer_id, []).append((number, first, log.info.head))
        # Forgotten once the commit is made: until then all that was known before is known.
        kept = self.kept.setdefault(
            append.log_id, {each: made[-1][2] for each, made in known.items()}
        )
        kept[producer_id] = log.info.head
        if len(kept) > MAX_PRODUCERS:
            del kept[min(kept, key=lambda it: (it.startswith("writer-"), kept[it], it))]

    def forget(self) -> None:
        for log_id, kept in self.kept.items():
            log = self.logs[log_id]
            log.has_forgotten |= len(kept) < len(log.producers)
            log.producers = {each: made for each, made in log.producers.items() if each in kept}

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
        info = self.find(log_id).info
        del self.logs[log_id]
        self.tell(Change(info, is_deleted=True))

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
