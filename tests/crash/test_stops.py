"""Servers that are stopped, as in a deployment: runs that recover go on in the next one."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.crash.served import FUNCTIONS, serving, within

pytestmark = pytest.mark.anyio


async def test_a_run_that_recovers_goes_on_after_any_number_of_deployments(tmp_path: Path) -> None:
    """Although it may continue only once after a crash: to be stopped is none."""
    store = tmp_path / "runs.db"
    async with serving(store, FUNCTIONS) as server:
        watcher = await server.start_and_watch("r1", "works_until_it_may_end")
        following = asyncio.create_task(watcher.follow(server.address))
        await watcher.until(2)
        await server.stop()
        await asyncio.wait([following])
    async with serving(store, FUNCTIONS) as server:
        following = asyncio.create_task(watcher.follow(server.address))
        await watcher.until(4)
        await server.stop()
        await asyncio.wait([following])
    async with serving(store, FUNCTIONS, env={"MAY_END": "yes"}) as server, within():
        await watcher.follow_to_the_end(server.address)

    log = [json.loads(data) for _, data in watcher.seen]
    assert [event["type"] for event in log] == [*["started", "content"] * 3, "done"]
    assert [event["seq"] for event in log] == list(range(1, 8))
    assert [event["data"].get("attempt") for event in log[::2]] == [None, 2, 3, None]
    assert watcher.gaps == []
