"""What is rendered of pages: kept for the next who asks, as far as there is room."""

import asyncio

import msgspec
import pytest

from runcast._app import open_hub
from runcast._hub.hub import Hub
from runcast._hub.rendering import Rendering
from runcast._settings import Settings
from runcast._wire.dialects import LogRef
from runcast.events.model import encode_record
from runcast.events.position import Position
from runcast.events.view import Streaming, View, ViewSpec
from runcast.stores.memory import MemoryStore
from tests.waiting import WAIT_S

pytestmark = pytest.mark.anyio

HELD = Rendering(
    View(msgspec.convert({"streaming": {"enabled": False, "batch_size": 10_000}}, ViewSpec))
)


@pytest.mark.parametrize("limit", [0, 100_000])
async def test_what_views_gather_is_not_kept_beyond_its_bound_in_bytes(limit: int) -> None:
    async with asyncio.timeout(WAIT_S), Hub(MemoryStore(), Settings(page_cache_bytes=limit)) as hub:
        for number in range(10):
            inlet = await hub.create(f"r-{number}")
            record = encode_record("content", {"text": "x" * 30_000}, 1.0)
            appended = await inlet.append([record])
            page = await hub.read_page(f"r-{number}", Position(inlet.epoch, 0))
            log = LogRef(f"r-{number}", inlet.epoch)
            rendered = hub.rendered.get(log, HELD, HELD.start(log), page)
            assert rendered.state.size >= 30_000

            at = Position(inlet.epoch, appended.last)
            again = await hub.rendered.state_at(f"r-{number}", HELD, at)
            assert again.size == rendered.state.size

        assert hub.rendered.size <= 2 * limit
        for number in range(10):
            hub.rendered.forget(f"r-{number}")
        assert hub.rendered.size == 0


async def test_who_begins_behind_what_is_gone_gets_no_state_that_has_seen_it() -> None:
    async with asyncio.timeout(WAIT_S), Hub(MemoryStore()) as hub:
        inlet = await hub.create("r")
        for text in ("a", "b", "c"):
            await inlet.append([encode_record("content", {"text": text}, 1.0)])
        at = Position(inlet.epoch, 2)

        whole = await hub.rendered.state_at("r", HELD, at)
        await hub.store.trim("r", 2, b"{}")  # by another process: what is kept stays
        rest = await hub.rendered.state_at("r", HELD, at)
        later = await hub.rendered.state_at("r", HELD, Position(inlet.epoch, 3))

        assert (whole.size, rest.size, later.size) == (2, 1, 2)


async def test_watchers_that_began_at_different_places_get_what_each_has_gathered() -> None:
    options = Settings(tail_bytes_per_run=0)
    async with asyncio.timeout(WAIT_S), Hub(MemoryStore(), options) as hub:
        inlet = await hub.create("r")
        view = HELD.view
        with await hub.watch("r", view=view) as there, await hub.watch("r", view=view) as late:
            for text in ("a", "b"):
                coming = asyncio.ensure_future(there.next())
                await asyncio.sleep(0)
                await inlet.append([encode_record("content", {"text": text}, 1.0)])
                assert await coming is not None
            await hub.store.trim("r", 2, b"{}")  # by another process: what is kept stays
            gap, missed = await late.next(), await late.next()
            comings = [asyncio.ensure_future(each.next()) for each in (there, late)]
            await asyncio.sleep(0)
            await inlet.append([encode_record("done", None, 1.0)], close=True)
            chunks = [await coming for coming in comings]

        assert gap is not None
        assert gap.gap is not None
        assert missed is not None
        shown = [chunk.events()[0].data for chunk in chunks if chunk is not None]
        assert shown == [{"text": "ab", "of": [1, 2]}, {"text": "b", "of": [2, 2]}]


async def test_a_watcher_in_the_process_sees_through_a_view_from_any_position() -> None:
    view = ViewSpec(streaming=Streaming(enabled=False, batch_size=2))
    async with asyncio.timeout(WAIT_S), open_hub() as hub:
        inlet = await hub.hub.create("r")
        for text in ("a", "b", "c"):
            await inlet.append([encode_record("content", {"text": text}, 1.0)])
        await inlet.append([encode_record("done", None, 1.0)], close=True)

        for after in range(5):
            at = Position(inlet.epoch, after)
            seen = [(event.seq, event.type) async for event in hub.watch("r", at, view=view)]
            whole = [(2, "content"), (4, "content"), (4, "done")]
            assert seen == [each for each in whole if each[0] > after]


async def test_logs_that_are_shown_in_the_same_way_share_no_state() -> None:
    async with asyncio.timeout(WAIT_S), Hub(MemoryStore()) as hub:
        inlets = [await hub.create(run_id) for run_id in ("r", "s")]
        for inlet, size in zip(inlets, (3, 5), strict=True):
            for _ in range(4):
                await inlet.append([encode_record("content", {"text": "x" * size}, 1.0)])

        sizes = [
            (await hub.rendered.state_at(inlet.run_id, HELD, Position(inlet.epoch, seq))).size
            for seq in (2, 4, 3)
            for inlet in inlets
        ]
        assert sizes == [6, 10, 12, 20, 9, 15]
