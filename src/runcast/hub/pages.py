"""History shared between watchers: pages read once, and encoded once for each dialect."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from runcast.events.model import decode_event
from runcast.events.position import Position, split_frames
from runcast.stores.base import PAGE_BYTES, Page
from runcast.wire.dialects import Dialect, Stream

__all__ = ("EncodedPages", "PageCache")

_ENTRIES: Final = 4096
"""Most entries of a cache, besides its bound in bytes: entries can be small."""


class PageCache:
    """Reads pages through, so that watchers who resume together cost one read.

    Bounded in bytes; the least recently used page goes first. Call from the loop's thread.
    """

    def __init__(self, read: Callable[[str, Position], Awaitable[Page]], limit_bytes: int) -> None:
        self._read = read
        self._limit = limit_bytes
        self._pages: OrderedDict[tuple[str, str, int], Page] = OrderedDict()
        self._reading: dict[tuple[str, str, int], asyncio.Future[Page]] = {}
        self.size = 0
        self.hits = self.misses = 0

    async def get(self, run_id: str, after: Position) -> Page:
        """Return a page that follows a position. Raises as `Store.read` does."""
        key = (run_id, after.epoch, after.seq)
        page = self._pages.get(key)
        if page is not None:
            self._pages.move_to_end(key)
            self.hits += 1
            await asyncio.sleep(0)  # a long replay from memory must not hold the loop
            return page
        reading = self._reading.get(key)
        if reading is None:
            self.misses += 1
            reading = asyncio.ensure_future(self._fetch(key, run_id, after))
            self._reading[key] = reading
            reading.add_done_callback(_look_at)
        # A watcher that leaves must not take the page away from the others.
        return await asyncio.shield(reading)

    async def _fetch(self, key: tuple[str, str, int], run_id: str, after: Position) -> Page:
        try:
            page = await self._read(run_id, after)
        finally:
            del self._reading[key]
        # A page cut short by the head of a run that goes on is not kept: whoever comes later is to
        # get a whole one.
        if page.closed or len(page.frames) >= PAGE_BYTES // 2:
            self._pages[key] = page
            self.size += len(page.frames)
            while self.size > self._limit or len(self._pages) > _ENTRIES:
                _, old = self._pages.popitem(last=False)
                self.size -= len(old.frames)
        return page

    def forget(self, run_id: str) -> None:
        """Drop what is kept of a run: it was deleted, trimmed or begun anew."""
        for key in [key for key in self._pages if key[0] == run_id]:
            self.size -= len(self._pages.pop(key).frames)


def _look_at(reading: asyncio.Future[Page]) -> None:
    """Look at how a reading ended: if all who waited for it have left, nobody else does."""
    if not reading.cancelled():
        reading.exception()


class EncodedPages:
    """Pages in the form of a dialect, encoded once for all watchers that take the same page."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._kept: OrderedDict[tuple[str, str, str, int, int], bytes] = OrderedDict()
        self.size = 0
        self.encoded = 0

    def get(self, run_id: str, dialect: Dialect, page: Page) -> bytes:
        """Return a page's frames in a dialect."""
        return self.keep(
            (dialect.name, run_id, page.epoch, page.first, page.last),
            lambda: self._encode(run_id, dialect, page),
        )

    def keep(self, key: tuple[str, str, str, int, int], make: Callable[[], bytes]) -> bytes:
        """Return what is kept under (form, run, epoch, first, last), or what `make` makes."""
        frames = self._kept.get(key)
        if frames is not None:
            self._kept.move_to_end(key)
            return frames
        frames = self._kept[key] = make()
        self.size += len(frames)
        while self.size > self._limit or len(self._kept) > _ENTRIES:
            self.size -= len(self._kept.popitem(last=False)[1])
        return frames

    def _encode(self, run_id: str, dialect: Dialect, page: Page) -> bytes:
        stream = Stream(run_id, page.epoch)
        state = dialect.begin(stream)
        frames = b"".join(
            dialect.encode(stream, state, decode_event(canonical))
            for canonical in split_frames(page.frames)
        )
        self.encoded += page.last - page.first + 1
        return frames

    def forget(self, run_id: str) -> None:
        """Drop what is kept of a run."""
        for key in [key for key in self._kept if key[1] == run_id]:
            self.size -= len(self._kept.pop(key))
