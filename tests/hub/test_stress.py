"""Many threads and coroutines write into many runs at once: each event lands where it belongs."""

import asyncio
import random
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

import runcast
from runcast._app import OpenHub, open_hub
from runcast._settings import Settings
from runcast.errors import Overloaded
from runcast.events.model import Event, encode_record
from tests.hub.wander import wander
from tests.opening import events_of, meet

THREADS: Final = 50
COROUTINES: Final = 200
RUNS: Final = 100

LONG_WAIT_S: Final = 120.0
"""On a machine that has other work."""

Where = dict[str, dict[str, list[int]]]
"""Of each run and each producer the numbers that it wrote there, in its order."""


def names() -> list[str]:
    return [f"run-{index}" for index in range(RUNS)]


class Producers:
    """Threads and coroutines that each write numbers, now into this run and now into that."""

    def __init__(self, hub: OpenHub, count: int, seed: int) -> None:
        self._writers = {run_id: hub.writer(run_id) for run_id in names()}
        self._count = count
        self._seed = seed
        self._barrier = threading.Barrier(THREADS)
        self.wrote: Where = defaultdict(lambda: defaultdict(list))

    async def all(self) -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(THREADS) as pool:
            threads = [
                loop.run_in_executor(pool, self._in_thread, f"thread-{index}")
                for index in range(THREADS)
            ]
            async with asyncio.TaskGroup() as group:
                for index in range(COROUTINES):
                    group.create_task(self._in_coroutine(f"coroutine-{index}"))
            await asyncio.gather(*threads)

    def _plan(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        """Decide beforehand where each number goes."""
        chance = random.Random(f"{self._seed}-{name}")
        plan = []
        for number in range(self._count):
            run_id = f"run-{chance.randrange(RUNS)}"
            text = "x" * chance.choice([0, 0, 10, 500])
            plan.append((run_id, {"run": run_id, "by": name, "number": number, "text": text}))
            self.wrote[run_id][name].append(number)
        return plan

    def _in_thread(self, name: str) -> None:
        plan = self._plan(name)
        meet(self._barrier)  # all threads are at work at once
        for run_id, data in plan:
            self._writers[run_id].emit("log", data)

    async def _in_coroutine(self, name: str) -> None:
        for run_id, data in self._plan(name):
            writer = self._writers[run_id]
            while True:
                try:
                    writer.emit("log", data)
                    break
                except Overloaded:
                    await writer.drain()
            if data["number"] % 5 == 0:
                await asyncio.sleep(0)


def check(run_id: str, events: list[Event], wrote: dict[str, list[int]]) -> None:
    """Check one run's log: dense, its own, nothing missing, each producer's order kept."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    found: dict[str, list[int]] = defaultdict(list)
    for event in events:
        if event.type != "log":
            continue
        assert event.data["run"] == run_id
        found[event.data["by"]].append(event.data["number"])
    assert found == wrote


async def stress(path: Path, settings: Settings, *, count: int, watchers: int, seed: int) -> None:
    chance = random.Random(seed)
    store = f"sqlite:///{path}/runs.db"
    async with open_hub(store, settings=settings) as hub, asyncio.timeout(LONG_WAIT_S):
        inlets = [await hub.hub.create(run_id) for run_id in names()]
        chosen = [f"run-{chance.randrange(RUNS)}" for _ in range(watchers)]
        wanderers = [
            asyncio.create_task(wander(hub, run_id, random.Random(chance.random())))
            for run_id in chosen
        ]
        producers = Producers(hub, count, seed)
        await producers.all()
        for inlet in inlets:
            await inlet.append([encode_record("done", {}, 1.0)], close=True)

        logs = {run_id: await events_of(hub, run_id) for run_id in names()}
        for run_id, events in logs.items():
            check(run_id, events, producers.wrote[run_id])
        assert sum(map(len, logs.values())) == count * (THREADS + COROUTINES) + RUNS
        for run_id, seen in zip(chosen, await asyncio.gather(*wanderers), strict=True):
            assert seen == logs[run_id]
        assert hub.hub.statistics()[:3] == (0, 0, 0)


async def test_fifty_threads_and_two_hundred_coroutines_write_into_a_hundred_runs(
    tmp_path: Path,
) -> None:
    await stress(tmp_path, Settings(), count=60, watchers=40, seed=1)


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(10, 16))
async def test_a_hundred_runs_under_long_stress_and_small_bounds(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    settings = Settings(
        tail_bytes_per_run=chance.choice([0, 500, 5000, 1 << 20]),
        tail_bytes=chance.choice([20_000, 1 << 20]),
        page_cache_bytes=chance.choice([0, 50_000, 1 << 20]),
        pending_bytes_per_run=chance.choice([3000, 1 << 20]),
        pending_bytes=chance.choice([50_000, 1 << 26]),
        max_event_bytes=2000,
    )
    await stress(tmp_path, settings, count=250, watchers=150, seed=seed)


# --- found through the context --------------------------------------------------------------------

JOBS: Final = 2
"""Coroutines of each run, and jobs of it in the threads that all runs share."""


@pytest.mark.parametrize("count", [30, pytest.param(300, marks=pytest.mark.heavy)])
async def test_what_a_run_emits_stays_in_it_whatever_threads_it_shares(
    tmp_path: Path, count: int
) -> None:
    with ThreadPoolExecutor(THREADS) as pool:

        @runcast.function(name="busy")
        async def busy(run: str) -> None:
            loop = asyncio.get_running_loop()

            def in_thread(name: str) -> None:
                for number in range(count):
                    runcast.emit("log", {"run": run, "by": name, "number": number})

            async def in_coroutine(name: str) -> None:
                for number in range(count):
                    runcast.emit("log", {"run": run, "by": name, "number": number})
                    await asyncio.sleep(0)

            jobs = [
                loop.run_in_executor(pool, runcast.bind(in_thread), f"thread-{index}")
                for index in range(JOBS)
            ]
            async with asyncio.TaskGroup() as group:
                for index in range(JOBS):
                    group.create_task(in_coroutine(f"coroutine-{index}"))
            await asyncio.gather(*jobs)

        store = f"sqlite:///{tmp_path}/runs.db"
        async with open_hub(store) as hub, asyncio.timeout(LONG_WAIT_S):
            runs = [await hub.start(busy, {"run": name}, run_id=name) for name in names()]
            await asyncio.gather(*(run.wait() for run in runs))
            whole = list(range(count))
            for run_id in names():
                events = await events_of(hub, run_id)
                assert [events[0].type, events[-1].type] == ["started", "done"]
                kinds = ("thread", "coroutine")
                check(run_id, events, {f"{kind}-{n}": whole for kind in kinds for n in range(JOBS)})
