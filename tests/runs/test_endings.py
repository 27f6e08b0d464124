"""However a function ends, its run ends once: one terminal event, last in a log that is closed."""

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import pytest

import runcast
from runcast._app import OpenHub, open_hub
from runcast._producing.writer import RESERVED
from runcast._settings import Settings
from runcast.errors import (
    Cancelled,
    InvalidValue,
    NotFound,
    RunClosed,
    RunFailed,
    StoreUnavailable,
)
from runcast.events.model import Event
from runcast.events.outcome import Outcome
from runcast.events.vocabulary import TERMINAL
from runcast.stores.base import Store
from runcast.testing import FaultyStore
from tests.opening import events_of, eventually, soon

MEMORY = "memory://"
"""For tests of what no store has a part in."""

QUICK = Settings(shutdown_grace_s=0.0, cancel_grace_s=0.05)


async def end_of(hub: OpenHub, run_id: str) -> Event:
    """Return a run's terminal event, having checked that the log ends with it and it alone."""
    events = await events_of(hub, run_id)
    info, snapshot = await hub.present(run_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.type in TERMINAL for event in events] == [False] * (len(events) - 1) + [True]
    assert info.closed
    assert info.head == len(events)
    assert info.status == snapshot.status == events[-1].type
    return events[-1]


async def run_to_end(
    store: Store | str, function: Callable[..., Any], **inputs: Any
) -> list[Event]:
    async with open_hub(store) as hub:
        run = await hub.start(function, inputs)
        await end_of(hub, run.run_id)
        return await events_of(hub, run.run_id)


# --- returned and raised --------------------------------------------------------------------------


def plain(value: int) -> int:
    runcast.emit("log", {"message": "here"})
    return value + 1


async def coroutine(value: int) -> int:
    runcast.emit("log", {"message": "here"})
    return value + 1


def generator(value: int) -> Generator[object, None, int]:
    yield {"type": "log", "data": {"message": "here"}}
    return value + 1


@pytest.mark.parametrize("function", [plain, coroutine, generator])
async def test_what_a_function_returns_is_the_result(
    store: Store, function: Callable[..., Any]
) -> None:
    async with open_hub(store) as hub:
        run = await hub.start(function, {"value": 41})

        assert await soon(run.result()) == 42
        ending = await end_of(hub, run.run_id)
        assert (ending.type, ending.data) == ("done", {"result": 42})
        assert run.has_ended
        assert run.status == "done"
        assert (await hub.hub.info(run.run_id)).head == 3


def raise_it(error: BaseException) -> Callable[[], Any]:
    def function() -> None:
        raise error

    return function


def raise_it_later(error: BaseException) -> Callable[[], Any]:
    async def function() -> None:
        await asyncio.sleep(0)
        raise error

    return function


def raise_it_between(error: BaseException) -> Callable[[], Any]:
    def function() -> Generator[object, None, None]:
        yield "a"
        raise error

    return function


def raise_it_between_later(error: BaseException) -> Callable[[], Any]:
    async def function() -> AsyncIterator[object]:
        yield "a"
        raise error

    return function


class Own(BaseException):
    """A signal of the user's own, which `except Exception` lets pass."""


KINDS = (raise_it, raise_it_later, raise_it_between, raise_it_between_later)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "error",
    [
        ValueError("a secret"),
        Own("a secret"),
        KeyboardInterrupt("a secret"),
        SystemExit("a secret"),
        GeneratorExit("a secret"),
        ExceptionGroup("a secret", [ValueError("a secret")]),
        concurrent.futures.CancelledError("a secret"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_of_what_a_function_raises_watchers_learn_the_class_alone(
    kind: Callable[[BaseException], Callable[[], Any]],
    error: BaseException,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_hub(MEMORY) as hub:
        run = await hub.start(kind(error), run_id="run-1")
        ending = await end_of(hub, run.run_id)

        assert ending.type == "failed"
        assert ending.data["message"] == f"the function raised {type(error).__name__}"
        assert ending.data["code"] == "function_error"
        assert ending.data["retryable"] is False
        assert "a secret" in caplog.text
        assert "run-1" in caplog.text
        with pytest.raises(RunFailed, match="the function raised"):
            await run.result()
        assert await soon((await hub.start(plain, {"value": 1})).result()) == 2  # all goes on


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("code", "ending"),
    [
        *((None, "done"), (0, "done"), (False, "done")),
        *((1, "failed"), (256, "failed"), (-1, "failed"), ("text", "failed"), (0.0, "failed")),
    ],
)
async def test_a_function_that_exits_without_an_error_is_done(
    kind: Callable[[BaseException], Callable[[], Any]],
    code: object,
    ending: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    events = await run_to_end(MEMORY, kind(SystemExit(code)))

    assert events[-1].type == ending
    assert ("raised" in caplog.text) == (ending == "failed")


async def test_what_a_generator_said_before_it_exits_is_its_outcome() -> None:
    def ends(item: dict[str, Any]) -> Callable[[], Any]:
        def generator() -> Any:
            yield item
            raise SystemExit

        return generator

    async def ends_later() -> Any:
        yield {"type": "done", "data": "summary"}
        raise SystemExit

    for function in (ends({"type": "done", "data": "summary"}), ends_later):
        events = await run_to_end(MEMORY, function)
        assert (events[-1].type, events[-1].data) == ("done", {"summary": "summary"})
    events = await run_to_end(MEMORY, ends({"type": "error", "data": "no"}))
    assert (events[-1].type, events[-1].data["message"]) == ("failed", "no")


@pytest.mark.parametrize("kind", KINDS)
async def test_what_stops_an_iteration_is_an_error_like_any_other(
    kind: Callable[[BaseException], Callable[[], Any]],
) -> None:
    for error in (StopIteration(1), StopAsyncIteration(1)):
        events = await run_to_end(MEMORY, kind(error))

        assert events[-1].type == "failed"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_run_failed_is_told_as_it_is(
    kind: Callable[[BaseException], Callable[[], Any]],
) -> None:
    events = await run_to_end(MEMORY, kind(RunFailed("no such city", "unknown_city")))

    assert events[-1].data == {
        "message": "no such city",
        "code": "unknown_city",
        "retryable": False,
    }


async def test_an_error_of_ours_is_told_with_its_code(store: Store) -> None:
    def function() -> None:
        raise StoreUnavailable("come back later")

    events = await run_to_end(store, function)

    assert events[-1].data == {
        "message": "come back later",
        "code": "store_unavailable",
        "retryable": True,
    }


@pytest.mark.parametrize("kind", KINDS)
async def test_a_function_that_raises_cancelled_has_cancelled_itself(
    kind: Callable[[BaseException], Callable[[], Any]],
) -> None:
    events = await run_to_end(MEMORY, kind(Cancelled("enough")))

    assert (events[-1].type, events[-1].data) == ("cancelled", {"reason": "enough"})


async def test_a_task_that_cancels_itself_is_cancelled(store: Store) -> None:
    async def function() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    events = await run_to_end(store, function)

    assert (events[-1].type, events[-1].data["reason"]) == (
        "cancelled",
        "the function cancelled itself",
    )


async def test_a_message_of_any_length_ends_the_run(store: Store) -> None:
    events = await run_to_end(store, raise_it(RunFailed("x" * 2_000_000, "y")))

    assert events[-1].type == "failed"
    assert events[-1].data["code"] == "y"
    assert events[-1].data["message"] == "x" * 2000


# --- results --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [object(), {1, object()}, threading.Lock(), (number for number in range(3))]
)
async def test_a_result_that_cannot_be_stored_fails_the_run(value: object) -> None:
    async def function() -> object:
        return value

    async with open_hub() as hub:
        run = await hub.start(function)
        ending = await end_of(hub, run.run_id)

        assert ending.type == run.status == "failed"
        assert ending.data["code"] == "invalid_value"
        assert "the result cannot be stored" in ending.data["message"]
        assert await run.wait() == (ending.type, ending.data), "the run and its log disagree"
        with pytest.raises(RunFailed, match="cannot be stored"):
            await run.result()


async def test_a_result_larger_than_an_event_may_be_fails_the_run(store: Store) -> None:
    async with open_hub(store, settings=Settings(max_event_bytes=256)) as hub:
        run = await hub.start(lambda_named(lambda: "x" * 300))
        ending = await end_of(hub, run.run_id)

        assert ending.data["code"] == "event_too_large"


def lambda_named(call: Callable[..., Any]) -> runcast.Function[..., Any]:
    return runcast.Function(call, name="function")


async def test_a_hostile_result_is_stored_as_data(store: Store) -> None:
    text = 'x\n\ndata: {"type":"done"}\r\n\x00\ud800\u2028'

    events = await run_to_end(store, lambda_named(lambda: {"text": text, "number": float("nan")}))

    assert events[-1].data["result"] == {
        "text": text.replace("\ud800", "\ufffd"),
        "number": None,
    }


@pytest.mark.parametrize("kind", sorted(RESERVED))
async def test_a_function_cannot_write_what_only_runcast_writes(kind: str) -> None:
    class Disguised(str):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return False

    def forge() -> None:
        for text in (kind, Disguised(kind)):
            with pytest.raises(InvalidValue, match=f"'{kind}' is written by runcast itself"):
                runcast.emit(text, {})

    events = await run_to_end(MEMORY, forge)

    assert [event.type for event in events] == ["started", "done"]


# --- generators -----------------------------------------------------------------------------------


def both(function: Callable[[], Generator[object, None, None]]) -> list[Callable[[], Any]]:
    """A sync generator, and the async one that yields the same."""

    async def async_function() -> AsyncIterator[object]:
        iterator = function()
        try:
            for item in iterator:
                try:
                    yield item
                except Exception as error:  # noqa: BLE001 - handed on
                    yield iterator.throw(error)
        finally:
            iterator.close()

    return [function, async_function]


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_done_is_held_until_the_generator_returns(store: Store, is_async: bool) -> None:
    def function() -> Generator[object, None, None]:
        yield {"type": "done", "data": {"status": "first"}}
        yield {"type": "done", "data": {"status": "completed"}}
        yield "after all"

    events = await run_to_end(store, both(function)[is_async])

    assert [event.type for event in events] == ["started", "content", "done"]
    assert events[-1].data == {"summary": {"status": "completed"}}


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_error_before_the_end_is_the_end(store: Store, is_async: bool) -> None:
    def function() -> Generator[object, None, None]:
        yield {"type": "start", "data": {}}
        yield {
            "type": "error",
            "data": {"message": "no such file", "line": 3},
            "error_code": "NOT_FOUND",
        }

    events = await run_to_end(store, both(function)[is_async])

    assert [event.type for event in events] == ["started", "start", "failed"]
    assert events[-1].data == {
        "message": "no such file",
        "code": "NOT_FOUND",
        "retryable": False,
        "line": 3,
    }


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_error_that_a_generator_survives_is_an_event(store: Store, is_async: bool) -> None:
    def function() -> Generator[object, None, None]:
        yield {"type": "error", "data": "the first row is malformed"}
        yield None
        yield {"type": "progress", "data": {"percent": 50}}
        yield {"type": "error", "data": {"error": "so is the second"}}
        yield {"type": "done", "data": {"rows": 2}}

    events = await run_to_end(store, both(function)[is_async])

    assert [event.type for event in events] == ["started", "error", "progress", "error", "done"]
    assert events[1].data["message"] == "the first row is malformed"
    assert events[3].data["message"] == "so is the second"


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_error_told_before_another_is_raised_is_not_lost(
    store: Store, is_async: bool
) -> None:
    def function() -> Generator[object, None, None]:
        yield {"type": "error", "data": "the disk is full"}
        raise OSError("ENOSPC")

    events = await run_to_end(store, both(function)[is_async])

    assert [event.type for event in events] == ["started", "error", "failed"]
    assert events[1].data["message"] == "the disk is full"
    assert events[2].data["message"] == "the function raised OSError"


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    "item",
    [
        {"type": "done", "data": object()},
        {"type": "error", "data": {"message": "x", "where": object()}},
        {"type": "Not A Type"},
        {"type": ""},
        {"type": "started"},
        {"type": "failed", "data": {}},
        {"type": "log", "data": {"x": object()}},
        {"type": "log", "node": 5},
        {"type": "log", "path": 5},
        Event(type="cancelled"),
        Event(type="x" * 100),
        object(),
        "x" * 2_000_000,
    ],
    ids=lambda item: str(item).partition(" at 0x")[0][:40],
)
async def test_what_cannot_be_an_event_is_raised_where_it_is_yielded(
    is_async: bool, item: object
) -> None:
    raised: list[BaseException] = []

    def function() -> Generator[object, None, None]:
        try:
            yield item
        except runcast.RuncastError as error:
            raised.append(error)
        yield "and on"

    events = await run_to_end(MEMORY, both(function)[is_async])

    assert len(raised) == 1
    assert [event.type for event in events] == ["started", "content", "done"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_generator_that_does_not_handle_that_has_failed(
    store: Store, is_async: bool
) -> None:
    cleaned = []

    def function() -> Generator[object, None, None]:
        try:
            yield object()
        finally:
            cleaned.append(True)

    events = await run_to_end(store, both(function)[is_async])

    assert events[-1].data["code"] == "invalid_value"
    assert cleaned == [True]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("item", "type_", "data"),
    [
        ("text", "content", {"text": "text"}),
        ({"type": "content", "data": "text"}, "content", {"text": "text"}),
        ({"type": "thinking", "data": "hm"}, "thinking", {"text": "hm"}),
        ({"type": "start", "data": {"total": 3}}, "start", {"total": 3}),
        (
            {"type": "progress", "data": {"percent": 1}, "metadata": {"by": "me"}},
            "progress",
            {"metadata": {"by": "me"}, "percent": 1},
        ),
        ({"type": "progress", "percent": 1}, "progress", {"percent": 1}),
        ({"type": "custom"}, "custom", None),
        (Event(type="log", data={"message": "x"}), "log", {"message": "x"}),
        ({"kind": "no type"}, "result", {"value": {"kind": "no type"}}),
        ({"type": 5}, "result", {"value": {"type": 5}}),
        (7, "result", {"value": 7}),
        (b"\x00", "result", {"value": "AA=="}),
        ([1, 2], "result", {"value": [1, 2]}),
    ],
)
async def test_what_is_yielded_becomes_an_event(
    is_async: bool, item: object, type_: str, data: object
) -> None:
    def function() -> Generator[object, None, None]:
        yield item

    events = await run_to_end(MEMORY, both(function)[is_async])

    assert (events[1].type, events[1].data) == (type_, data)
    assert events[-1].type == "done"


async def test_a_yielded_place_is_kept(store: Store) -> None:
    def function() -> Generator[object, None, None]:
        yield {"type": "log", "node": "n", "agent": "a", "path": ["p"], "duration": 0.0}
        yield Event(type="log", node="n", agent="a", path=("p",), duration=1.5)

    events = await run_to_end(store, function)

    places = [(event.node, event.agent, event.path, event.duration) for event in events[1:3]]
    assert places == [("n", "a", ("p",), 0.0), ("n", "a", ("p",), 1.5)]


async def test_an_async_generator_that_holds_a_resource_lets_it_go_in_the_task_that_took_it(
    store: Store,
) -> None:
    tasks: list[object] = []

    @contextlib.asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        tasks.append(asyncio.current_task())
        async with asyncio.timeout(None):  # which insists on one task, too
            try:
                yield
            finally:
                await asyncio.sleep(0)
                tasks.append(asyncio.current_task())

    async def function() -> AsyncIterator[object]:
        async with resource():
            yield "a"
            yield object()

    events = await run_to_end(store, function)

    assert events[-1].type == "failed"
    assert len(tasks) == 2
    assert tasks[0] is tasks[1]


async def test_a_sync_generator_lives_in_one_thread_and_one_context(store: Store) -> None:
    threads: list[int] = []

    def function() -> Generator[object, None, None]:
        try:
            for _ in range(3):
                threads.append(threading.get_ident())
                runcast.log("from within")
                yield "a"
            yield object()
        finally:
            threads.append(threading.get_ident())
            runcast.log("finally")

    events = await run_to_end(store, function)

    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()
    assert [event.type for event in events].count("log") == 4


class Stubborn:
    """Makes a generator that answers GeneratorExit with another item, once."""

    def __init__(self) -> None:
        self.exits = 0

    def __call__(self) -> Generator[object, None, None]:
        try:
            yield "a"
        except GeneratorExit:
            self.exits += 1
            yield "b"


async def test_a_generator_that_ignores_its_closing_ends_all_the_same(store: Store) -> None:
    stubborn = Stubborn()
    async with open_hub(store, settings=QUICK) as hub:

        def function() -> Generator[object, None, None]:
            yield from stubborn()

        async def async_function() -> AsyncIterator[object]:
            inner = stubborn()
            try:
                yield next(inner)
                await asyncio.Event().wait()
            finally:
                inner.throw(GeneratorExit)
                inner.close()
                yield "c"

        run = await hub.start(function)
        assert (await end_of(hub, run.run_id)).type == "done"
        run = await hub.start(async_function)
        await eventually(lambda: run.status == "running")
        await soon(hub.cancel(run.run_id))
        assert (await end_of(hub, run.run_id)).type == "cancelled"


async def test_a_generator_returned_by_a_plain_function_is_driven(store: Store) -> None:
    def function() -> Any:
        return (word for word in ["a", "b"])

    events = await run_to_end(store, function)

    assert [event.type for event in events] == ["started", "content", "content", "done"]


@pytest.mark.parametrize("kind", ["coroutine", "async generator", "coroutine of a generator"])
async def test_an_async_function_hidden_by_a_wrapper_runs_in_its_thread(
    store: Store, kind: str
) -> None:
    threads: list[int] = []

    async def generate() -> AsyncIterator[object]:
        threads.append(threading.get_ident())
        yield "a"
        await runcast.drain()
        await runcast.flush()
        yield "b"

    async def work() -> Any:
        async for item in generate():
            runcast.content(str(item))

    async def make() -> Any:
        return generate()

    made = {"coroutine": work, "async generator": generate, "coroutine of a generator": make}[kind]

    def wrapper() -> Any:
        return made()

    events = await run_to_end(store, wrapper)

    assert [event.type for event in events] == ["started", "content", "content", "done"]
    assert threads[0] != threading.get_ident()


# --- hooks before the end -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "returned",
    [None, 7, "done", ("done", {}), Outcome("gap", {}), Outcome("done", None), Outcome([], {})],  # type: ignore[arg-type]
)
async def test_no_hook_before_the_end_can_keep_a_run_from_ending(returned: Any) -> None:
    async def function() -> str:
        writer = runcast.current_writer()
        assert writer is not None
        writer.before_end(lambda ending: returned)
        return "result"

    events = await run_to_end(MEMORY, function)

    assert (events[-1].type, events[-1].data) == ("done", {"result": "result"})


@pytest.mark.parametrize("error", [ValueError(), SystemExit(), asyncio.CancelledError()])
async def test_no_hook_that_raises_can_keep_a_run_from_ending(error: BaseException) -> None:
    def hook(ending: Outcome) -> Outcome:
        raise error

    async def function() -> str:
        writer = runcast.current_writer()
        assert writer is not None
        writer.before_end(hook)
        return "result"

    events = await run_to_end(MEMORY, function)

    assert (events[-1].type, events[-1].data) == ("done", {"result": "result"})


async def test_last_words_that_come_too_late_do_not_keep_a_run_from_ending(store: Store) -> None:
    async with open_hub(store) as hub:

        async def function() -> None:
            writer = runcast.current_writer()
            assert writer is not None

            def hook(ending: Outcome) -> Outcome:
                writer.log("at last")
                return ending

            writer.before_end(hook)
            elsewhere = hub.hub.take(await hub.hub.info(run.run_id))
            await elsewhere.end(Outcome("cancelled", {"reason": "elsewhere"}))

        run = await hub.start(function)

        assert await soon(run.wait()) == ("cancelled", {"reason": "elsewhere"})
        assert [event.type for event in await events_of(hub, run.run_id)] == [
            "started",
            "cancelled",
        ]


# --- a store that fails ---------------------------------------------------------------------------

DOWN = StoreUnavailable("the disk is on fire")


@pytest.mark.parametrize("failures", [1, 3])
async def test_a_run_whose_store_fails_for_a_while_gets_its_one_ending(
    store: Store, failures: int
) -> None:
    faulty = FaultyStore(store)
    async with open_hub(faulty, settings=Settings(store_retry_s=0.001)) as hub:
        go_on = threading.Event()

        def function() -> str:
            go_on.wait(5)
            runcast.log("before")
            return "result"

        run = await hub.start(function)
        await eventually(lambda: run.status == "running")
        faulty.fail_next(failures, DOWN)
        go_on.set()

        # It may be refused its log line; that it ended is tried until it succeeds.
        ending = await soon(run.wait())
        assert (await end_of(hub, run.run_id)).type == ending.type
        assert faulty.calls.failed == failures


async def test_closing_while_the_store_fails_leaves_the_run_to_be_found_lost(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    faulty = FaultyStore(store)
    settings = Settings(
        store_retry_s=60, shutdown_grace_s=0, cancel_grace_s=0.05, terminate_grace_s=0.05
    )
    async with open_hub(faulty, settings=settings) as hub:

        async def function() -> None:
            await asyncio.Event().wait()

        run = await hub.start(function, run_id="run-1")
        await eventually(lambda: run.status == "running")
        faulty.fail_next(1000, DOWN)
        await soon(hub.close())
        await soon(run.wait())

    assert "could not be ended" in caplog.text
    async with open_hub(store) as hub:
        ending = await end_of(hub, "run-1")
        assert ending.data["code"] == "lost"
        assert await run.wait() == (ending.type, ending.data)


# --- somebody else --------------------------------------------------------------------------------


async def test_a_run_that_is_replaced_ends_first_and_its_function_is_stopped(store: Store) -> None:
    async with open_hub(store, settings=QUICK) as hub:
        stopped = asyncio.Event()

        async def function() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()

        old = await hub.start(function, run_id="run-1")
        await eventually(lambda: old.status == "running")
        new = await soon(hub.start(plain, {"value": 1}, run_id="run-1", replace=True))

        assert stopped.is_set()
        assert old.status == "cancelled"
        assert await soon(new.result()) == 2
        assert new.epoch > old.epoch
        assert (await end_of(hub, "run-1")).data == {"result": 2}


async def test_two_replacements_at_once_leave_one_run_and_no_function_at_work(
    store: Store,
) -> None:
    async with open_hub(store, settings=QUICK) as hub:
        at_work = 0

        async def function() -> None:
            nonlocal at_work
            at_work += 1
            try:
                await asyncio.Event().wait()
            finally:
                at_work -= 1

        await hub.start(function, run_id="run-1")
        runs = await soon(
            asyncio.gather(*(hub.start(function, run_id="run-1", replace=True) for _ in range(5)))
        )
        info = await hub.hub.info("run-1")
        last = next(run for run in runs if run.epoch == info.epoch)
        await eventually(lambda: all(run.has_ended for run in runs if run is not last))
        await eventually(lambda: at_work == 1)
        assert hub.runner.statistics().running == 1

        await soon(hub.cancel("run-1"))
        assert at_work == 0
        assert (await end_of(hub, "run-1")).type == "cancelled"


async def test_a_run_whose_log_is_deleted_under_it_ends(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_hub(store) as hub:
        go_on = threading.Event()
        raised: list[BaseException] = []

        def function() -> None:
            go_on.wait(5)
            try:
                for _ in range(100_000):
                    runcast.log("anybody there?")
            except NotFound as error:
                raised.append(error)

        run = await hub.start(function, run_id="run-1")
        await eventually(lambda: run.status == "running")
        await hub.hub.delete("run-1")
        go_on.set()
        await soon(run.wait())

        assert len(raised) == 1
        assert "could not be ended" in caplog.text
        assert await run.wait() == ("cancelled", {"reason": "deleted"})
        with pytest.raises(NotFound):
            await hub.hub.info("run-1")


async def test_ending_a_log_twice_changes_nothing(store: Store) -> None:
    async with open_hub(store) as hub:
        run = await hub.start(plain, {"value": 1}, run_id="run-1")
        await soon(run.result())
        events = await events_of(hub, "run-1")
        await soon(hub.cancel("run-1"))

        assert await events_of(hub, "run-1") == events
        writer = hub.writer("run-1")
        writer.log("late")
        with pytest.raises(RunClosed):
            await soon(writer.flush())
        assert await events_of(hub, "run-1") == events


async def test_what_only_runcast_may_write_is_refused(store: Store) -> None:
    refused: list[str] = []

    async def function() -> None:
        for type_ in ("started", "done", "failed", "cancelled"):
            try:
                runcast.emit(type_, {})
            except InvalidValue:
                refused.append(type_)

    events = await run_to_end(store, function)

    assert len(refused) == 4
    assert [event.type for event in events] == ["started", "done"]


async def test_what_was_raised_is_in_the_log_of_the_process(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        await run_to_end(store, raise_it(ValueError("the details")))

    assert "ValueError: the details" in caplog.text
