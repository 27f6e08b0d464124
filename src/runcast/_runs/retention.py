"""Retention: ended runs are deleted after their time, and long logs are cut to their newest part
behind a snapshot."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec

from runcast._clock import ClockSteps
from runcast._hub.hub import Hub
from runcast._hub.rounds import Rounds
from runcast.errors import Gone, NotFound, Stale
from runcast.events.fold import apply
from runcast.events.model import decode_event
from runcast.events.position import Position, split_sized_frames
from runcast.events.snapshot import Snapshot
from runcast.stores.base import PAGE_BYTES, LogInfo

__all__ = ("Retention",)


_RELIEVE_S: Final = 0.1
"""Pause before fast-growing logs are cut again. In this time a log that grows by 100 MB a second
grows by 10 MB."""


class Retention:
    """Deletes and cuts old logs, in its own tasks, which nothing else waits for.

    Args:
        written: returns the ids of the runs to cut; by default the runs that this process owned
            since the last call.
    """

    def __init__(self, hub: Hub, written: Callable[[], list[str]] | None = None) -> None:
        self._hub = hub
        self._written = written or hub.owned.take_written
        self._steps = ClockSteps(hub.clock)
        pause_s = hub.settings.retention_every_s
        self._expiring = Rounds(self.expire, pause_s, "deleting ended runs")
        self._shortening = Rounds(self.shorten, pause_s, "cutting long logs")
        self._relieving = Rounds(self.relieve, _RELIEVE_S, "cutting logs that grow fast")
        self._cutting = asyncio.Lock()  # no log is cut by two tasks at once

    def open(self, *, deletes: bool = True) -> None:
        """Begin. Idempotent.

        Args:
            deletes: False only cuts the logs of this process.
        """
        self._shortening.open()
        self._hub.growth.follow()
        self._relieving.open()
        if deletes:
            self._expiring.open()

    async def close(self) -> None:
        """End; unfinished work is left for another time. Idempotent."""
        await self._expiring.close()
        await self._shortening.close()
        await self._relieving.close()
        self._hub.growth.leave()

    async def expire(self) -> None:
        """Delete ended runs after their time, unless the clock was just set forward."""
        time = self._steps.trusted_time()
        while time is not None and (expired := await self._hub.store.expired()):
            deleted = await asyncio.gather(*(self._delete(run_id, time) for run_id in expired))
            if not any(deleted):
                return  # the clock was set since

    async def _delete(self, run_id: str, time: float) -> bool:
        # Another process may have deleted the run since, and its id may be in use again.
        with suppress(NotFound, Stale):
            info = await self._hub.info(run_id)
            if info.closed_at is None or info.ttl_s is None:
                return False
            if info.closed_at + info.ttl_s <= time:
                await self._hub.delete(run_id, info.epoch)
                return True
        return False

    async def shorten(self) -> None:
        """Cut the logs of this process's runs to their newest part."""
        keep_bytes = self._hub.settings.keep_bytes_per_run
        written = self._written()  # also if everything is kept, or the list would grow for ever
        for run_id in written if keep_bytes else ():
            await self._cut(run_id, keep_bytes)

    async def relieve(self) -> None:
        """Wait for logs that have grown a lot, and cut them; their producers may be waiting."""
        for log in await self._hub.growth.grown():
            kept = log.kept
            await self._cut(log.run_id, self._hub.settings.keep_bytes_per_run)
            self._hub.growth.was_cut(log, kept)

    async def _cut(self, run_id: str, keep_bytes: int) -> None:
        async with self._cutting:
            with suppress(NotFound, Stale, Gone):  # deleted or begun again meanwhile
                info = await self._hub.info(run_id)
                if info.bytes > keep_bytes + PAGE_BYTES:
                    await self._shorten(info, keep_bytes)

    async def _shorten(self, info: LogInfo, keep_bytes: int) -> None:
        """Cut a log to the shortest end that has at least `keep_bytes`."""
        state = await self._cut_so_far(info)
        excess = info.bytes - state.cut_bytes - keep_bytes
        if excess <= PAGE_BYTES:
            return  # rarely and much, rather than often and little
        before = state.cut_bytes
        is_enough = False
        while not is_enough:
            page = await self._hub.store.read(info.log_id, Position(info.epoch, state.seq))
            for size, canonical in split_sized_frames(page.frames):
                is_enough = state.cut_bytes + size > before + excess
                if is_enough:
                    break
                apply(state, decode_event(canonical))
                state.cut_bytes += size
            await asyncio.sleep(0)  # the memory store never yields to other tasks
        if state.cut_bytes > before:
            cut = msgspec.json.encode(state)
            await self._hub.trim(info.log_id, state.seq + 1, cut, info.epoch)

    async def _cut_so_far(self, info: LogInfo) -> "_CutState":
        """Return the snapshot that replaced the cut events."""
        found = await self._hub.store.snapshot(info.log_id)
        if found is None:
            return _CutState()
        state = msgspec.json.decode(found[1], type=_CutState)
        if not state.cut_bytes:  # written by an older version
            state.cut_bytes = info.bytes - await self._measure(info, state.seq)
        return state

    async def _measure(self, info: LogInfo, after_seq: int) -> int:
        """Return the bytes of a log after a `seq`."""
        size, position = 0, Position(info.epoch, after_seq)
        while position.seq < info.head:
            page = await self._hub.store.read(info.log_id, position)
            size, position = size + len(page.frames), page.position
            if page.last > info.head:  # leave out events added meanwhile
                since = page.after(info.head)
                size -= len(since.frames)
            await asyncio.sleep(0)
        return size


class _CutState(Snapshot):
    """The snapshot that a cut log begins with, and the bytes of the cut part."""

    cut_bytes: int = 0
