"""Faults of the store, of the network and of clocks while runs are written and watched.

Each test has two nodes: functions run on the first, and every run is watched on the second. Each
event is flushed before the next is emitted, so a run that ends as `done` says how many events were
acknowledged. What was lost, what was doubled, and how long it took until the watchers saw an event
that is newer than the end of the fault, is printed as a table at the end (docs/machines.md has it).
"""

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pytest

from tests.crash.checks import check_all
from tests.crash.served import FUNCTIONS, Server, Watcher, serving
from tests.stores.cluster import running_cluster
from tests.stores.namespaces import namespaces
from tests.stores.proxy import running_network
from tests.stores.servers import StoreServer
from tests.waiting import START_S, until

pytestmark = [pytest.mark.anyio, pytest.mark.heavy, pytest.mark.timeout(150)]

RUNS: Final = 4
EVENTS: Final = 3000
LONG_S: Final = 100.0
SETTINGS: Final = {"lease_s": 30.0, "heartbeat_s": 1.0}
FAKETIME: Final = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"

has_faketime: Final = Path(FAKETIME).exists()

rows: list[tuple[str, ...]] = []


@pytest.fixture(scope="module", autouse=True)
def _table() -> Iterator[None]:
    rows.clear()
    yield
    head = ("fault", "runs", "events", "lost", "doubled", "first event after it")
    for row in (head, *rows):
        sys.__stderr__.write(f"| {' | '.join(row)} |\n")  # type: ignore[union-attr]


async def last(seconds: float) -> None:
    """Let a fault last: its length is what is tested, and nothing is waited for."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()


@asynccontextmanager
async def two_nodes(
    first_url: str,
    second_url: str,
    folder: Path,
    first: Mapping[str, Any] = MappingProxyType({}),
    second: Mapping[str, Any] = MappingProxyType({}),
    **settings: object,
) -> AsyncIterator[tuple[Server, Server]]:
    """Start two nodes; `first` and `second` say how else than usually (`Server.spawn`)."""
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(
                serving(
                    url,
                    FUNCTIONS,
                    settings={**SETTINGS, **settings},
                    errors=folder / f"{name}.err",
                    **how,
                )
            )
            for name, url, how in (("first", first_url, first), ("second", second_url, second))
        ]
        yield nodes[0], nodes[1]


async def survive(
    name: str,
    first: Server,
    second: Server,
    fault: Callable[[], Awaitable[None]],
    *,
    events: int = EVENTS,
) -> None:
    """Begin runs, do harm once events flow, and check everything once they have ended.

    Args:
        fault: returns when the fault is over.
        events: how many each run emits, so that it lasts longer than the fault.
    """
    runs = [
        await first.start_and_watch(f"run-{n}", function="tell", n=events, size=50)
        for n in range(RUNS)
    ]
    watching = [asyncio.create_task(each.follow_to_the_end(second.address)) for each in runs]
    for each in runs:
        await each.until(100)
    await fault()
    over = time.monotonic()
    assert not any(each.has_ended for each in runs), "the fault lasted longer than the runs"
    took_s = await _until_all_see_more(runs)
    async with asyncio.timeout(LONG_S):
        await asyncio.gather(*watching)
    took_s -= over
    lost, doubled = await _compare(second, runs, events)
    seen = sum(len(each.seen) for each in runs)
    rows.append((name, str(RUNS), str(seen), str(lost), str(doubled), f"{took_s:.1f} s"))
    assert (lost, doubled) == (0, 0)
    assert await check_all(second, runs) == ["done"] * RUNS


async def _until_all_see_more(runs: list[Watcher]) -> float:
    before = [len(each.seen) for each in runs]
    async with asyncio.timeout(LONG_S):
        await until(
            lambda: all(
                len(each.seen) > count or each.has_ended
                for each, count in zip(runs, before, strict=True)
            )
        )
    return time.monotonic()


async def _compare(server: Server, runs: list[Watcher], events: int) -> tuple[int, int]:
    """Return how many acknowledged ticks the logs do not have, and how many they have twice."""
    lost = doubled = 0
    for each in runs:
        ticks = [
            json.loads(data)["data"]["n"]
            for _, data in await server.log_of(each.run_id)
            if json.loads(data)["type"] == "tick"
        ]
        lost += len(set(range(1, events + 1)) - set(ticks))
        doubled += len(ticks) - len(set(ticks))
    return lost, doubled


@pytest.mark.parametrize("fsync", ["always", "everysec"])
async def test_a_server_that_is_killed_and_started_again(tmp_path: Path, fsync: str) -> None:
    with StoreServer(tmp_path, "--appendonly", "yes", "--appendfsync", fsync) as store:

        async def fault() -> None:
            store.kill()
            await last(1)
            store.start()

        async with two_nodes(store.url, store.url, tmp_path) as (first, second):
            await survive(f"{store.name} killed, away for 1 s (AOF {fsync})", first, second, fault)


async def test_a_server_that_is_paused_for_ten_seconds(tmp_path: Path) -> None:
    with StoreServer(tmp_path) as store:

        async def fault() -> None:
            store.signal(signal.SIGSTOP)
            await last(10)
            store.signal(signal.SIGCONT)

        async with two_nodes(store.url, store.url, tmp_path) as (first, second):
            await survive(f"{store.name} paused for 10 s", first, second, fault)


async def test_a_server_without_memory_for_a_while(tmp_path: Path) -> None:
    with StoreServer(tmp_path, "--maxmemory-policy", "noeviction") as store:

        async def fault() -> None:
            await asyncio.to_thread(store.ask, "CONFIG SET maxmemory 1")
            await last(3)
            await asyncio.to_thread(store.ask, "CONFIG SET maxmemory 0")

        async with two_nodes(store.url, store.url, tmp_path) as (first, second):
            await survive(f"{store.name} without memory for 3 s", first, second, fault)
            assert "no memory left" in (tmp_path / "first.err").read_text()


@pytest.mark.parametrize("direction", ["both ways", "to the store", "from the store"])
async def test_a_network_that_is_cut(tmp_path: Path, direction: str) -> None:
    with StoreServer(tmp_path) as store:
        async with running_network(store.port) as network:

            async def fault() -> None:
                network.cut(there=direction != "from the store", back=direction != "to the store")
                await last(7)
                network.mend()

            url = store.url.replace(str(store.port), str(network.port))
            async with two_nodes(url, store.url, tmp_path) as (first, second):
                name = f"network of the writing node cut for 7 s, {direction}"
                await survive(name, first, second, fault)


async def test_a_network_of_the_watching_node_that_is_cut(tmp_path: Path) -> None:
    with StoreServer(tmp_path) as store:
        async with running_network(store.port) as network:

            async def fault() -> None:
                network.cut()
                await last(7)
                network.mend()

            url = store.url.replace(str(store.port), str(network.port))
            async with two_nodes(store.url, url, tmp_path) as (first, second):
                await survive("network of the watching node cut for 7 s", first, second, fault)


@pytest.mark.parametrize("direction", ["both ways", "to the store", "from the store"])
async def test_a_network_that_drops_packets(tmp_path: Path, direction: str) -> None:
    with namespaces(tmp_path) as network:

        async def fault() -> None:
            network.cut(there=direction != "from the store", back=direction != "to the store")
            await last(7)
            network.mend()

        places = network.place(network.far), network.place(network.near)
        urls = network.far_url, network.near_url
        async with two_nodes(*urls, tmp_path, *places) as (first, second):
            name = f"packets of the writing node dropped for 7 s, {direction}"
            await survive(name, first, second, fault)


@pytest.mark.parametrize("direction", ["both ways", "to the store", "from the store"])
async def test_a_node_in_a_cut_network_is_not_ready_until_it_is_mended(
    tmp_path: Path, direction: str
) -> None:
    with namespaces(tmp_path) as network:
        places = network.place(network.far), network.place(network.near)
        urls = network.far_url, network.near_url
        async with two_nodes(*urls, tmp_path, *places) as (first, second):
            assert (await first.ask("GET", "/readyz")).status == 200
            network.cut(there=direction != "from the store", back=direction != "to the store")
            # Each answer comes within `WAIT_S`, or `ask` fails.
            asking = [first.ask("GET", "/readyz") for _ in range(40)]
            assert {answer.problem() for answer in await asyncio.gather(*asking)} == {
                (503, "store_unavailable")
            }
            assert (await first.ask("GET", "/healthz")).status == 200
            assert (await second.ask("GET", "/readyz")).status == 200
            doctor = await asyncio.create_subprocess_exec(
                *(*network.far.command, sys.executable, "-m", "runcast", "doctor"),
                *("--store", network.far_url),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            async with asyncio.timeout(START_S):
                said, _ = await doctor.communicate()
            assert doctor.returncode not in (0, None)
            assert b"cannot be reached" in said
            network.mend()
            async with asyncio.timeout(START_S):
                while (await first.ask("GET", "/readyz")).status != 200:
                    pass


async def test_a_clock_that_jumps(tmp_path: Path) -> None:
    if not has_faketime:
        pytest.skip("libfaketime is missing (Debian: libfaketime)")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    env = {
        "LD_PRELOAD": FAKETIME,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with StoreServer(tmp_path) as store:

        async def fault() -> None:
            for offset in ("+3600", "-7200", "+0"):
                clock.write_text(offset)
                await last(1)

        async with two_nodes(store.url, store.url, tmp_path, {"env": env}) as (first, second):
            name = "clock of a node 1 h ahead, then 2 h behind"
            await survive(name, first, second, fault, events=2 * EVENTS)
            times = [json.loads(data)["time"] for _, data in await second.log_of("run-0")]
            assert max(times) - min(times) > 3000, "the clock did not jump"


async def test_a_node_that_is_paused_past_its_lease(tmp_path: Path) -> None:
    with StoreServer(tmp_path) as store:
        async with two_nodes(store.url, store.url, tmp_path, lease_s=1.0) as (first, second):
            runs = [
                await first.start_and_watch(f"run-{n}", function="insist", n=10**6, size=50)
                for n in range(RUNS)
            ]
            watching = [
                asyncio.create_task(each.follow_to_the_end(second.address)) for each in runs
            ]
            for each in runs:
                await each.until(100)
            first.process.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            async with asyncio.timeout(LONG_S):
                await asyncio.gather(*watching)
            took_s = time.monotonic() - began
            first.process.send_signal(signal.SIGCONT)
            # What it had not yet committed when it was paused is refused now, and in no log.
            late = [Watcher(each.run_id) for each in runs]
            async with asyncio.timeout(LONG_S):
                await asyncio.gather(*(each.follow_to_the_end(first.address) for each in late))
            assert await check_all(second, [*runs, *late]) == ["failed"] * RUNS
            events = str(sum(len(each.seen) for each in runs))
            name = "node paused past its lease of 1 s, and woken"
            rows.append((name, str(RUNS), events, "0", "0", f"{took_s:.1f} s (ended as lost)"))


@pytest.mark.parametrize("how", ["killed", "paused", "told to hand over"])
async def test_a_master_of_a_cluster_that_fails(tmp_path: Path, how: str) -> None:
    async with running_cluster(tmp_path) as cluster:
        replica, owner = await cluster.replicate("faults"), await cluster.owner("faults")

        async def fault() -> None:
            if how == "killed":
                owner.kill()
                await replica.until_master()
                owner.start()  # as a replica, which commits wait for
            elif how == "paused":
                owner.process.send_signal(signal.SIGSTOP)
                await replica.until_master()
                owner.process.send_signal(signal.SIGCONT)
            else:
                await replica.ask("CLUSTER", "FAILOVER")
                await replica.until_master()

        url = cluster.url("faults", wait_replicas=1)
        async with two_nodes(url, url, tmp_path) as (first, second):
            await survive(f"master of a cluster {how}", first, second, fault)
