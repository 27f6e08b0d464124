"""Two servers on one file: what a living one runs is its own, what a dead one ran is ended."""

import asyncio
import signal
from pathlib import Path
from typing import Final

import pytest

from tests.crash.checks import check_all, ending_of
from tests.crash.served import Server, Watcher, serving, within

pytestmark = [pytest.mark.anyio, pytest.mark.heavy]

LEASE: Final = {"lease_s": 0.1}
"""So short that it is over many times in each of these tests."""


def watch(server: Server, watchers: list[Watcher]) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(w.follow_to_the_end(server.address)) for w in watchers]


async def test_a_second_server_never_ends_a_living_owners_run_not_even_one_that_is_frozen(
    tmp_path: Path,
) -> None:
    store = tmp_path / "runs.db"
    async with serving(store, settings=LEASE) as first, serving(store, settings=LEASE) as second:
        here = [await first.start_and_watch(f"run-{n}", n=100, rate=50) for n in range(5)]
        there = [Watcher(watcher.run_id) for watcher in here]
        watching = [*watch(first, here), *watch(second, there)]
        for watcher in (*here, *there):
            await watcher.until(3)

        first.process.send_signal(signal.SIGSTOP)
        clock = await second.start_and_watch("clock", n=20, rate=10)  # takes twenty leases
        async with within():
            await clock.follow_to_the_end(second.address)
        assert not any(watcher.has_ended for watcher in there)
        first.process.send_signal(signal.SIGCONT)

        async with within():
            await asyncio.gather(*watching)
        assert await check_all(second, [*here, *there, clock]) == ["done"] * 6


async def test_the_runs_of_a_dead_server_are_ended_by_one_that_lives(tmp_path: Path) -> None:
    store = tmp_path / "runs.db"
    async with serving(store, settings=LEASE) as second, serving(store, settings=LEASE) as first:
        runs = [await first.start_and_watch(f"run-{n}", n=10**6, rate=50) for n in range(5)]
        own = await second.start_and_watch("own", n=50, rate=20)
        watching = watch(second, [*runs, own])
        for watcher in runs:
            await watcher.until(3)
        await first.kill()

        async with within():
            await asyncio.gather(*watching)
        assert {ending_of(watcher)["data"]["code"] for watcher in runs} == {"lost"}
        assert ending_of(own)["type"] == "done"
        await check_all(second, [*runs, own])


async def test_servers_that_start_together_after_a_crash_end_each_run_once(tmp_path: Path) -> None:
    store = tmp_path / "runs.db"
    async with serving(store) as server:
        runs = [await server.start_and_watch(f"run-{n}", n=10**6, rate=100) for n in range(20)]
        watching = watch(server, runs)
        for watcher in runs:
            await watcher.until(2)
        for task in watching:
            task.cancel()
        await asyncio.wait(watching)
        await server.kill()

    starting = [asyncio.create_task(Server.start(store)) for _ in range(4)]
    servers = await asyncio.gather(*starting)
    try:
        for index, watcher in enumerate(runs):
            await watcher.follow_to_the_end(servers[index % 4].address)
        assert await check_all(servers[0], runs) == ["failed"] * 20
    finally:
        for server in servers:
            await server.kill()
