"""Processes that attach to runs on Redis: they race, die, and are paused past their leases."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import runcast
import runcast.stores.redis.store  # once, outside the loop
from runcast.errors import Conflict
from runcast.events.model import Event
from tests.environment import environment
from tests.opening import soon
from tests.stores.servers import namespace_url
from tests.waiting import START_S, WAIT_S

LEASE = runcast.Settings.load(lease_s=1.0, shutdown_grace_s=0.0)


@pytest.fixture
def url() -> str:
    return namespace_url("valkey")


@contextmanager
def attaching(
    url: str, max_attempts: int = 0, wait_s: float = 0.0
) -> Iterator["subprocess.Popen[str]"]:
    """A process that attaches to the run, for the length of a block."""
    given = (url, str(max_attempts), str(wait_s))
    command = [sys.executable, "-m", "tests.engines.attached_process", *given]
    process = subprocess.Popen(
        command, env=environment({"RUNCAST_LEASE_S": "1"}), stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=WAIT_S)


def until_at_work(hub: runcast.OpenHubInThread, attempt: int = 1) -> int:
    """Wait for an attempt; return its process."""
    for change in hub.client().feed():
        if change.run is not None:
            break
    for event in hub.watch("r"):
        if event.type == "pid":
            attempt -= 1
            if not attempt:
                return int(event.data)
    raise AssertionError(events(hub))


def events(hub: runcast.OpenHubInThread) -> list[Event]:
    return list(hub.watch("r"))


@pytest.mark.anyio
@pytest.mark.parametrize("begun", ["nowhere", "before"])
async def test_of_many_that_race_one_writes_and_the_others_are_refused(
    url: str, begun: str
) -> None:
    may_leave = asyncio.Event()
    refused: list[str] = []

    async def attach(number: int) -> int | None:
        try:
            async with runcast.attach("r", store=url, name="train") as run:
                run.log(f"from {number}")
                await may_leave.wait()
                return number
        except Conflict as error:
            refused.append(str(error))
            return None

    async with runcast.open_hub(url) as hub:
        if begun == "before":
            await hub.reserve("train", run_id="r")
        racing = [asyncio.create_task(attach(number)) for number in range(8)]
        async with asyncio.timeout(WAIT_S):
            while len(refused) < 7:  # noqa: ASYNC110
                await asyncio.sleep(0)
        may_leave.set()
        (winner,) = [it for it in await soon(asyncio.gather(*racing)) if it is not None]
        found = [event async for event in hub.watch("r")]

    (why,) = set(refused)
    assert why.startswith(
        "the run 'r' is owned by a process that lives; if that process was killed"
    )
    assert "for up to 15 s more (lease_s): give wait_s=" in why
    assert [event.type for event in found] == ["started", "log", "done"]
    assert found[1].data["message"] == f"from {winner}"


@pytest.mark.heavy
def test_a_run_is_lost_with_its_process_within_the_lease(url: str) -> None:
    with runcast.open_hub(url, settings=LEASE) as hub, attaching(url):
        os.kill(until_at_work(hub), signal.SIGKILL)
        *_, last = hub.watch("r")

    assert (last.type, last.data["code"]) == ("failed", "lost")


@pytest.mark.heavy
def test_a_process_that_was_paused_past_its_lease_writes_no_more(url: str) -> None:
    with runcast.open_hub(url, settings=LEASE) as hub, attaching(url) as process:
        os.kill(until_at_work(hub), signal.SIGSTOP)
        found = events(hub)
        os.kill(process.pid, signal.SIGCONT)
        said, _ = process.communicate(timeout=START_S)

        assert found[-1].data["code"] == "lost"
        assert said.partition(":")[0] in ("RunClosed", "Stale"), said
        assert events(hub) == found


@pytest.mark.heavy
def test_a_paused_process_is_stopped_when_another_one_has_continued_its_run(url: str) -> None:
    with runcast.open_hub(url, settings=LEASE) as hub, attaching(url, 1) as paused:
        os.kill(until_at_work(hub), signal.SIGSTOP)
        with attaching(url, 1, wait_s=START_S) as other:
            assert until_at_work(hub, 2) == other.pid
            os.kill(paused.pid, signal.SIGCONT)
            said, _ = paused.communicate(timeout=START_S)
            hub.send("r", "hello")
            found = events(hub)

    assert said.startswith("Cancelled: another process continues the run"), said
    kinds = [event.type for event in found if event.type != "message"]
    assert kinds == ["started", "pid", "started", "pid", "log", "message_read", "done"]
    assert found[-1].data == {"result": other.pid}
