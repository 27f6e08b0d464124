"""A heartbeat that is being sent while history is read takes nothing away."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message

from runcast._app import OpenHub
from runcast._http.app import HttpApp
from runcast._settings import Settings
from runcast.events.model import encode_record
from runcast.events.position import Position
from runcast.stores.base import PAGE_BYTES, Page
from runcast.stores.memory import MemoryStore
from runcast.testing import FakeClock
from tests.opening import eventually
from tests.waiting import WAIT_S

pytestmark = pytest.mark.anyio


class Gated(MemoryStore):
    """Reads wait until they are let through."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let_through = asyncio.Event(), asyncio.Event()

    async def read(self, log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
        self.asked.set()
        await self.let_through.wait()
        return await super().read(log_id, after, max_bytes)


async def test_what_the_store_has_arrives_though_a_heartbeat_is_being_sent() -> None:
    store, clock, sent = Gated(), FakeClock(), b""
    beating, taken = asyncio.Event(), asyncio.Event()

    async def send(message: Message) -> None:
        nonlocal sent
        body = message.get("body", b"")
        sent += body
        if body == b": hb\n":
            beating.set()
            await taken.wait()  # a client that takes its time

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    settings = Settings(heartbeat_s=0.04, stall_s=1000.0)
    hub = OpenHub(store, settings=settings, clock=clock)
    app = HttpApp(hub)
    async with asyncio.timeout(WAIT_S):
        await app.open()
        inlet = await hub.hub.create("run")
        await inlet.append([encode_record("log", {"n": 1}, 1.0)])
        await inlet.append([encode_record("done", None, 1.0)], close=True)
        scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": "/runs/run/events",
            "root_path": "",
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
        }
        watching = asyncio.ensure_future(app(scope, receive, send))
        await store.asked.wait()
        clock.advance(1.0)  # silence, while the store takes its time
        await beating.wait()
        store.let_through.set()
        (stream,) = app.streams._open
        await eventually(lambda: stream.is_over)  # the log was read to its end
        taken.set()
        await watching
        await app.close()

    assert sent.count(b'"seq":1,') == 1
    assert sent.endswith(b'"type":"done","data":null}\n\n')
