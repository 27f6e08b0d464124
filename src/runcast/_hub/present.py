"""The present state of runs: folded from their logs, then updated with later events."""

import asyncio
from typing import Final

import msgspec

from runcast._hub.cache import Cache
from runcast.errors import Gone, NotFound
from runcast.events.fold import apply
from runcast.events.model import decode_event
from runcast.events.position import Position, split_frames
from runcast.events.snapshot import Snapshot
from runcast.stores.base import LogInfo, Store

__all__ = ("Present",)

_KEPT: Final = 128
"""Snapshots kept: enough for a page of the console's list. A usual one is a few KiB."""


class _Kept:
    """One run's snapshot; only one task at a time updates it. `size` is the bytes of its JSON when
    the log was `measured_at` bytes long."""

    __slots__ = ("epoch", "lock", "measured_at", "size", "snapshot")

    def __init__(self) -> None:
        self.size = 0
        self.measured_at = 0
        self.lock = asyncio.Lock()
        self.epoch = ""
        self.snapshot = Snapshot()


class Present:
    """Folds logs, and caches the snapshots in bounded memory. Call from the loop's thread."""

    def __init__(self, store: Store, limit_bytes: int) -> None:
        self._store = store
        self._kept: Cache[str, _Kept] = Cache(_KEPT, limit_bytes)

    @property
    def size(self) -> int:
        """Bytes kept."""
        return self._kept.size

    async def get(self, run_id: str) -> tuple[LogInfo, Snapshot]:
        """Return a run's log and its snapshot at the log's head; valid only until the next
        await."""
        kept = self._kept.get(run_id)
        if kept is None:
            kept = _Kept()
            self._kept.keep(run_id, kept, 0)
        async with kept.lock:
            while True:
                try:
                    info = await self._store.info(run_id)
                except NotFound:
                    self.forget(run_id)
                    raise
                if kept.epoch != info.epoch or kept.snapshot.seq > info.head:
                    kept.epoch, kept.snapshot = info.epoch, Snapshot()
                try:
                    await self._catch_up(info, kept.snapshot)
                except Gone:
                    continue  # restarted or trimmed while it was read
                self._weigh(run_id, kept, info)
                return info, kept.snapshot

    def _weigh(self, run_id: str, kept: _Kept, info: LogInfo) -> None:
        """Measure a snapshot again, and keep as many snapshots as fit."""
        if self._kept.get(run_id) is not kept:
            return  # dropped meanwhile
        if info.bytes >= 2 * kept.measured_at:  # rare enough to cost little
            kept.size, kept.measured_at = len(msgspec.json.encode(kept.snapshot)), info.bytes
            self._kept.keep(run_id, kept, kept.size)

    async def _catch_up(self, info: LogInfo, snapshot: Snapshot) -> None:
        if snapshot.seq + 1 < info.first:
            await self._start_trimmed(info, snapshot)
        after = max(snapshot.seq, info.first - 1)
        while after < info.head:
            page = await self._store.read(info.log_id, Position(info.epoch, after))
            for canonical in split_frames(page.frames):
                event = decode_event(canonical)
                if event.seq <= info.head:  # leave out events added meanwhile
                    apply(snapshot, event)
            after = page.last
            await asyncio.sleep(0)  # the memory store never yields to other tasks

    async def _start_trimmed(self, info: LogInfo, snapshot: Snapshot) -> None:
        """Begin with the snapshot that replaced the trimmed events."""
        found = await self._store.snapshot(info.log_id)
        try:
            kept = msgspec.json.decode(found[1] if found else b"", type=Snapshot)
        except msgspec.DecodeError:
            return  # no snapshot of ours: the trimmed events count as missed
        for name in Snapshot.__struct_fields__:
            setattr(snapshot, name, getattr(kept, name))

    def forget(self, run_id: str) -> None:
        """Drop a run's snapshot."""
        self._kept.drop(run_id)
