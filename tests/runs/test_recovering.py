"""Runs that continue after a crash: in the same epoch, once, a bounded number of times."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast._app import OpenHub, open_hub
from runcast._functions.function import Function
from runcast._settings import Settings
from runcast.errors import InvalidValue, RuncastError
from runcast.events.model import Event, encode_record
from runcast.stores.base import Append, Store
from runcast.stores.memory import MemoryStore
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing import FakeClock
from tests.opening import WAIT_S, events_of, eventually, soon
from tests.runs import continued
from tests.runs.apart import running_apart, wait_for_event
from tests.waiting import START_S

AT_ONCE = Settings(shutdown_grace_s=0.0, cancel_grace_s=0.05, warm_processes=0)


async def nothing() -> None: ...


def types(events: list[Event]) -> list[str]:
    return [event.type for event in events]


def started(events: list[Event]) -> list[Any]:
    return [event.data for event in events if event.type == "started"]


async def leave_crashed(
    store: Store,
    *events: tuple[str, Any],
    function: str = "f",
    recover: str = "3",
    inputs: bytes = b"{}",
    labels: Mapping[str, str] | None = None,
    run_id: str = "r",
) -> None:
    """Leave a run whose owner is gone, with these events."""
    async with store:
        known = {"function": function, "runcast.recover": recover, **(labels or {})}
        await store.create(run_id, owner_id="the-killed-process", labels=known, attachment=inputs)
        given = [("started", {"function": function}), *events]
        records = [encode_record(kind, data, 1.0) for kind, data in given]
        outcomes = await store.commit([Append(run_id, records)])
        assert not isinstance(outcomes[0], RuncastError)


# --- after kill -9 --------------------------------------------------------------------------------


@pytest.mark.parametrize("function", continued.WORKING, ids=lambda function: function.name)
def test_a_run_continues_in_its_epoch_after_its_server_was_killed(
    tmp_path: Path, function: Function[..., Any]
) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    with running_apart(url, function.name, {"ends": 2, "key": "c2VjcmV0"}) as process:
        wait_for_event(process, "content")
    with open_hub(url, functions=[function], settings=AT_ONCE) as hub:
        events = list(hub.watch("r"))
        info, state = hub.present("r")
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert {info.epoch} == {info.epoch for event in events}
    assert started(events) == [
        {"function": function.name},
        {"function": function.name, "attempt": 2, "recovered": True},
    ]
    assert (state.status, state.attempt) == ("done", 2)
    result = events[-1].data["result"]
    there = result.pop("process")
    assert (there == os.getpid()) == (function.isolation == "thread")
    assert result == {
        "kept": {"attempt": 1},
        "inputs": {"ends": 2},
        "left_out": {"key": "bytes"},
        "attempt": 2,
        "status": "running",
        "texts": ["attempt 1"],
    }
    # The attempts are two texts.
    assert [text.text for text in state.texts] == ["attempt 1", "attempt 2"]


def test_a_run_that_is_killed_more_often_than_it_may_continue_fails(tmp_path: Path) -> None:
    url, until = f"sqlite:///{tmp_path}/runs.db", str(tmp_path / "never")
    with running_apart(url, "works_again", {"until": until}) as process:
        wait_for_event(process, "content")
    for attempt in (2, 3):
        with running_apart(url, "works_again") as process:
            wait_for_event(process, *["started"] * attempt, "content")
    with open_hub(url, functions=[continued.works_again], settings=AT_ONCE) as hub:
        events = list(hub.watch("r"))
    assert [data.get("attempt") for data in started(events)] == [None, 2, 3]
    assert (events[-1].type, events[-1].data["code"]) == ("failed", "too_many_attempts")
    assert not events[-1].data["retryable"]


def test_of_two_processes_that_see_a_dead_owner_at_once_one_continues_its_run(
    tmp_path: Path,
) -> None:
    url, until = f"sqlite:///{tmp_path}/runs.db", tmp_path / "end"
    with running_apart(url, "works_again", {"until": str(until)}) as process:
        wait_for_event(process, "content")
    with running_apart(url, "works_again") as one, running_apart(url, "works_again") as another:
        for process in (one, another):
            wait_for_event(process, "started", "started", "content")
        until.touch()
        for process in (one, another):
            wait_for_event(process, "done")
    with open_hub(url, settings=AT_ONCE) as hub:
        events = list(hub.watch("r"))
    assert types(events) == ["started", "content", "started", "content", "done"]


# --- who continues it -----------------------------------------------------------------------------


async def test_processes_that_race_for_a_run_call_its_handler_once(
    store: Store, clock: FakeClock
) -> None:
    if isinstance(store, MemoryStore):
        stores: list[Store] = [store] * 3
    else:
        assert store.path is not None
        stores = [store, *(SQLiteStore(store.path, clock) for _ in range(2))]
    await leave_crashed(store)
    calls, go_on = [], asyncio.Event()

    async def again(attempt: int) -> str:
        calls.append(attempt)
        await go_on.wait()
        return "end"

    function = Function(nothing, name="f", recover=again)
    async with contextlib.AsyncExitStack() as open_ones:
        async with asyncio.TaskGroup() as opening:
            hubs = [OpenHub(each, functions=[function], settings=AT_ONCE) for each in stores]
            for hub in hubs:
                open_ones.push_async_callback(hub.close)
                opening.create_task(hub.open())
        await eventually(lambda: bool(calls))
        for hub in hubs:
            await hub.runner.reap()
        (winner,) = [hub for hub in hubs if "r" in hub.runner.runs]
        go_on.set()
        events = await events_of(winner, "r")
    assert types(events) == ["started", "started", "done"]
    assert calls == [2]


async def test_a_paused_process_that_wakes_after_its_lease_writes_nothing(
    clock: FakeClock,
) -> None:
    store = MemoryStore(clock)
    may_wake, may_end, woken = asyncio.Event(), asyncio.Event(), asyncio.Event()
    errors: list[RuncastError] = []

    async def works() -> None:
        runcast.content("first")
        await may_wake.wait()
        try:
            for _ in range(3):
                runcast.content("late")
                await runcast.flush()
        except RuncastError as error:
            errors.append(error)
        woken.set()

    async def again() -> str:
        runcast.content("second")
        await may_end.wait()
        return "end"

    function = Function(works, name="f", recover=again)
    async with open_hub(store, clock=clock, functions=[function], settings=AT_ONCE) as paused:
        run = await paused.start("f", run_id="r")
        await eventually(lambda: run.status == "running")
        await paused.flush("r")
        clock.advance(Settings().lease_s + 1)
        async with open_hub(store, clock=clock, functions=[function], settings=AT_ONCE) as hub:
            await eventually(lambda: "r" in hub.runner.runs)
            await eventually(lambda: hub.runner.runs["r"].status == "running")
            await hub.flush("r")
            may_wake.set()
            await soon(woken.wait())
            may_end.set()
            events = await events_of(hub, "r")
            assert [event.data.get("text") for event in events if event.type == "content"] == [
                "first",
                "second",
            ]
        assert [error.code for error in errors] == ["stale"]
        ending = await soon(run.wait())
        assert "another process continued the run" in ending.data["message"]


async def test_a_run_that_no_process_knows_is_lost_after_a_while(
    store: Store, clock: FakeClock
) -> None:
    settings = Settings(recover_wait_s=100.0)
    await leave_crashed(store)
    for seconds, is_lost in ((0, False), (60, False), (39, False), (2, True)):
        clock.advance(seconds)
        # Each is another process, so that no restart begins the wait again.
        async with open_hub(store, clock=clock, settings=settings) as hub:
            info, state = await hub.present("r")
            assert info.closed == is_lost
    assert state.failure is not None
    assert state.failure.code == "lost"


async def test_a_process_that_knows_the_function_continues_a_run_that_others_wait_with(
    store: Store, clock: FakeClock
) -> None:
    await leave_crashed(store)
    async with open_hub(store, clock=clock, settings=AT_ONCE) as hub:
        assert not (await hub.info("r")).closed
    clock.advance(1.0)
    function = Function(nothing, name="f", recover=True)
    async with open_hub(store, clock=clock, functions=[function], settings=AT_ONCE) as hub:
        assert (await events_of(hub, "r"))[-1].type == "done"
        assert (await hub.info("r")).labels["runcast.recover"] == "2"


async def recovery_of(hub: OpenHub) -> str:
    return (await hub.info("r")).labels["runcast.recover"]


async def test_a_run_that_lives_is_not_noted_as_without_an_owner(
    tmp_path: Path, clock: FakeClock
) -> None:
    """Otherwise nobody would wait for a process that knows its function when it crashes later."""

    async def asks() -> None:
        await runcast.ask("go on?", interrupt_id="q")
        await asyncio.Event().wait()

    function = Function(asks, name="f", recover=True)
    path = str(tmp_path / "runs.db")
    stores = [SQLiteStore(path, clock, poll_s=0.001) for _ in range(2)]
    async with (
        open_hub(stores[0], clock=clock, functions=[function], settings=AT_ONCE) as owner,
        open_hub(stores[1], clock=clock, settings=AT_ONCE) as other,
    ):
        await owner.start("f", run_id="r")
        await eventually(lambda: owner.runner.runs["r"].writer.is_waiting)
        await owner.flush("r")
        await other.answer("r", "q", {"type": "accept"})
        assert await recovery_of(other) == "3"

        lease = owner.hub.lease._owner
        assert lease is not None
        await stores[0].renew(lease, 0)  # its process is paused for longer than its lease
        await other.runner.reap()
        async with asyncio.timeout(WAIT_S):
            while await recovery_of(other) != "3":  # noqa: ASYNC110 - see `eventually`
                await asyncio.sleep(0)


async def test_a_function_that_recovers_no_more_continues_no_run(store: Store) -> None:
    await leave_crashed(store)
    settings = Settings(recover_wait_s=0.0)
    async with open_hub(store, functions=[Function(nothing, name="f")], settings=settings) as hub:
        assert (await events_of(hub, "r"))[-1].data["code"] == "lost"


async def test_a_run_without_an_owner_that_is_cancelled_is_not_continued(store: Store) -> None:
    await leave_crashed(store)
    async with open_hub(store, settings=AT_ONCE) as hub:
        await soon(hub.cancel("r", "enough"))
        events = await events_of(hub, "r")
        assert (events[-1].type, events[-1].data) == ("cancelled", {"reason": "enough"})


# --- what the next attempt is given ---------------------------------------------------------------


async def test_a_function_is_called_again_with_its_inputs(store: Store) -> None:
    await leave_crashed(store, inputs=b'{"values":{"to":"Rome","n":3}}')

    async def go(to: str, n: int, more: str = "x") -> Any:
        return [to, n, more]

    function = Function(go, name="f", recover=True)
    async with open_hub(store, functions=[function], settings=AT_ONCE) as hub:
        assert (await events_of(hub, "r"))[-1].data == {"result": ["Rome", 3, "x"]}


async def test_inputs_that_the_function_takes_no_more_end_the_run(store: Store) -> None:
    await leave_crashed(store, inputs=b'{"values":{"from":"Rome"}}')

    async def go(to: str) -> str:
        return to

    function = Function(go, name="f", recover=True)
    async with open_hub(store, functions=[function], settings=AT_ONCE) as hub:
        end = (await events_of(hub, "r"))[-1]
        assert (end.type, end.data["code"]) == ("failed", "invalid_inputs")


async def test_a_run_that_never_began_is_begun_and_nothing_was_lost(store: Store) -> None:
    async with store:
        labels = {"function": "f", "runcast.recover": "1"}
        await store.create("r", owner_id="the-killed-process", labels=labels, attachment=b"{}")

    async def first() -> str:
        return "first"

    async def again() -> str:
        raise AssertionError

    function = Function(first, name="f", recover=again)
    async with open_hub(store, functions=[function], settings=AT_ONCE) as hub:
        events = await events_of(hub, "r")
        assert started(events) == [{"function": "f"}]
        assert events[-1].data == {"result": "first"}
        assert (await hub.info("r")).labels["runcast.recover"] == "1"


async def test_unread_messages_are_for_the_next_attempt(store: Store) -> None:
    told = ("message", {"message_id": "m-1", "data": "hello"})
    read = ("message", {"message_id": "m-0", "data": "read before"})
    await leave_crashed(store, read, told, ("message_read", {"message_ids": ["m-0"]}))

    async def again() -> Any:
        return (await runcast.inbox().poll()).data

    function = Function(nothing, name="f", recover=again)
    async with open_hub(store, functions=[function], settings=AT_ONCE) as hub:
        events = await events_of(hub, "r")
    assert events[-1].data == {"result": "hello"}
    assert types(events)[-2:] == ["message_read", "done"]


@pytest.mark.parametrize("is_answered", [False, True])
async def test_an_open_question_stays_and_the_next_attempt_asks_it_again(
    store: Store, is_answered: bool
) -> None:
    async def asks() -> str:
        answer = await runcast.ask("go on?", interrupt_id="q")
        return str(answer.type)

    function = Function(asks, name="f", recover=True)
    await leave_crashed(store, ("interrupt_request", {"interrupt_id": "q", "message": "go on?"}))
    async with open_hub(store, settings=AT_ONCE) as hub:
        assert (await hub.info("r")).status == "waiting"
        if is_answered:
            await hub.answer("r", "q", {"type": "accept"})
    async with open_hub(store, functions=[function], settings=AT_ONCE) as hub:
        await eventually(lambda: "r" in hub.runner.runs or is_answered)
        if not is_answered:
            await eventually(lambda: hub.runner.runs["r"].status == "running")
            await hub.answer("r", "q", {"type": "accept"})
        events = await events_of(hub, "r")
    assert events[-1].data == {"result": "accept"}


async def test_a_run_that_waits_for_an_answer_is_for_its_resume_handler(store: Store) -> None:
    async def asks() -> None: ...

    async def resumed(interrupt_id: str, answer: Any, attempt: int) -> str:
        return f"resumed {attempt}"

    async def recovered() -> str:
        return "recovered"

    await leave_crashed(
        store,
        ("interrupt_request", {"interrupt_id": "q", "message": "go on?"}),
        labels={"runcast.resumable": "1"},
    )
    function = Function(asks, name="f", resume=resumed, recover=recovered)
    async with open_hub(store, functions=[function], settings=AT_ONCE) as hub:
        assert (await hub.info("r")).status == "waiting"
        await hub.answer("r", "q", {"type": "accept"})
        events = await events_of(hub, "r")
    assert events[-1].data == {"result": "resumed 2"}
    assert started(events)[-1] == {"function": "f", "attempt": 2}


async def test_a_run_whose_inputs_are_not_all_kept_is_not_called_again(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    async def go(text: str) -> int:
        return len(text)

    function = Function(go, name="f", recover=True)
    async with open_hub(store, functions=[function], settings=AT_ONCE) as hub:
        run = await hub.start(function, {"text": "x" * 100_000}, run_id="r")
        assert await soon(run.result()) == 100_000
        assert "runcast.recover" not in (await hub.info("r")).labels
    assert "text (too long: 100002 bytes)" in caplog.text


# --- a process of its own -------------------------------------------------------------------------


async def kill_child_of(hub: OpenHub, *, when: str) -> None:
    """Kill the process of the run "r" once it has emitted an event of a type."""
    pid = 0
    async with asyncio.timeout(START_S):
        async for event in hub.watch("r"):
            if event.type == "pid":
                pid = event.data
            if event.type == when:
                break
    os.kill(pid, signal.SIGKILL)


async def test_a_run_continues_when_only_its_own_process_was_killed(tmp_path: Path) -> None:
    url, function = f"sqlite:///{tmp_path}/runs.db", continued.works_apart
    async with open_hub(url, functions=[function], settings=AT_ONCE) as hub:
        run = await hub.start(function, {"ends": 2}, run_id="r")
        await kill_child_of(hub, when="content")
        async with asyncio.timeout(START_S):
            assert (await run.result())["attempt"] == 2  # the starter need not know
        events = await events_of(hub, "r")
    assert started(events)[1:] == [{"function": function.name, "attempt": 2, "recovered": True}]


async def test_a_run_whose_own_process_is_killed_again_and_again_fails() -> None:
    function = continued.dies
    async with open_hub(functions=[function], settings=AT_ONCE) as hub:
        run = await hub.start(function, run_id="r")
        async with asyncio.timeout(START_S):
            outcome = await run.wait()
        events = await events_of(hub, "r")
    assert (outcome.type, outcome.data["code"]) == ("failed", "too_many_attempts")
    assert [data.get("attempt") for data in started(events)] == [None, 2, 3]


async def test_a_run_whose_own_process_was_killed_can_be_cancelled_by_its_starter() -> None:
    function = continued.works_apart
    async with open_hub(functions=[function], settings=AT_ONCE) as hub:
        run = await hub.start(function, {"ends": 3}, run_id="r")
        await kill_child_of(hub, when="content")
        async with asyncio.timeout(START_S):
            async for event in hub.watch("r"):
                if event.type == "recovered":
                    break
        run.cancel("enough")
        async with asyncio.timeout(START_S):
            assert await run.wait() == ("cancelled", {"reason": "enough"})


async def test_a_run_waits_on_when_its_own_process_is_killed_while_it_waits(tmp_path: Path) -> None:
    url, function = f"sqlite:///{tmp_path}/runs.db", continued.asks_apart
    async with open_hub(url, functions=[function], settings=AT_ONCE) as hub:
        run = await hub.start(function, {"to": "Rome"}, run_id="r")
        await kill_child_of(hub, when="interrupt_request")
        await eventually(lambda: "r" not in hub.runner.runs)
        await hub.runner.reap()
        assert (await hub.info("r")).status == "waiting"
        await hub.answer("r", "q", {"type": "accept"})
        async with asyncio.timeout(START_S):
            assert (await run.result())["kept"] == {"step": 1, "to": "Rome"}


# --- shutting down --------------------------------------------------------------------------------


async def works_until_cancelled() -> None:
    await asyncio.Event().wait()


def works_in_a_thread() -> None:
    while True:
        runcast.content(".")
        runcast.flush()


@pytest.mark.parametrize("works", [works_until_cancelled, works_in_a_thread])
async def test_a_server_that_shuts_down_leaves_its_runs_which_is_no_crash(
    tmp_path: Path, works: Any
) -> None:
    async def again(attempt: int) -> int:
        if attempt < 4:
            await asyncio.Event().wait()
        return attempt

    function = Function(works, name="f", recover=again, max_attempts=1)
    url, epochs = f"sqlite:///{tmp_path}/runs.db", set()
    for attempt in (1, 2, 3):
        async with open_hub(url, functions=[function], settings=AT_ONCE) as hub:
            if attempt == 1:
                await hub.start(function, run_id="r")
            await eventually(lambda: hub.runner.runs["r"].status == "running")
            await hub.flush("r")
    async with open_hub(url, functions=[function], settings=AT_ONCE) as hub:
        events = await events_of(hub, "r")
        epochs.add((await hub.info("r")).epoch)
    assert events[-1].data == {"result": 4}
    assert [data.get("attempt") for data in started(events)] == [None, 2, 3, 4]


async def test_a_run_that_waits_for_room_is_left_too(tmp_path: Path) -> None:
    settings = Settings(max_runs=1, shutdown_grace_s=0.0, cancel_grace_s=0.05)
    url = f"sqlite:///{tmp_path}/runs.db"
    function = Function(works_until_cancelled, name="f", recover=True)
    async with open_hub(url, functions=[function], settings=settings) as hub:
        blocking = await hub.start(function, run_id="a")
        await eventually(lambda: blocking.status == "running")
        await hub.start(function, run_id="r")
        assert hub.queue_position("r") == 1
    function = Function(nothing, name="f", recover=True)
    async with open_hub(url, functions=[function], settings=settings) as hub:
        events = await events_of(hub, "r")
    assert started(events) == [{"function": "f"}]
    assert events[-1].type == "done"


async def test_a_run_is_cancelled_if_nobody_could_continue_it_or_a_person_waits(
    tmp_path: Path,
) -> None:
    function = Function(works_until_cancelled, name="f", recover=True)
    async with open_hub(functions=[function], settings=AT_ONCE) as hub:
        in_memory = await hub.start(function, run_id="r")
        await eventually(lambda: in_memory.status == "running")
    assert (await in_memory.wait()).type == "cancelled"
    async with open_hub(f"sqlite:///{tmp_path}/a.db", functions=[function]) as hub:
        run = await hub.start(function, run_id="r")
        await eventually(lambda: run.status == "running")
        hub.runner.shutdown.interrupt()
    async with open_hub(f"sqlite:///{tmp_path}/a.db") as hub:
        assert (await events_of(hub, "r"))[-1].type == "cancelled"


# --- how it is declared ---------------------------------------------------------------------------


def takes_secret(key: bytes) -> None: ...


def wants_an_answer(answer: Any) -> None: ...


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recover": wants_an_answer}, "recover= of 'f' to take kept, inputs, attempt, state"),
        ({"recover": 7}, "recover"),
        ({"recover": True, "max_attempts": 0}, "max_attempts"),
        ({"recover": True, "max_attempts": True}, "max_attempts"),
        ({"recover": True, "max_attempts": 1.5}, "max_attempts"),
        ({"recover": True}, r"key \(bytes\)"),
    ],
)
def test_a_declaration_that_cannot_work_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        Function(takes_secret, name="f", **options)


def test_a_function_that_keeps_no_inputs_cannot_be_called_again_with_them() -> None:
    with pytest.raises(InvalidValue, match="store_inputs=False"):
        Function(lambda to: to, name="f", recover=True, store_inputs=False)
    Function(nothing, name="f", recover=True, store_inputs=False)  # it takes none
