"""Recovery: what happens to the logs of processes that died.

A run without a living owner is lost, with one exception. If the run waits for an answer and its
function has a resume handler, it stays open until it is answered. Then a process that knows the
function continues it. Either kind can be cancelled.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

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
from runcast.errors import (
    BackendError,
    Conflict,
    NotFound,
    RunClosed,
    Stale,
    StoreReadOnly,
)
from runcast.events.outcome import LOST, cancelled
from runcast.events.position import RUN, describe_log
from runcast.stores.base import LogInfo

__all__ = ("Begin", "Recovery")

Begin = Callable[[LogInfo], None]
"""Continues a claimed log, for example with a run's next attempt."""

_LOST_WITH_THEIR_OWNER: Final = frozenset({RUN, "stream"})
"""Kinds of logs that end when their owner dies. Other logs stay open until they are continued; see
`Recovery.hand_over`."""

_LOOKS_PER_LEASE: Final = 3
"""How often to look for lost runs within one lease time."""

_MOST_ORPHANS: Final = 10_000
"""Most lost runs examined at once, including runs that wait for an answer."""

_log: Final = get_logger("runcast.runs")


class Recovery:
    """Takes over the logs of dead owners.

    Args:
        next_attempt: returns the function that continues a run that was answered while it had no
            owner; None if this process cannot continue it.
    """

    def __init__(
        self,
        hub: Hub,
        next_attempt: Callable[[LogInfo], Awaitable[Begin | None]],
    ) -> None:
        self._hub = hub
        self._next_attempt = next_attempt
        self._has_ceased = False
        self._begun = hub.clock.monotonic()
        self._successors: dict[str, Begin] = {}
        self._one_at_a_time = asyncio.Lock()
        self._taking: set[asyncio.Task[None]] = set()
        every_s = hub.settings.lease_s / _LOOKS_PER_LEASE
        self._reaping = Rounds(self.reap, every_s, "looking for lost runs")

    async def open(self) -> None:
        """Take the lease, take over the logs of dead owners, and continue to do so.

        Idempotent. May be called again after `close`.
        """
        self._has_ceased = False
        self._begun = self._hub.clock.monotonic()
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
        await self._reaping.close()

    async def reap(self) -> None:
        """Take over the runs of all dead owners. Raises `BackendError`."""
        for info in await self._hub.store.orphans(_MOST_ORPHANS):
            await self._take(info.log_id)

    async def take_over(self, run_id: str) -> None:
        """Take over one run if its owner is dead. A failure is logged, and will be tried again."""
        try:
            await self._take(run_id)
        except BackendError as error:
            _log.warning("run %s could not be taken over yet: %s", run_id, error)

    async def _take(self, run_id: str) -> None:
        """Take over a run in its own task, because the waiting caller may be cancelled midway."""
        if self._has_ceased:
            return
        task = asyncio.create_task(self._take_alone(run_id))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    async def _take_alone(self, run_id: str) -> None:
        # The store lets an owner claim its own run again. So the owner is checked here, where
        # nothing else claims, and a claimed run begins before the next check.
        async with self._one_at_a_time:
            try:
                info = await self._hub.info(run_id)
                if not info.closed and info.owner_id not in ("", self._hub.lease.owner_id):
                    await self._settle(info)
            except (Conflict, RunClosed, Stale, NotFound):
                pass  # another process was first, or the owner is alive after all
            except BackendError:
                raise
            except Exception:  # noqa: BLE001 - an error in one run must not affect the others
                _log.exception("run %s cannot be taken over", run_id)

    async def _settle(self, info: LogInfo) -> None:
        """Begin, end or leave another owner's run, depending on its log."""
        if self._may_come_back(info):
            return
        begin = self._successors.get(info.kind)
        if begin is None and info.kind not in _LOST_WITH_THEIR_OWNER:
            return
        if RESUMABLE_LABEL in info.labels and CANCEL_LABEL not in info.labels:
            if ANSWERED_LABEL not in info.labels and info.status == "waiting":
                info = await self._expire_questions(info)
                if ANSWERED_LABEL not in info.labels:
                    return
            if ANSWERED_LABEL in info.labels:
                begin = await self._next_attempt(info)
                if begin is None:
                    return  # a process that knows its function continues it
        await self._hub.lease.hold()
        claimed = await self._hub.store.claim(info.log_id, self._hub.lease.owner_id)
        if CANCEL_LABEL in claimed.labels:
            await self._hub.take(claimed).end(cancelled(claimed.labels[CANCEL_LABEL]))
        elif begin is not None:
            begin(claimed)
        else:
            await self._hub.take(claimed).end(LOST)
            _log.warning("%s was lost with its owner", describe_log(info.log_id))

    def _may_come_back(self, info: LogInfo) -> bool:
        """Return whether a remote writer may only have had no server to renew its lease."""
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
