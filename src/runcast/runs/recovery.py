"""Owning runs: a lease that tells others this process lives, and the end of what dead ones left.

Also where logs grow old: ended runs past their time are deleted, long logs are cut to their newest
part behind a snapshot.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import msgspec

from runcast.errors import (
    BackendError,
    Conflict,
    NotFound,
    RuncastError,
    RunClosed,
    Stale,
    StoreReadOnly,
)
from runcast.events.fold import apply
from runcast.events.model import decode_event
from runcast.events.position import Position, split_frames
from runcast.events.snapshot import Snapshot
from runcast.hub.hub import Hub
from runcast.runs.outcome import LOST
from runcast.runs.questions import (
    ANSWERED_LABEL,
    RESUMABLE_LABEL,
    expire_question,
    is_expired,
)
from runcast.runs.run import end_log
from runcast.stores.base import LogInfo, Owner

__all__ = ("Recovery",)

_RENEWALS_PER_LEASE: Final = 3
"""Chances to renew a lease before it is over."""

_MOST_ORPHANS: Final = 10_000
"""Lost runs looked at in one go. Those that wait for an answer stay among them."""

_log: Final = logging.getLogger("runcast.runs")


class Recovery:
    """Renews this process's lease and looks after logs nobody else looks after.

    Args:
        owner: this process.
        worked_on: tells the ids of the runs that were at work here since it was asked last.
        resume: begins the next attempt of a run that was answered while nobody owned it; tells
            whether it did.
    """

    def __init__(
        self,
        hub: Hub,
        owner: Owner,
        worked_on: Callable[[], list[str]],
        resume: Callable[[LogInfo], Awaitable[bool]],
    ) -> None:
        self._resume = resume
        self._hub = hub
        self._owner = owner
        self._worked_on = worked_on
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def owner_id(self) -> str:
        """This process, as the store knows it."""
        return self._owner.owner_id

    async def open(self) -> None:
        """Take the lease, end what dead owners left, and go on doing both. Idempotent."""
        if self._task is not None:
            return
        try:
            await self._renew()
            await self.reap()
        except StoreReadOnly:
            return  # it serves watchers, and needs no owner
        except BackendError as error:
            _log.warning("no lease could be taken, which will be tried again: %s", error)
        self._task = asyncio.create_task(self._look_after(), name="runcast-recovery")

    async def close(self) -> None:
        """Give the lease up. Idempotent."""
        if self._task is None:
            return
        self._stop.set()
        await self._task
        self._task = None
        try:
            await self._hub.store.renew(self._owner, 0)
        except BackendError as error:
            _log.warning("the lease could not be given up: %s", error)

    async def _renew(self) -> None:
        await self._hub.store.renew(self._owner, self._hub.settings.lease_s)

    async def _look_after(self) -> None:
        every_s = self._hub.settings.lease_s / _RENEWALS_PER_LEASE
        while not self._stop.is_set():
            try:
                async with asyncio.timeout(every_s):
                    await self._stop.wait()
            except TimeoutError:
                await self._round()

    async def _round(self) -> None:
        for step in (self._renew, self.reap, self.expire, self.shorten):
            try:
                await step()
            except RuncastError as error:
                _log.warning("%s failed and will be tried again: %s", step.__name__, error)
            except Exception:  # noqa: BLE001 - a fault in one log must not cost the lease of all
                _log.exception("%s failed as it should not", step.__name__)

    async def reap(self) -> None:
        """End the runs of owners that are dead."""
        for info in await self._hub.store.orphans(_MOST_ORPHANS):
            try:
                if RESUMABLE_LABEL in info.labels and await self._outlives(info):
                    continue
                claimed = await self._hub.store.claim(info.log_id, self.owner_id)
                inlet = self._hub.inlet(claimed.log_id, claimed.epoch, claimed.fence)
                await end_log(inlet, LOST, self._hub.clock)
            except (Conflict, RunClosed, Stale, NotFound):
                continue  # another process was first, or the owner lives after all
            _log.warning("run %s was lost with its owner", info.log_id)

    async def _outlives(self, info: LogInfo) -> bool:
        """Tell whether a run goes on without its owner: it waits for an answer, or has got one."""
        if ANSWERED_LABEL in info.labels:
            await self._resume(info)
            return True  # if not here, then where its function is known
        if info.labels.get("status") != "waiting":
            return False
        _, snapshot = await self._hub.present(info.log_id)
        inlet = self._hub.inlet(info.log_id, info.epoch)
        for question in list(snapshot.interrupts):  # it changes with the log
            if is_expired(question, self._hub.clock):
                await expire_question(self._hub, inlet, question.interrupt_id, self._hub.clock)
        return True

    async def expire(self) -> None:
        """Delete ended runs whose time is over."""
        while expired := await self._hub.store.expired():
            for run_id in expired:
                with suppress(NotFound):  # another process was first
                    await self._hub.delete(run_id)

    async def shorten(self) -> None:
        """Cut the logs of this process's runs to their newest part."""
        keep = self._hub.settings.keep_bytes_per_run
        for run_id in self._worked_on():
            with suppress(NotFound):  # deleted meanwhile
                info = await self._hub.info(run_id)
                if keep and info.bytes > keep:
                    await self._shorten(info, keep)

    async def _shorten(self, info: LogInfo, keep_bytes: int) -> None:
        # Sizes of single events are not kept; those of a run are much alike.
        first = info.head - int(info.head * keep_bytes / info.bytes) + 1
        if first - info.first < info.head // 8:
            return  # seldom and much rather than often and little
        found = await self._hub.store.snapshot(info.log_id)
        state = msgspec.json.decode(found[1], type=Snapshot) if found else Snapshot()
        while state.seq < first - 1:
            page = await self._hub.store.read(info.log_id, Position(info.epoch, state.seq))
            for canonical in split_frames(page.frames):
                event = decode_event(canonical)
                if event.seq < first:
                    apply(state, event)
            if page.last >= first:
                break
        await self._hub.trim(info.log_id, first, msgspec.json.encode(state))
