"""Code anywhere that owns a run by the URL of the store: `runcast.attach`."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast._app import OpenHub
from runcast._settings import Settings
from runcast.errors import Cancelled, Conflict, InvalidValue, NotFound, RunClosed
from runcast.events.model import Event
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing import FakeClock
from tests.environment import environment
from tests.opening import WAIT_S, clock, events_of, soon

__all__ = ("clock",)

SETTINGS = Settings(shutdown_grace_s=0.0, launch_wait_s=60.0)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/runs.db"


def events(url: str, run_id: str) -> list[Event]:
    with runcast.open_hub(url, settings=SETTINGS) as hub:
        return list(hub.watch(run_id))


async def is_there(hub: OpenHub, run_id: str) -> bool:
    try:
        return (await hub.info(run_id)).status == "running"
    except NotFound:
        return False


def attempts(found: list[Event]) -> list[object]:
    return [event.data.get("attempt", 1) for event in found if event.type == "started"]


def test_it_begins_a_run_and_ends_it_with_its_result_and_files(url: str) -> None:
    with runcast.attach("r", store=url, name="train", labels={"user": "ada"}) as run:
        runcast.progress(1, 2)
        (runcast.workspace() / "data" / "outputs" / "model.bin").write_bytes(b"weights")
        run.set_result({"loss": 0.5})
        assert run.attempt == 1

    found = events(url, "r")
    assert [event.type for event in found] == ["started", "progress", "files", "done"]
    assert [each["path"] for each in found[2].data["files"]] == ["model.bin"]
    assert found[3].data == {"result": {"loss": 0.5}}
    with runcast.open_hub(url) as hub:
        assert hub.info("r").labels["user"] == "ada"


@pytest.mark.anyio
async def test_it_takes_the_run_that_was_begun_for_it(url: str) -> None:
    async with runcast.open_hub(url, settings=SETTINGS) as hub:
        run = await hub.reserve("train", run_id="r", labels={"user": "ada"})
        assert (await hub.info("r")).status == "queued"
        async with runcast.attach("r", store=url) as attached:
            attached.set_result("done elsewhere")

        assert await soon(run.result()) == "done elsewhere"
        assert (await events_of(hub, "r"))[0].data == {"function": "train"}


@pytest.mark.anyio
async def test_of_two_that_attach_the_second_one_is_refused(url: str) -> None:
    async with runcast.attach("r", store=url, name="train"):
        for name in ("", "train"):
            with pytest.raises(Conflict, match="a process that lives"):
                async with runcast.attach("r", store=url, name=name):
                    raise AssertionError
    with pytest.raises(RunClosed):
        async with runcast.attach("r", store=url, name="train"):
            raise AssertionError


@pytest.mark.anyio
async def test_it_waits_for_the_one_before(url: str) -> None:
    async with runcast.attach("r", store=url, name="train") as run:
        run.leave_open()
        later = runcast.attach("r", store=url, wait_s=30.0)
        entering = asyncio.create_task(later.__aenter__())
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert (await entering).attempt == 2
        await later.__aexit__(None, None, None)


def test_a_run_that_is_not_there_needs_a_name(url: str) -> None:
    with pytest.raises(NotFound, match="give name="), runcast.attach("r", store=url):
        raise AssertionError


def test_an_error_of_the_block_fails_the_run(url: str) -> None:
    with pytest.raises(ZeroDivisionError), runcast.attach("r", store=url, name="train"):
        1 / 0  # noqa: B018

    assert events(url, "r")[-1].data["message"] == "the block raised ZeroDivisionError"


def test_a_block_that_leaves_the_run_open_is_followed_by_another(url: str) -> None:
    def fail() -> None:
        with runcast.attach("r", store=url, name="train") as run:
            run.leave_open()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with runcast.open_hub(url, settings=SETTINGS) as hub:
        assert hub.info("r").status == "running"
    with runcast.attach("r", store=url) as run:
        run.set_result(run.attempt)

    found = events(url, "r")
    assert attempts(found) == [1, 2]
    assert found[-1].data == {"result": 2}


@pytest.mark.anyio
async def test_a_question_is_answered_and_a_message_read(url: str) -> None:
    async with runcast.open_hub(url, settings=SETTINGS) as hub:
        async with runcast.attach("r", store=url, name="train") as run:
            asking = asyncio.create_task(runcast.ask("Go on?", interrupt_id="q"))
            async for event in hub.watch("r"):
                if event.type == "interrupt_request":
                    break
            await hub.answer("r", "q", {"type": "response", "args": "yes"})
            await hub.send("r", "a message")
            async for message in runcast.inbox():
                run.set_result([(await soon(asking)).args, message.data])
                break

        assert (await events_of(hub, "r"))[-1].data == {"result": ["yes", "a message"]}


@pytest.mark.anyio
async def test_a_message_in_hand_when_a_run_is_left_open_comes_again(url: str) -> None:
    async with runcast.open_hub(url, settings=SETTINGS) as hub:
        for number in range(2):
            async with runcast.attach("r", store=url, name="train") as run:
                if number == 0:
                    await hub.send("r", "a message")
                    run.leave_open()
                async for message in runcast.inbox():
                    run.set_result(message.data)
                    break
        found = await events_of(hub, "r")

    assert found[-1].data == {"result": "a message"}
    assert [event.type for event in found].count("message_read") == 1


@pytest.mark.anyio
async def test_a_run_is_cancelled_elsewhere(url: str) -> None:
    async with runcast.open_hub(url, settings=SETTINGS) as hub:

        async def wait() -> None:
            async with runcast.attach("r", store=url, name="train"):
                runcast.log("ready")
                await asyncio.Event().wait()

        waiting = asyncio.create_task(wait())
        while not await is_there(hub, "r"):  # noqa: ASYNC110
            await asyncio.sleep(0)
        await hub.cancel("r", "enough")
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await events_of(hub, "r"))[-1].data == {"reason": "enough"}

        await hub.reserve("train", run_id="waits")
        await hub.cancel("waits", "enough")
        assert (await events_of(hub, "waits"))[-1].data == {"reason": "enough"}


def test_a_thread_learns_of_a_cancellation_at_its_next_event(url: str) -> None:
    with runcast.open_hub(url, settings=SETTINGS) as hub:

        def work() -> None:
            with runcast.attach("r", store=url, name="train"):
                hub.cancel("r", "enough")
                while True:
                    runcast.log("at work")
                    runcast.flush()

        with pytest.raises(Cancelled):
            work()
        assert list(hub.watch("r"))[-1].data == {"reason": "enough"}


CRASHES = """
import os, signal, sys, runcast
with runcast.attach("r", store=sys.argv[1], name="train", max_attempts=int(sys.argv[2])):
    runcast.log("at work")
    runcast.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def crash(url: str, max_attempts: int) -> None:
    """Attach in a process that is killed."""
    command = [sys.executable, "-c", CRASHES, url, str(max_attempts)]
    ended = subprocess.run(command, env=environment(), timeout=20, check=False)
    assert ended.returncode == -signal.SIGKILL


def test_after_a_crash_the_next_process_continues_the_run(url: str) -> None:
    crash(url, 1)
    with runcast.open_hub(url, settings=SETTINGS) as hub:  # which leaves it to others
        assert hub.info("r").status == "running"
    with runcast.attach("r", store=url) as run:
        run.set_result(os.getpid())

    found = events(url, "r")
    assert attempts(found) == [1, 2]
    assert found[-1].data == {"result": os.getpid()}


def test_a_run_is_lost_that_may_not_continue(url: str) -> None:
    crash(url, 0)
    with pytest.raises(RunClosed, match="max_attempts"), runcast.attach("r", store=url):
        raise AssertionError

    assert events(url, "r")[-1].data["code"] == "lost"


def test_a_run_that_crashes_too_often_fails(url: str) -> None:
    crash(url, 1)
    crash(url, 1)
    often = "continued as often before as it may be"
    with pytest.raises(RunClosed, match=often), runcast.attach("r", store=url):
        raise AssertionError

    assert events(url, "r")[-1].data["code"] == "too_many_attempts"


@pytest.mark.anyio
async def test_a_run_that_nothing_attaches_to_fails(tmp_path: Path, clock: FakeClock) -> None:
    store = SQLiteStore(str(tmp_path / "runs.db"), clock)
    async with OpenHub(store, settings=SETTINGS, clock=clock) as hub:
        run = await hub.reserve("train")
        clock.advance(61.0)
        await hub.runner.reap()

        outcome = await soon(run.wait())
    assert (outcome.type, outcome.data["code"]) == ("failed", "not_taken")


@pytest.mark.anyio
async def test_a_run_that_is_left_open_waits_until_its_engine_tries_again(
    tmp_path: Path, clock: FakeClock
) -> None:
    path = str(tmp_path / "runs.db")
    async with OpenHub(SQLiteStore(path, clock), settings=SETTINGS, clock=clock) as hub:
        leaving = runcast.attach("r", store=SQLiteStore(path, clock), name="train", clock=clock)
        async with leaving as run:
            run.leave_open(delay_s=3600.0)
        clock.advance(3659.0)
        await hub.runner.reap()
        assert (await hub.info("r")).status == "running"
        clock.advance(2.0)
        await hub.runner.reap()
        found = await events_of(hub, "r")

    assert (found[-1].type, found[-1].data["code"]) == ("failed", "not_taken")


def test_what_an_attempt_keeps_is_there_in_the_next_one(url: str) -> None:
    with runcast.attach("r", store=url, name="train") as run:
        assert run.kept is None
        runcast.keep({"step": 1})
        runcast.keep({"step": 2})
        run.leave_open()
    crash(url, 1)  # keeps nothing itself
    with runcast.attach("r", store=url) as run:
        assert (run.attempt, run.kept) == (3, {"step": 2})


@pytest.mark.anyio
async def test_code_does_not_attach_to_the_run_of_a_function(url: str) -> None:
    @runcast.function
    async def waits() -> None:
        await asyncio.Event().wait()

    async with runcast.open_hub(url, functions=[waits], settings=SETTINGS) as hub:
        await hub.start("waits", run_id="r")
        with pytest.raises(Conflict, match="belongs to a function"):
            async with runcast.attach("r", store=url, wait_s=WAIT_S):  # it does not wait
                raise AssertionError


@pytest.mark.parametrize("delay_s", [-1.0, float("inf"), "1", True])
def test_a_delay_that_is_no_time_is_refused(url: str, delay_s: Any) -> None:
    with (
        runcast.attach("r", store=url, name="train") as run,
        pytest.raises(InvalidValue, match="delay_s"),
    ):
        run.leave_open(delay_s=delay_s)


@pytest.mark.parametrize(
    ("run_id", "given", "said"),
    [
        ("", {}, "the id of a run"),
        ("r", {"max_attempts": -1}, "max_attempts"),
        ("r", {"name": "a name"}, "a name like"),
        ("r", {"labels": {"status": "x"}, "name": "n"}, "labels"),
        ("r", {"store": None}, "RUNCAST_STORE"),
        ("r", {"store": 5}, "the URL of a store, or a Store"),
        ("r", {"store": "http://localhost:8000"}, r"use runcast\.RemoteRun"),
        ("r", {"store": "redis://:s3cret@[::1"}, r"malformed URL \(Invalid IPv6 URL\)"),
        ("r", {"wait_s": float("nan")}, "wait_s"),
        ("r", {"wait_s": -1.0}, "wait_s"),
    ],
)
def test_what_is_malformed_is_refused(
    url: str, run_id: str, given: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNCAST_STORE", raising=False)
    with pytest.raises(InvalidValue, match=said):  # noqa: SIM117
        with runcast.attach(run_id, **{"store": url, **given}):
            raise AssertionError
