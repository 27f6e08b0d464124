"""A run around a block of code: how it ends, what it holds, who can cancel it; in this process."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast._app import OpenHub
from runcast.errors import (
    Cancelled,
    Conflict,
    EventTooLarge,
    InvalidValue,
    NotFound,
    RunClosed,
    StoreUnavailable,
)
from runcast.events.model import Event
from runcast.stores.memory import MemoryStore
from runcast.testing import FakeClock, FaultyStore
from tests.opening import events_of, eventually, soon, wait_for

Leaving = Callable[[], None]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/runs.db"


def events(url: str, run_id: str) -> list[Event]:
    with runcast.open_hub(url) as hub:
        return list(hub.watch(run_id))


def raises(error: BaseException) -> Leaving:
    def leave() -> None:
        raise error

    return leave


ENDS: list[Any] = [
    pytest.param(lambda: None, "done", {}, id="left"),
    pytest.param(raises(SystemExit(0)), "done", {}, id="exit-0"),
    pytest.param(raises(SystemExit()), "done", {}, id="exit"),
    pytest.param(raises(SystemExit(3)), "failed", "the block raised SystemExit", id="exit-3"),
    pytest.param(
        raises(ValueError("a secret")), "failed", "the block raised ValueError", id="error"
    ),
    pytest.param(raises(runcast.RunFailed("no rows", "empty")), "failed", "no rows", id="failed"),
    pytest.param(raises(MemoryError()), "failed", "the block ran out of memory", id="memory"),
    pytest.param(raises(KeyboardInterrupt()), "cancelled", {"reason": "interrupted"}, id="ctrl-c"),
    pytest.param(raises(Cancelled("enough")), "cancelled", {"reason": "enough"}, id="cancelled"),
    pytest.param(
        raises(asyncio.CancelledError()),
        "cancelled",
        {"reason": "the task was cancelled"},
        id="task",
    ),
]


def check_end(event: Event, kind: str, said: object) -> None:
    assert event.type == kind
    assert said in (event.data, event.data.get("message"))
    assert "secret" not in str(event.data)


def raised_by(call: Callable[[], None]) -> BaseException | None:
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - whatever it is
        return error
    return None


@pytest.mark.parametrize(("leave", "kind", "said"), ENDS)
def test_how_a_block_is_left_is_how_its_run_ends(
    url: str, leave: Leaving, kind: str, said: object
) -> None:
    def block() -> None:
        with runcast.run("import", run_id="r", store=url):
            runcast.progress(1, 2)
            leave()

    assert raised_by(block) is raised_by(leave)
    started, progress, end = events(url, "r")
    assert (started.data, progress.data["current"]) == ({"function": "import"}, 1)
    check_end(end, kind, said)


@pytest.mark.parametrize(("leave", "kind", "said"), ENDS)
async def test_the_same_of_a_block_on_a_loop(leave: Leaving, kind: str, said: object) -> None:
    async with runcast.open_hub() as hub:
        try:
            async with hub.run("import", run_id="r"):
                runcast.progress(1, 2)
                leave()
        except BaseException:  # noqa: BLE001 - what leaves the block is what was raised in it
            pass
        *_, progress, end = await events_of(hub, "r")

    assert progress.data["current"] == 1
    check_end(end, kind, said)


def test_a_block_around_which_a_generator_is_closed_is_cancelled(url: str) -> None:
    def numbers() -> Iterator[int]:
        with runcast.run("import", run_id="r", store=url):
            yield 1

    generator = numbers()
    next(generator)
    generator.close()  # type: ignore[attr-defined]

    assert events(url, "r")[-1].type == "cancelled"


# --- what it is -----------------------------------------------------------------------------------


def test_a_run_has_what_it_was_given_and_what_was_written_in_it(url: str) -> None:
    with runcast.run("import", run_id="r", labels={"user": "ada"}, store=url) as run:
        assert (run.run_id, run.name, runcast.current_writer()) == ("r", "import", run)
        run.log("by the handle")
        runcast.content("by the module")
        assert run.flush().seq == runcast.flush().seq == 3
        run.set_result({"rows": 7})
        with runcast.open_hub(url) as hub:
            info, snapshot = hub.present("r")
    with runcast.open_hub(url) as hub:
        after, _ = hub.present("r")

    assert runcast.current_writer() is None
    assert (info.labels["user"], info.labels["function"]) == ("ada", "import")
    assert (snapshot.status, after.closed, after.ttl_s) == ("running", True, 7 * 86400.0)
    assert [event.data for event in events(url, "r")][1:] == [
        {"level": "info", "message": "by the handle"},
        {"text": "by the module", "index": 0},
        {"result": {"rows": 7}},
    ]


def test_a_result_is_refused_at_the_call_where_it_cannot_be_stored(url: str) -> None:
    rows = ["kept"]
    with runcast.run("import", run_id="r", store=url) as run:
        run.set_result(rows)
        rows.append("too late")
        with pytest.raises(InvalidValue):
            run.set_result(object())
        with pytest.raises(EventTooLarge):
            run.set_result("x" * 2_000_000)

    assert events(url, "r")[-1].data == {"result": ["kept"]}


def test_an_id_is_taken_once_unless_the_run_is_to_be_replaced(url: str) -> None:
    with runcast.run("import", run_id="r", store=url):
        runcast.log("first")
    with pytest.raises(Conflict), runcast.run("import", run_id="r", store=url):
        pytest.fail("it was entered")
    assert runcast.current_writer() is None
    with runcast.run("import", run_id="r", store=url, replace=True):
        runcast.log("second")

    assert [event.data.get("message") for event in events(url, "r")] == [None, "second", None]


@pytest.mark.parametrize(
    "given",
    [
        {"name": "no name"},
        {"name": "n", "run_id": "no/id"},
        {"name": "n", "labels": {"function": "f"}},
        {"name": "n", "store": "nowhere://"},
    ],
)
def test_what_cannot_be_is_refused_when_the_block_is_entered(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue), runcast.run(**given):
        pytest.fail("it was entered")


def test_runs_have_ids_of_their_own_and_one_block_is_entered_once() -> None:
    block = runcast.run("import")
    with block as one, runcast.run("import") as other:
        assert one.run_id != other.run_id
        with pytest.raises(InvalidValue, match="once"), block:
            pytest.fail("it was entered")


def test_the_store_of_the_environment_is_the_default(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNCAST_STORE", url)
    with runcast.run("import", run_id="r"):
        pass

    assert [event.type for event in events(url, "r")] == ["started", "done"]


def test_outside_the_block_nothing_can_be_written(url: str) -> None:
    with runcast.run("import", store=url) as run:
        pass

    with pytest.raises((RunClosed, StoreUnavailable)):
        run.log("too late")
    runcast.log("to nobody")


# --- on a loop ------------------------------------------------------------------------------------


async def test_a_script_on_a_loop_has_runs_and_asks(url: str) -> None:
    async with runcast.open_hub(url) as hub:
        async with runcast.run("approve", run_id="r", store=url) as run:
            asking = asyncio.ensure_future(run.ask("go on?", interrupt_id="q"))
            await eventually(lambda: run.is_waiting)
            await run.flush()
            assert (await hub.present("r"))[1].status == "waiting"
            await hub.answer("r", "q", {"type": "edit", "args": {"rows": 3}})
            run.set_result((await soon(asking)).args)
            await run.drain()

        assert (await events_of(hub, "r"))[-1].data == {"result": {"rows": 3}}


def test_a_thread_asks_and_waits_for_the_answer() -> None:
    with runcast.open_hub() as hub:
        with hub.run("approve", run_id="r") as run:
            answering = threading.Thread(target=answer_when_asked, args=(hub,))
            answering.start()
            run.set_result(runcast.ask("go on?", interrupt_id="q").type)
            answering.join()

        assert list(hub.watch("r"))[-1].data == {"result": "accept"}


async def test_a_step_of_the_clock_refuses_no_answer_that_comes_in_time(clock: FakeClock) -> None:
    async with runcast.open_hub(clock=clock) as hub:
        async with hub.run("approve", run_id="r") as run:
            asking = asyncio.ensure_future(run.ask("go on?", interrupt_id="q", timeout_s=600))
            await eventually(lambda: run.is_waiting)
            await run.flush()
            clock.jump(3600)
            await hub.answer("r", "q", {"type": "accept"})
            run.set_result((await soon(asking)).type)

        assert (await events_of(hub, "r"))[-1].data == {"result": "accept"}


def answer_when_asked(hub: runcast.OpenHubInThread) -> None:
    for event in hub.watch("r"):
        if event.type == "interrupt_request":
            hub.answer("r", "q", {"type": "accept"})
            return


# --- isolation ------------------------------------------------------------------------------------


def test_runs_inside_runs_and_their_threads_keep_what_is_theirs() -> None:
    with runcast.open_hub() as hub:
        with hub.run("outer", run_id="outer"):
            runcast.log("outer")
            bound = runcast.bind(lambda: runcast.log("outer, in a thread"))
            with hub.run("inner", run_id="inner"):
                runcast.log("inner")
                for work in (bound, lambda: runcast.log("nobody's")):
                    thread = threading.Thread(target=work)
                    thread.start()
                    thread.join()
            runcast.log("outer again")
        texts = {
            run_id: [e.data["message"] for e in hub.watch(run_id) if e.type == "log"]
            for run_id in ("outer", "inner")
        }

    assert texts == {"outer": ["outer", "outer, in a thread", "outer again"], "inner": ["inner"]}


async def test_tasks_with_runs_of_their_own_do_not_meet() -> None:
    async def work(hub: OpenHub, number: int) -> None:
        async with hub.run("work", run_id=f"r{number}"):
            for _ in range(3):
                runcast.log(f"of {number}")
                await asyncio.to_thread(runcast.log, f"of {number}, in a thread")

    async with runcast.open_hub() as hub:
        await soon(asyncio.gather(*(work(hub, number) for number in range(5))))
        for number in range(5):
            texts = [
                e.data["message"] for e in await events_of(hub, f"r{number}") if e.type == "log"
            ]
            assert texts == [f"of {number}", f"of {number}, in a thread"] * 3


# --- cancelling -----------------------------------------------------------------------------------


def test_the_next_emit_in_each_thread_raises_once_when_somebody_cancels() -> None:
    seen: list[str] = []

    def work() -> None:
        try:
            while True:
                runcast.emit("tick")
        except Cancelled as error:
            seen.append(str(error))

    def block(hub: runcast.OpenHubInThread) -> None:
        with hub.run("work", run_id="r"):
            thread = threading.Thread(target=runcast.bind(work))
            thread.start()
            hub.cancel("r", "enough")
            try:
                while True:
                    runcast.emit("tick")
            finally:
                thread.join()
                runcast.log("cleaning up")

    with runcast.open_hub() as hub:
        with pytest.raises(Cancelled, match="enough"):
            block(hub)
        *_, clean_up, end = hub.watch("r")

    assert seen == ["enough"]
    assert (clean_up.data["message"], end.type) == ("cleaning up", "cancelled")
    assert end.data == {"reason": "enough"}


@pytest.mark.parametrize("where", ["here", "elsewhere"])
async def test_the_task_of_a_block_on_a_loop_is_cancelled_once(url: str, where: str) -> None:
    begun, cleaned = asyncio.Event(), asyncio.Event()

    async def work(hub: OpenHub) -> None:
        async with hub.run("work", run_id="r"):
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                runcast.log("cleaning up")
                await asyncio.sleep(0)
                cleaned.set()

    async with runcast.open_hub(url) as hub, runcast.open_hub(url) as other:
        task = asyncio.ensure_future(work(hub))
        await soon(begun.wait())
        await (hub if where == "here" else other).cancel("r", "enough")
        await asyncio.wait([task])

        assert (task.cancelled(), cleaned.is_set()) == (True, True)
        *_, clean_up, end = await events_of(hub, "r")
        assert (clean_up.type, end.data) == ("log", {"reason": "enough"})
        await other.cancel("r", "again, of a run that has ended")


async def test_a_block_that_was_left_is_cancelled_no_more(url: str) -> None:
    async with runcast.open_hub(url) as hub:
        async with hub.run("work", run_id="r") as run:
            pass
        await hub.cancel("r", "too late")
        await asyncio.sleep(0)
        with pytest.raises(NotFound):
            await hub.cancel("another")

        assert (await events_of(hub, run.run_id))[-1].type == "done"


def test_a_block_that_does_not_notice_is_cancelled_unless_it_has_a_result() -> None:
    with runcast.open_hub() as hub:
        for run_id, result in (("without", None), ("with", 7)):
            with hub.run("work", run_id=run_id) as run:
                hub.cancel(run_id, "enough")
                run.set_result(result)
        ends = [list(hub.watch(run_id))[-1].data for run_id in ("without", "with")]

    assert ends == [{"reason": "enough"}, {"result": 7}]


async def test_deleting_and_replacing_cancel_the_block(url: str) -> None:
    async with runcast.open_hub(url) as here, runcast.open_hub(url) as there:
        for command in ("delete", "replace"):
            begun = asyncio.Event()

            async def work(begun: asyncio.Event = begun) -> None:
                async with here.run("work", run_id="r", replace=True):
                    begun.set()
                    await asyncio.Event().wait()

            task = asyncio.ensure_future(work())
            await soon(begun.wait())
            if command == "delete":
                await there.hub.delete("r")
            else:
                async with there.run("work", run_id="r", replace=True):
                    pass
            await asyncio.wait([task], timeout=5)
            assert task.cancelled()


# --- a hub that closes, a store that fails --------------------------------------------------------


async def test_a_hub_that_closes_ends_its_blocks() -> None:
    store, begun = MemoryStore(), asyncio.Event()
    hub = await OpenHub(store).open()

    async def work() -> None:
        async with hub.run("work", run_id="r"):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await soon(begun.wait())
    await soon(hub.close())
    await asyncio.wait([task])

    async with runcast.open_hub(store) as again:
        assert (await events_of(again, "r"))[-1].data == {"reason": "the server shut down"}


@pytest.mark.parametrize("leaves", [True, False])
async def test_a_store_that_fails_does_not_hold_up_the_closing(leaves: bool) -> None:
    settings = runcast.Settings(cancel_grace_s=0.05, store_retry_s=60.0, emit_wait_s=0.05)
    store, begun, go_on = FaultyStore(MemoryStore()), asyncio.Event(), asyncio.Event()
    hub = await OpenHub(store, settings=settings).open()

    async def work() -> None:
        async with hub.run("work", run_id="r"):
            begun.set()
            try:
                await go_on.wait()
            finally:
                if not leaves:
                    await go_on.wait()

    task = asyncio.ensure_future(work())
    await soon(begun.wait())
    store.fail_next(100, StoreUnavailable("not now"))
    await soon(hub.close())
    go_on.set()
    await asyncio.wait([task])


def test_a_thread_that_does_not_leave_its_block_does_not_hold_up_the_closing(url: str) -> None:
    entered, go_on = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    def work(hub: runcast.OpenHubInThread) -> None:
        try:
            with hub.run("work", run_id="r"):
                entered.set()
                wait_for(go_on)
        except BaseException as error:  # noqa: BLE001 - there is to be none
            failed.append(error)

    settings = runcast.Settings(cancel_grace_s=0.05)
    with runcast.open_hub(url, settings=settings) as hub:
        thread = threading.Thread(target=work, args=(hub,))
        thread.start()
        wait_for(entered)
    go_on.set()
    thread.join()

    assert failed == []
    assert events(url, "r")[-1].data == {"reason": "the server shut down"}


@pytest.mark.parametrize("raised", [None, ValueError("of the block")])
async def test_an_end_that_cannot_be_stored_is_reported_unless_the_block_raised(
    raised: ValueError | None,
) -> None:
    settings = runcast.Settings(emit_wait_s=0.05, store_retry_s=60.0)
    store = FaultyStore(MemoryStore())

    async def block() -> None:
        async with runcast.run("work", store=store, settings=settings):
            store.fail_next(1, StoreUnavailable("not now"))
            if raised is not None:
                raise raised

    with pytest.raises(StoreUnavailable if raised is None else ValueError):
        await block()


async def test_a_beginning_that_is_cancelled_leaves_no_run_open(url: str) -> None:
    async with runcast.open_hub(url) as hub:

        async def work() -> None:
            async with hub.run("work", run_id="r"):
                pytest.fail("it was entered")

        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await eventually(lambda: hub.hub.statistics().pipeline.appended > 0)

        assert (await events_of(hub, "r"))[-1].type == "cancelled"


async def test_a_script_leaves_the_runs_of_others_alone(url: str) -> None:
    """It neither ends what dead owners left nor deletes what is old."""
    async with runcast.open_hub(url) as hub:
        await hub.hub.begin("orphan")
        await (await hub.hub.begin("old", ttl_s=0.0)).end(runcast.Outcome("done", {}))
    settings = runcast.Settings(retention_every_s=0.01, lease_s=0.05)
    async with runcast.run("work", store=url, settings=settings) as run:
        for number in range(3):
            run.emit("tick", number)
            await run.flush()
    async with runcast.run("work", store=url) as run:
        assert not (await run._hub.info("orphan")).closed
        assert (await run._hub.info("old")).closed


async def test_a_script_keeps_of_its_own_log_what_the_settings_say(url: str) -> None:
    settings = runcast.Settings(keep_bytes_per_run=10_000, retention_every_s=0.01)
    async with runcast.run("work", run_id="r", store=url, settings=settings) as run:
        while (await run._hub.info("r")).first == 1:
            run.emit("tick", "x" * 50_000)
            await run.flush()
        run.set_result("cut")

    async with runcast.open_hub(url) as hub:
        first, *_, last = await events_of(hub, "r")
    assert (first.type, last.data) == ("gap", {"result": "cut"})


async def test_a_function_has_a_run_of_its_own_around_part_of_its_code(url: str) -> None:
    def function() -> None:
        runcast.log("of the function")
        with runcast.run("part", run_id="part", store=url):
            runcast.log("of the part")
        runcast.log("of the function again")

    async with runcast.open_hub(url) as hub:
        await soon((await hub.start(function, run_id="whole")).result())
        texts = {
            run_id: [e.data["message"] for e in await events_of(hub, run_id) if e.type == "log"]
            for run_id in ("whole", "part")
        }

    assert texts == {
        "whole": ["of the function", "of the function again"],
        "part": ["of the part"],
    }


def test_a_process_that_a_block_forks_leaves_the_run_to_its_parent(url: str) -> None:
    with runcast.run("work", run_id="r", store=url) as run:
        pid = os.fork()
        if not pid:
            code = 1
            try:
                with pytest.raises(InvalidValue):
                    run.log("from the child")
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        run.log("from the parent")

    assert [event.type for event in events(url, "r")] == ["started", "log", "done"]


@pytest.mark.anyio
async def test_a_block_without_a_next_attempt_keeps_nothing_and_says_so() -> None:
    async with runcast.open_hub() as hub, hub.run("import"):
        with pytest.raises(InvalidValue, match="no next attempt"):
            await runcast.keep({"done": 1})
