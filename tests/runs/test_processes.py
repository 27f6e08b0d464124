"""Functions in processes of their own: they see what others see, share nothing, and end."""

import asyncio
import contextlib
import ctypes
import logging
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runcast._app import OpenHub, open_hub
from runcast._functions.function import Function, Source
from runcast._settings import Settings
from runcast.errors import InvalidInputs, InvalidValue, StoreUnavailable
from runcast.events.model import Event
from runcast.stores.memory import MemoryStore
from runcast.testing import FakeClock, FaultyStore
from tests import opening
from tests.environment import environment
from tests.opening import eventually, soon
from tests.runs import process_functions as functions
from tests.waiting import WAIT_S

SETTINGS = Settings(warm_processes=0, shutdown_grace_s=0.0)
IMPATIENT = Settings(
    warm_processes=0, shutdown_grace_s=0.0, cancel_grace_s=0.05, terminate_grace_s=0.05
)
PATIENT = Settings(
    warm_processes=0, shutdown_grace_s=0.0, cancel_grace_s=0.05, terminate_grace_s=WAIT_S
)

LONG_S = 20.0
"""Longest wait for processes, which take their time to start on a busy machine."""


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Whatever a function did, no process of it and no open file stays behind."""
    before, there = _open_files(), _children()  # other tests may have left a tracker of resources
    yield
    assert _children() <= there
    assert _open_files() <= before


def _children() -> set[str]:
    """Return the ids of our child processes, ended ones that nobody has reaped included."""
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            found.update((task / "children").read_text().split())
    return found


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def events_of(hub: OpenHub, run_id: str) -> list[Event]:
    return await opening.events_of(hub, run_id, wait_s=LONG_S)


async def told(function: Any, inputs: Any = None, settings: Settings = SETTINGS) -> list[Event]:
    """Return the events of a run of its own."""
    async with open_hub("memory://", settings=settings) as hub:
        run = await hub.start(function, inputs)
        return await events_of(hub, run.run_id)


def shown(events: list[Event]) -> list[tuple[Any, ...]]:
    """Return all of the events but when they were."""
    return [(e.seq, e.type, e.data, e.node, e.agent, e.path, e.duration) for e in events]


def lines(events: list[Event], logger: str = "stdout") -> list[str]:
    """Return what was printed."""
    return [e.data["message"] for e in events if e.type == "log" and e.data["logger"] == logger]


def is_gone(pid: int) -> bool:
    """Tell, within a while, that a process is dead; a zombie nobody reaps here counts as dead."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(WAIT_S * 1000))
    finally:
        os.close(handle)


# --- what it tells --------------------------------------------------------------------------------


@pytest.mark.parametrize("call", functions.KINDS, ids=lambda call: str(call.__name__))
async def test_a_process_tells_what_a_thread_tells(call: Callable[..., Any]) -> None:
    here = await told(Function(call), {"n": 3})
    there = await told(Function(call, isolation="process"), {"n": 3})
    assert shown(there) == shown(here)


async def test_the_process_converts_the_inputs() -> None:
    events = await told(functions.converted, {"at": {"x": 1, "y": 2}})
    assert events[-1].data == {"result": ["Point", "3", "PosixPath"]}


@pytest.mark.parametrize(
    ("given", "result"),
    [
        ({"no": 5, "key": "hunter2"}, {"number": 5, "key": "**********"}),
        (functions.Order(no=5), {"number": 5, "key": None}),
    ],
)
async def test_the_process_gets_models_and_returns_them(given: Any, result: Any) -> None:
    inputs = {"order": given, "files": [Path("a")]}
    function = Function(functions.returns_what_it_is_given, isolation="process")
    events = await told(function, inputs)
    assert events[-1].data == {"result": {"type": "Order", "order": result, "files": ["a"]}}
    async with open_hub("memory://", settings=SETTINGS) as hub:
        with pytest.raises(InvalidInputs, match=r"order: Expected .*Field required.*\$\.no"):
            await hub.start(function, {"order": {"number": 5}})


async def test_an_input_that_its_process_would_not_get_is_refused() -> None:
    order = functions.Order.model_validate({"no": 5, "key": "hunter2"})
    function = Function(functions.returns_what_it_is_given, isolation="process")
    async with open_hub("memory://", settings=SETTINGS) as hub:
        with pytest.raises(InvalidInputs, match="not JSON: what JSON keeps of them"):
            await hub.start(function, {"order": order})


@pytest.mark.parametrize("inputs", [{"at": {"x": "one"}}, {}, {"at": {"x": 1}, "more": 1}])
async def test_wrong_inputs_are_refused_before_there_is_a_run(inputs: dict[str, Any]) -> None:
    async with open_hub("memory://", settings=SETTINGS) as hub:
        with pytest.raises(InvalidInputs):
            await hub.start(functions.converted, inputs)


async def test_inputs_that_json_cannot_hold_are_refused() -> None:
    def anything(value: Any) -> None: ...

    anything.__qualname__ = "unreachable"
    anything.__module__ = functions.__name__
    async with open_hub("memory://", settings=SETTINGS) as hub:
        with pytest.raises(InvalidInputs, match="not JSON"):
            await hub.start(Function(anything, isolation="process"), {"value": object()})


async def test_threads_of_the_process_emit_in_their_order() -> None:
    events = await told(functions.from_threads)
    numbers = [event.data["n"] for event in events if event.type == "step"]
    assert sorted(numbers) == sorted([*range(50)] * 4)


async def test_what_a_signal_interrupts_is_told_wholly_or_not_at_all() -> None:
    events = await told(functions.interrupted, {"times": 20})
    assert events[-1].data == {"result": 20}
    assert {event.data["text"] for event in events if event.type == "step"} <= {"x" * 200_000}


async def test_a_handler_of_a_signal_may_emit_while_an_event_is_sent() -> None:
    events = await told(functions.handling, {"times": 50})
    handled = [event.data["n"] for event in events if event.type == "handled"]
    assert handled == [*range(1, events[-1].data["result"] + 1)]
    pieces = [event.data["index"] for event in events if event.type == "content"]
    assert pieces == [*range(len(handled))]
    assert {event.data["text"] for event in events if event.type == "step"} == {"x" * 200_000}


async def test_flush_waits_for_the_commit() -> None:
    events = await told(functions.flushing)
    assert events[-1].data == {"result": 2}


async def test_the_process_asks_and_hears_the_answers() -> None:
    async with open_hub("memory://", settings=SETTINGS) as hub:
        run = await hub.start(functions.asking, {"times": 2})
        async with asyncio.timeout(LONG_S):
            async for event in hub.watch(run.run_id):
                if event.type == "interrupt_request":
                    await hub.answer(run.run_id, event.data["interrupt_id"], {"type": "accept"})
        assert await run.result() == ["accept", "accept"]


async def test_a_coroutine_of_the_process_asks_and_is_told_what_is_wrong() -> None:
    async with open_hub("memory://", settings=SETTINGS) as hub:
        run = await hub.start(functions.asking_async)
        refused = []
        async with asyncio.timeout(LONG_S):
            async for event in hub.watch(run.run_id):
                if event.type == "refused":
                    refused.append(event.data)
                if event.type == "interrupt_request":
                    answer = {"type": "edit", "args": {"n": 2}}
                    await hub.answer(run.run_id, event.data["interrupt_id"], answer)
        assert refused == ["invalid_value"]
        assert await run.result() == "edit {'n': 2}"


async def test_questions_that_cannot_be_asked_are_refused_where_they_are_asked() -> None:
    events = await told(functions.asking_oddly)
    refused = [event.data for event in events if event.type == "refused"]
    assert refused == ["invalid_value", "event_too_large", *["invalid_value"] * 3]
    assert events[-1].type == "done"


async def test_cancelling_ends_a_wait_for_an_answer() -> None:
    async with open_hub("memory://", settings=SETTINGS) as hub:
        run = await hub.start(functions.asking, {"times": 1})
        async with asyncio.timeout(LONG_S):
            async for event in hub.watch(run.run_id):
                if event.type == "interrupt_request":
                    await hub.cancel(run.run_id, "enough")
        assert (await run.wait()).data == {"reason": "enough"}


@pytest.mark.parametrize("last", ["answer", "message"])
async def test_once_cancelled_a_function_waits_for_nobody(last: str) -> None:
    """Whether the cancellation comes just before its wait or during it."""
    settings = Settings(warm_processes=0, cancel_grace_s=2 * LONG_S)
    events = await stopped(functions.asking_when_cancelled, {"last": last}, settings)
    assert events[-1].data == {"reason": "enough"}


async def test_events_wait_while_the_store_fails_and_none_is_lost(clock: FakeClock) -> None:
    store = FaultyStore(MemoryStore(clock))
    async with open_hub(store, settings=SETTINGS, clock=clock) as hub:
        run = await hub.start(functions.talking, {"n": 2000})
        store.fail_next(5, StoreUnavailable("down"))
        await asyncio.wait_for(run.wait(), LONG_S)
        events = await events_of(hub, run.run_id)
    assert [event.data["n"] for event in events[1:-1]] == list(range(2000))


async def test_a_run_may_not_tell_more_than_the_settings_let_it() -> None:
    settings = Settings(warm_processes=0, max_events_per_run=10)
    events = await told(functions.talking, {"n": 50}, settings)
    assert len(events) == 12
    assert events[-1].data["code"] == "run_too_large"


# --- what it prints -------------------------------------------------------------------------------


async def test_what_is_printed_becomes_log_events() -> None:
    events = await told(functions.printing, {"lines": 2})
    assert lines(events) == [
        *("line 0", "line 1"),
        *("\ufffd raw", "more", "from below", "from a child"),
        "no end of line and at exit",
    ]
    assert lines(events, "stderr") == ["to stderr"]
    assert {e.data["level"] for e in events if e.type == "log"} == {"info", "warning"}
    assert events[-1].type == "done"


async def test_a_long_line_is_cut_and_that_is_told() -> None:
    settings = Settings(warm_processes=0, output_line_bytes=10)
    events = await told(functions.long_line, {"size": 1_000_000}, settings)
    assert lines(events) == ["xxxxxxxxxx… (999990 more bytes)"]


async def test_no_line_is_lost_or_ends_its_run_for_being_longer_than_an_event() -> None:
    settings = Settings(warm_processes=0, max_event_bytes=256)
    events = await told(functions.long_line, {"size": 1000}, settings)
    (line,) = lines(events)
    assert line.startswith("xxx")
    assert line.endswith("…")
    assert events[-1].type == "done"


async def test_a_flood_of_output_is_bounded_and_told() -> None:
    settings = Settings(warm_processes=0, output_lines_per_s=50, cancel_grace_s=WAIT_S)
    async with open_hub("memory://", settings=settings) as hub:
        run = await hub.start(functions.flooding)
        async with asyncio.timeout(LONG_S):
            async for event in hub.watch(run.run_id):
                if event.type == "log" and "left out" in event.data["message"]:
                    run.cancel("enough")
        events = await events_of(hub, run.run_id)
    told = lines(events)
    assert events[-1].type == "cancelled"
    assert told.count("flood") < 50 * LONG_S
    assert sum("left out" in line for line in told) >= 1


# --- what it shares: nothing ----------------------------------------------------------------------


async def test_two_calls_share_no_globals_environment_or_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUNCAST_TOKEN", "the token")
    found = []
    settings = Settings(warm_processes=2, shutdown_grace_s=0.0)
    async with open_hub("memory://", settings=settings, functions=[functions.world]) as hub:
        for leave in ("one", "two", "three"):
            run = await hub.start("world", {"leave": leave})
            found.append(await asyncio.wait_for(run.result(), LONG_S))
    assert len({each.pop("pid") for each in found}) == 3
    nothing = {"calls": 1, "left": "", "token": "", "main": True, "session": True, "stdin": ""}
    assert found == [nothing] * 3


async def test_processes_are_ready_before_they_are_needed() -> None:
    settings = Settings(warm_processes=2, shutdown_grace_s=0.0)
    async with open_hub("memory://", settings=settings, functions=[functions.world]) as hub:
        processes = hub.runner.processes
        await eventually(lambda: processes.ready == 2)
        (ready,) = processes._ready.values()
        expected = ready[0].pid
        run = await hub.start("world", {"leave": ""})
        assert (await run.result())["pid"] == expected
        await eventually(lambda: processes.ready == 2)
        # One that died while it waited is not given to anybody.
        dead = ready[0]
        os.kill(dead.pid, signal.SIGKILL)
        await soon(asyncio.shield(dead.exited))
        run = await hub.start("world", {"leave": ""})
        assert (await asyncio.wait_for(run.result(), LONG_S))["pid"] != dead.pid


async def test_more_calls_than_processes_wait_for_room() -> None:
    settings = Settings(warm_processes=0, processes=1, shutdown_grace_s=0.0)
    async with open_hub("memory://", settings=settings) as hub:
        first = await hub.start(functions.asking, {"times": 1})
        second = await hub.start(functions.flushing)
        async with asyncio.timeout(LONG_S):
            async for event in hub.watch(first.run_id):
                if event.type == "interrupt_request":
                    assert not second.has_ended
                    await hub.answer(first.run_id, event.data["interrupt_id"], {"type": "accept"})
        assert await asyncio.wait_for(second.result(), LONG_S) == 2


async def test_a_run_that_waits_for_a_process_can_be_cancelled() -> None:
    settings = Settings(warm_processes=0, processes=1, shutdown_grace_s=0.0)
    async with open_hub("memory://", settings=settings) as hub:
        await hub.start(functions.asking, {"times": 1}, run_id="first")
        second = await hub.start(functions.flushing)
        await eventually(lambda: second.status == "running")
        await hub.cancel(second.run_id, "no room")
        assert (await second.wait()).data == {"reason": "no room"}


# --- how it ends ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
async def test_a_killed_process_ends_its_run_as_killed(number: signal.Signals) -> None:
    events = await told(functions.die, {"number": int(number)})
    assert [event.type for event in events] == ["started", "step", "failed"]
    assert events[-1].data["code"] == "killed"
    assert number.name in events[-1].data["message"]


async def test_orphans_of_its_process_that_come_to_us_are_waited_for() -> None:
    there = _children()

    libc, subreaper = ctypes.CDLL(None), 36  # PR_SET_CHILD_SUBREAPER: as if we were process 1
    assert libc.prctl(subreaper, 1) == 0
    try:
        events = await told(functions.leaves_orphans)
        await eventually(lambda: _children() <= there)
    finally:
        libc.prctl(subreaper, 0)
    assert events[-1].data == {"result": 3}


IMPATIENT_AT_EXIT = Settings(warm_processes=0, shutdown_grace_s=0.0, exit_wait_s=0.1)


@pytest.mark.parametrize(
    "function",
    [
        functions.leaves_pool,
        functions.leaves_idle_pool,
        functions.leaves_child,
        functions.leaves_daemon,
        functions.leaves_threads,
        functions.leaves_to_thread,
        functions.ends_at_exit,
    ],
    ids=lambda function: str(function.name),
)
async def test_what_a_function_left_at_work_does_not_keep_its_run(function: Any) -> None:
    events = await told(function)
    assert (events[-1].type, events[-1].data) == ("done", {"result": 3})


@pytest.mark.parametrize(
    "function",
    [functions.leaves_queue, functions.leaves_exit_handler, functions.leaves_stubborn_task],
    ids=lambda function: str(function.name),
)
async def test_what_does_not_end_at_exit_has_its_time(
    function: Any, caplog: pytest.LogCaptureFixture
) -> None:
    events = await told(function, settings=IMPATIENT_AT_EXIT)
    assert (events[-1].type, events[-1].data) == ("done", {"result": 3})
    assert any("exit_wait_s" in message for message in caplog.messages)


async def test_cancelling_a_run_that_has_returned_loses_no_result() -> None:
    settings = Settings(
        warm_processes=0, shutdown_grace_s=0.0, cancel_grace_s=0.0, terminate_grace_s=0.0
    )
    async with open_hub("memory://", settings=settings) as hub:
        run = await hub.start(functions.lingers_at_exit)
        async with asyncio.timeout(LONG_S):
            async for event in hub.watch(run.run_id):
                if event.type == "log":
                    await hub.cancel(run.run_id, "enough")
        assert await run.result() == 3


async def test_what_is_said_at_exit_comes_before_the_ending() -> None:
    events = await told(functions.says_more_at_exit)
    assert [event.type for event in events] == ["started", "step", "done"]


@pytest.mark.parametrize("code", [0, 3])
async def test_a_process_that_ends_itself_ends_its_run_as_crashed(code: int) -> None:
    events = await told(functions.leave, {"code": code})
    assert lines(events) == ["last words"]
    assert events[-1].data["code"] == "crashed"
    assert f"exit code {code}" in events[-1].data["message"]


async def test_memory_is_limited() -> None:
    settings = Settings(warm_processes=0, child_memory_bytes=1 << 29)
    events = await told(functions.eat_memory, settings=settings)
    assert events[-1].data["code"] == "out_of_memory"


@pytest.mark.parametrize(
    "function", [functions.stuck_in_c, functions.catastrophe, functions.waiting]
)
async def test_what_does_not_end_is_ended_after_its_time(function: Any) -> None:
    settings = Settings(
        warm_processes=0, run_time_s=0.4, cancel_grace_s=0.01, terminate_grace_s=0.01
    )
    events = await told(function, settings=settings)
    assert events[-1].data["code"] == "timed_out"
    for event in events:
        if event.type == "stuck":
            assert is_gone(event.data)


async def stopped(function: Any, inputs: Any, settings: Settings) -> list[Event]:
    """Cancel a run once it says that it is stuck."""
    async with open_hub("memory://", settings=settings) as hub:
        run = await hub.start(function, inputs)
        async with asyncio.timeout(LONG_S):
            async for event in hub.watch(run.run_id):
                if event.type in ("stuck", "step"):
                    run.cancel("enough")
        return await events_of(hub, run.run_id)


@pytest.mark.parametrize("function", [functions.stuck_in_c, functions.catastrophe])
async def test_a_process_stuck_in_c_is_killed(function: Any) -> None:
    events = await stopped(function, {}, IMPATIENT)
    assert [event.type for event in events] == ["started", "stuck", "cancelled"]
    assert is_gone(events[1].data)


async def test_a_generator_that_yields_is_closed_where_it_yields() -> None:
    settings = Settings(warm_processes=0, cancel_grace_s=LONG_S)
    events = await stopped(functions.busy, {}, settings)
    assert [event.type for event in events[-2:]] == ["closed", "cancelled"]
    assert events[-2].data is True


async def test_a_coroutine_that_blocks_its_loop_is_interrupted_at_once() -> None:
    settings = Settings(warm_processes=0, cancel_grace_s=10 * LONG_S)
    events = await stopped(functions.blocks_its_loop, {}, settings)
    assert [event.type for event in events] == ["started", "stuck", "closed", "cancelled"]
    assert events[-1].data == {"reason": "enough"}


async def test_a_coroutine_is_cancelled_where_it_waits() -> None:
    settings = Settings(warm_processes=0, cancel_grace_s=LONG_S)
    events = await stopped(functions.busy_async, {}, settings)
    assert [event.type for event in events] == ["started", "stuck", "closed", "cancelled"]


async def test_a_function_that_sleeps_is_woken_by_sigterm_and_cleans_up() -> None:
    events = await stopped(functions.waiting, {}, PATIENT)
    assert lines(events) == ["ended by Cancelled"]
    assert events[-1].data == {"reason": "enough"}


async def test_a_stubborn_function_is_killed() -> None:
    events = await stopped(functions.waiting, {"stubborn": True}, IMPATIENT)
    assert lines(events)[:1] == ["ended by Cancelled"]
    assert events[-1].data == {"reason": "enough"}


async def test_what_a_function_forks_cannot_speak_for_it() -> None:
    events = await told(functions.forking)
    assert [event.type for event in events] == ["started", "done"]
    assert events[-1].data == {"result": "itself"}


async def test_what_a_function_forks_ends_with_it() -> None:
    events = await told(functions.leaving_forks)
    assert events[-1].type == "done"
    assert all(map(is_gone, events[1].data))


@pytest.mark.parametrize("after_answer", [False, True])
async def test_a_process_that_closes_its_files_is_given_up(after_answer: bool) -> None:
    events = await told(functions.closing_files, {"after_answer": after_answer})
    assert events[-1].data["code"] == "killed"


@pytest.mark.parametrize(
    "what", ["rubbish", "ending", "kind", "json", "huge", "returned", "end", "question"]
)
async def test_a_process_cannot_forge_anything(what: str, caplog: pytest.LogCaptureFixture) -> None:
    events = await told(functions.forging, {"what": what})
    assert [event.type for event in events] == ["started", "failed"]
    assert events[-1].data["code"] == "crashed"
    assert "from a child process" in caplog.text or "expected" in caplog.text


async def test_a_process_cannot_choose_the_number_of_an_event() -> None:
    events = await told(functions.forging, {"what": "seq"})
    assert [(event.seq, event.type) for event in events] == [
        *((1, "started"), (2, "step"), (3, "done")),
    ]


async def test_closing_the_hub_ends_its_processes() -> None:
    async with open_hub("memory://", settings=IMPATIENT) as hub:
        run = await hub.start(functions.stuck_in_c)
        async with asyncio.timeout(LONG_S):
            async for event in hub.watch(run.run_id):
                if event.type == "stuck":
                    break
    assert run.has_ended
    assert is_gone(event.data)


async def test_closing_the_hub_waits_for_the_end_of_a_stubborn_function() -> None:
    settings = Settings(
        warm_processes=0, shutdown_grace_s=0.0, cancel_grace_s=0.0, terminate_grace_s=1.2
    )
    async with open_hub("memory://", settings=settings) as hub:
        run = await hub.start(functions.waiting, {"stubborn": True})
        async with asyncio.timeout(LONG_S):
            async for event in hub.watch(run.run_id):
                if event.type == "stuck":
                    break
    assert run.has_ended
    assert run.status == "cancelled"
    assert is_gone(event.data)


@pytest.mark.parametrize("function", ["stuck_in_c", "leaving_forks_and_staying", "waiting"])
def test_nothing_outlives_a_server_that_is_killed(function: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_SERVER.format(function=function))
    process = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        process.kill()
    assert pids
    assert all(map(is_gone, pids))


_SERVER = """
import asyncio, runcast
from tests.runs.process_functions import {function} as function

async def main():
    settings = runcast.Settings(warm_processes=2)
    async with runcast.open_hub("memory://", functions=[function], settings=settings) as hub:
        while hub.runner.processes.ready < 2:
            await asyncio.sleep(0.01)
        ready = [c.pid for children in hub.runner.processes._ready.values() for c in children]
        run = await hub.start("{function}")
        async for event in hub.watch(run.run_id):
            if event.type in ("stuck", "forked"):
                pids = event.data if event.type == "forked" else [event.data]
                print(*{{*pids, *ready}}, flush=True)

asyncio.run(main())
"""


# --- pools of its own -----------------------------------------------------------------------------


_POOLS = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import runcast

def square(number):
    return number * number

@runcast.function(isolation="process")
def squares():
    found = []
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with context.Pool(1) as pool:
            found.append(pool.map(square, range(3)))
        with ProcessPoolExecutor(1, context) as executor:
            found.append(list(executor.map(square, range(3))))
    return found

def main(functions):
    settings = runcast.Settings(warm_processes=0)
    with runcast.open_hub(functions=functions, settings=settings) as hub:
        print(hub.start("squares").result())

if __name__ == "__main__":
    main([squares])
"""

_SERVED = """
from runcast._cli.target import load_target
import main
(squares,) = load_target("{file}")
main.main([squares])
"""


@pytest.mark.parametrize(
    ("files", "command"),
    [
        (["script.py"], ["script.py"]),
        (["my-script.py"], ["my-script.py"]),
        (["package/__init__.py", "package/script.py"], ["-m", "package.script"]),
        (["package/__init__.py", "package/__main__.py"], ["-m", "package"]),
        (["folder/__main__.py"], ["folder"]),
        (["main.py", "served/work.py"], ["-c", _SERVED.format(file="served/work.py")]),
        # It is called what another module is called, and cannot be imported by that name.
        (["main.py", "served/main.py"], ["-c", _SERVED.format(file="served/main.py")]),
    ],
    ids=["script", "dash", "module", "package", "folder", "served", "same name"],
)
def test_a_process_function_may_use_pools_however_its_module_is_run(
    files: list[str], command: list[str], tmp_path: Path
) -> None:
    for name in files:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("" if file.name == "__init__.py" else _POOLS)
    process = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env=environment({"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.stdout == f"{[[0, 1, 4]] * 6}\n", process.stderr


def test_a_module_that_is_run_by_its_name_may_import_beside_itself(tmp_path: Path) -> None:

    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "beside.py").write_text("def answer():\n    return 42\n")
    (folder / "script.py").write_text(
        "import runcast\n"
        "from .beside import answer\n"
        "@runcast.function(isolation='process')\n"
        "def ask():\n    return answer()\n"
        "if __name__ == '__main__':\n"
        "    with runcast.open_hub() as hub:\n        print(hub.start(ask).result())\n"
    )
    process = subprocess.run(
        [sys.executable, "-m", "package.script"],
        cwd=tmp_path,
        env=environment({"PYTHONPATH": os.pathsep.join(sys.path)}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.stdout == "42\n", process.stderr


# --- imports --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise RuntimeError('a secret')", "RuntimeError"),
        ("import sys; sys.exit(1)", "SystemExit"),
        ("def f(:", "SyntaxError"),
        ("import not_there_at_all", "ModuleNotFoundError"),
        ("import os; os._exit(4)", "exit code 4"),
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL"),
    ],
)
@pytest.mark.parametrize("warm", [0, 1])
async def test_a_module_that_cannot_be_imported_fails_its_runs(
    tmp_path: Path, code: str, said: str, warm: int, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "broken.py"
    file.write_text(f"print('importing', flush=True)\n{code}\n")
    function = Function(functions.unreachable, isolation="process")
    assert function.source is not None
    function.source = Source("broken", str(file))
    settings = Settings(warm_processes=warm, shutdown_grace_s=0.0)
    async with open_hub("memory://", settings=settings, functions=[function]) as hub:
        for _ in range(2):
            run = await hub.start("unreachable")
            events = await events_of(hub, run.run_id)
            assert events[-1].data["code"] == "import_failed"
            assert said in events[-1].data["message"]
            assert "a secret" not in events[-1].data["message"]


async def test_a_module_that_prints_and_never_ends_its_import_can_be_cancelled(
    tmp_path: Path,
) -> None:
    (tmp_path / "slow.py").write_text(
        "print('here', flush=True)\nimport threading; threading.Event().wait()\n"
    )
    function = Function(functions.unreachable, isolation="process")
    function.source = Source("slow", str(tmp_path / "slow.py"))
    async with open_hub("memory://", settings=IMPATIENT, functions=[function]) as hub:
        run = await hub.start("unreachable")
        async with asyncio.timeout(LONG_S):
            async for event in hub.watch(run.run_id):
                if event.type == "log":
                    run.cancel("enough")
        assert (await run.wait()).type == "cancelled"


# --- what the server's log says -------------------------------------------------------------------


async def test_the_log_has_the_traceback_without_the_inputs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        await told(Function(functions.raising, isolation="process"), {"n": 5})
    assert "raise ValueError(n)" in caplog.text
    assert "drive.py" not in caplog.text


# --- who may have one -----------------------------------------------------------------------------


def test_only_functions_that_another_process_can_import_may_have_one() -> None:
    def local() -> None: ...

    for call in (local, lambda: None, len):
        with pytest.raises(InvalidValue, match=r"top of a module|to have names"):
            Function(call, name="f", isolation="process")
    with pytest.raises(InvalidValue, match="resume"):
        Function(functions.unreachable, isolation="process", resume=functions.unreachable)
    with pytest.raises(InvalidValue, match="isolation"):
        Function(functions.unreachable, isolation="rocket")  # type: ignore[arg-type]


async def test_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **more: Any) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    events = await told(functions.flushing)
    assert events[-1].data["code"] == "not_started"
    assert events[-1].data["retryable"] is True


async def test_without_process_handles_a_thread_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    events = await told(functions.leave, {"code": 3})
    assert "exit code 3" in events[-1].data["message"]
