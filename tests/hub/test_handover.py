"""Replay hands over to live without a seam: each watcher sees every event once, in order."""

import asyncio
import contextlib
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import runcast
from runcast._app import OpenHub, open_hub
from runcast._hub.cursor import Chunk, Cursor
from runcast._hub.hub import Hub
from runcast._hub.inlets import Inlet
from runcast._settings import Settings
from runcast.errors import Overloaded
from runcast.events.model import Event, encode_record
from runcast.events.position import Position
from runcast.stores.base import PAGE_BYTES, Append, Page, Store
from runcast.stores.memory import MemoryStore
from runcast.stores.sqlite.store import SQLiteStore
from tests.hub.wander import wander
from tests.opening import WAIT_S, events_of, eventually, meet, soon

LONG_WAIT_S = 30.0
"""For tests in which several threads pour events in on a machine that has other work."""


# --- every interleaving of commits and reads ------------------------------------------------------


class SlowStore(MemoryStore):
    """Reads take a while, and have what there was when they began, or when they end."""

    def __init__(self) -> None:
        super().__init__()
        self.looks_first = True

    async def read(self, log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
        page = await super().read(log_id, after, max_bytes) if self.looks_first else None
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return page or await super().read(log_id, after, max_bytes)


@dataclass
class Watcher:
    """A cursor driven by hand, and what it has seen."""

    cursor: Cursor | None = None
    reading: "asyncio.Task[Chunk | None] | None" = None
    seen: list[int] = field(default_factory=list)
    gaps: int = 0

    def take(self, chunk: Chunk | None) -> None:
        if chunk is not None:
            self.seen += [event.seq for event in chunk.events()]
            self.gaps += chunk.gap is not None

    async def leave(self) -> Position | None:
        if self.cursor is None:
            return None
        if self.reading is not None:
            self.reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                self.take(await self.reading)  # it may have ended, and moved the cursor
            self.reading = None
        self.cursor.close()
        position, self.cursor = self.cursor.position, None
        return position


class Play:
    """A log, watchers of it, and a script of what they do."""

    def __init__(self, hub: Hub, inlet: Inlet) -> None:
        self.hub = hub
        self.inlet = inlet
        self.watchers = [Watcher() for _ in range(3)]

    async def act(self, name: str, index: int, size: int) -> None:
        watcher = self.watchers[index]
        cursor = watcher.cursor
        if name == "put":
            self.inlet.put(encode_record("log", "x" * size, 1.0))
        elif name == "commit":
            await self.inlet.append()
        elif name == "tick":
            await asyncio.sleep(0)
        elif name == "look":
            store = self.hub.store
            assert isinstance(store, SlowStore)
            store.looks_first = not store.looks_first
        elif name == "join" and cursor is None:
            after = Position(self.inlet.epoch, len(watcher.seen)) if watcher.seen else None
            watcher.cursor = await self.hub.cursor("run-1", after)
        elif name == "leave":
            await watcher.leave()
        elif cursor is not None and name == "poll" and watcher.reading is None:
            watcher.take(cursor.poll())
            if cursor.behind:
                watcher.reading = asyncio.create_task(cursor.read())
        elif watcher.reading is not None and watcher.reading.done():
            reading, watcher.reading = watcher.reading, None
            watcher.take(reading.result())

    async def finish(self) -> None:
        await self.inlet.append(close=True)
        for watcher in self.watchers:
            position = await watcher.leave() or Position(self.inlet.epoch, len(watcher.seen))
            with await self.hub.watch("run-1", position) as watch:
                async for chunk in watch:
                    watcher.take(chunk)


ACTS = ("put", "put", "commit", "tick", "tick", "look", "join", "leave", "poll", "poll", "end-read")


@given(
    window=st.sampled_from([0, 1, 200, 2000, 1 << 20]),
    cache=st.sampled_from([0, 500, 1 << 20]),
    script=st.lists(
        st.tuples(st.sampled_from(ACTS), st.integers(0, 2), st.sampled_from([1, 100, 70_000])),
        max_size=60,
    ),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_committed_between_a_watchers_steps_it_misses_and_repeats_nothing(
    window: int, cache: int, script: list[tuple[str, int, int]]
) -> None:
    async def play() -> None:
        options = Settings(tail_bytes_per_run=window, page_cache_bytes=cache)
        async with asyncio.timeout(WAIT_S), Hub(SlowStore(), options) as hub:
            play = Play(hub, await hub.create("run-1"))
            for name, index, size in script:
                await play.act(name, index, size)
            await play.finish()

            head = (await hub.info("run-1")).head
            for watcher in play.watchers:
                assert watcher.seen == list(range(1, head + 1))
                assert watcher.gaps == 0
            assert hub.statistics()[:3] == (0, 0, 0)

    asyncio.run(play())


# --- threads and coroutines pour in ---------------------------------------------------------------

THREADS = 3
COROUTINES = 3
WATCHERS = 8


def pour(count: int) -> runcast.Function[..., Any]:
    """A run into which threads and coroutines emit at the same time."""

    @runcast.function(name="pour")
    async def function() -> None:
        barrier = threading.Barrier(THREADS)

        def produce(name: str) -> None:
            meet(barrier)  # all threads are at work at once
            for number in range(count):
                runcast.emit("log", {"by": name, "number": number}, agent="x" * (number % 50))

        async def produce_here(name: str) -> None:
            for number in range(count):
                while True:
                    try:
                        runcast.emit("log", {"by": name, "number": number})
                        break
                    except Overloaded:
                        await runcast.drain()
                if number % 7 == 0:
                    await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for index in range(THREADS):
                group.create_task(asyncio.to_thread(produce, f"thread-{index}"))
            for index in range(COROUTINES):
                group.create_task(produce_here(f"coroutine-{index}"))

    return function


def check(streams: list[list[Event]], count: int) -> None:
    """All saw the same, nothing is missing, and each producer's events are in its order."""
    first = streams[0]
    total = count * (THREADS + COROUTINES) + 2
    assert [event.seq for event in first] == list(range(1, total + 1))
    assert all(stream == first for stream in streams)
    assert [first[0].type, first[-1].type] == ["started", "done"]
    by_producer: dict[str, list[int]] = {}
    for event in first[1:-1]:
        by_producer.setdefault(event.data["by"], []).append(event.data["number"])
    assert len(by_producer) == THREADS + COROUTINES
    assert all(numbers == list(range(count)) for numbers in by_producer.values())


async def pour_and_wander(store: Store, count: int, seed: int) -> None:
    chance = random.Random(seed)
    options = Settings(
        tail_bytes_per_run=chance.choice([0, 500, 5000, 1 << 20]),
        tail_bytes=chance.choice([3000, 1 << 20]),
        page_cache_bytes=chance.choice([0, 5000, 1 << 20]),
        pending_bytes_per_run=chance.choice([2000, 1 << 20]),
        max_event_bytes=1000,
    )
    async with open_hub(store, settings=options) as hub, asyncio.timeout(LONG_WAIT_S):
        run = await hub.start(pour(count))
        wanderers = [
            asyncio.create_task(wander(hub, run.run_id, random.Random(seed * 100 + index)))
            for index in range(WATCHERS)
        ]
        streams = await asyncio.gather(*wanderers)
        streams.append(await events_of(hub, run.run_id))
        check(streams, count)
        assert hub.hub.statistics()[:3] == (0, 0, 0)


@pytest.mark.parametrize("seed", range(4))
async def test_watchers_that_come_and_go_while_threads_and_coroutines_pour_in_see_all(
    store: Store, seed: int
) -> None:
    await pour_and_wander(store, 100, seed)


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(10, 22))
async def test_watchers_see_all_of_a_long_run(store: Store, seed: int) -> None:
    await pour_and_wander(store, 1500, seed)


# --- two hubs on one file -------------------------------------------------------------------------


@contextlib.contextmanager
def two_stores(path: Path) -> Iterator[tuple[SQLiteStore, SQLiteStore]]:
    file = str(path / "runs.db")
    yield SQLiteStore(file), SQLiteStore(file)


async def two_hubs(path: Path, count: int, seed: int) -> None:
    chance = random.Random(seed)
    options = Settings(
        tail_bytes_per_run=chance.choice([0, 1000, 1 << 20]),
        page_cache_bytes=chance.choice([0, 1 << 20]),
    )
    with two_stores(path) as (first, second):
        async with (
            open_hub(first, settings=options) as here,
            open_hub(second, settings=options) as there,
            asyncio.timeout(LONG_WAIT_S),
        ):
            inlet = await here.hub.create("run-1")
            wanderers = [
                asyncio.create_task(wander(hub, "run-1", random.Random(seed + index)))
                for index, hub in enumerate([here, there] * 3)
            ]

            async def append(hub: OpenHub, name: str) -> None:
                writer = hub.writer("run-1")
                for number in range(count):
                    writer.emit("log", {"by": name, "number": number})
                    if number % 10 == 0:
                        await writer.flush()

            async with asyncio.TaskGroup() as group:
                group.create_task(append(here, "here"))
                group.create_task(append(there, "there"))
            await here.flush("run-1")
            await there.flush("run-1")
            await inlet.append([encode_record("done", {}, 1.0)], close=True)
            streams = await asyncio.gather(*wanderers)

            assert [event.seq for event in streams[0]] == list(range(1, 2 * count + 2))
            assert all(stream == streams[0] for stream in streams)
            for name in ("here", "there"):
                numbers = [e.data["number"] for e in streams[0][:-1] if e.data["by"] == name]
                assert numbers == list(range(count))


async def test_a_watcher_misses_nothing_that_this_hub_has_not_heard_of() -> None:
    store, record = MemoryStore(), encode_record("log", {}, 1.0)
    async with asyncio.timeout(WAIT_S), Hub(store) as hub:
        inlet = await hub.create("run-1")
        with await hub.watch("run-1") as watching:
            await inlet.append([record])
            seen = [event.seq for event in (await anext(watching)).events()]

            await store.commit([Append("run-1", [record], inlet.epoch)])  # by another process
            await inlet.append([record])
            while len(seen) < 3:
                seen += [event.seq for event in (await anext(watching)).events()]

        assert seen == [1, 2, 3]


@pytest.mark.parametrize("seed", range(3))
async def test_watchers_of_two_hubs_on_one_file_see_what_both_append(
    tmp_path: Path, seed: int
) -> None:
    await two_hubs(tmp_path, 60, seed)


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(10, 16))
async def test_watchers_of_two_hubs_on_one_file_see_all_of_a_long_run(
    tmp_path: Path, seed: int
) -> None:
    await two_hubs(tmp_path, 1500, seed)


async def test_a_run_watched_here_and_ended_there_ends_here(tmp_path: Path) -> None:
    with two_stores(tmp_path) as (first, second):
        async with open_hub(first) as here, open_hub(second) as there:
            inlet = await there.hub.create("run-1")
            watching = asyncio.create_task(events_of(here, "run-1"))
            await eventually(lambda: here.hub.statistics().watchers == 1)
            await inlet.append([encode_record("done", {}, 1.0)], close=True)

            assert [event.type for event in await soon(watching)] == ["done"]


# --- windows --------------------------------------------------------------------------------------


async def test_windows_hold_no_more_than_their_bounds_and_nothing_without_watchers(
    store: Store,
) -> None:
    options = Settings(tail_bytes_per_run=5000, tail_bytes=8000)
    async with Hub(store, options) as hub:
        inlets = [await hub.create(f"run-{number}") for number in range(3)]
        cursors = [await hub.cursor(inlet.run_id) for inlet in inlets]
        most = 0
        for _ in range(20):
            for inlet in inlets:
                for _ in range(5):
                    inlet.put(encode_record("log", "x" * 200, 1.0))
                await soon(inlet.append())
                most = max(most, hub.statistics().tail_bytes)
        assert 5000 < most <= 8000
        assert hub.statistics()[:2] == (3, 3)
        for cursor in cursors:
            cursor.close()
            cursor.close()

        assert hub.statistics()[:3] == (0, 0, 0)


async def test_bytes_of_windows_are_given_back_when_a_run_begins_anew(store: Store) -> None:
    async with Hub(store) as hub:
        for _ in range(3):
            inlet = await hub.create("run-1", replace=True)
            cursor = await hub.cursor("run-1")
            await inlet.append([encode_record("log", "x" * 1000, 1.0)])
            assert 1000 < hub.statistics().tail_bytes < 1200
            await hub.create("run-1", replace=True)
            assert hub.statistics().tail_bytes == 0
            cursor.close()

        assert hub.statistics()[:3] == (0, 0, 0)


async def test_watchers_who_resume_together_cost_one_read(store: Store) -> None:
    reads = 0
    real = store.read

    async def read(log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
        nonlocal reads
        reads += 1
        return await real(log_id, after, max_bytes)

    store.read = read  # type: ignore[method-assign]
    async with open_hub(store) as hub:
        inlet = await hub.hub.create("run-1")
        await inlet.append([encode_record("log", "x" * 1000, 1.0)] * 1000, close=True)
        streams = await asyncio.gather(*(events_of(hub, "run-1") for _ in range(20)))

        assert all(len(stream) == 1000 for stream in streams)
        assert reads <= 1000 * 1100 // PAGE_BYTES + 1


async def test_a_watcher_that_replays_from_memory_lets_others_run(store: Store) -> None:
    async with open_hub(store) as hub:
        inlet = await hub.hub.create("run-1")
        await inlet.append([encode_record("log", "x" * 1000, 1.0)] * 2000, close=True)
        await events_of(hub, "run-1")  # now every page is in the cache
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        await events_of(hub, "run-1")
        ticking.cancel()

        assert ticks >= 2000 * 1000 // PAGE_BYTES


async def test_the_wake_up_of_a_watcher_comes_once_per_commit(store: Store) -> None:
    async with Hub(store) as hub:
        inlet = await hub.create("run-1")
        woken = 0

        def wake() -> None:
            nonlocal woken
            woken += 1

        with await hub.cursor("run-1", wake=wake), await hub.cursor("run-1", wake=wake):
            for _ in range(100):
                inlet.put(encode_record("log", None, 1.0))
            await soon(inlet.append())

            assert woken == 2  # each once, though they share what wakes them


async def test_a_watcher_that_fails_harms_no_other(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_hub(store) as hub:
        inlet = await hub.hub.create("run-1")

        def wake() -> None:
            raise ZeroDivisionError

        with await hub.hub.cursor("run-1", wake=wake):
            watching = asyncio.create_task(events_of(hub, "run-1"))
            await eventually(lambda: hub.hub.statistics().watchers == 2)
            await soon(inlet.append([encode_record("log", None, 1.0)], close=True))

            assert len(await soon(watching)) == 1
        assert "a watcher of run run-1 failed" in caplog.text
