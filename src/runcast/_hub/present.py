"""The present state of runs: folded from their logs, then updated with later events.

One task at a time folds a run, and the others wait for it. The state of a long log is saved in the
store: later requests and other processes fold only the events after that state.
"""

import asyncio
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Final
from zlib import crc32

import msgspec

from runcast._hub.cache import Cache
from runcast._logs import get_logger
from runcast.errors import Gone, NotFound, RuncastError
from runcast.events.fold import apply
from runcast.events.model import decode_event
from runcast.events.position import Position, split_frames
from runcast.events.snapshot import Snapshot
from runcast.stores.base import LogInfo, Store

__all__ = ("Present",)

_KEPT: Final = 128
"""Snapshots kept: enough for a page of the console's list. A usual one is a few KiB."""

_UNSAVED_EVENTS: Final = 20_000
_UNSAVED_BYTES: Final = 8 * 1024 * 1024
"""A state is saved again after so many folded events, or bytes of events: a tenth of a second's
work. No more than that must ever be repeated."""


def _form() -> str:
    """Return the version of saved states: another version may fold the same events differently."""
    try:
        ours = version("runcast")
    except PackageNotFoundError:
        ours = ""
    return f"{ours}/{crc32(msgspec.json.encode(msgspec.json.schema(Snapshot))):08x}"


_FORM: Final = _form()  # computed at import, because it reads files

_log: Final = get_logger("runcast.hub")


class _Saved(msgspec.Struct):
    """A state as the store keeps it."""

    form: str
    state: msgspec.Raw


class _Kept:
    """One run's snapshot; only one task at a time updates it.

    `size` is the bytes of its JSON when the log was `measured_at` bytes long. `users` counts the
    tasks that update it or wait for that.
    """

    __slots__ = (
        *("epoch", "lock", "measured_at", "size", "snapshot"),
        *("unsaved_bytes", "unsaved_events", "users"),
    )

    def __init__(self) -> None:
        self.size = 0
        self.measured_at = 0
        self.users = 0
        self.lock = asyncio.Lock()
        self.begin("", Snapshot())

    def begin(self, epoch: str, snapshot: Snapshot) -> None:
        self.epoch = epoch
        self.snapshot = snapshot
        self.unsaved_events = self.unsaved_bytes = 0

    @property
    def is_worth_saving(self) -> bool:
        return self.unsaved_events >= _UNSAVED_EVENTS or self.unsaved_bytes >= _UNSAVED_BYTES


class Present:
    """Folds logs, and caches the snapshots in bounded memory. Call from the loop's thread."""

    def __init__(self, store: Store, limit_bytes: int) -> None:
        self._store = store
        self._kept: Cache[str, _Kept] = Cache(_KEPT, limit_bytes)
        self._in_use: dict[str, _Kept] = {}
        """Snapshots that requests update or wait for. They may not fit in the cache."""
        self.folded = 0
        """Events folded since the start."""
        self._saving: set[asyncio.Task[None]] = set()

    @property
    def size(self) -> int:
        """Bytes kept."""
        return self._kept.size

    async def get(self, run_id: str) -> tuple[LogInfo, Snapshot]:
        """Return a run's log and its snapshot at the log's head; valid only until the next
        await."""
        kept = self._in_use.get(run_id) or self._kept.get(run_id) or _Kept()
        self._in_use[run_id] = kept
        kept.users += 1
        try:
            async with kept.lock:
                return await self._bring_up_to_date(run_id, kept), kept.snapshot
        finally:
            kept.users -= 1
            if not kept.users and self._in_use.get(run_id) is kept:
                del self._in_use[run_id]

    async def _bring_up_to_date(self, run_id: str, kept: _Kept) -> LogInfo:
        while True:
            try:
                info = await self._store.info(run_id)
                if kept.epoch != info.epoch or kept.snapshot.seq > info.head:
                    kept.begin(info.epoch, await self._load(info))
                await self._catch_up(info, kept)
            except NotFound:
                self.forget(run_id)
                raise
            except Gone:
                continue  # restarted or trimmed while it was read
            finally:
                # Even if the request is cancelled: the next one continues from there.
                if kept.is_worth_saving:
                    self._save(run_id, kept)
            self._weigh(run_id, kept, info)
            return info

    def _weigh(self, run_id: str, kept: _Kept, info: LogInfo) -> None:
        """Measure a snapshot again, and keep as many snapshots as fit."""
        if self._in_use.get(run_id) is not kept:
            return  # dropped meanwhile
        if info.bytes >= 2 * kept.measured_at:  # rare enough to cost little
            kept.size, kept.measured_at = len(msgspec.json.encode(kept.snapshot)), info.bytes
        self._kept.keep(run_id, kept, kept.size)

    async def _catch_up(self, info: LogInfo, kept: _Kept) -> None:
        snapshot = kept.snapshot
        if snapshot.seq + 1 < info.first:
            await self._start_trimmed(info, snapshot)
        after = max(snapshot.seq, info.first - 1)
        while after < info.head:
            page = await self._store.read(info.log_id, Position(info.epoch, after))
            for canonical in split_frames(page.frames):
                event = decode_event(canonical)
                if event.seq <= info.head:  # leave out events added meanwhile
                    apply(snapshot, event)
                    self.folded += 1
            kept.unsaved_events += page.last - after
            kept.unsaved_bytes += len(page.frames)
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

    async def _load(self, info: LogInfo) -> Snapshot:
        """Return the last saved snapshot of a log, or an empty one."""
        found = await self._store.saved_state(info.log_id, info.epoch)
        if found is not None and found[0] <= info.head:
            with suppress(msgspec.DecodeError):
                saved = msgspec.json.decode(found[1], type=_Saved)
                if saved.form == _FORM:
                    snapshot = msgspec.json.decode(saved.state, type=Snapshot)
                    if snapshot.seq == found[0]:
                        return snapshot
        return Snapshot()

    def _save(self, run_id: str, kept: _Kept) -> None:
        """Save a snapshot, in a task that no request waits for."""
        kept.unsaved_events = kept.unsaved_bytes = 0
        snapshot = msgspec.Raw(msgspec.json.encode(kept.snapshot))
        state = msgspec.json.encode(_Saved(_FORM, snapshot))
        saving = asyncio.create_task(self._hand_over(run_id, kept.epoch, kept.snapshot.seq, state))
        self._saving.add(saving)
        saving.add_done_callback(self._saving.discard)

    async def _hand_over(self, run_id: str, epoch: str, seq: int, state: bytes) -> None:
        try:
            await self._store.save_state(run_id, epoch, seq, state)
        except RuncastError as error:
            _log.info(
                "the state of run %s was not saved and will be folded again: %s", run_id, error
            )

    async def settle(self) -> None:
        """Return when no state is being saved."""
        if self._saving:
            await asyncio.wait(self._saving)

    def forget(self, run_id: str) -> None:
        """Drop a run's snapshot."""
        self._in_use.pop(run_id, None)
        self._kept.drop(run_id)
