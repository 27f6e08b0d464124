"""Producers while their store is cut off: the loop goes on, and each is told what it can do."""

import asyncio
import threading
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

import pytest

import runcast
import runcast.stores.redis.store  # here, and not while a loop runs
from runcast._app import OpenHub, open_hub
from runcast._producing.writer import Writer
from runcast._settings import Settings
from runcast.errors import Overloaded, StoreUnavailable
from runcast.stores.redis import waiting
from tests.opening import WAIT_S, events_of, eventually, soon
from tests.stores.proxy import running_network
from tests.stores.servers import namespace_url

pytestmark = pytest.mark.anyio

SETTINGS: Final = Settings(
    pending_bytes_per_run=16_384, max_event_bytes=4096, store_retry_s=0.01, emit_wait_s=2.0
)

TURNS: Final = 100
"""How often the loop must turn while the store does not answer: in a second it turns far more
often, unless something blocks it."""


async def numbers_of(hub: OpenHub, run_id: str) -> list[object]:
    return [event.data for event in await events_of(hub, run_id) if event.type == "number"]


def goes_on(run: Writer, number: int) -> bool:
    with suppress(StoreUnavailable, Overloaded):
        run.emit("number", number)
        return True
    return False


async def test_no_producer_blocks_the_loop_while_its_store_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "TIMEOUT_S", 1.0)
    url, may_end = namespace_url("valkey"), threading.Event()
    port, refusals = urlsplit(url).port, set[str]()
    assert port is not None

    def in_a_thread() -> int:
        """Emit as fast as it may: it waits for room, and later for the store."""
        number = 0
        while not may_end.is_set():
            try:
                runcast.emit("number", number)
            except StoreUnavailable:
                may_end.wait(0.01)
            else:
                number += 1
        return number

    async with running_network(port) as network:
        near = url.replace(f":{port}", f":{network.port}")
        async with open_hub(near, settings=SETTINGS) as hub:
            thread = await hub.start(in_a_thread)
            async with hub.run("on-the-loop") as run:
                await soon(run.flush())
                network.cut()
                turns = number = 0
                has_waited = False
                async with asyncio.timeout(WAIT_S):
                    while refusals != {"overloaded", "store_unavailable"}:
                        try:
                            run.emit("number", number)
                            number += 1
                        except (Overloaded, StoreUnavailable) as error:
                            refusals.add(error.code)
                        await asyncio.sleep(0)
                        turns += 1
                        has_waited |= hub.hub.statistics().pipeline.waiting_threads > 0
                assert turns >= TURNS
                assert has_waited  # while the store might still answer
                with pytest.raises(StoreUnavailable):
                    await soon(run.flush())

                network.mend()
                await eventually(lambda: goes_on(run, number))
                may_end.set()
            count = await soon(thread.result())

            assert await numbers_of(hub, run.run_id) == list(range(number + 1))
            assert await numbers_of(hub, thread.run_id) == list(range(count))
