"""What views make of pages: kept for the next who asks, as far as there is room."""

import asyncio

import msgspec
import pytest

from runcast._hub.hub import Hub
from runcast._settings import Settings
from runcast.events.model import encode_record
from runcast.events.position import Position
from runcast.events.view import View, ViewSpec, ViewState
from runcast.stores.memory import MemoryStore
from tests.waiting import WAIT_S

pytestmark = pytest.mark.anyio

HELD = View(msgspec.convert({"streaming": {"enabled": False, "batch_size": 10_000}}, ViewSpec))


@pytest.mark.parametrize("limit", [0, 100_000])
async def test_what_views_gather_is_not_kept_beyond_its_bound_in_bytes(limit: int) -> None:
    async with asyncio.timeout(WAIT_S), Hub(MemoryStore(), Settings(page_cache_bytes=limit)) as hub:
        for number in range(10):
            inlet = await hub.create(f"r-{number}")
            record = encode_record("content", {"text": "x" * 30_000}, 1.0)
            appended = await inlet.append([record])
            page = await hub.read_page(f"r-{number}", Position(inlet.epoch, 0))
            viewed = hub.viewed.get(f"r-{number}", HELD, ViewState(0), page)
            assert viewed.state.size >= 30_000

            again = await hub.viewed.state_at(
                f"r-{number}", HELD, Position(inlet.epoch, appended.last), 1
            )
            assert again.size == viewed.state.size

        assert hub.viewed.size <= 2 * limit
        for number in range(10):
            hub.viewed.forget(f"r-{number}")
        assert hub.viewed.size == 0


async def test_who_begins_behind_what_is_gone_gets_no_state_that_has_seen_it() -> None:
    async with asyncio.timeout(WAIT_S), Hub(MemoryStore()) as hub:
        inlet = await hub.create("r")
        for text in ("a", "b", "c"):
            await inlet.append([encode_record("content", {"text": text}, 1.0)])
        at = Position(inlet.epoch, 2)

        whole = await hub.viewed.state_at("r", HELD, at, 1)
        rest = await hub.viewed.state_at("r", HELD, at, 2)
        again = await hub.viewed.state_at("r", HELD, at, 1)

        assert (whole.size, rest.size, again.size) == (2, 1, 2)
