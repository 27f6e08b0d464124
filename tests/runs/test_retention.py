"""Old runs and old events: what is done to them holds up nobody."""

import asyncio

from runcast._app import open_hub
from runcast._runs.retention import Retention
from runcast._settings import Settings
from runcast.events.position import Position
from runcast.stores.base import Store
from runcast.stores.memory import MemoryStore
from runcast.testing import FakeClock
from tests.opening import soon


async def test_nobody_is_held_up_while_a_long_log_is_cut() -> None:
    settings = Settings(keep_bytes_per_run=1, retention_every_s=3600.0)
    store = MemoryStore()
    async with open_hub(store, settings=settings) as hub:
        inlet = await hub.hub.create("r")
        for _ in range(20):
            await inlet.append([b'"time":1.0,"type":"log","data":{}}'] * 1000)
        head = (await hub.hub.info("r")).head
        pages, position = 0, Position(inlet.epoch, 0)
        while position.seq < head:
            pages, position = pages + 1, (await store.read("r", position)).position
        turns = 0

        async def take_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        others = asyncio.create_task(take_turns())
        await soon(Retention(hub.hub, lambda: ["r"]).shorten())
        others.cancel()

        assert (await hub.hub.info("r")).first == head
        assert turns >= pages > 2


async def test_logs_of_every_kind_are_deleted_when_their_time_is_over(
    store: Store, clock: FakeClock
) -> None:
    async with open_hub(store, clock=clock) as hub:
        for kind in ("run", "delivery"):
            inlet = await hub.hub.create("r", kind=kind, ttl_s=5.0)
            await inlet.append(close=True)
        clock.advance(6)
        await Retention(hub.hub, list).expire()

        assert await store.list(kind=None) == []
