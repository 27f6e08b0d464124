"""Group commit: what producers put is committed together, once, and bounded while it waits."""

import asyncio
import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from types import FrameType
from typing import Any

import pytest

from runcast._app import open_hub
from runcast._hub import pipeline
from runcast._hub.hub import Hub
from runcast._hub.inlets import Inlet, Pending
from runcast._settings import Settings
from runcast.errors import (
    BackendError,
    Conflict,
    Overloaded,
    RuncastError,
    RunClosed,
    StoreReadOnly,
    StoreUnavailable,
)
from runcast.events import model, plain
from runcast.events.model import decode_event
from runcast.events.position import Position
from runcast.stores.base import Append, Appended, Once, Store
from runcast.stores.memory import MemoryStore
from runcast.testing import FakeClock, FaultyStore
from tests.opening import WAIT_S, events_of, eventually, meet, soon, wait_for

RECORD = b'"time":1.0,"type":"log","data":{}}'
SIZE = len(RECORD)


class Worker(threading.Thread):
    """A thread that keeps what its call raised."""

    def __init__(self, call: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._call()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    async def end(self) -> None:
        await eventually(lambda: not self.is_alive())


def put(inlet: Inlet, count: int = 1) -> None:
    for _ in range(count):
        inlet.put(RECORD)


def pending(hub: Hub) -> tuple[int, int, int]:
    now = hub.statistics().pipeline
    return now.pending_bytes, now.pending_appends, now.waiting_threads


NOTHING = (0, 0, 0)


# --- groups ---------------------------------------------------------------------------------------


async def test_a_thousand_puts_from_threads_while_a_commit_is_under_way_become_one_commit(
    store: Store,
) -> None:
    faulty = FaultyStore(store)
    async with Hub(faulty) as hub:
        inlets = [await hub.create(f"run-{number}") for number in range(10)]
        faulty.hold()
        inlets[0].put(RECORD)
        await faulty.wait_held()

        barrier = threading.Barrier(10)

        def produce(inlet: Inlet) -> None:
            meet(barrier)
            put(inlet, 100)

        workers = [Worker(partial(produce, inlet)) for inlet in inlets]
        for worker in workers:
            await worker.end()
        assert hub.statistics().pipeline.pending_bytes == 1001 * SIZE
        faulty.release()
        await soon(asyncio.gather(*(inlet.append() for inlet in inlets)))

        # The held one, the thousand, and at most one more for the flushes.
        assert faulty.calls.commits <= 3
        assert faulty.calls.most_at_once == 1
        assert faulty.calls.records == 1001
        heads = [(await hub.info(f"run-{number}")).head for number in range(10)]
        assert heads == [101] + [100] * 9
        assert pending(hub) == NOTHING


@pytest.mark.parametrize(
    ("runs", "each", "waits"), [(40, 1, False), (40, 15, False), (1, 16, True)]
)
async def test_only_a_flood_of_few_runs_gathers_for_a_while(
    store: Store, monkeypatch: pytest.MonkeyPatch, runs: int, each: int, waits: bool
) -> None:
    pauses: list[float] = []

    class Counted:
        def __getattr__(self, name: str) -> Any:
            return getattr(asyncio, name)

        async def sleep(self, delay_s: float) -> None:
            if delay_s:
                pauses.append(delay_s)

    monkeypatch.setattr(pipeline, "asyncio", Counted())
    async with Hub(store) as hub:
        inlets = [await hub.create(f"run-{number}") for number in range(runs)]
        for inlet in inlets:
            put(inlet, each)
        await soon(asyncio.gather(*(inlet.append() for inlet in inlets)))

    assert bool(pauses) == waits


async def test_what_coroutines_emit_turn_by_turn_becomes_few_commits(store: Store) -> None:
    faulty = FaultyStore(store)

    async def produce(inlet: Inlet) -> None:
        for _ in range(100):
            put(inlet)
            await asyncio.sleep(0)

    async with Hub(faulty) as hub:
        inlets = [await hub.create(f"run-{number}") for number in range(10)]
        await soon(asyncio.gather(*(produce(inlet) for inlet in inlets)))
        await soon(asyncio.gather(*(inlet.append() for inlet in inlets)))

    assert faulty.calls.records == 1000
    assert faulty.calls.commits < 20  # 16 turns each, and what comes while one is under way


async def test_a_coroutine_that_emits_in_each_turn_does_not_hold_its_commit_back(
    store: Store,
) -> None:
    faulty = FaultyStore(store)
    async with Hub(faulty) as hub:
        inlet = await hub.create("run-1")
        for _ in range(pipeline._TURNS + 4):
            put(inlet)
            await asyncio.sleep(0)
        assert faulty.calls.commits == 1


async def test_who_awaits_a_commit_waits_for_no_turn_of_others(store: Store) -> None:
    faulty = FaultyStore(store)
    async with Hub(faulty) as hub:
        inlet = await hub.create("run-1")
        put(inlet)
        flushing = asyncio.ensure_future(inlet.append())
        for _ in range(3):  # until the flush was put, the committer was called, and it has begun
            await asyncio.sleep(0)
            put(inlet)
        assert faulty.calls.commits == 1
        await soon(flushing)


@pytest.mark.parametrize("text", ["a\u2028b\u2029c\u0085d", "“e” – é", "f"])
async def test_what_producers_put_is_stored_as_one_line_for_every_reader(
    store: Store, text: str
) -> None:
    async with Hub(store) as hub:
        inlet = await hub.create("run-1")
        record = b'"time":1.0,"type":"log","data":"%b"}' % text.encode()
        inlet.put(record)
        inlet.put(RECORD)
        last = await soon(inlet.append([record]))

        frames = (await store.read("run-1", Position(last.epoch, 0))).frames
        lines = [line for line in frames.decode().splitlines() if line]
        assert len(lines) == 6, "an id and an event, three times"
        events = [decode_event(line.removeprefix("data: ")) for line in lines[1::2]]
        assert [event.data for event in events] == [text, {}, text]
        assert pending(hub) == NOTHING


async def test_an_awaited_batch_does_not_make_the_next_one_wait(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A remote writer sends its next batch once it knows that the last one is stored."""
    monkeypatch.setattr(pipeline, "_GATHER_S", 10 * WAIT_S)
    async with Hub(store) as hub:
        inlet = await hub.create("run-1")
        for last in (100, 200):
            assert (await soon(inlet.append([RECORD] * 100))).last == last


async def test_what_waits_is_committed_in_parts_if_it_is_much(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store makes copies of a group, and what is behind it waits for all of it."""
    sizes: list[int] = []
    commit = store.commit

    async def watched(group: Sequence[Append]) -> list[Appended | RuncastError]:
        sizes.append(sum(len(record) for append in group for record in append.records))
        return await commit(group)

    monkeypatch.setattr(store, "commit", watched)
    faulty = FaultyStore(store)
    async with Hub(faulty) as hub:
        inlets = [await hub.create(f"run-{number}") for number in range(40)]
        faulty.hold()
        inlets[0].put(RECORD)
        await faulty.wait_held()
        for _ in range(3):
            for inlet in inlets:
                inlet.put(b'"time":1.0,"type":"log","data":"%b"}' % (b"x" * 150_000))
        faulty.release()
        await soon(asyncio.gather(*(inlet.append() for inlet in inlets)))

        assert sum(sizes) > 18_000_000
        assert max(sizes) <= 4 * 1024 * 1024 + 3 * 151_000
        assert [(await hub.info(inlet.run_id)).head for inlet in inlets] == [4] + [3] * 39
        assert pending(hub) == NOTHING


async def test_at_most_one_wake_up_of_the_loop_is_under_way_however_many_puts_come(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty = FaultyStore(store)
    async with Hub(faulty) as hub:
        inlet = await hub.create("run-1")
        loop, calls = asyncio.get_running_loop(), Counter[str]()
        real = loop.call_soon_threadsafe
        producer: threading.Thread | None = None

        def count(callback: Callable[..., Any], *args: Any, **options: Any) -> asyncio.Handle:
            if threading.current_thread() is producer:
                calls["wake-ups"] += 1
            return real(callback, *args, **options)

        monkeypatch.setattr(loop, "call_soon_threadsafe", count)
        faulty.hold()
        half, go_on = threading.Event(), threading.Event()

        def produce() -> None:
            put(inlet, 500)
            half.set()
            wait_for(go_on)
            put(inlet, 500)

        producer = threading.Thread(target=produce, daemon=True)
        producer.start()
        wait_for(half)  # the loop has not run since: all of the first half waits for one wake-up
        assert calls["wake-ups"] == 1
        await faulty.wait_held()
        go_on.set()
        await eventually(lambda: not producer.is_alive())
        assert calls["wake-ups"] == 2
        faulty.release()
        assert (await soon(inlet.append())).last == 1000


async def test_nothing_is_made_per_event_but_its_one_encoding(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = 0
    real = plain.encode_json

    def encode(value: object) -> bytes:
        nonlocal encoded
        encoded += 1
        return real(value)

    async def function() -> None:
        before, tasks = encoded, len(asyncio.all_tasks())
        for number in range(200):
            hub.writer("run-1").log(f"line {number}")
        assert encoded == before + 200
        assert len(asyncio.all_tasks()) == tasks

    async with open_hub(store) as hub:
        monkeypatch.setattr(model, "encode_json", encode)
        run = await hub.start(function, run_id="run-1")
        watchers = [asyncio.create_task(events_of(hub, "run-1")) for _ in range(3)]
        await soon(run.result())

        assert [len(events) for events in await soon(asyncio.gather(*watchers))] == [202] * 3
        # started, done and the two hundred, for however many watchers
        assert encoded == 202


async def test_appends_keep_their_order_among_puts(store: Store) -> None:
    async with Hub(store) as hub:
        inlet = await hub.create("run-1")
        inlet.put(b'"a":1}')
        first = asyncio.create_task(inlet.append([b'"b":1}', b'"c":1}']))
        await asyncio.sleep(0)
        inlet.put(b'"d":1}')

        assert (await soon(first)).last == 3
        assert (await soon(inlet.append())).last == 4
        page = await hub.read_page("run-1", (await hub.info("run-1")).position._replace(seq=0))
        assert [chr(line[-5]) for line in page.frames.split(b"\n\n")[:-1]] == list("abcd")


# --- bounds ---------------------------------------------------------------------------------------


def narrow(events: int, *, wait_s: float = WAIT_S, **more: Any) -> Settings:
    """Settings under which so many of RECORD may wait."""
    return Settings(pending_bytes_per_run=events * SIZE, emit_wait_s=wait_s, **more)


async def test_a_thread_waits_for_room_and_goes_on(store: Store) -> None:
    faulty = FaultyStore(store)
    async with Hub(faulty, narrow(10)) as hub:
        inlet = await hub.create("run-1")
        faulty.hold()
        worker = Worker(lambda: put(inlet, 25))
        await eventually(lambda: hub.statistics().pipeline.waiting_threads == 1)
        assert inlet.size == 10 * SIZE
        faulty.release()
        await worker.end()

        assert worker.error is None
        assert (await soon(inlet.append())).last == 25
        assert pending(hub) == NOTHING
        assert inlet.size == 0


async def test_the_bound_on_all_runs_makes_a_run_wait_for_another(store: Store) -> None:
    faulty = FaultyStore(store)
    async with Hub(faulty, Settings(pending_bytes=10 * SIZE)) as hub:
        one, other = await hub.create("run-1"), await hub.create("run-2")
        faulty.hold()
        for _ in range(10):
            one.put(RECORD)
        with pytest.raises(Overloaded):
            other.put(RECORD)
        worker = Worker(lambda: other.put(RECORD))
        await eventually(lambda: hub.statistics().pipeline.waiting_threads == 1)
        drained = asyncio.create_task(other.drain())
        await asyncio.sleep(0)
        assert not drained.done()
        faulty.release()
        await worker.end()
        await soon(drained)

        assert worker.error is None
        assert (await soon(other.append())).last == 1
        assert pending(hub) == NOTHING


async def test_a_thread_that_waits_too_long_is_refused(store: Store) -> None:
    faulty = FaultyStore(store)
    async with Hub(faulty, narrow(2, wait_s=0.0)) as hub:
        inlet = await hub.create("run-1")
        faulty.hold()
        worker = Worker(lambda: put(inlet, 3))
        await worker.end()

        assert isinstance(worker.error, Overloaded)
        assert pending(hub)[0] == 2 * SIZE
        faulty.release()
        assert (await soon(inlet.append())).last == 2
        assert pending(hub) == NOTHING


async def test_a_coroutine_is_refused_and_goes_on_after_drain(store: Store) -> None:
    faulty = FaultyStore(store)
    async with Hub(faulty, narrow(3)) as hub:
        inlet = await hub.create("run-1")
        faulty.hold()
        taken = refused = 0
        drained = None
        while taken < 7:
            try:
                inlet.put(RECORD)
                taken += 1
            except Overloaded:
                refused += 1
                drained = asyncio.create_task(inlet.drain())
                await faulty.wait_held()
                assert not drained.done()
                faulty.release(1)
                await soon(drained)
        faulty.release()

        assert refused == 2
        assert (await soon(inlet.append())).last == 7
        assert pending(hub) == NOTHING


async def test_after_drain_the_largest_event_is_taken(store: Store) -> None:
    """Room for one byte is not enough: who tries again at once must not be refused for ever."""
    faulty = FaultyStore(store)
    settings = Settings(max_event_bytes=300, pending_bytes_per_run=1000)
    async with Hub(faulty, settings) as hub:
        inlet = await hub.create("run-1")
        faulty.hold()
        inlet.put(b"x" * 990)
        await faulty.wait_held()
        drained = asyncio.create_task(inlet.drain())
        await asyncio.sleep(0)
        assert not drained.done()
        faulty.release()
        await soon(drained)
        inlet.put(b"x" * 300)
        await soon(inlet.append())


async def test_a_record_larger_than_the_bound_still_passes_alone(store: Store) -> None:
    faulty = FaultyStore(store)
    async with Hub(faulty, Settings(pending_bytes=100, pending_bytes_per_run=50)) as hub:
        inlet = await hub.create("run-1")
        inlet.put(b"x" * 1000)
        with pytest.raises(Overloaded):
            inlet.put(b"y")
        await soon(inlet.drain())
        inlet.put(b"y" * 1000)

        assert (await soon(inlet.append())).last == 2
        assert pending(hub) == NOTHING


async def test_a_thread_that_waits_for_room_is_let_go_when_the_run_ends(store: Store) -> None:
    faulty = FaultyStore(store)
    async with Hub(faulty, narrow(1)) as hub:
        inlet = await hub.create("run-1")
        faulty.hold()
        inlet.put(RECORD)
        closed = asyncio.create_task(inlet.append(close=True))
        worker = Worker(lambda: inlet.put(RECORD))
        await eventually(lambda: hub.statistics().pipeline.waiting_threads == 1)
        faulty.release()
        await soon(closed)
        await worker.end()

        # It may have been let in before the log was closed; then the store refuses the record.
        assert worker.error is None or isinstance(worker.error, RunClosed)
        await eventually(lambda: pending(hub) == NOTHING)
        assert (await hub.info("run-1")).head == 1


async def test_closing_the_hub_lets_threads_go_that_wait_for_room(store: Store) -> None:
    faulty = FaultyStore(store)
    hub = await Hub(faulty, narrow(1)).open()
    inlet = await hub.create("run-1")
    faulty.hold()
    inlet.put(RECORD)
    worker = Worker(lambda: inlet.put(RECORD))
    await eventually(lambda: hub.statistics().pipeline.waiting_threads == 1)
    closing = asyncio.create_task(hub.close())
    await worker.end()
    faulty.release()
    await soon(closing)

    assert isinstance(worker.error, StoreUnavailable)
    assert pending(hub) == NOTHING


async def test_what_a_cancelled_caller_appended_is_committed_and_counted(store: Store) -> None:
    faulty = FaultyStore(store)
    async with Hub(faulty) as hub:
        inlet = await hub.create("run-1")
        faulty.hold()
        appending = asyncio.create_task(inlet.append([RECORD] * 3))
        flushing = asyncio.create_task(inlet.append())
        draining = asyncio.create_task(inlet.drain())
        await faulty.wait_held()
        for task in (appending, flushing, draining):
            task.cancel()
        await asyncio.gather(appending, flushing, draining, return_exceptions=True)
        faulty.release()

        assert (await soon(inlet.append())).last == 3
        assert pending(hub) == NOTHING


async def test_what_the_store_refuses_is_counted_told_and_takes_no_room(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    async with Hub(store) as hub:
        inlet = await hub.create("run-1")
        await hub.inlet("run-1").append(close=True)
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                inlet.put(RECORD)
            with pytest.raises(RunClosed):
                await soon(inlet.append())

        assert "3 events of run run-1 were not taken" in caplog.text
        assert hub.statistics().pipeline.refused == 3
        with pytest.raises(RunClosed):
            inlet.put(RECORD)
        with pytest.raises(RunClosed):
            await inlet.append()
        assert pending(hub) == NOTHING


async def test_who_awaits_an_append_that_is_refused_may_go_on(store: Store) -> None:
    async with Hub(store) as hub:
        inlet = await hub.create("run-1")
        await inlet.append([RECORD], once=Once("answer", "yes"))
        with pytest.raises(Conflict):
            await soon(inlet.append([RECORD], once=Once("answer", "no")))

        inlet.put(RECORD)
        assert (await soon(inlet.append())).last == 2


async def test_each_producer_that_is_told_gets_an_exception_of_its_own(store: Store) -> None:
    async with Hub(store) as hub:
        inlet = await hub.create("run-1")
        await inlet.append(close=True)
        told = []
        for _ in range(2):
            with pytest.raises(RunClosed) as caught:
                inlet.put(RECORD)
            told.append(caught.value)

        assert told[0] is not told[1]


# --- a store that fails ---------------------------------------------------------------------------

DOWN = StoreUnavailable("the disk is on fire")
AT_ONCE = Settings(store_retry_s=0.001)


async def test_a_store_that_is_away_for_a_moment_fails_nobody(store: Store) -> None:
    faulty = FaultyStore(store)
    async with Hub(faulty, AT_ONCE) as hub:
        inlet = await hub.create("run-1")
        faulty.hold()
        inlet.put(RECORD)
        flushed = asyncio.create_task(inlet.append())
        await faulty.wait_held()
        faulty.fail_next(1, DOWN)
        faulty.release(1)
        await faulty.wait_held()  # it is tried again

        inlet.put(RECORD)
        flushed_later = asyncio.create_task(inlet.append())
        worker = Worker(lambda: inlet.put(RECORD))
        await worker.end()
        assert worker.error is None
        assert not flushed.done()
        faulty.release()
        await soon(flushed)
        await soon(flushed_later)
        assert (await soon(inlet.append())).last == 3
        assert pending(hub) == NOTHING


async def test_a_store_that_is_away_for_long_is_told_of_until_it_is_back(store: Store) -> None:
    faulty, clock = FaultyStore(store), FakeClock()
    settings = Settings(store_retry_s=0.001, emit_wait_s=30.0)
    async with Hub(faulty, settings, clock=clock) as hub:
        inlet = await hub.create("run-1")
        faulty.hold()
        inlet.put(RECORD)
        flushed = asyncio.create_task(inlet.append())
        for passed_s in (29.0, 1.0):
            await faulty.wait_held()
            faulty.fail_next(1, DOWN)
            faulty.release(1)
            await faulty.wait_held()
            inlet.put(RECORD)
            clock.advance(passed_s)
        faulty.fail_next(1, DOWN)
        faulty.release(1)
        await faulty.wait_held()

        with pytest.raises(StoreUnavailable, match="on fire"):
            inlet.put(RECORD)
        with pytest.raises(StoreUnavailable, match="on fire"):
            await soon(flushed)
        faulty.release()
        await soon(hub.close())
        assert pending(hub) == NOTHING
    async with Hub(store) as hub:
        assert (await hub.info("run-1")).head == 3


async def test_events_without_room_are_refused_for_the_store_that_fails(store: Store) -> None:
    faulty = FaultyStore(store)
    settings = Settings(store_retry_s=WAIT_S, pending_bytes_per_run=2 * SIZE)
    async with Hub(faulty, settings) as hub:
        inlet = await hub.create("run-1")
        faulty.fail_next(1, DOWN)
        inlet.put(RECORD)
        await eventually(lambda: faulty.calls.commits == 1)
        inlet.put(RECORD)
        with pytest.raises(StoreUnavailable, match="on fire"):
            inlet.put(RECORD)


async def test_while_the_store_fails_producers_are_told_and_afterwards_nothing_is_lost(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    faulty = FaultyStore(store)
    async with Hub(faulty, Settings(store_retry_s=0.001, emit_wait_s=0.0)) as hub:
        inlet = await hub.create("run-1")
        faulty.hold()
        for _ in range(5):
            inlet.put(RECORD)
        flushed = asyncio.create_task(inlet.append())
        await faulty.wait_held()
        faulty.fail_next(1, DOWN)
        with caplog.at_level(logging.WARNING):
            faulty.release(1)
            await faulty.wait_held()  # it is tried again

            with pytest.raises(StoreUnavailable):
                inlet.put(RECORD)
            with pytest.raises(StoreUnavailable):
                await inlet.append()
            with pytest.raises(StoreUnavailable, match="on fire"):
                await hub.check()
            worker = Worker(lambda: inlet.put(RECORD))
            await worker.end()
            assert isinstance(worker.error, StoreUnavailable)
            with pytest.raises(StoreUnavailable, match="on fire"):
                await soon(flushed)
            awaited = asyncio.create_task(inlet.append([RECORD]))  # worth waiting for

            faulty.release()
            assert (await soon(awaited)).last == 6
        await soon(hub.check())
        inlet.put(RECORD)

        assert (await soon(inlet.append())).last == 7
        assert hub.statistics().pipeline.failed_commits == 1
        assert pending(hub) == NOTHING
        assert "will be tried again" in caplog.text
        assert "succeed again" in caplog.text


async def test_a_store_that_fails_often_is_complained_of_once(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    faulty = FaultyStore(store)
    async with Hub(faulty, AT_ONCE) as hub:
        inlet = await hub.create("run-1")
        faulty.fail_next(5, DOWN)
        with caplog.at_level(logging.WARNING):
            inlet.put(RECORD)
            await eventually(lambda: not inlet.size)

        assert hub.statistics().pipeline.failed_commits == 5
        assert len(caplog.records) == 2


async def test_a_live_watcher_is_let_go_when_the_store_fails_and_resumes_without_loss(
    store: Store,
) -> None:
    faulty = FaultyStore(store)
    async with open_hub(faulty, settings=AT_ONCE) as hub:
        inlet = await hub.hub.create("run-1")
        await inlet.append([RECORD])
        seen = []
        is_live = asyncio.Event()

        async def watch() -> None:
            async for event in hub.watch("run-1"):
                seen.append(event.seq)
                is_live.set()

        watching = asyncio.create_task(watch())
        await soon(is_live.wait())
        faulty.fail_next(1, DOWN)
        inlet.put(RECORD)
        with pytest.raises(StoreUnavailable, match="on fire"):
            await soon(watching)
        assert seen == [1]

        await eventually(lambda: not inlet.size)
        await soon(inlet.append([RECORD], close=True))
        epoch = inlet.epoch
        assert [event.seq for event in await events_of(hub, "run-1", f"{epoch}-1")] == [2, 3]


async def test_closing_while_the_store_fails_tries_once_more_and_does_not_hang(
    store: Store,
) -> None:
    faulty = FaultyStore(store)
    hub = await Hub(faulty, Settings(store_retry_s=WAIT_S)).open()
    inlet = await hub.create("run-1")
    faulty.fail_next(2, DOWN)
    inlet.put(RECORD)
    await eventually(lambda: faulty.calls.commits == 1)
    await soon(hub.close())

    assert faulty.calls.commits == 2
    assert hub.statistics().pipeline.refused == 1
    assert pending(hub) == NOTHING


async def test_a_store_that_recovers_while_the_hub_closes_does_not_let_producers_in_again(
    store: Store,
) -> None:
    faulty = FaultyStore(store)
    hub = await Hub(faulty, Settings(store_retry_s=WAIT_S)).open()
    inlet = await hub.create("run-1")
    faulty.fail_next(1, DOWN)
    inlet.put(RECORD)
    await eventually(lambda: faulty.calls.commits == 1)
    behind = asyncio.create_task(inlet.append([RECORD]))
    await asyncio.sleep(0)
    faulty.hold()
    closing = asyncio.create_task(hub.close())
    await faulty.wait_held()
    faulty.release(1)
    await faulty.wait_held()  # the first is committed, the second is not

    with pytest.raises(StoreUnavailable, match="closed"):
        inlet.put(RECORD)
    faulty.release()
    assert (await soon(behind)).last == 2
    await soon(closing)
    assert pending(hub) == NOTHING


async def test_who_awaits_an_append_that_the_closing_hub_could_not_commit_is_told(
    store: Store,
) -> None:
    faulty = FaultyStore(store)
    hub = await Hub(faulty, Settings(store_retry_s=WAIT_S)).open()
    inlet = await hub.create("run-1")
    faulty.fail_next(2, DOWN)
    appending = asyncio.create_task(inlet.append([RECORD]))
    await eventually(lambda: faulty.calls.commits == 1)
    await soon(hub.close())

    with pytest.raises(StoreUnavailable, match="on fire"):
        await soon(appending)
    assert pending(hub) == NOTHING


async def test_closing_the_hub_commits_what_was_put_a_moment_before(store: Store) -> None:
    hub = await Hub(store).open()
    inlet = await hub.create("run-1")
    inlet.put(RECORD)
    await soon(hub.close())

    await store.open()
    assert (await store.info("run-1")).head == 1
    await store.close()
    with pytest.raises(StoreUnavailable, match="hub is closed"):
        inlet.put(RECORD)
    with pytest.raises(StoreUnavailable, match="hub is closed"):
        await inlet.append()
    await soon(inlet.drain())


async def test_a_closed_hub_is_not_taken_for_the_end_of_a_run_nor_hides_it(store: Store) -> None:
    """Who hears that its run has ended takes nothing for lost."""
    hub = await Hub(store).open()
    running, ended = await hub.create("running"), await hub.create("ended")
    await ended.append([RECORD], close=True)
    await soon(hub.close())

    with pytest.raises(StoreUnavailable):
        running.put(RECORD)
    for close in (False, True):
        with pytest.raises(StoreUnavailable):
            await soon(running.append([RECORD], close=close))
    with pytest.raises(StoreUnavailable):
        await hub.cursor("running")
    with pytest.raises(RunClosed):
        ended.put(RECORD)


async def test_a_store_that_can_only_be_read_refuses_at_once_and_leaves_watchers_alone(
    store: Store,
) -> None:
    faulty = FaultyStore(store)
    async with open_hub(faulty, settings=AT_ONCE) as hub:
        inlet = await hub.hub.create("run-1")
        await inlet.append([RECORD])
        stream = hub.watch("run-1")
        assert (await soon(anext(stream))).seq == 1
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        faulty.fail_next(1, StoreReadOnly("read-only"))
        with pytest.raises(StoreReadOnly):
            await soon(inlet.append([RECORD]))
        assert hub.hub.statistics().pipeline.failed_commits == 1

        await soon(inlet.append([RECORD], close=True))
        assert (await soon(waiting)).seq == 2
        assert [event async for event in stream] == []


class BrokenStore(MemoryStore):
    """A store with a fault: one group makes it raise what no store should."""

    async def commit(self, group: Any) -> Any:
        if any(append.log_id == "bad" and not append.close for append in group):
            raise ZeroDivisionError
        return await super().commit(group)


async def test_a_fault_in_a_store_ends_neither_the_commits_of_others_nor_the_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Hub(BrokenStore()) as hub:
        bad, good = await hub.create("bad"), await hub.create("good")
        bad.put(RECORD)
        with pytest.raises(BackendError, match="ZeroDivisionError"):
            await soon(bad.append())
        with pytest.raises(BackendError):
            bad.put(RECORD)
        assert "unexpectedly" in caplog.text
        caplog.clear()

        good.put(RECORD)
        assert (await soon(good.append())).last == 1
        # Its ending is tried all the same.
        assert (await soon(bad.append([RECORD], close=True))).closed
        assert pending(hub) == NOTHING


async def test_what_closes_a_log_is_tried_though_nothing_else_can_be_put(store: Store) -> None:
    async with Hub(store) as hub:
        inlet = await hub.create("run-1")
        await inlet.append([RECORD], close=True, once=Once("end"))

        again = await soon(inlet.append([RECORD], close=True, once=Once("end")))
        assert again.repeated
        with pytest.raises(RunClosed):
            await soon(inlet.append([RECORD], close=True))


async def test_what_comes_behind_the_end_of_a_run_is_refused_before_that_is_committed(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    faulty = FaultyStore(store)
    async with Hub(faulty) as hub:
        inlet = await hub.create("run-1")
        faulty.hold()
        inlet.put(RECORD)
        closing = asyncio.create_task(inlet.append([RECORD], close=True))
        await faulty.wait_held()

        with pytest.raises(RunClosed):
            inlet.put(RECORD)
        with pytest.raises(RunClosed):
            await soon(inlet.append([RECORD]))

        faulty.release()
        assert (await soon(closing)).last == 2
        assert pending(hub) == NOTHING
        assert not caplog.records


async def test_why_events_were_refused_is_told_until_the_run_has_ended() -> None:
    faulty = FaultyStore(BrokenStore())
    async with Hub(faulty) as hub:
        bad = await hub.create("bad")
        bad.put(RECORD)
        with pytest.raises(BackendError, match="ZeroDivisionError"):
            await soon(bad.append())
        faulty.hold()
        closing = asyncio.create_task(bad.append([RECORD], close=True))
        await faulty.wait_held()
        with pytest.raises(BackendError, match="ZeroDivisionError"):
            bad.put(RECORD)

        faulty.release()
        assert (await soon(closing)).closed
        with pytest.raises(RunClosed):
            bad.put(RECORD)


# --- loops ----------------------------------------------------------------------------------------


async def test_a_function_with_a_loop_of_its_own_flushes_and_drains_from_there(
    store: Store,
) -> None:
    async with Hub(store, narrow(2)) as hub:
        inlet = await hub.create("run-1")
        heads: list[int] = []

        async def produce() -> None:
            for _ in range(10):
                inlet.put(RECORD)
                await inlet.drain()
            heads.append((await inlet.append([RECORD])).last)

        worker = Worker(lambda: asyncio.run(produce()))
        await worker.end()

        assert worker.error is None
        assert heads == [11]


def test_a_put_after_the_loop_is_closed_is_refused_each_time() -> None:
    async def leave() -> Inlet:
        hub = await Hub(MemoryStore()).open()
        return await hub.create("run-1")

    inlet = asyncio.run(leave())

    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            inlet.put(RECORD)
    with pytest.raises(StoreUnavailable):
        asyncio.run(inlet.append())


def is_free(lock: Any) -> bool:
    """Tell whether another thread could take a lock."""

    def look() -> None:
        if lock.acquire(blocking=False):
            lock.release()
            found.append(lock)

    found: list[Any] = []
    other = threading.Thread(target=look)
    other.start()
    other.join(WAIT_S)
    return bool(found)


def test_an_interrupt_after_any_call_in_a_put_leaves_the_lock_to_others() -> None:
    waiting = Pending(Settings(), FakeClock())
    inlet = Inlet(waiting, "r", "", None)
    calls_left = 0

    def interrupt(frame: FrameType, event: str, called: object) -> None:
        nonlocal calls_left
        # Where Python looks for signals: a handler that raises does so here.
        if event.endswith("return") and frame.f_code is not put.__code__:
            calls_left -= 1
            if calls_left < 0:
                raise KeyboardInterrupt

    def interrupt_after(calls: int) -> bool:
        nonlocal calls_left
        calls_left = calls
        profiler = sys.getprofile()
        try:
            sys.setprofile(interrupt)
            put(inlet)
        except KeyboardInterrupt:
            return True
        finally:
            sys.setprofile(profiler)
        return False

    for calls in count():
        was_interrupted = interrupt_after(calls)
        assert is_free(waiting.lock), f"after {calls} calls"
        if not was_interrupted:
            break
    assert calls > 1


@pytest.mark.parametrize("settings", [Settings(), Settings(max_events_per_run=1000)])
async def test_a_handler_of_a_signal_may_emit_inside_a_put(settings: Settings) -> None:
    waiting = Pending(settings, FakeClock())
    inlet = Inlet(waiting, "r", "", None)
    calls_left = taken = 0

    def handle(frame: FrameType, event: str, called: object) -> None:
        nonlocal calls_left, taken
        if event.endswith("return") and frame.f_code is not put.__code__:
            calls_left -= 1
            if calls_left == -1:
                inlet.put(RECORD)
                taken += 1

    def emit() -> None:
        nonlocal calls_left, taken
        for calls in count():
            calls_left = calls
            waiting.take()
            sys.setprofile(handle)
            put(inlet)
            sys.setprofile(None)
            taken += 1
            if calls_left >= 0:
                break

    worker = Worker(emit)
    await worker.end()

    assert worker.error is None
    assert taken > 4
    assert inlet.size == waiting.size == taken * SIZE


def test_ending_the_loop_without_closing_the_hub_does_not_hang() -> None:
    faulty = FaultyStore(MemoryStore())

    async def leave() -> tuple[Inlet, "asyncio.Task[object]"]:
        hub = await Hub(faulty).open()
        inlet = await hub.create("run-1")
        faulty.hold()
        inlet.put(RECORD)
        await faulty.wait_held()

        async def insist() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                with pytest.raises(StoreUnavailable):
                    await inlet.append([RECORD])

        task: asyncio.Task[object] = asyncio.create_task(insist())
        flushing = asyncio.create_task(inlet.append())
        await asyncio.sleep(0)
        del flushing
        return inlet, task

    inlet, task = asyncio.run(leave())

    assert task.cancelled()
    with pytest.raises(StoreUnavailable):
        inlet.put(RECORD)


async def test_records_put_before_the_hub_is_open_are_committed_once_it_is(store: Store) -> None:
    hub = Hub(store)
    await store.open()
    await store.create("run-1")
    inlet = hub.inlet("run-1")
    inlet.put(RECORD)
    async with hub:
        assert (await soon(inlet.append())).last == 1
        inlet.put(RECORD)
        assert (await soon(inlet.append())).last == 2
