"""What was used last, as much as fits; and pages of history, each of which is read once."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Generic, TypeVar

from runcast.events.position import Position
from runcast.stores.base import PAGE_BYTES, Page

__all__ = (
    "Cache",
    "PageCache",
)

K = TypeVar("K")
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Values with their sizes, bounded in number and in bytes; the least recently used goes first.

    Args:
        most: entries.
        limit_bytes: of all entries together, as they are given.
    """

    def __init__(self, most: int, limit_bytes: int) -> None:
        self._most = most
        self._limit = limit_bytes
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.size = 0
        """Bytes kept."""

    def __contains__(self, key: K) -> bool:
        return key in self._kept

    def get(self, key: K) -> V | None:
        """Return what is kept under a key; it counts as used now."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def keep(self, key: K, value: V, size: int) -> None:
        """Keep a value, if it fits, and drop others that do not fit any more."""
        self._drop(key)
        self._kept[key] = value, size
        self.size += size
        while self.size > self._limit or len(self._kept) > self._most:
            self._drop(next(iter(self._kept)))

    def items(self) -> Iterator[tuple[K, V]]:
        """Yield what is kept, which must not change meanwhile; none of it counts as used."""
        return ((key, value) for key, (value, _) in self._kept.items())

    def forget(self, is_forgotten: Callable[[K], bool]) -> None:
        """Drop the entries whose keys are meant."""
        for key in list(filter(is_forgotten, self._kept)):
            self._drop(key)

    def _drop(self, key: K) -> None:
        _, size = self._kept.pop(key, (None, 0))
        self.size -= size


_Key = tuple[str, str, int]
"""Run id, epoch, and the `seq` that a page follows."""

_ENTRIES: Final = 4096
"""Most entries of a cache, besides its bound in bytes: entries can be small."""

_MOST_BESIDES: Final = 16
"""Reads under way from which on none is begun ahead: those that are waited for come first."""


class PageCache:
    """Reads pages through, so that watchers who resume together cost one read.

    Bounded in bytes; the least recently used page goes first. Call from the loop's thread.
    """

    def __init__(self, read: Callable[[str, Position], Awaitable[Page]], limit_bytes: int) -> None:
        self._read = read
        self._pages: Cache[_Key, Page] = Cache(_ENTRIES, limit_bytes)
        self._reading: dict[_Key, asyncio.Task[Page]] = {}
        self._under_way: set[asyncio.Task[Page]] = set()  # with those of what was forgotten

    @property
    def size(self) -> int:
        """Bytes kept."""
        return self._pages.size

    async def get(self, run_id: str, after: Position) -> Page:
        """Return a page that follows a position. Raises as `Store.read` does."""
        key = (run_id, after.epoch, after.seq)
        page = self._pages.get(key)
        if page is not None:
            self._read_ahead(run_id, page)
            await asyncio.sleep(0)  # a long replay from memory must not hold the loop
            return page
        # A watcher that leaves must not take the page away from the others.
        page = await asyncio.shield(self._reading.get(key) or self._begin(key))
        if key in self._pages:
            self._read_ahead(run_id, page)
        return page

    def _begin(self, key: _Key) -> "asyncio.Task[Page]":
        reading = self._reading[key] = asyncio.create_task(self._fetch(key))
        self._under_way.add(reading)
        reading.add_done_callback(self._has_read)
        return reading

    def _has_read(self, reading: asyncio.Task[Page]) -> None:
        self._under_way.discard(reading)
        if not reading.cancelled():
            reading.exception()  # if all who waited for it have left, nobody else looks at it

    async def _fetch(self, key: _Key) -> Page:
        run_id, epoch, seq = key
        try:
            page = await self._read(run_id, Position(epoch, seq))
        finally:
            is_wanted = self._reading.get(key) is asyncio.current_task()
            if is_wanted:
                del self._reading[key]
        # A page cut short by the head of a run that goes on is not kept: whoever comes later is to
        # get a whole one.
        if is_wanted and (page.closed or len(page.frames) >= PAGE_BYTES // 2):
            self._pages.keep(key, page, len(page.frames))
        return page

    def _read_ahead(self, run_id: str, page: Page) -> None:
        """Have the store read what follows a page while that page is being sent."""
        key = (run_id, page.epoch, page.last)
        if page.closed or key in self._pages or key in self._reading:
            return
        if len(self._under_way) < _MOST_BESIDES:
            self._begin(key)

    def forget(self, run_id: str) -> None:
        """Drop what is kept of a run: it was deleted, trimmed or begun anew."""
        self._pages.forget(lambda key: key[0] == run_id)
        # What is being read may be of before; whoever waits for it gets it, nobody else.
        for key in [key for key in self._reading if key[0] == run_id]:
            del self._reading[key]

    async def settle(self) -> None:
        """Return once nothing is being read: the store ends that when it is closed."""
        while self._under_way:
            await asyncio.wait(self._under_way)
