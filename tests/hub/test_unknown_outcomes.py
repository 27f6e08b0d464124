"""A store that fails may have made the commit or not: no event is lost or doubled for that."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import runcast
from runcast._app import open_hub
from runcast._hub import numbering
from runcast._hub.hub import Hub
from runcast._hub.inlets import Inlet  # noqa: TC001
from runcast._settings import Settings
from runcast.errors import (
    BackendError,
    OutOfSequence,
    RuncastError,
    RunFailed,
    StoreReadOnly,
    StoreUnavailable,
)
from runcast.events.position import Position
from runcast.stores import producers
from runcast.stores.base import Append, Appended, Once, Store
from runcast.stores.memory import MemoryStore
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing import FakeClock, FaultyStore
from runcast.testing.contract.harness import read_all
from tests.opening import events_of, eventually, soon

SETTINGS: Final = Settings(store_retry_s=0.01)
LOGS: Final = ("a", "b")

Make = Callable[[Path], list[Store]]


def memory(path: Path) -> list[Store]:
    return [MemoryStore(FakeClock())]


def sqlite(path: Path) -> list[Store]:
    return [SQLiteStore(f"{path}.db", FakeClock())]


def two_sqlite(path: Path) -> list[Store]:
    clock = FakeClock()
    return [SQLiteStore(f"{path}.db", clock, poll_s=0.001) for _ in range(2)]


def record(number: int) -> bytes:
    return b'"time":1.0,"type":"log","data":%d}' % number


async def numbers_in(store: Store, log_id: str) -> list[int]:
    """Return the data of a log's events."""
    info = await store.info(log_id)
    frames = await read_all(store, log_id, Position(info.epoch, 0))
    return [int(frame.rpartition(b'"data":')[2][:-3]) for frame in frames]


class Script:
    """What is done to a few logs by one hub or two, and what must come of it."""

    def __init__(self, stores: list[Store]) -> None:
        self.faulty = [FaultyStore(store) for store in stores]
        self.hubs = [Hub(store, SETTINGS) for store in self.faulty]
        self.numbers = itertools.count(1)
        self.inlets: dict[tuple[int, str], Inlet] = {}
        self.put: dict[tuple[int, str], list[int]] = {}
        """What was accepted, by each inlet in its order."""
        self.appends: list[tuple[str, int, asyncio.Task[Appended]]] = []
        self.seen: dict[tuple[int, str], list[int]] = {}

    async def open(self) -> None:
        for hub in self.hubs:
            await hub.open()
        for log_id in LOGS:
            for place, hub in enumerate(self.hubs):
                inlet = hub.inlet(log_id) if place else await hub.create(log_id)
                self.inlets[place, log_id] = inlet
                self.put[place, log_id] = []

    def do(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("put", place, log_id, count):
                place %= len(self.hubs)
                for _ in range(count):
                    number = next(self.numbers)
                    try:
                        self.inlets[place, log_id].put(record(number))
                    except StoreUnavailable:
                        continue  # said at once: it is not in the log, and must not be
                    self.put[place, log_id].append(number)
            case ("append", place, log_id, is_new, is_keyed):
                hub, number = self.hubs[place % len(self.hubs)], next(self.numbers)
                inlet = hub.inlet(log_id) if is_new else self.inlets[place % len(self.hubs), log_id]
                once = Once(f"key-{number}") if is_keyed else None
                task = asyncio.create_task(inlet.append([record(number)], once=once))
                self.appends.append((log_id, number, task))
            case ("fail", place, count, is_applied):
                error = StoreUnavailable("it does not answer")
                self.faulty[place % len(self.faulty)].fail_next(count, error, is_applied=is_applied)

    async def watch(self, place: int, log_id: str) -> None:
        """Follow a log to its end, coming back whenever the stream ends before."""
        seen = self.seen[place, log_id] = []
        after: Position | None = None
        while True:
            try:
                with await self.hubs[place].watch(log_id, after) as watch:
                    async for chunk in watch:
                        seen += [event.data for event in chunk.events() if event.type == "log"]
                        after = chunk.position
                return
            except BackendError:
                await asyncio.sleep(0)

    async def end(self) -> None:
        """Wait for all that is under way, then end the logs; the store may fail at that, too."""
        for _, _, task in self.appends:
            await task
        ending = b'"time":1.0,"type":"done","data":-1}'
        for log_id in LOGS:
            for place in range(len(self.hubs)):  # what the others have put comes before the end
                await self.inlets[place, log_id].append([record(0)])
            inlet = self.inlets[0, log_id]
            done = await inlet.append([ending], close=True, once=Once("terminal"))
            assert done.closed

    async def check(self) -> None:
        for log_id in LOGS:
            store = self.faulty[0].inner
            found = (await numbers_in(store, log_id))[:-1]
            put = [n for (_, each), taken in self.put.items() if each == log_id for n in taken]
            appended = [number for each, number, _ in self.appends if each == log_id]
            expected = Counter(put + appended + [0] * len(self.hubs))
            assert Counter(found) == expected
            for place in range(len(self.hubs)):
                mine = self.put[place, log_id]
                assert [number for number in found if number in set(mine)] == mine
                assert self.seen[place, log_id] == found
            for each, number, task in self.appends:
                if each == log_id:
                    done = task.result()
                    assert done.last == done.first
                    assert found[done.first - 1] == number

    async def run(self, steps: list[tuple[Any, ...]]) -> None:
        await self.open()
        watching = [
            asyncio.create_task(self.watch(place, log_id))
            for place in range(len(self.hubs))
            for log_id in LOGS
        ]
        try:
            for step in steps:
                if step[0] == "turn":
                    for _ in range(step[1]):
                        await asyncio.sleep(0)
                else:
                    self.do(step)
            await soon(self.end())
            await soon(asyncio.gather(*watching))
            await self.check()
        finally:
            for task in watching:
                task.cancel()
            for hub in self.hubs:
                await hub.close()


PLACES = st.integers(0, 1)
LOG_IDS = st.sampled_from(LOGS)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), PLACES, LOG_IDS, st.integers(1, 3)),
        st.tuples(st.just("append"), PLACES, LOG_IDS, st.booleans(), st.booleans()),
        st.tuples(st.just("fail"), PLACES, st.integers(1, 2), st.booleans()),
        st.tuples(st.just("turn"), st.sampled_from([1, 3, 20])),
    ),
    max_size=30,
)


@pytest.mark.parametrize("make", [memory, sqlite, two_sqlite])
def test_no_event_is_lost_or_doubled_whatever_the_store_does(make: Make, tmp_path: Path) -> None:
    paths = (tmp_path / str(number) for number in itertools.count())

    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(STEPS)
    def check(steps: list[tuple[Any, ...]]) -> None:
        asyncio.run(Script(make(next(paths))).run(steps))

    check()


@pytest.mark.parametrize("make", [memory, sqlite])
def test_many_appends_of_one_inlet_are_sent_in_parts(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (numbering, producers):
        monkeypatch.setattr(module, "MAX_APPENDS_TOGETHER", 2)
    script = Script(make(tmp_path / "x"))
    steps: list[tuple[Any, ...]] = [("turn", 1)]
    for is_applied in (False, True):
        steps += [("append", 0, "a", False, False), ("put", 0, "b", 2), ("put", 0, "a", 2)] * 5
        steps += [("fail", 0, 1, is_applied), ("turn", 20)]

    asyncio.run(script.run(steps))


@pytest.mark.anyio
@pytest.mark.parametrize("is_applied", [False, True])
async def test_a_run_whose_end_meets_a_failure_ends_as_it_did(
    store: Store, is_applied: bool, caplog: pytest.LogCaptureFixture
) -> None:
    faulty = FaultyStore(store)

    async def work() -> int:
        runcast.log("at work")
        faulty.fail_next(2, StoreUnavailable("it does not answer"), is_applied=is_applied)
        return 7

    async with open_hub(faulty, settings=SETTINGS) as hub:
        run = await hub.start(work)
        assert await soon(run.result()) == 7
        events = await events_of(hub, run.run_id)

        assert [event.type for event in events] == ["started", "log", "done"]
        assert "another ending" not in caplog.text


@pytest.mark.anyio
async def test_who_appends_to_any_epoch_goes_on_when_the_log_begins_again(store: Store) -> None:
    async with Hub(store, SETTINGS) as hub:
        await hub.create("a")
        inlet = hub.inlet("a")
        for number in range(3):
            await inlet.append([record(number)])
        await hub.create("a", replace=True)
        for number in range(3, 6):
            inlet.put(record(number))
            await inlet.append([record(10 * number)])

        assert await numbers_in(store, "a") == [3, 30, 4, 40, 5, 50]


@pytest.mark.anyio
async def test_who_has_not_appended_for_long_can(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has forgotten it, since many others appended meanwhile."""
    monkeypatch.setattr(producers, "MAX_PRODUCERS", 2)
    async with Hub(store, SETTINGS) as hub:
        mine = await hub.create("a")
        for turn in range(1, 5):
            assert (await mine.append([record(turn)] * 2)).last == 5 * turn - 3
            for _ in range(3):
                await hub.inlet("a").append([record(0)])


@pytest.mark.anyio
@pytest.mark.parametrize("is_applied", [False, True])
async def test_an_inlet_goes_on_after_an_outcome_that_stayed_unknown(
    store: Store, is_applied: bool
) -> None:
    faulty = FaultyStore(store)
    async with Hub(faulty, SETTINGS) as hub:
        inlet = await hub.create("a")
        await inlet.append([record(1)])
        error = BackendError("it will never say")
        faulty.fail_next(1, error, is_applied=is_applied)
        with pytest.raises(BackendError, match="never say"):
            await inlet.append([record(2)])
        for number in (3, 4):
            assert not (await inlet.append([record(number)])).repeated

        expected = [1, 2, 3, 4] if is_applied else [1, 3, 4]
        assert await numbers_in(store, "a") == expected


@pytest.mark.anyio
async def test_a_commit_that_was_made_unheard_reaches_those_who_watch(store: Store) -> None:
    faulty = FaultyStore(store)
    async with Hub(faulty, SETTINGS) as hub:
        inlet = await hub.create("a")
        await inlet.append([record(1)])
        faulty.fail_next(1, StoreUnavailable("it does not answer"), is_applied=True)
        assert (await soon(inlet.append([record(2)]))).first == 2
        with await hub.watch("a") as watch:
            chunk = await soon(anext(watch))
        assert [event.data for event in chunk.events()] == [1, 2]


@pytest.mark.anyio
async def test_the_rest_of_a_group_is_let_go_when_the_pipeline_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(numbering, "MAX_APPENDS_TOGETHER", 1)
    faulty = FaultyStore(MemoryStore(FakeClock()))
    async with Hub(faulty, SETTINGS) as hub:
        inlet = await hub.create("a")
        faulty.hold()
        appends = [asyncio.create_task(inlet.append([record(n)])) for n in range(3)]
        await faulty.wait_held()
        assert hub._pipeline._task is not None
        hub._pipeline._task.cancel()
        for append in appends:
            with pytest.raises(StoreUnavailable):
                await soon(append)
        faulty.release()
        hub._pipeline._task = None


# --- lost events ----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_nothing_is_stored_behind_events_that_a_closing_hub_lost(store: Store) -> None:
    faulty = FaultyStore(store)
    hub = await Hub(faulty, SETTINGS).open()
    inlet, other = await hub.create("a"), await hub.create("b")
    faulty.hold()
    inlet.put(record(1))
    await faulty.wait_held()
    inlet.put(record(2))
    flush = asyncio.create_task(inlet.append())
    append = asyncio.create_task(inlet.append([record(3)]))
    await asyncio.sleep(0)
    inlet.put(record(4))
    other.put(record(5))
    close = asyncio.create_task(hub.close())
    await asyncio.sleep(0)
    faulty.fail_next(1, StoreUnavailable("it does not answer"))
    faulty.release()
    await soon(close)

    with pytest.raises(StoreUnavailable, match="does not answer"):
        await soon(flush)
    for awaited in (append, inlet.append(close=True)):
        with pytest.raises(StoreUnavailable, match=r"may be lost.*does not answer"):
            await soon(awaited)
    with pytest.raises(StoreUnavailable, match=r"may be lost.*does not answer"):
        inlet.put(record(6))
    assert hub.statistics().pipeline.refused == 3
    assert hub.statistics().pipeline.pending_bytes == 0
    await store.open()
    assert await numbers_in(store, "a") == []
    assert await numbers_in(store, "b") == [5]
    await store.close()


@pytest.mark.anyio
@pytest.mark.parametrize("is_heard", [False, True])
async def test_a_run_whose_events_were_lost_does_not_end_as_done(
    store: Store, is_heard: bool
) -> None:
    """Whether its function returns before or after the store refuses them."""
    faulty = FaultyStore(store)
    async with open_hub(faulty, settings=SETTINGS) as hub:

        async def work() -> int:
            await cast("Any", runcast.flush())
            faulty.hold()
            faulty.fail_next(1, StoreReadOnly("it can only be read"))
            runcast.log("lost")
            await faulty.wait_held()
            if is_heard:
                faulty.release()
                await eventually(lambda: hub.hub.statistics().pipeline.refused == 1)
            return 7

        run = await hub.start(work)
        if not is_heard:
            await faulty.wait_held()
            await eventually(lambda: hub.hub.statistics().pipeline.pending_appends == 1)
            faulty.release()
        with pytest.raises(RunFailed, match=r"may be lost.*only be read"):
            await soon(run.result())
        events = await events_of(hub, run.run_id)

        assert [event.type for event in events] == ["started", "failed"]
        assert events[-1].data["code"] == "store_read_only"


class _ForgottenStore(MemoryStore):
    """Never knows the numbers of records that say so."""

    async def commit(self, group: Sequence[Append]) -> list[Appended | RuncastError]:
        found = await super().commit([each for each in group if not self._is_bad(each)])
        outcomes = iter(found)
        refusal = OutOfSequence("its number was not expected", None)
        return [refusal if self._is_bad(each) else next(outcomes) for each in group]

    def _is_bad(self, append: Append) -> bool:
        return record(666) in append.records


@pytest.mark.anyio
async def test_a_flush_confirms_no_events_that_were_refused_in_its_own_commit() -> None:
    async with Hub(_ForgottenStore(), SETTINGS) as hub:
        inlet = await hub.create("a")
        inlet.put(record(666))
        with pytest.raises(OutOfSequence):
            await soon(inlet.append())


@pytest.mark.anyio
async def test_a_store_that_refuses_after_a_failure_is_no_longer_taken_for_a_failing_one(
    store: Store,
) -> None:
    faulty = FaultyStore(store)
    async with Hub(faulty, SETTINGS) as hub:
        inlet, other = await hub.create("a"), await hub.create("b")
        faulty.fail_next(1, StoreUnavailable("it does not answer"))
        faulty.fail_next(1, StoreReadOnly("it can only be read"))
        inlet.put(record(1))
        await eventually(lambda: hub.statistics().pipeline.refused == 1)

        other.put(record(2))
        await soon(other.append())
        assert await numbers_in(store, "b") == [2]
