"""Where logs grow old: ended runs past their time are deleted, long logs are cut to their newest
part behind a snapshot."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import msgspec

from runcast._hub.hub import Hub
from runcast._runs.rounds import Rounds
from runcast.errors import NotFound, Stale
from runcast.events.fold import apply
from runcast.events.model import decode_event
from runcast.events.position import Position, split_frames
from runcast.events.snapshot import Snapshot
from runcast.stores.base import LogInfo

__all__ = ("Retention",)


class Retention:
    """Looks after old logs, in tasks of its own, which nothing else waits for.

    Args:
        worked_on: tells the ids of the runs that were at work here since it was asked last.
    """

    def __init__(self, hub: Hub, worked_on: Callable[[], list[str]]) -> None:
        self._hub = hub
        self._worked_on = worked_on
        pause_s = hub.settings.retention_every_s
        self._rounds = (
            Rounds(self.expire, pause_s, "deleting ended runs"),
            Rounds(self.shorten, pause_s, "cutting long logs"),
        )

    def open(self) -> None:
        """Begin. Idempotent."""
        for each in self._rounds:
            each.open()

    async def close(self) -> None:
        """End; what is under way is left for another time. Idempotent."""
        for each in self._rounds:
            await each.close()

    async def expire(self) -> None:
        """Delete ended runs whose time is over."""
        while expired := await self._hub.store.expired():
            await asyncio.gather(*map(self._delete, expired))

    async def _delete(self, run_id: str) -> None:
        # Another process may have deleted the run since, and its id may be in use again.
        with suppress(NotFound, Stale):
            info = await self._hub.info(run_id)
            if info.closed_at is None or info.ttl_s is None:
                return
            if info.closed_at + info.ttl_s <= self._hub.clock.time():
                await self._hub.delete(run_id, info.epoch)

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
            await asyncio.sleep(0)  # a store in memory does not let others go on
        await self._hub.trim(info.log_id, first, msgspec.json.encode(state))
