"""Recovery: what happens to the logs of processes that died.

A run without a living owner is lost, with two exceptions. If the run waits for an answer and its
function has a resume handler, it stays open until it is answered. Then a process that knows the
function continues it. If its function has `recover=`, a process that knows the function continues
it at once; if there is none for `recover_wait_s`, it is lost. Each kind can be cancelled.

Runs that wait for a worker of a task engine have no owner, either; see `runcast._runs.launch`. A
process that hands over runs hands them over again when their worker died.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from runcast._hub.hub import Hub
from runcast._hub.rounds import Rounds
from runcast._logs import get_logger
from runcast._producing.decisions import expire_question, is_expired
from runcast._producing.labels import (
    ANSWERED_LABEL,
    CANCEL_LABEL,
    LEASE_LABEL,
    RESUMABLE_LABEL,
)
from runcast._runs.launch import Launch, not_taken
from runcast._runs.recoverable import Recoverable, too_many_attempts
from runcast.errors import (
    BackendError,
    Conflict,
    NotFound,
    RunClosed,
    Stale,
    StoreReadOnly,
)
from runcast.events.outcome import LOST, Outcome, cancelled
from runcast.events.position import RUN, describe_log
from runcast.stores.base import LogInfo

__all__ = ("Begin", "ContinuesRuns", "Recovery")

Begin = Callable[[LogInfo], None]
"""Continues a claimed log, for example with a run's next attempt."""


class ContinuesRuns(Protocol):
    """What continues runs in this process. Each method returns None if this process cannot."""

    async def after_answer(self, info: LogInfo) -> Begin | None:
        """Return what continues a run that was answered while it had no owner."""
        ...

    async def after_crash(self, info: LogInfo, known: Recoverable) -> Begin | Outcome | None:
        """Return what continues a run after a crash, or how the run must end."""
        ...

    async def after_launch(self, info: LogInfo) -> Begin | Outcome | None:
        """Return what runs a run that waits for a worker, or how the run must end."""
        ...

    async def launch_again(self, info: LogInfo) -> bool:
        """Hand a run without an owner to another worker; False if that is not this process's
        part."""
        ...


_LOST_WITH_THEIR_OWNER: Final = frozenset({RUN, "stream"})
"""Kinds of logs that end when their owner dies. Other logs stay open until they are continued; see
`Recovery.hand_over`."""

_LOOKS_PER_LEASE: Final = 3
"""How often to look for lost runs within one lease time."""

_LATE_S: Final = 1.0
"""How much later than planned a look must come for this process to have been paused, as a laptop
that slept: then writers elsewhere could not renew their leases here."""

_MOST_ORPHANS: Final = 10_000
"""Most lost runs examined at once, including runs that wait for an answer."""

_log: Final = get_logger("runcast.runs")


class Recovery:
    """Takes over the logs of dead owners.

    Args:
        runs: continues runs.
        is_worker: take over only what `take_over` and `leave` name. Servers look for lost runs.
    """

    def __init__(self, hub: Hub, runs: ContinuesRuns, *, is_worker: bool = False) -> None:
        self._hub = hub
        self._runs = runs
        self._is_worker = is_worker
        self._left: dict[str, None] = {}
        """Runs that have no process although their owner lives: us. Their own process died, or the
        store did not say whether we had claimed them."""
        self._has_ceased = False
        self._begun = self._looked = hub.clock.monotonic()
        self._successors: dict[str, Begin] = {}
        self._one_at_a_time = asyncio.Lock()
        self._taking: set[asyncio.Task[None]] = set()
        self._every_s = hub.settings.lease_s / _LOOKS_PER_LEASE
        self._reaping = Rounds(self.reap, self._every_s, "looking for lost runs")

    async def open(self) -> None:
        """Take the lease, take over the logs of dead owners, and continue to do so.

        Idempotent. May be called again after `close`.
        """
        self._has_ceased = False
        self._begun = self._looked = self._hub.clock.monotonic()
        try:
            await self._hub.lease.hold()
        except StoreReadOnly:
            return  # a reader's store: it serves watchers, and needs no owner
        except BackendError as error:
            _log.warning("no lease could be taken yet; it will be tried again: %s", error)
        try:
            await self.reap()
        except BackendError as error:
            _log.warning(
                "lost runs could not be searched for yet; it will be tried again: %s", error
            )
        self._reaping.open()

    def hand_over(self, kind: str, begin: Begin) -> None:
        """Continue the logs of a kind whose owners are dead, instead of ending them. Call it before
        `open`."""
        self._successors[kind] = begin

    async def close(self) -> None:
        """Stop taking over logs. Idempotent."""
        self._has_ceased = True
        for task in self._taking:
            task.cancel()
        if self._taking:
            await asyncio.wait(self._taking)
        self._left.clear()  # they have no owner once the lease ends
        await self._reaping.close()

    async def reap(self) -> None:
        """Take over the runs of all dead owners. Raises `BackendError`."""
        now = self._hub.clock.monotonic()
        if now > self._looked + self._every_s + _LATE_S:
            self._begun = now
        try:
            await self._reap()
        finally:
            self._looked = self._hub.clock.monotonic()

    async def _reap(self) -> None:
        orphans = [] if self._is_worker else await self._hub.store.orphans(_MOST_ORPHANS)
        for info in orphans:
            if not self._may_wait(info):
                await self.take(info.log_id, is_orphan=True)
        for run_id in list(self._left):
            await self.take(run_id, is_orphan=True)

    def leave(self, run_id: str) -> None:
        """Treat a run of this process, which runs no more, as if its owner were dead."""
        self._left[run_id] = None

    async def take_over(self, run_id: str) -> None:
        """Take over one run if its owner is dead. A failure is logged, and will be tried again."""
        try:
            await self.take(run_id)
        except BackendError as error:
            _log.warning("run %s could not be taken over yet: %s", run_id, error)

    async def take(self, run_id: str, *, is_orphan: bool = False) -> None:
        """Take over one run if its owner is dead. Raises `BackendError`.

        It is done in a task of its own, because the waiting caller may be cancelled midway.

        Args:
            is_orphan: whether the store has just said that the owner is dead. Otherwise the claim
                of the run shows it.
        """
        if self._has_ceased:
            return
        task = asyncio.create_task(self._take_alone(run_id, is_orphan))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    async def _take_alone(self, run_id: str, is_orphan: bool) -> None:
        # The store lets an owner claim its own run again. So the owner is checked here, where
        # nothing else claims, and a claimed run begins before the next check.
        async with self._one_at_a_time:
            try:
                info = await self._hub.info(run_id)
                is_left = run_id in self._left and info.owner_id == self._hub.lease.owner_id
                if info.closed or not is_left:
                    self._left.pop(run_id, None)
                if info.closed:
                    return
                if is_left or info.owner_id not in ("", self._hub.lease.owner_id):
                    await self._settle(info, is_orphan)
            except (Conflict, RunClosed, Stale, NotFound):
                # Another process was first, or the owner is alive after all.
                self._left.pop(run_id, None)
            except BackendError:
                raise
            except Exception:  # noqa: BLE001 - an error in one run must not affect the others
                _log.exception("run %s cannot be taken over", run_id)

    async def _settle(self, info: LogInfo, is_orphan: bool) -> None:
        """Begin, end or leave another owner's run, depending on its log."""
        if self._may_come_back(info):
            return
        begin = self._successors.get(info.kind)
        if begin is None and info.kind not in _LOST_WITH_THEIR_OWNER:
            return
        found: Begin | Outcome | None = begin or LOST
        if begin is None and CANCEL_LABEL not in info.labels:
            found = await self._find_next(info, is_orphan)
        if found is None:
            return
        await self._hub.lease.hold()
        try:
            claimed = await self._hub.store.claim(info.log_id, self._hub.lease.owner_id)
        except BackendError:
            self._left[info.log_id] = None  # perhaps we own it now, and nothing here runs it
            raise
        self._left.pop(info.log_id, None)
        if CANCEL_LABEL in claimed.labels:
            await self._hub.take(claimed).end(cancelled(claimed.labels[CANCEL_LABEL]))
        elif isinstance(found, Outcome):
            await self._hub.take(claimed).end(found)
            code = found.data["code"]
            _log.warning("%s ended with its owner: %s", describe_log(info.log_id), code)
        else:
            found(claimed)

    async def _find_next(self, info: LogInfo, is_orphan: bool) -> Begin | Outcome | None:
        """Return what continues a run, or how it ends; None if it waits."""
        launch = Launch.of(info.labels)
        if launch is not None and launch.is_waiting(info):
            found = await self._runs.after_launch(info)
            if found is None and not self._may_wait(info):
                found = not_taken(launch, self._hub.settings.launch_wait_s)
            return found
        if RESUMABLE_LABEL in info.labels:
            if ANSWERED_LABEL not in info.labels and info.status == "waiting":
                info = await self._expire_questions(info)
                if ANSWERED_LABEL not in info.labels:
                    return None
            if ANSWERED_LABEL in info.labels:
                if await self._runs.launch_again(info):
                    return None
                # If this process does not know its function, one that does continues it.
                return await self._runs.after_answer(info)
        known = Recoverable.of(info.labels)
        return LOST if known is None else await self._after_crash(info, known, is_orphan)

    def _may_wait(self, info: LogInfo) -> bool:
        """Return whether a run waits for a worker, which may still come."""
        launch = Launch.of(info.labels)
        if launch is None or not launch.is_waiting(info) or CANCEL_LABEL in info.labels:
            return False
        return self._hub.clock.time() < launch.since + self._hub.settings.launch_wait_s

    async def _after_crash(
        self, info: LogInfo, known: Recoverable, is_orphan: bool
    ) -> Begin | Outcome | None:
        """Return what continues a run, or how it ends; None if it lives, or waits for another
        process."""
        if not known.may_continue(has_begun=info.status != "queued"):
            return too_many_attempts()
        if await self._runs.launch_again(info):
            return None
        found = await self._runs.after_crash(info, known)
        if found is not None:
            return found
        now = self._hub.clock.time()
        if known.since is None and not is_orphan:
            return None  # perhaps it lives; the next look for lost runs shows it
        if known.since is None:
            # With the fence of the dead owner: if another process continues the run just now, the
            # label must not stay on it.
            inlet = self._hub.inlet(info.log_id, info.epoch, info.fence)
            known = known._replace(since=now)
            await inlet.append(labels=known.labels())
        assert known.since is not None
        return None if now < known.since + self._hub.settings.recover_wait_s else LOST

    def _may_come_back(self, info: LogInfo) -> bool:
        """Return whether a remote writer may only have had no server to renew its lease, because
        this one has just started or was paused."""
        lease_s = info.labels.get(LEASE_LABEL)
        return lease_s is not None and self._hub.clock.monotonic() < self._begun + float(lease_s)

    async def _expire_questions(self, info: LogInfo) -> LogInfo:
        """Close a run's expired questions; return the log's description afterwards."""
        _, snapshot = await self._hub.present(info.log_id)
        inlet = self._hub.inlet(info.log_id, info.epoch)
        expired = [each for each in snapshot.interrupts if is_expired(each, self._hub.clock)]
        for question in expired:
            await expire_question(self._hub, inlet, question.interrupt_id, self._hub.clock)
        return await self._hub.info(info.log_id) if expired else info
