"""History is read once for all who want it, a page before it is asked for, and never kept stale."""

import asyncio

import pytest

from runcast._hub.cache import PageCache
from runcast._hub.hub import Hub
from runcast.errors import StoreUnavailable
from runcast.events.position import Position
from runcast.stores.base import PAGE_BYTES, Page, Store
from tests.opening import eventually

HALF = b"x" * (PAGE_BYTES // 2)
START = Position("e", 0)


class Shelf:
    """A store of one log of pages of ten events, which answers when it is let."""

    def __init__(self, pages: int) -> None:
        self.last = pages * 10
        self.asked: list[int] = []
        self.frames = HALF
        self.error: StoreUnavailable | None = None
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def read(self, run_id: str, after: Position) -> Page:
        self.asked.append(after.seq)
        frames = self.frames
        await self.is_open.wait()
        if self.error is not None:
            raise self.error
        last = after.seq + 10
        return Page(after.epoch, after.seq + 1, last, frames, last == self.last)


async def test_the_page_that_follows_is_read_while_one_is_sent_and_no_more() -> None:
    shelf = Shelf(5)
    cache = PageCache(shelf.read, 100 * PAGE_BYTES)

    page = await cache.get("r", START)
    await cache.settle()
    assert shelf.asked == [0, 10]

    page = await cache.get("r", page.position)
    await cache.settle()
    assert shelf.asked == [0, 10, 20]


async def test_nothing_is_read_beyond_the_end() -> None:
    shelf = Shelf(2)
    cache = PageCache(shelf.read, 100 * PAGE_BYTES)

    page = await cache.get("r", START)
    while not page.closed:
        page = await cache.get("r", page.position)
    await cache.settle()

    assert shelf.asked == [0, 10]


async def test_nothing_is_read_beyond_a_page_cut_short_by_the_head() -> None:
    shelf = Shelf(5)
    shelf.frames = b"short"
    cache = PageCache(shelf.read, 100 * PAGE_BYTES)

    await cache.get("r", START)

    assert shelf.asked == [0]
    assert cache.size == 0


async def test_events_that_were_stored_with_other_line_ends_are_one_line_each() -> None:
    shelf = Shelf(1)
    old = 'id: e-1\ndata: {"seq":1,"time":1.0,"type":"log","data":"a\u2028b\u2029c\u0085d “e”"}\n\n'
    shelf.frames = old.encode()

    page = await PageCache(shelf.read, 100 * PAGE_BYTES).get("r", START)

    assert page.frames.decode().splitlines()[1:] == [
        'data: {"seq":1,"time":1.0,"type":"log","data":"a\\u2028b\\u2029c\\u0085d “e”"}',
        "",
    ]


async def test_all_who_want_a_page_take_it_from_one_read_even_if_the_first_leaves() -> None:
    shelf = Shelf(1)
    shelf.is_open.clear()
    cache = PageCache(shelf.read, 100 * PAGE_BYTES)
    first, second, third = (asyncio.create_task(cache.get("r", START)) for _ in range(3))
    await eventually(lambda: shelf.asked == [0])

    first.cancel()
    shelf.is_open.set()

    assert await second is await third
    assert shelf.asked == [0]


async def test_what_was_being_read_when_a_run_was_forgotten_is_not_kept() -> None:
    """A trimmed or deleted log would be shown from the cache as it was."""
    shelf = Shelf(1)
    shelf.is_open.clear()
    cache = PageCache(shelf.read, 100 * PAGE_BYTES)
    before = asyncio.create_task(cache.get("r", START))
    await eventually(lambda: shelf.asked == [0])

    cache.forget("r")
    shelf.frames = HALF.upper()
    after = asyncio.create_task(cache.get("r", START))
    await eventually(lambda: shelf.asked == [0, 0])
    shelf.is_open.set()

    assert (await before).frames == HALF
    assert (await after).frames == HALF.upper()
    assert (await cache.get("r", START)).frames == HALF.upper()


async def test_a_page_that_could_not_be_read_ahead_is_read_again() -> None:
    shelf = Shelf(3)
    cache = PageCache(shelf.read, 100 * PAGE_BYTES)
    page = await cache.get("r", START)
    shelf.error = StoreUnavailable("the disk is away")
    await cache.settle()

    with pytest.raises(StoreUnavailable):
        await cache.get("r", page.position)

    shelf.error = None
    assert (await cache.get("r", page.position)).last == 20


async def test_no_read_is_left_behind_though_nobody_waits_for_it_and_its_run_is_forgotten() -> None:
    """The loop would end with a task that is pending, or whose error nobody looked at."""
    shelf = Shelf(3)
    cache = PageCache(shelf.read, 100 * PAGE_BYTES)
    page = await cache.get("r", START)
    shelf.is_open.clear()
    shelf.error = StoreUnavailable("the store was closed")
    leaving = asyncio.create_task(cache.get("r", page.position))
    await eventually(lambda: shelf.asked == [0, 10])
    leaving.cancel()
    cache.forget("r")
    settling = asyncio.create_task(cache.settle())
    await asyncio.wait({leaving})
    assert not settling.done()

    shelf.is_open.set()
    await settling
    assert not [task for task in asyncio.all_tasks() if "_fetch" in repr(task)]


async def test_a_closed_hub_leaves_no_read_behind(store: Store) -> None:
    async with Hub(store) as hub:
        inlet = await hub.create("r")
        for _ in range(12):
            await inlet.append([b"x" * 100_000])
        await hub.read_page("r", Position(inlet.epoch, 0))
        assert [task for task in asyncio.all_tasks() if "_fetch" in repr(task)]

    assert not [task for task in asyncio.all_tasks() if "_fetch" in repr(task)]


async def test_reading_ahead_leaves_room_for_what_is_waited_for() -> None:
    """Replays of many runs would wait for pages that perhaps nobody takes."""
    shelf = Shelf(1000)
    cache = PageCache(shelf.read, 2000 * PAGE_BYTES)
    shelf.is_open.clear()
    waiting = [asyncio.create_task(cache.get("r", Position("e", 20 * n))) for n in range(50)]
    await eventually(lambda: len(shelf.asked) == 50)
    shelf.is_open.set()
    await asyncio.gather(*waiting)
    await cache.settle()

    assert len(shelf.asked) <= 50 + 16


async def test_the_cache_keeps_to_its_bound() -> None:
    shelf = Shelf(100)
    cache = PageCache(shelf.read, 3 * len(HALF))

    page = await cache.get("r", START)
    for _ in range(20):
        page = await cache.get("r", page.position)
        assert cache.size <= 3 * len(HALF)
