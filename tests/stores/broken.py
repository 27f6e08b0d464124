"""Stores that break one promise each, to prove that the checks of the contract notice."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any, Self

from msgspec.structs import replace

from runcast.errors import NotFound, RuncastError, RunClosed
from runcast.events.lifecycle import Standing, next_status
from runcast.events.position import Position, make_epoch
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
)
from tests.stores.naive import NaiveLog, NaiveStore


class SkipsSeqs(NaiveStore):
    """Guarantee 1: a refused append uses a seq."""

    def append(self, append: Append) -> Appended:
        try:
            return super().append(append)
        except RuncastError:
            if append.log_id in self.logs and not self.logs[append.log_id].info.closed:
                super().append(Append(append.log_id, [b""]))
            raise


class FailsWholeGroups(NaiveStore):
    """Guarantee 1: one refusal refuses the group."""

    async def commit(self, group: Sequence[Append]) -> list[Appended | RuncastError]:
        before = deepcopy(self.data.logs)
        outcomes = await super().commit(group)
        if any(isinstance(outcome, RuncastError) for outcome in outcomes):
            self.data.logs = before
        return outcomes


class AppendsHalves(NaiveStore):
    """Guarantee 1: what precedes a malformed record of an append stays."""

    def append(self, append: Append) -> Appended:
        for record in append.records:
            if b"\n" in record:
                break
            super().append(Append(append.log_id, [record], append.epoch, fence=append.fence))
        return super().append(replace(append, records=[r for r in append.records if b"\n" in r]))


class SortsGroups(NaiveStore):
    """Guarantee 3: appends of a group change places."""

    async def commit(self, group: Sequence[Append]) -> list[Appended | RuncastError]:
        return (await super().commit(group[::-1]))[::-1]


class ReopensLogs(NaiveStore):
    """Guarantee 4: a closed log takes labels."""

    def append(self, append: Append) -> Appended:
        log = self.find(append.log_id)
        if log.info.closed and not append.records and not append.close and not append.once:
            log.info.labels.update(append.labels or {})
            return Appended(log.info.epoch, log.info.head + 1, log.info.head, (), True)
        return super().append(append)


class ClosesBeforeItLooks(NaiveStore):
    """Guarantee 4: a refused append closes the log nevertheless."""

    def append(self, append: Append) -> Appended:
        try:
            return super().append(append)
        except RuncastError:
            if append.close and append.log_id in self.logs:
                self.logs[append.log_id].info.closed = True
            raise


class ClosesLater(NaiveStore):
    """Guarantee 4: the rest of a group may follow a close."""

    async def commit(self, group: Sequence[Append]) -> list[Appended | RuncastError]:
        outcomes = await super().commit([replace(append, close=False) for append in group])
        for append, outcome in zip(group, outcomes, strict=True):
            if append.close and isinstance(outcome, Appended):
                super().append(Append(append.log_id, close=True))
        return outcomes


class IgnoresDigests(NaiveStore):
    """Guarantee 5: a key with another digest is taken for a repeat."""

    def append(self, append: Append) -> Appended:
        if append.once is not None:
            append = replace(append, once=append.once._replace(digest=""))
        return super().append(append)


class FoldsKeys(NaiveStore):
    """Guarantee 5: keys that differ in case are one key."""

    def append(self, append: Append) -> Appended:
        if append.once is not None:
            append = replace(append, once=append.once._replace(key=append.once.key.casefold()))
        return super().append(append)


class ForgetsKeysAtClose(NaiveStore):
    """Guarantee 5: a closed log knows no keys."""

    def append(self, append: Append) -> Appended:
        done = super().append(append)
        if done.closed:
            self.logs[append.log_id].once.clear()
        return done


class ForgetsTrimmedKeys(NaiveStore):
    """Guarantee 5: keys go with their events."""

    async def trim(self, log_id: str, first: int, snapshot: bytes) -> LogInfo:
        info = await super().trim(log_id, first, snapshot)
        once = self.logs[log_id].once
        self.logs[log_id].once = {key: use for key, use in once.items() if use[1] >= info.first}
        return info


class RemembersRefusedKeys(NaiveStore):
    """Guarantee 5: a refused append uses its key."""

    def append(self, append: Append) -> Appended:
        try:
            return super().append(append)
        except RuncastError:
            if append.once and append.log_id in self.logs:
                use = (append.once.digest, 1, 0)
                self.logs[append.log_id].once.setdefault(append.once.key, use)
            raise


class InheritsKeys(NaiveStore):
    """Guarantee 5: a new epoch knows the keys of the old."""

    async def create(self, log_id: str, **options: Any) -> LogInfo:
        old = self.logs.get(log_id)
        info = await super().create(log_id, **options)
        if old is not None:
            self.logs[log_id].once = old.once
        return info


class InheritsAttachments(NaiveStore):
    """The last guarantee: a new epoch has the attachment of the old."""

    async def create(self, log_id: str, **options: Any) -> LogInfo:
        old = self.logs.get(log_id)
        info = await super().create(log_id, **options)
        if old is not None and not self.logs[log_id].attachment:
            self.logs[log_id].attachment = old.attachment
        return info


class ReplacesAttachmentsFirst(NaiveStore):
    """The last guarantee: an append that is refused replaces the attachment."""

    def append(self, append: Append) -> Appended:
        log = self.logs.get(append.log_id)
        if log is not None:
            log.attachment = append.attachment or log.attachment
        return super().append(append)


class IgnoresFences(NaiveStore):
    """Guarantee 6: any fence may append."""

    def append(self, append: Append) -> Appended:
        return super().append(replace(append, fence=None))


class IgnoresEpochs(NaiveStore):
    """Guarantee 6: any epoch may append."""

    def append(self, append: Append) -> Appended:
        return super().append(replace(append, epoch=""))


class ReplacesUnasked(NaiveStore):
    """Guarantee 7: creating over a log replaces it."""

    async def create(self, log_id: str, **options: Any) -> LogInfo:
        return await super().create(log_id, **{**options, "replace": True})


class ReplacesAnyEpoch(NaiveStore):
    """Guarantee 7: the present epoch is replaced, whichever was meant."""

    async def create(self, log_id: str, **options: Any) -> LogInfo:
        return await super().create(log_id, **{**options, "replace": bool(options.get("replace"))})


class TrustsTheClock(NaiveStore):
    """Guarantee 7: an epoch is what the clock says."""

    async def create(self, log_id: str, **options: Any) -> LogInfo:
        await super().create(log_id, **options)
        self.logs[log_id].info.epoch = make_epoch(self.clock.time(), 0)
        return await self.info(log_id)


class BeginsFencesAnew(NaiveStore):
    """Guarantee 7, `create`: the fence of a new epoch is 1."""

    async def create(self, log_id: str, **options: Any) -> LogInfo:
        await super().create(log_id, **options)
        self.logs[log_id].info.fence = 1
        return await self.info(log_id)


class InheritsLabels(NaiveStore):
    """Guarantee 7: a new epoch bears the labels of the old."""

    async def create(self, log_id: str, **options: Any) -> LogInfo:
        old = self.logs[log_id].info.labels if log_id in self.logs else {}
        await super().create(log_id, **options)
        self.logs[log_id].info.labels.update(old)
        return await self.info(log_id)


class ReadsInclusively(NaiveStore):
    """Guarantee 8: a page begins with the event of the position."""

    async def read(self, log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
        await super().read(log_id, after, max_bytes)
        return self.page(self.logs[log_id], max(0, after.seq - 1), max_bytes)


class ForgivesPositions(NaiveStore):
    """Guarantee 8: a position beyond the head reads nothing instead of being refused."""

    async def read(self, log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
        head = self.find(log_id).info.head
        return await super().read(log_id, after._replace(seq=min(after.seq, head)), max_bytes)


class HidesTrims(NaiveStore):
    """Guarantee 8: a trimmed position reads from the first event kept."""

    async def read(self, log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
        first = self.find(log_id).info.first
        return await super().read(log_id, after._replace(seq=max(after.seq, first - 1)), max_bytes)


class ReadsAnyEpoch(NaiveStore):
    """Guarantee 8: a position of another epoch reads this one."""

    async def read(self, log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
        epoch = self.find(log_id).info.epoch
        return await super().read(log_id, after._replace(epoch=epoch), max_bytes)


class ReadsEverything(NaiveStore):
    """`read`: a page is as long as the log."""

    async def read(self, log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
        return await super().read(log_id, after, 1 << 40)


class SkipsLargeEvents(NaiveStore):
    """`read`: an event larger than a page never comes."""

    async def read(self, log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
        page = await super().read(log_id, after, max_bytes)
        if len(page.frames) > max_bytes:
            return Page(page.epoch, page.first, page.first - 1, b"")
        return page


class ClosesEveryPage(NaiveStore):
    """Guarantee 8: every page of a closed log says that nothing follows."""

    async def read(self, log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
        page = await super().read(log_id, after, max_bytes)
        return replace(page, closed=self.logs[log_id].info.closed)


class FoldsIds(NaiveStore):
    """Guarantee 9: ids that differ in case are one log."""

    def find(self, log_id: str) -> NaiveLog:
        for known in self.logs:
            if known.upper() == log_id.upper():
                return super().find(known)
        raise NotFound(log_id)


class TakesAnyId(NaiveStore):
    """`create`: what is no id names a log."""

    async def create(self, log_id: str, **options: Any) -> LogInfo:
        info = await super().create("x", **{**options, "replace": True})
        self.logs[log_id] = self.logs.pop("x")
        self.logs[log_id].info.log_id = log_id
        return info


class CommitsPiecemeal(NaiveStore):
    """Guarantee 10: a cancelled commit leaves a part of its group behind."""

    async def commit(self, group: Sequence[Append]) -> list[Appended | RuncastError]:
        outcomes: list[Appended | RuncastError] = []
        for append in group:
            outcomes += await super().commit([append])
            await asyncio.sleep(0)
        return outcomes


class ReadsThenWrites(NaiveStore):
    """Guarantee 1: two commits at once are given the same seqs."""

    async def commit(self, group: Sequence[Append]) -> list[Appended | RuncastError]:
        before = {append.log_id: list(self.find(append.log_id).frames) for append in group}
        await asyncio.sleep(0)
        for log_id, frames in before.items():
            log = self.logs[log_id]
            log.frames, log.info.head = frames, len(frames)
        return await super().commit(group)


class HandsOutItself(NaiveStore):
    """`info`: what is handed out is the store's own."""

    async def info(self, log_id: str) -> LogInfo:
        return self.find(log_id).info


class CountsRecords(NaiveStore):
    """`LogInfo.bytes`: counts something else."""

    async def info(self, log_id: str) -> LogInfo:
        info = await super().info(log_id)
        info.bytes -= info.head
        return info


class RefusesNoRecord(NaiveStore):
    """`append`: a line break becomes a space."""

    def append(self, append: Append) -> Appended:
        records = [record.replace(b"\n", b" ").replace(b"\r", b" ") for record in append.records]
        return super().append(replace(append, records=records))


class KeepsText(NaiveStore):
    """`append`: records are taken for text."""

    def append(self, append: Append) -> Appended:
        records = [record.decode("utf-8", "replace").encode() for record in append.records]
        return super().append(replace(append, records=records))


class TrimsEverything(NaiveStore):
    """`trim`: not even the last event is kept."""

    async def trim(self, log_id: str, first: int, snapshot: bytes) -> LogInfo:
        await super().trim(log_id, first, snapshot)
        info = self.logs[log_id].info
        info.first = max(info.first, min(first, info.head + 1))
        return await self.info(log_id)


class TrimsBack(NaiveStore):
    """`trim`: an older snapshot takes the place of a newer one."""

    async def trim(self, log_id: str, first: int, snapshot: bytes) -> LogInfo:
        info = await super().trim(log_id, first, snapshot)
        self.logs[log_id].snapshot = (first - 1, snapshot)
        return info


class KeepsSnapshots(NaiveStore):
    """`create`: a new epoch has the snapshot of the old."""

    async def create(self, log_id: str, **options: Any) -> LogInfo:
        old = self.logs.get(log_id)
        info = await super().create(log_id, **options)
        self.logs[log_id].snapshot = old.snapshot if old else None
        return info


class DeletesNothing(NaiveStore):
    """`delete`: the log is only closed."""

    async def delete(self, log_id: str) -> None:
        self.find(log_id).info.closed = True


class DeletesAnyEpoch(NaiveStore):
    """`delete_epoch`: the present epoch goes, whichever was meant."""

    async def delete_epoch(self, log_id: str, epoch: str) -> None:
        await self.delete(log_id)


class TrimsAnyEpoch(NaiveStore):
    """`trim_epoch`: the present epoch is cut, whichever was meant."""

    async def trim_epoch(self, log_id: str, epoch: str, first: int, snapshot: bytes) -> LogInfo:
        return await self.trim(log_id, first, snapshot)


class ListsOldestFirst(NaiveStore):
    """`list`: in the order of creation."""

    async def list(self, **options: Any) -> list[LogInfo]:
        return (await super().list(**options))[::-1]


class ListsAnyLabel(NaiveStore):
    """`list`: one label of those asked for is enough."""

    async def list(self, *, labels: Mapping[str, str] | None = None, **rest: Any) -> list[LogInfo]:
        some = dict([next(iter(labels.items()))]) if labels else None
        return await super().list(labels=some, **rest)


class ListsByTimeOnly(NaiveStore):
    """`list`: pages are cut by time, so that logs of one moment are lost."""

    async def list(self, **options: Any) -> list[LogInfo]:
        if options.get("before"):
            options["before"] = (options["before"][0], "")
        return await super().list(**options)


class ListsTooMany(NaiveStore):
    """`list`: the limit is only a hint."""

    async def list(self, *, limit: int = 50, **options: Any) -> list[LogInfo]:
        return await super().list(limit=limit + 1, **options)


class BoundsNoLabels(NaiveStore):
    """`MAX_LABELS`: there may be any number."""

    def merge(self, old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in {**old, **new}.items() if value}


class KeepsRemovedLabels(NaiveStore):
    """`Append.labels`: an empty value is a value."""

    def merge(self, old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
        super().merge(old, new)
        return {**old, **new}


class ExpiresOpenLogs(NaiveStore):
    """`expired`: time runs from the creation."""

    async def expired(self, limit: int = 100) -> Sequence[str]:
        now = self.clock.time()
        infos = [log.info for log in self.logs.values() if log.info.ttl_s is not None]
        return [i.log_id for i in infos if i.created_at + (i.ttl_s or 0) <= now][:limit]


class ExpiresInAnyOrder(NaiveStore):
    """`expired`: by id."""

    async def expired(self, limit: int = 100) -> Sequence[str]:
        return sorted(await super().expired(10_000))[:limit]


class ClaimsFromTheLiving(NaiveStore):
    """`claim`: leases count for nothing."""

    async def claim(self, log_id: str, owner_id: str) -> LogInfo:
        self.data.leases.clear()
        return await super().claim(log_id, owner_id)


class ClaimsWithOldFences(NaiveStore):
    """`claim`: the fence stays."""

    async def claim(self, log_id: str, owner_id: str) -> LogInfo:
        await super().claim(log_id, owner_id)
        self.logs[log_id].info.fence -= 1
        return await self.info(log_id)


class ClaimsTheDead(NaiveStore):
    """`claim`: a closed log gets an owner."""

    async def claim(self, log_id: str, owner_id: str) -> LogInfo:
        try:
            return await super().claim(log_id, owner_id)
        except RunClosed:
            return await self.info(log_id)


class RenewsFromTheEnd(NaiveStore):
    """`renew`: leases add up."""

    async def renew(self, owner: Owner, ttl_s: float) -> None:
        left = max(0.0, self.data.leases.get(owner.owner_id, 0) - self.clock.monotonic())
        await super().renew(owner, ttl_s + left)


class EndsLeasesByTheWallClock(NaiveStore):
    """`renew`: a step of the clock ends a lease."""

    async def renew(self, owner: Owner, ttl_s: float) -> None:
        await super().renew(owner, ttl_s)
        if owner.owner_id in self.data.leases:
            self.data.leases[owner.owner_id] = self.clock.time() + ttl_s

    def is_alive(self, owner_id: str) -> bool:
        return self.data.leases.get(owner_id, 0) > self.clock.time()


class AdoptsTheUnowned(NaiveStore):
    """`orphans`: logs that never had an owner are orphans too."""

    async def orphans(self, limit: int = 100) -> Sequence[LogInfo]:
        unowned = [log.info for log in self.logs.values() if not log.info.owner_id]
        return [*await super().orphans(limit), *deepcopy(unowned)][:limit]


class IgnoresKinds(NaiveStore):
    """Guarantee 9: a name is taken, whatever kind of log has it."""

    async def create(self, log_id: str, **options: Any) -> LogInfo:
        if any(key.rpartition("/")[2] == log_id for key in self.logs):
            options = {**options, "kind": "run"}
        return await super().create(log_id, **options)


class IgnoresProducers(NaiveStore):
    """Guarantee 12: what is sent again happens again."""

    def append(self, append: Append) -> Appended:
        return super().append(replace(append, producer=None))


class LooksAtProducersLast(NaiveStore):
    """Guarantee 12: a closed log knows no repeats."""

    def append(self, append: Append) -> Appended:
        if self.find(append.log_id).info.closed:
            raise RunClosed(append.log_id)
        return super().append(append)


class AllowsGaps(NaiveStore):
    """Guarantee 12: a producer may leave numbers out."""

    def is_next(self, log: NaiveLog, append: Append) -> bool:
        return True


class KnowsTheLastAppendOnly(NaiveStore):
    """Guarantee 12: of a group only the last append is known as a repeat."""

    def find_repeat(self, log: NaiveLog, append: Append) -> tuple[int, int, int] | None:
        found = super().find_repeat(log, append)
        return found if found and found == log.producers[append.producer.producer_id][-1] else None  # type: ignore[union-attr]


class UsesNumbersForRefusals(NaiveStore):
    """Guarantee 12: a refused append uses its number."""

    def append(self, append: Append) -> Appended:
        try:
            return super().append(append)
        except RuncastError:
            if append.producer and append.log_id in self.logs:
                made = self.logs[append.log_id].producers.setdefault(
                    append.producer.producer_id, []
                )
                made.append((append.producer.number, 1, 0))
            raise


class RefusesWhatFollowsRefusals(NaiveStore):
    """Guarantee 12: in a group nothing may follow a refused append."""

    def is_next(self, log: NaiveLog, append: Append) -> bool:
        self.turns.clear()
        return super().is_next(log, append)


class GuessesAtTheForgotten(NaiveStore):
    """Guarantee 12: an unknown producer is a new one."""

    def check_producer(self, log: NaiveLog, append: Append, is_next: bool) -> None:
        log.has_forgotten = False
        super().check_producer(log, append, is_next)


class InheritsProducers(NaiveStore):
    """Guarantee 12: a new epoch knows the producers of the old."""

    async def create(self, log_id: str, **options: Any) -> LogInfo:
        old = self.logs.get(log_id)
        info = await super().create(log_id, **options)
        if old is not None:
            self.logs[log_id].producers = old.producers
            self.logs[log_id].groups = old.groups
        return info


class ForgetsProducersAtRestart(NaiveStore):
    """Guarantee 12: producers are only kept in memory."""

    async def close(self) -> None:
        for log in self.logs.values():
            log.producers.clear()


class ConfusesRepeats(NaiveStore):
    """Guarantee 12: whether it was this append that was made before is not said."""

    def append(self, append: Append) -> Appended:
        return replace(super().append(append), is_resent=False)


class TakesStatusFromLabels(NaiveStore):
    """Guarantee 11: a status is what somebody wrote."""

    async def info(self, log_id: str) -> LogInfo:
        info = await super().info(log_id)
        told: Any = info.labels.get("status", info.status)
        info.standing = Standing(told, info.standing.questions)
        return info


class ForgetsQuestions(NaiveStore):
    """Guarantee 11: one answer ends all waiting."""

    def append(self, append: Append) -> Appended:
        done = super().append(append)
        info = self.logs[append.log_id].info
        if any(b"interrupt_resolved" in record for record in append.records):
            info.standing = Standing(next_status(info.status, "interrupt_resolved"))
        return done


class BelievesData(NaiveStore):
    """Guarantee 11: what looks like a terminal event in data is one."""

    def append(self, append: Append) -> Appended:
        done = super().append(append)
        if any(b'"type":"done"' in record for record in append.records):
            self.logs[append.log_id].info.standing = Standing("done")
        return done


class ForgetsStandingsAtTrims(NaiveStore):
    """Guarantee 11: what was trimmed counts no more."""

    async def trim(self, log_id: str, first: int, snapshot: bytes) -> LogInfo:
        await super().trim(log_id, first, snapshot)
        self.logs[log_id].info.standing = Standing("queued")
        return await self.info(log_id)


class ForgetsStandingsAtRestart(NaiveStore):
    """Guarantee 11: standings are only kept in memory."""

    async def close(self) -> None:
        for log in self.logs.values():
            log.info.standing = Standing("queued")


class IgnoresStatuses(NaiveStore):
    """`list`: any status belongs."""

    async def list(self, **options: Any) -> list[LogInfo]:
        return await super().list(**{**options, "status": None})


class ListsEveryKind(NaiveStore):
    """`list`: runs are not told from other logs."""

    async def list(self, **options: Any) -> list[LogInfo]:
        return await super().list(**{**options, "kind": None})


class ExpiresRunsOnly(NaiveStore):
    """`expired`: other logs never expire."""

    async def expired(self, limit: int = 100) -> Sequence[str]:
        return [log_id for log_id in await super().expired(limit) if "/" not in log_id]


class LosesTheLastCommit(NaiveStore):
    """Guarantee 2: what was acknowledged last is gone after a restart."""

    last: tuple[str, int] | None = None

    def append(self, append: Append) -> Appended:
        done = super().append(append)
        self.last = (append.log_id, done.first)
        return done

    async def close(self) -> None:
        if self.last and self.last[0] in self.logs:
            log = self.logs[self.last[0]]
            log.frames = log.frames[: self.last[1] - 1]
            log.info.head = len(log.frames)
        self.last = None


class ForgetsKeysAtRestart(NaiveStore):
    """Guarantee 5: keys are only kept in memory."""

    async def open(self) -> Self:
        for log in self.logs.values():
            log.once.clear()
        return self


class ForgetsLeasesAtRestart(NaiveStore):
    """`renew`: leases are only kept in memory."""

    async def close(self) -> None:
        self.data.leases.clear()


class KeepsItsOwnView(NaiveStore):
    """Guarantee 8: what other processes append is not seen."""

    seen: dict[str, int]

    def append(self, append: Append) -> Appended:
        done = super().append(append)
        self.seen = {**getattr(self, "seen", {}), append.log_id: done.last}
        return done

    async def info(self, log_id: str) -> LogInfo:
        info = await super().info(log_id)
        info.head = getattr(self, "seen", {}).get(log_id, info.head)
        return info


class TellsNobody(NaiveStore):
    """`SharedStore.listen`: listeners hear nothing."""

    def tell(self, change: Change) -> None:
        pass


class TellsOnce(NaiveStore):
    """`SharedStore.listen`: listeners hear the first change only."""

    def tell(self, change: Change) -> None:
        super().tell(change)
        self.data.listeners.clear()


class HandsOverTooLittle(NaiveStore):
    """`SharedStore.listen`: what was appended is handed over without its first page's event."""

    def tell(self, change: Change) -> None:
        pages = tuple(page.after(page.first) for page in change.pages if page.last > page.first)
        super().tell(Change(change.info, change.is_deleted, pages))


class HandsOverOldInfos(NaiveStore):
    """`SharedStore.listen`: what is told of a log is as it was before."""

    def tell(self, change: Change) -> None:
        before = [each for each in self.data.changed if each.log_id == change.log_id]
        info = before[-1].info if before else change.info
        super().tell(Change(info, change.is_deleted, change.pages))


class TellsForEver(NaiveStore):
    """`SharedStore.listen`: listeners that left are still called."""

    def listen(self, callback: Callable[[Change | None], None]) -> Callable[[], None]:
        super().listen(callback)
        return lambda: None


class ForgetsCreations(NaiveStore):
    """Guarantee 13: logs that were created are left out."""

    async def changes(self, after: str = "", *, limit: int = MAX_LIST) -> ChangePage:
        page = await super().changes(after, limit=limit)
        return page._replace(changes=[each for each in page.changes if each.info.head])


class ForgetsDeletions(NaiveStore):
    """Guarantee 13: logs that were deleted are left out."""

    async def changes(self, after: str = "", *, limit: int = MAX_LIST) -> ChangePage:
        page = await super().changes(after, limit=limit)
        return page._replace(changes=[each for each in page.changes if not each.is_deleted])


class ForgetsEndings(NaiveStore):
    """Guarantee 13: logs that were closed are left out."""

    async def changes(self, after: str = "", *, limit: int = MAX_LIST) -> ChangePage:
        page = await super().changes(after, limit=limit)
        left = [each for each in page.changes if each.is_deleted or not each.info.closed]
        return page._replace(changes=left)


class ForgetsLabels(NaiveStore):
    """Guarantee 13: changes of labels are not noted."""

    def append(self, append: Append) -> Appended:
        count = len(self.data.changed)
        done = super().append(append)
        if not append.records and not append.close:
            del self.data.changed[count:]
        return done


class SkipsChangesBeyondAPage(NaiveStore):
    """Guarantee 13: the point of a page is behind changes that it does not have."""

    async def changes(self, after: str = "", *, limit: int = MAX_LIST) -> ChangePage:
        page = await super().changes(after, limit=limit)
        return ChangePage(page.changes, f"n{len(self.data.changed)}")


class TellsOldChanges(NaiveStore):
    """`Changes.changes`: the present point is before changes that were made."""

    async def changes(self, after: str = "", *, limit: int = MAX_LIST) -> ChangePage:
        page = await super().changes(after, limit=limit)
        return page if after else ChangePage([], "n0")


class KnowsItsOwnChangesOnly(NaiveStore):
    """Guarantee 13: changes of other processes are left out."""

    own: frozenset[str] = frozenset()

    def tell(self, change: Change) -> None:
        super().tell(change)
        self.own |= {change.log_id}

    async def changes(self, after: str = "", *, limit: int = MAX_LIST) -> ChangePage:
        page = await super().changes(after, limit=limit)

        return page._replace(changes=[each for each in page.changes if each.log_id in self.own])


class TakesAnythingForAPoint(NaiveStore):
    """`Changes.changes`: what is not a point is taken for the first one."""

    async def changes(self, after: str = "", *, limit: int = MAX_LIST) -> ChangePage:
        is_point = not after or after[1:].isdigit()
        return await super().changes(after if is_point else "n0", limit=limit)


BROKEN_STORES: tuple[type[NaiveStore], ...] = tuple(
    cls
    for cls in vars().values()
    if isinstance(cls, type) and issubclass(cls, NaiveStore) and cls is not NaiveStore
)
