"""Processes that a function forks: what leads to the hub is refused there, and nothing hangs."""

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

import runcast
from runcast._app.hub import OpenHub
from runcast._functions.function import Function, Isolation
from runcast._hub import forks
from runcast._settings import Settings
from runcast.compat.stream_manager.stream_queue import TaskStreamQueue
from runcast.compat.stream_manager.task_stream import StreamEvent
from runcast.compat.stream_writer_util import MyStreamWriter
from tests.opening import WAIT_S, soon
from tests.runs import forking
from tests.runs.forking import in_child

# From Python 3.12 on it warns of what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

SETTINGS: Final = Settings(warm_processes=0, shutdown_grace_s=0.0)

LONG_S: Final = 20.0
"""Longest wait for processes, which take their time to start on a busy machine."""


async def result_of(hub: OpenHub, function: Callable[..., Any], **inputs: Any) -> Any:
    run = await hub.start(function, inputs)
    async with asyncio.timeout(LONG_S):
        return await run.result()


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def not_refused(said: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in said.items() if not text.startswith("InvalidValue")}


# --- inside a run ---------------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", ["thread", "process"])
@pytest.mark.parametrize("call", [forking.calls, forking.calls_async], ids=["def", "async def"])
async def test_a_call_in_a_forked_process_is_refused(
    call: Callable[[], Any], isolation: Isolation
) -> None:
    async with runcast.open_hub(settings=SETTINGS) as hub:
        said = await result_of(hub, Function(call, isolation=isolation))
    assert said.keys() == forking.CALLS.keys()
    assert not_refused(said) == {}


async def test_nothing_of_a_forked_process_is_in_the_log() -> None:
    def work(number: int) -> str:
        try:
            runcast.log(f"child {number}")
        except runcast.RuncastError as error:
            return str(error.code)
        return "taken"

    globals()["_work"] = work
    work.__qualname__ = "_work"

    def pool() -> list[str]:
        with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as workers:
            return list(workers.map(work, range(4)))

    async with runcast.open_hub(settings=SETTINGS) as hub:
        run = await hub.start(pool)
        assert await soon(run.result()) == ["invalid_value"] * 4
        events = [event async for event in hub.watch(run.run_id)]
    assert [event.type for event in events] == ["started", "done"]


@pytest.mark.parametrize(
    ("lock_of", "call"),
    [
        (lambda hub, writer: hub.hub._pipeline._pending.lock, lambda: runcast.emit("step")),
        (lambda hub, writer: writer._lock, lambda: runcast.content("a piece")),
    ],
    ids=["emit", "content"],
)
async def test_a_lock_that_was_held_at_the_fork_holds_up_nobody(
    lock_of: Callable[[Any, Any], Any], call: Callable[[], None]
) -> None:
    def forks_while_another_emits() -> str:
        lock = lock_of(hub, runcast.current_writer())
        is_held, has_forked = threading.Event(), threading.Event()

        def hold() -> None:
            with lock:
                is_held.set()
                has_forked.wait(2 * WAIT_S)

        holder = threading.Thread(target=hold)
        holder.start()
        is_held.wait(WAIT_S)
        try:
            return in_child(call)
        finally:
            has_forked.set()
            holder.join()

    async with runcast.open_hub(settings=SETTINGS) as hub:
        assert (await result_of(hub, forks_while_another_emits)).startswith("InvalidValue")


async def test_a_lock_that_the_forking_thread_holds_is_released_by_it() -> None:
    lock = forks.make_rlock()
    lock.acquire()  # as a handler of a signal finds it that forks while `emit` is at work
    assert in_child(lock.release) == "returned None"
    lock.release()


async def test_a_workspace_that_is_made_can_be_used_in_a_forked_process(tmp_path: Path) -> None:
    def made() -> str:
        runcast.workspace()
        return in_child(runcast.workspace)

    def not_made() -> str:
        return in_child(runcast.workspace)

    async with runcast.open_hub(settings=SETTINGS) as hub:
        assert (await result_of(hub, made)).startswith("returned PosixPath")
        # What it made would not be found at the end.
        assert (await result_of(hub, not_made)).startswith("InvalidValue")


# --- what comes back to the server ----------------------------------------------------------------


def _returns(pid: int) -> str:
    return "parent" if pid else "child"


def _raises(pid: int) -> str:
    if not pid:
        raise ValueError("in the child")
    return "parent"


def _exits(pid: int) -> str:
    if not pid:
        raise SystemExit(7)
    return "parent"


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
@pytest.mark.parametrize(("then", "code"), [(_returns, 0), (_raises, 1), (_exits, 7)])
async def test_a_forked_process_that_leaves_the_function_ends(
    then: Callable[[int], str], code: int, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def forks_here() -> list[Any]:
        pid = os.fork()
        said = then(pid)
        return [said, exit_code(pid)] if pid else [said]

    async def forks_on_the_loop() -> list[Any]:
        return forks_here()

    async with runcast.open_hub(settings=SETTINGS) as hub:
        function = forks_on_the_loop if is_async else forks_here
        assert await result_of(hub, function) == ["parent", code]
        assert await result_of(hub, finish) == "finished"


async def test_what_a_forked_process_raises_is_reported() -> None:
    async with runcast.open_hub(settings=SETTINGS) as hub:
        run = await hub.start(Function(forking.raising, isolation="process"))
        async with asyncio.timeout(LONG_S):
            assert await run.result() == 1
        events = [event async for event in hub.watch(run.run_id)]
    assert any("in the child" in event.data["message"] for event in events if event.type == "log")


async def test_a_forked_process_that_goes_back_to_the_loop_ends() -> None:
    async def forks_in_a_task() -> int:
        never = asyncio.get_running_loop().create_future()

        async def fork() -> int:
            pid = os.fork()
            if not pid:
                await never
            return pid

        return exit_code(await asyncio.create_task(fork()))

    async with runcast.open_hub(settings=SETTINGS) as hub:
        assert await result_of(hub, forks_in_a_task) == 1


# --- outside --------------------------------------------------------------------------------------


def finish() -> str:
    return "finished"


def test_the_methods_of_a_hub_in_a_thread_are_refused_in_a_forked_process() -> None:
    with runcast.open_hub(settings=SETTINGS) as hub:
        run = hub.start(finish)
        assert run.result() == "finished"
        events = hub.watch(run.run_id)
        next(events)
        calls: dict[str, Callable[[], object]] = {
            "start": lambda: hub.start(finish),
            "watch": lambda: list(hub.watch(run.run_id)),
            "watch on": lambda: list(events),
            "answer": lambda: hub.answer(run.run_id, "q", {"type": "accept"}),
            "cancel": lambda: hub.cancel(run.run_id),
            "flush": lambda: hub.flush(run.run_id),
            "present": lambda: hub.present(run.run_id),
            "writer": lambda: hub.writer(run.run_id),
            "result": run.result,
        }
        assert not_refused({name: in_child(call) for name, call in calls.items()}) == {}


def test_leaving_the_block_in_a_forked_process_leaves_the_hub_to_its_parent() -> None:
    def leave() -> str:
        opened.__exit__(None, None, None)
        return "left"

    with (opened := runcast.open_hub(settings=SETTINGS)) as hub:
        assert in_child(leave) == "returned 'left'"
        assert hub.start(finish).result() == "finished"


def test_a_forked_process_may_open_a_hub_of_its_own() -> None:
    def own() -> Any:
        with runcast.open_hub(settings=SETTINGS) as own_hub:
            return own_hub.start(finish).result()

    unopened = runcast.open_hub(settings=SETTINGS)

    def inherited() -> Any:
        with unopened as hub:
            return hub.start(finish).result()

    with runcast.open_hub(settings=SETTINGS):
        assert in_child(own) == "returned 'finished'"
        assert in_child(inherited) == "returned 'finished'"


async def test_the_methods_of_a_hub_on_a_loop_are_refused_in_a_forked_process() -> None:
    async with runcast.open_hub(settings=SETTINGS) as hub:
        run = await hub.start(finish)
        await run.wait()

        async def watch() -> object:
            return [event async for event in hub.watch(run.run_id)]

        async def write() -> object:
            return hub.writer(run.run_id)

        calls: dict[str, Callable[[], Any]] = {
            "open": hub.open,
            "start": lambda: hub.start(finish),
            "watch": watch,
            "answer": lambda: hub.answer(run.run_id, "q", {"type": "accept"}),
            "cancel": lambda: hub.cancel(run.run_id),
            "flush": lambda: hub.flush(run.run_id),
            "present": lambda: hub.present(run.run_id),
            "writer": write,
            "wait": run.wait,
            "result": run.result,
        }

        def called(call: Callable[[], Any]) -> str:
            return in_child(lambda: asyncio.run(_await(call)))

        assert not_refused({name: called(call) for name, call in calls.items()}) == {}
        assert called(hub.close) == "returned None"
        assert await soon((await hub.start(finish)).result()) == "finished"


async def _await(call: Callable[[], Any]) -> Any:
    return await call()


async def test_streams_of_older_modules_are_refused_in_a_forked_process() -> None:
    async with runcast.open_hub(settings=SETTINGS) as hub:
        begun, early = TaskStreamQueue("begun", hub=hub), TaskStreamQueue("early", hub=hub)
        await begun.begin()
        frames = MyStreamWriter(asyncio.Queue(), asyncio.get_running_loop())
        event, last = (StreamEvent(kind, "a", "text", "t") for kind in ("content", "done"))
        calls: dict[str, Callable[[], object]] = {
            "put": lambda: begun.put_nowait(event),
            "last": lambda: begun.put_nowait(last),
            "early": lambda: early.put_nowait(event),
            "put and wait": lambda: asyncio.run(early.put(event)),
            "frame": lambda: frames.write("data: {}\n\n"),
        }
        assert not_refused({name: in_child(call) for name, call in calls.items()}) == {}
        begun.close()
        await soon(begun.wait_closed())
