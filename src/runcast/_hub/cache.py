"""A cache of bounded size, and a cache of history pages that reads each page once."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Generic, TypeVar

import msgspec

from runcast.events.plain import escape_line_ends
from runcast.events.position import Position
from runcast.stores.base import PAGE_BYTES, Page

__all__ = (
    "Cache",
    "PageCache",
)

K = TypeVar("K")
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Values with their sizes, bounded in number and in bytes; the least recently used value is
    dropped first.

    Args:
        most: largest number of entries.
        limit_bytes: bound of all sizes together.
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
        """Return a key's value, or None. It counts as used now."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def keep(self, key: K, value: V, size: int) -> None:
        """Keep a value if it fits, and drop others until everything fits."""
        self.drop(key)
        self._kept[key] = value, size
        self.size += size
        while self.size > self._limit or len(self._kept) > self._most:
            self.drop(next(iter(self._kept)))

    def items(self) -> Iterator[tuple[K, V]]:
        """Yield all entries, which must not change meanwhile. They do not count as used."""
        return ((key, value) for key, (value, _) in self._kept.items())

    def forget(self, is_forgotten: Callable[[K], bool]) -> None:
        """Drop the entries whose keys satisfy a condition."""
        for key in list(filter(is_forgotten, self._kept)):
            self.drop(key)

    def drop(self, key: K) -> None:
        """Drop an entry, if it is there."""
        _, size = self._kept.pop(key, (None, 0))
        self.size -= size


_Key = tuple[str, str, int]
"""Run id, epoch, and the `seq` before a page."""

_ENTRIES: Final = 4096
"""Most entries of a cache, in addition to its bound in bytes, because entries can be small."""

_MOST_BESIDES: Final = 16
"""Running reads from which on no read-ahead begins: reads with waiters come first."""


class PageCache:
    """Reads and caches pages, so that watchers that resume together cost one read.

    Bounded in bytes; the least recently used page is dropped first. Call from the loop's thread.
    """

    def __init__(self, read: Callable[[str, Position], Awaitable[Page]], limit_bytes: int) -> None:
        self._read = read
        self._pages: Cache[_Key, Page] = Cache(_ENTRIES, limit_bytes)
        self._reading: dict[_Key, asyncio.Task[Page]] = {}
        self._under_way: set[asyncio.Task[Page]] = set()  # also the reads of forgotten runs

    @property
    def size(self) -> int:
        """Bytes kept."""
        return self._pages.size

    async def get(self, run_id: str, after: Position) -> Page:
        """Return the page after a position. Raises what `Store.read` raises."""
        key = (run_id, after.epoch, after.seq)
        page = self._pages.get(key)
        if page is not None:
            self._read_ahead(run_id, page)
            await asyncio.sleep(0)  # a long replay from memory must not hold the loop
            return page
        # A watcher that leaves must not cancel the read for the others.
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
            reading.exception()  # mark it as seen, in case all waiting tasks have left

    async def _fetch(self, key: _Key) -> Page:
        run_id, epoch, seq = key
        try:
            page = _one_line_each(await self._read(run_id, Position(epoch, seq)))
        finally:
            is_wanted = self._reading.get(key) is asyncio.current_task()
            if is_wanted:
                del self._reading[key]
        # A page cut short by the head of a running run is not kept, so that later watchers get a
        # whole page.
        if is_wanted and (page.closed or len(page.frames) >= PAGE_BYTES // 2):
            self._pages.keep(key, page, len(page.frames))
        return page

    def _read_ahead(self, run_id: str, page: Page) -> None:
        """Begin to read the next page while this page is being sent."""
        key = (run_id, page.epoch, page.last)
        if page.closed or key in self._pages or key in self._reading:
            return
        if len(self._under_way) < _MOST_BESIDES:
            self._begin(key)

    def forget(self, run_id: str) -> None:
        """Drop a run's pages, because it was deleted, trimmed or begun again."""
        self._pages.forget(lambda key: key[0] == run_id)
        # A running read may return the old log: its waiters get it, but it is not cached.
        for key in [key for key in self._reading if key[0] == run_id]:
            del self._reading[key]

    async def settle(self) -> None:
        """Return once no read is running; closing the store ends reads."""
        while self._under_way:
            await asyncio.wait(self._under_way)


def _one_line_each(page: Page) -> Page:
    """Return a page whose events are one line each to every reader.

    Logs that were written before records were encoded so hold U+2028 and the like as they are.
    """
    frames = escape_line_ends(page.frames)
    return page if frames is page.frames else msgspec.structs.replace(page, frames=frames)
