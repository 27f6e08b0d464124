"""Threads that functions leave at work are known, with the runs that they are of."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from runcast._app import OpenHub, open_hub
from runcast._settings import Settings
from runcast._workers.left_behind import LeftThread
from tests.opening import eventually, soon, wait_for

AT_ONCE = Settings(shutdown_grace_s=0.0, cancel_grace_s=0.05)


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    """What the threads of a test wait for."""
    event = threading.Event()
    yield event
    event.set()


def left(hub: OpenHub) -> list[LeftThread]:
    """Return the threads of runs; other tests have left some, too."""
    return [thread for thread in hub.runner.left_threads.at_work() if thread.run_ids]


async def test_a_pool_that_a_function_left_is_its_runs_while_it_works(
    go_on: threading.Event,
) -> None:
    pools: list[ThreadPoolExecutor] = []

    def leaves() -> None:
        pools.append(ThreadPoolExecutor(2, "left"))
        pools[0].submit(list).result()
        pools[0].submit(wait_for, go_on)

    async with open_hub(settings=AT_ONCE) as hub:
        await soon((await hub.start(leaves, run_id="r")).wait())
        await eventually(lambda: len(left(hub)) == 1)
        assert left(hub)[0].run_ids == ("r",)

        go_on.set()
        await eventually(lambda: left(hub) == [])
    pools[0].shutdown()


async def test_threads_of_a_store_that_began_beside_a_run_are_not_the_runs(
    go_on: threading.Event,
) -> None:
    pools: list[ThreadPoolExecutor] = []

    def begins_one() -> None:
        pools.extend((ThreadPoolExecutor(1, "runcast-read"), ThreadPoolExecutor(1, "left")))
        for pool in pools:
            pool.submit(wait_for, go_on)

    async with open_hub(settings=AT_ONCE) as hub:
        await soon((await hub.start(begins_one, run_id="r")).wait())
        await eventually(lambda: bool(left(hub)))
        assert [thread.name for thread in left(hub)] == ["left_0"]
        go_on.set()
    for pool in pools:
        pool.shutdown()


async def test_what_a_coroutine_does_in_a_thread_is_its_own_whoever_began_the_thread(
    go_on: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    async def first() -> None:
        await asyncio.to_thread(list)

    async def second() -> None:
        await asyncio.to_thread(wait_for, go_on)

    async with open_hub(settings=AT_ONCE) as hub:
        await soon((await hub.start(first, run_id="a")).wait())
        await hub.start(second, run_id="b")
        await eventually(lambda: bool(left(hub)))
        assert [thread.run_ids for thread in left(hub)] == [("b",)]
    go_on.set()  # or the test's loop would wait for the thread
    assert any(" of run b (" in each and "still runs" in each for each in caplog.messages)


async def test_a_thread_that_began_beside_two_runs_is_said_to_be_of_one_of_them(
    go_on: threading.Event,
) -> None:
    has_begun = threading.Event()

    def waits() -> None:
        has_begun.set()
        wait_for(go_on)

    def leaves() -> None:
        threading.Thread(target=wait_for, args=(go_on,), daemon=False).start()

    async with open_hub(settings=AT_ONCE) as hub:
        waiting = await hub.start(waits, run_id="a")
        await asyncio.to_thread(wait_for, has_begun)
        await soon((await hub.start(leaves, run_id="b")).wait())

        assert [str(thread).partition(" (/")[0] for thread in left(hub)] == [
            f"the thread {left(hub)[0].name} of run a or b"
        ]
        go_on.set()
        await soon(waiting.wait())
