"""What a watcher and an event may cost, counted: no clock tells on a busy machine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.http.client import Connection
from tests.http.serving import Server, serving_here

pytestmark = pytest.mark.anyio

WATCHERS = 20
DIRECT = ("direct-httptools", "direct-h11")


@asynccontextmanager
async def watched(server: Server, path: str) -> AsyncIterator[list[Connection]]:
    """Open streams and read what comes before their first event."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(WATCHERS):
            connection = await stack.enter_async_context(await server.connect())
            await connection.ask("GET", path)
            await connection.read_head()
            assert b"retry:" in (await connection.read_chunk() or b"")
            opened.append(connection)
        yield opened


def tasks() -> int:
    return len(asyncio.all_tasks())


@pytest.mark.parametrize("flavour", DIRECT)
async def test_a_watcher_is_no_task_while_it_watches(flavour: str) -> None:
    async with serving_here(flavour) as server:
        log = await server.log("run")
        before = tasks()
        async with watched(server, "/runs/run/events") as connections:
            await log.emit(1)
            for connection in connections:
                assert b'"seq":1,' in (await connection.read_chunk() or b"")
            assert len(server.app.streams) == WATCHERS
            assert tasks() == before

            await log.end()
            for connection in connections:
                assert b'"type":"done"' in (await connection.read_chunk() or b"")
                assert await connection.read_chunk() is None  # and the response is complete
        await server.eventually(lambda: tasks() == before and len(server.app.streams) == 0)


async def test_who_invokes_and_would_cancel_by_leaving_is_still_waited_for() -> None:
    async with serving_here() as server:
        script = server.scripts.new("run")
        async with await server.connect() as connection:
            target = "/invoke/script?cancel_on_disconnect=true"
            await connection.ask(
                "POST", target, {"Content-Type": "application/json"}, body=script.body
            )
            await connection.read_head()
        async with server.watch("/runs/run/events") as stream:
            await stream.read_until(b'"type":"cancelled"')


@pytest.mark.parametrize("flavour", DIRECT)
async def test_the_events_of_a_commit_are_one_write_per_watcher(flavour: str) -> None:
    async with serving_here(flavour) as server:
        log = await server.log("run")
        async with watched(server, "/runs/run/events") as connections:
            await log.emit(*range(1, 51))
            chunks = [await connection.read_chunk() for connection in connections]

    assert len(set(chunks)) == 1
    assert chunks[0] is not None
    assert chunks[0].count(b"\ndata: ") == 50


async def test_an_event_is_encoded_once_for_all_watchers_of_a_dialect() -> None:
    async with serving_here() as server:
        log = await server.log("run")
        async with watched(server, "/runs/run/events?dialect=named") as connections:
            await log.emit(1, 2, 3)
            for connection in connections:
                assert (await connection.read_chunk() or b"").count(b"\nevent: ") == 3

        assert server.hub.hub.rendered.computed == 3


async def test_events_make_no_tasks() -> None:
    async with serving_here() as server:
        log = await server.log("run")
        async with watched(server, "/runs/run/events") as connections:
            loop, made = asyncio.get_running_loop(), 0

            def make(loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any) -> Any:
                nonlocal made
                made += 1
                return asyncio.Task(coroutine, loop=loop, **more)

            loop.set_task_factory(make)
            try:
                for number in range(1, 101):
                    await log.emit(number)
                for connection in connections:
                    while b'"seq":100,' not in (await connection.read_chunk() or b""):
                        pass
            finally:
                loop.set_task_factory(None)

    assert made == 0
