"""Writing from anywhere inside a run: who is heard, in whose run, and in what order."""

import asyncio
import contextvars
import functools
import logging
import math
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

import runcast
from runcast._app import OpenHub
from runcast.errors import EventTooLarge, InvalidValue, RunClosed
from runcast.events.model import Event
from runcast.stores.base import Store
from runcast.testing import FakeClock
from tests.opening import WAIT_S, events_of, meet, soon

Emitting = Callable[[], Any]


@asynccontextmanager
async def opened(store: Store | str = "memory://") -> AsyncIterator[OpenHub]:
    async with runcast.open_hub(store) as hub:
        yield hub


async def told(hub: OpenHub, function: Callable[..., Any], **inputs: Any) -> list[Event]:
    """Run a function and return its events between start and end."""
    run = await hub.start(function, inputs)
    events = await events_of(hub, run.run_id)
    assert events[-1].type == "done", events[-1]
    return events[1:-1]


def texts(events: list[Event]) -> list[str]:
    return [event.data["text"] for event in events if event.type == "content"]


# --- how far it is --------------------------------------------------------------------------------


async def test_what_is_iterated_over_is_told_ten_times_a_second_and_at_the_end(
    clock: FakeClock,
) -> None:
    def counts() -> None:
        for _ in runcast.track(range(9), message="counting"):
            clock.advance(0.0625)

    async with runcast.open_hub(clock=clock) as hub:
        told_of = [event.data for event in await told(hub, counts)]

    assert [data["current"] for data in told_of] == [0, 2, 4, 6, 8, 9]
    assert told_of[-1] == {"current": 9, "total": 9, "percent": 100, "message": "counting"}


async def test_what_has_no_length_is_counted_and_its_end_told_once(clock: FakeClock) -> None:
    async def items() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    async def counts() -> list[list[int]]:
        return [
            [item async for item in runcast.track(items())],
            list(runcast.track(iter([]), total=0)),
            list(runcast.track(iter("ab"), total=4)),  # type: ignore[arg-type]
        ]

    async with runcast.open_hub(clock=clock) as hub:
        told_of = [event.data for event in await told(hub, counts)]

    assert told_of == [
        {"current": 0},
        {"current": 3},
        {"current": 0, "total": 0},
        {"current": 0, "total": 4, "percent": 0},
        {"current": 2, "total": 4, "percent": 50},
    ]


# --- from any depth -------------------------------------------------------------------------------


async def test_nested_coroutines_tasks_and_callbacks_write_to_their_run(store: Store) -> None:
    async def deep(depth: int) -> None:
        runcast.content(f"depth {depth}")
        if depth:
            await deep(depth - 1)

    async def nests() -> None:
        await deep(3)
        async with asyncio.TaskGroup() as group:
            group.create_task(deep(0), name="in a task")
        called = asyncio.Event()

        def call_back() -> None:
            runcast.content("called back")
            called.set()

        asyncio.get_running_loop().call_soon(call_back)
        await called.wait()

    async with opened(store) as hub:
        found = texts(await told(hub, nests))

    assert found == ["depth 3", "depth 2", "depth 1", "depth 0", "depth 0", "called back"]


async def test_to_thread_inherits_the_run(store: Store) -> None:
    async def works() -> None:
        await asyncio.to_thread(runcast.content, "from a thread")
        await asyncio.to_thread(asyncio.run, from_a_loop_of_its_own())

    async def from_a_loop_of_its_own() -> None:
        runcast.content("from a loop of its own")
        assert await runcast.flush() is not None

    async with opened(store) as hub:
        assert texts(await told(hub, works)) == ["from a thread", "from a loop of its own"]


async def test_executors_and_raw_threads_write_to_the_run_they_are_bound_to(store: Store) -> None:
    async def works() -> None:
        loop = asyncio.get_running_loop()
        pool = ThreadPoolExecutor(1)
        await loop.run_in_executor(pool, runcast.content, "nobody hears this")
        await loop.run_in_executor(pool, runcast.bind(runcast.content), "from a pool")
        await loop.run_in_executor(pool, runcast.content, "nor this, afterwards")
        await asyncio.to_thread(pool.shutdown)
        await asyncio.to_thread(raw)

    def raw() -> None:
        bound = runcast.bind(functools.partial(runcast.content, "from a raw thread"))
        thread = threading.Thread(target=bound)
        thread.start()
        thread.join(WAIT_S)

    async with opened(store) as hub:
        assert texts(await told(hub, works)) == ["from a pool", "from a raw thread"]


async def test_a_question_says_where_it_is_asked_and_by_whom() -> None:
    async def works() -> None:
        await runcast.ask("Search?", timeout_s=0, node="research", agent="scout")

    async with opened() as hub:
        asked, *_ = await told(hub, works)

    assert (asked.type, asked.node, asked.agent) == ("interrupt_request", "research", "scout")


async def test_a_handler_of_logging_may_give_its_levels_as_they_are() -> None:
    class Telling(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            runcast.log(record.getMessage(), record.levelname.lower(), logger=record.name)

    library = logging.Logger("library")
    library.addHandler(Telling())
    levels = ["debug", "info", "warning", "error", "critical"]

    async def works() -> None:
        for level in levels:
            getattr(library, level)("%s words", level)

    async with opened() as hub:
        assert [event.data for event in await told(hub, works)] == [
            {"level": level, "message": f"{level} words", "logger": "library"} for level in levels
        ]


def test_what_cannot_be_bound_is_refused_and_not_left_unheard() -> None:
    def items() -> Iterator[int]:
        yield 1

    async def items_of_a_loop() -> AsyncIterator[int]:
        yield 1

    for function in (items, functools.partial(items), items_of_a_loop):
        with pytest.raises(InvalidValue, match="bind what iterates over it"):
            runcast.bind(function)
    with pytest.raises(InvalidValue, match="expected a callable, got 3"):
        runcast.bind(3)  # type: ignore[arg-type]


async def test_what_a_library_calls_back_writes_to_the_run_it_was_bound_in() -> None:
    class Library:
        """Calls back in a thread that it began before there was any run."""

        def __init__(self) -> None:
            self._asked: list[Callable[[], None]] = []
            self._wake = threading.Semaphore(0)
            self._thread = threading.Thread(target=self._live)
            self._thread.start()

        def on_progress(self, callback: Callable[[], None]) -> None:
            self._asked.append(callback)
            self._wake.release()

        def _live(self) -> None:
            while self._wake.acquire(timeout=WAIT_S):
                if not self._asked:
                    return
                self._asked.pop(0)()

        def close(self) -> None:
            self._wake.release()
            self._thread.join(WAIT_S)

    library = Library()

    def uses(name: str) -> None:
        called = threading.Event()

        def report() -> None:
            runcast.content(name)
            called.set()

        library.on_progress(runcast.bind(report))
        assert called.wait(WAIT_S)

    async with opened() as hub:
        found = await asyncio.gather(*(told(hub, uses, name=name) for name in "abc"))
    library.close()

    assert [texts(events) for events in found] == [["a"], ["b"], ["c"]]


async def test_a_bound_coroutine_function_and_a_given_writer() -> None:
    async with opened() as hub:
        await hub.hub.create("r")
        writer = hub.writer("r")

        async def report(word: str) -> str:
            runcast.content(word)
            return word

        bound = runcast.bind(report, writer)
        assert await bound("bound") == "bound"
        with runcast.using(writer):
            await report("used")
            with runcast.using(None):
                await report("unheard")
        await report("unheard")
        await writer.flush()
        page = await hub.hub.read_page("r", (await hub.hub.info("r")).position._replace(seq=0))

    assert page.last == 2
    assert bound.__name__ == "report"


async def test_a_run_inside_a_run_writes_to_its_own_log_and_then_the_outer_one_goes_on() -> None:
    async with opened() as hub:

        async def inner() -> None:
            runcast.content("inner")

        async def outer() -> str:
            runcast.content("before")
            run = await hub.start(inner)
            await run.wait()
            runcast.content("after")
            return run.run_id

        run = await hub.start(outer)
        inner_id = await soon(run.result())
        outside = texts(await events_of(hub, run.run_id))
        inside = texts(await events_of(hub, inner_id))

    assert (outside, inside) == (["before", "after"], ["inner"])


async def test_what_runs_on_after_the_end_is_told_that_its_run_is_closed() -> None:
    ended, outcome = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def lingers() -> None:
        await ended.wait()
        try:
            runcast.emit("late")
        except RunClosed as error:
            outcome.set_result(error)

    tasks = []

    async def leaves() -> None:
        tasks.append(asyncio.create_task(lingers()))

    async with opened() as hub:
        assert await told(hub, leaves) == []
        ended.set()
        assert isinstance(await soon(outcome), RunClosed)


# --- outside a run --------------------------------------------------------------------------------


async def test_outside_a_run_everything_but_asking_does_nothing() -> None:
    runcast.emit("not a type", object())
    runcast.progress(1, 2, "m", percent=3, node="n", more=4)
    runcast.log("words", "no level")
    runcast.content("words", message_id="m")
    assert list(runcast.track([1, 2])) == [1, 2]
    assert await runcast.flush() is None
    await runcast.drain()
    assert runcast.current_writer() is None
    assert runcast.bind(lambda: runcast.current_writer())() is None

    async def items() -> AsyncIterator[int]:
        yield 1

    assert [item async for item in runcast.track(items())] == [1]
    with pytest.raises(InvalidValue, match="inside a run"):
        runcast.ask("anybody?")


# --- two at once ----------------------------------------------------------------------------------

_RUNS: Final = 100
_THREADS: Final = 50
_COROUTINES: Final = 200
_EACH: Final = 10
"""Events of one producer in one run."""


async def test_many_producers_never_mix_the_runs_they_write_to_and_keep_their_order() -> None:
    """50 threads and 200 coroutines at once, each writing to several of 100 runs in turn."""
    async with opened() as hub:
        runs = [f"r{number}" for number in range(_RUNS)]
        for run_id in runs:
            await hub.hub.create(run_id)
        writers = [hub.writer(run_id) for run_id in runs]
        threads_here = threading.Barrier(_THREADS + 1)
        coroutines_here, expected = asyncio.Barrier(_COROUTINES), defaultdict(list)

        def targets(producer: int) -> list[int]:
            return [(producer * 7 + step * 13) % _RUNS for step in range(4)]

        def say(producer: str, run: int, number: int) -> None:
            # Whoever is current decides, not the caller: this is what could mix.
            runcast.emit("said", {"by": producer, "for": f"r{run}", "n": number})

        def in_thread(producer: int) -> None:
            meet(threads_here)
            for number in range(_EACH):
                for run in targets(producer):
                    with runcast.using(writers[run]):
                        say(f"t{producer}", run, number)

        async def in_coroutine(producer: int) -> None:
            await coroutines_here.wait()
            for number in range(_EACH):
                for run in targets(producer):
                    with runcast.using(writers[run]):
                        await asyncio.sleep(0)  # all others run while this writer is current
                        say(f"c{producer}", run, number)

        for kind, count in (("t", _THREADS), ("c", _COROUTINES)):
            for producer in range(count):
                for run in targets(producer):
                    expected[f"r{run}", f"{kind}{producer}"] = list(range(_EACH))
        pool = [threading.Thread(target=in_thread, args=(n,)) for n in range(_THREADS)]
        for thread in pool:
            thread.start()
        async with asyncio.timeout(4 * WAIT_S), asyncio.TaskGroup() as group:
            for producer in range(_COROUTINES):
                group.create_task(in_coroutine(producer))
            meet(threads_here)  # all threads begin now, while the coroutines are at it
        for thread in pool:
            await asyncio.to_thread(thread.join, WAIT_S)
            assert not thread.is_alive()

        found: dict[tuple[str, str], list[int]] = defaultdict(list)
        for run_id, writer in zip(runs, writers, strict=True):
            head = (await writer.flush()).seq
            events = hub.watch(run_id)
            for _ in range(head):
                event = await anext(events)
                assert event.data["for"] == run_id
                found[run_id, event.data["by"]].append(event.data["n"])
            await events.aclose()  # type: ignore[attr-defined]

    assert found == expected


async def test_two_users_of_one_function_at_once_see_only_their_own(store: Store) -> None:
    together = threading.Barrier(8)

    def counts(name: str) -> Iterator[str]:
        for number in range(20):
            if number % 5 == 0:
                meet(together)  # all eight are at the same place
            helper(name, number)
            yield f"{name} {number}"

    def helper(name: str, number: int) -> None:
        runcast.progress(number, 20, name)

    async with opened(store) as hub:
        found = await asyncio.gather(*(told(hub, counts, name=f"user-{n}") for n in range(8)))

    for user, events in enumerate(found):
        name = f"user-{user}"
        assert texts(events) == [f"{name} {number}" for number in range(20)]
        assert {e.data["message"] for e in events if e.type == "progress"} == {name}


async def test_context_variables_of_one_run_are_not_those_of_another() -> None:
    shared: contextvars.ContextVar[str] = contextvars.ContextVar("shared", default="unset")
    together = asyncio.Barrier(2)

    async def sets(name: str) -> str:
        before = shared.get()
        shared.set(name)
        await together.wait()
        return f"{before} {shared.get()}"

    async with opened() as hub:
        runs = [await hub.start(sets, {"name": name}) for name in "ab"]
        assert [await soon(run.result()) for run in runs] == ["unset a", "unset b"]
    assert shared.get() == "unset"


# --- what cannot be stored ------------------------------------------------------------------------


@dataclass
class Point:
    x: int
    y: float


async def stored(data: object) -> object:
    """Emit something in a run and return what its watchers get."""

    async def emits() -> None:
        runcast.emit("data", data)

    async with opened() as hub:
        (event,) = await told(hub, emits)
    found: object = event.data
    return found


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (math.nan, None),
        ({"a": [math.inf, -math.inf]}, {"a": [None, None]}),
        ("lone \ud800", "lone \ufffd"),
        ("\n\nid: 9\ndata: {}\0\u2028", "\n\nid: 9\ndata: {}\0\u2028"),
        (2**63, 2**63),
        ({1: "a", "b": {3}}, {"1": "a", "b": [3]}),
        (Point(1, 2.0), {"x": 1, "y": 2.0}),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (Path("a/b"), "a/b"),
    ],
)
async def test_what_json_can_hold_arrives_as_it_was_meant(data: object, expected: object) -> None:
    assert await stored(data) == expected


def _cycle() -> object:
    ring: list[object] = []
    ring.append({"again": ring})
    return ring


def _deep() -> object:
    nested: list[object] = []
    for _ in range(1000):
        nested = [nested]
    return nested


@pytest.mark.parametrize(
    ("kind", "data", "error", "words"),
    [
        ("data", _cycle(), InvalidValue, "a cycle at data"),
        ("data", _deep(), InvalidValue, "at most 100 deep"),
        ("data", {"a": {"b": object()}}, InvalidValue, r"data\['a'\]\['b'\], got object"),
        ("data", {"f": len}, InvalidValue, "builtin_function"),
        ("data", {(1, 2): 3}, InvalidValue, "keys of data"),
        ("data", "x" * (1 << 20), EventTooLarge, "write large output to a file"),
        ("Data", None, InvalidValue, "event type"),
        ("data\n\nid: 9", None, InvalidValue, "event type"),
        (7, None, InvalidValue, "event type"),
        ("done", {}, InvalidValue, "return from the function"),
        ("gap", {}, InvalidValue, "runcast itself"),
    ],
)
async def test_what_cannot_be_stored_is_told_at_the_call_and_the_run_goes_on(
    kind: Any, data: object, error: type[Exception], words: str
) -> None:
    async def emits() -> None:
        with pytest.raises(error, match=words):
            runcast.emit(kind, data)
        await asyncio.to_thread(emits_in_thread)
        runcast.content("goes on")

    def emits_in_thread() -> None:
        with pytest.raises(error):
            runcast.emit(kind, data)

    async with opened() as hub:
        assert texts(await told(hub, emits)) == ["goes on"]


def by_the_module(*args: Any, **keywords: Any) -> None:
    runcast.emit(*args, **keywords)


def by_the_writer(*args: Any, **keywords: Any) -> None:
    writer = runcast.current_writer()
    assert writer is not None
    writer.emit(*args, **keywords)


@pytest.mark.parametrize("emit", [by_the_module, by_the_writer])
async def test_keywords_that_are_no_place_are_refused_with_the_call_that_is_right(
    emit: Callable[..., None],
) -> None:
    def function() -> list[str]:
        refused = []
        for keywords in (
            {"current": 1, "total": 3},
            {"agnet": "ada"},
            {"node": "n", "x": 7},
        ):
            with pytest.raises(InvalidValue) as error:
                emit("progress", **keywords)
            refused.append(error.value.message)
        emit("progress", {"current": 1}, node="n", agent="a", path=["p"], duration=1.5)
        emit("progress", {"current": 2}, node="", agent="", path=(), duration=None)
        return refused

    async with opened() as hub:
        run = await hub.start(function)
        one, two, end = (await events_of(hub, run.run_id))[1:]

    first, misspelt, another = end.data["result"]
    assert 'emit("progress", {"current": 1, "total": 3})' in first
    assert "agent= is a keyword" in misspelt
    assert "agent= is a keyword" not in first
    assert 'emit("progress", {"x": 7})' in another
    assert (one.node, one.agent, one.path, one.duration) == ("n", "a", ("p",), 1.5)
    assert (two.data, two.node, two.agent, two.path, two.duration) == (
        {"current": 2},
        "",
        "",
        (),
        None,
    )


async def test_outside_a_run_keywords_that_are_no_place_are_refused_all_the_same() -> None:
    with pytest.raises(InvalidValue, match="current= as keywords"):
        by_the_module("progress", current=1)


async def test_a_place_that_is_no_place_is_told_at_the_call() -> None:
    async def emits() -> None:
        places: list[dict[str, Any]] = [
            {"node": "n" * 201},
            {"agent": 7},
            {"path": ["p"] * 33},
            {"duration": math.nan},
        ]
        for place in places:
            with pytest.raises(InvalidValue):
                runcast.emit("data", **place)

    async with opened() as hub:
        assert await told(hub, emits) == []


async def test_what_was_emitted_is_what_it_was_at_the_call() -> None:
    async def changes() -> None:
        data = {"n": 1}
        runcast.emit("data", data)
        data["n"] = 2
        await runcast.flush()

    async with opened() as hub:
        assert [event.data for event in await told(hub, changes)] == [{"n": 1}]
