"""Coroutines await `flush` and `drain`; threads wait in them: the same, wherever code runs."""

import asyncio
import gc
import threading
from collections.abc import Callable

import pytest

import runcast
from runcast.errors import StoreUnavailable
from runcast.stores.memory import MemoryStore
from runcast.testing import FaultyStore
from tests.opening import WAIT_S, soon, wait_for
from tests.runs import process_functions


def in_a_thread() -> list[int]:
    seen = []
    for number in range(3):
        runcast.emit("tick", number)
        runcast.drain()
        seen.append(runcast.flush().seq)
    return seen


async def in_a_coroutine() -> list[int]:
    seen = []
    for number in range(3):
        runcast.emit("tick", number)
        await runcast.drain()
        position = await runcast.flush()
        assert position is not None
        seen.append(position.seq)
    return seen


async def in_a_loop_of_a_threads_own() -> list[int]:
    return await asyncio.to_thread(lambda: asyncio.run(in_a_coroutine()))


def by_a_loop_for_each_call() -> list[int]:
    seen = []
    for number in range(3):
        runcast.emit("tick", number)
        asyncio.run(runcast.drain())
        position = asyncio.run(runcast.flush())
        assert position is not None
        seen.append(position.seq)
    return seen


@pytest.mark.parametrize(
    "function",
    [
        in_a_thread,
        in_a_coroutine,
        in_a_loop_of_a_threads_own,
        by_a_loop_for_each_call,
        runcast.function(isolation="process")(process_functions.waits_in_a_process),
    ],
    ids=lambda function: str(function.__name__),
)
async def test_what_was_flushed_is_stored_and_has_its_position(
    function: Callable[[], object],
) -> None:
    async with runcast.open_hub() as hub:
        assert await soon((await hub.start(function)).result()) == [2, 3, 4]


def test_a_thread_of_a_script_flushes_what_it_wrote_from_outside() -> None:
    go_on = threading.Event()

    def waits() -> None:
        wait_for(go_on)

    with runcast.open_hub() as hub:
        run = hub.start(waits)
        hub.flush(run.run_id)
        writer = hub.writer(run.run_id)
        writer.log("from outside")
        writer.drain()
        position = writer.flush()
        go_on.set()
        run.wait()

        assert [event.seq for event in hub.watch(run.run_id) if event.type == "log"] == [
            position.seq
        ]


def test_a_thread_that_flushes_into_a_closed_hub_is_refused() -> None:
    with runcast.open_hub() as hub:
        run = hub.start(in_a_thread)
        writer = hub.writer(run.run_id)
        run.wait()

    with pytest.raises(StoreUnavailable):
        writer.flush()


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_thread_that_reads_its_inbox_after_its_hub_has_closed_is_refused() -> None:
    is_closed, ends, threads = threading.Event(), list[str](), list[threading.Thread]()

    def reads() -> None:
        inbox = runcast.inbox()

        def late() -> None:
            wait_for(is_closed)
            try:
                inbox.poll_all()
            except StoreUnavailable as error:
                ends.append(error.message)

        threads.append(threading.Thread(target=late))
        threads[0].start()

    with runcast.open_hub() as hub:
        hub.start(reads).wait()
    is_closed.set()
    threads[0].join(WAIT_S)
    gc.collect()  # of a coroutine that was never awaited, it would warn

    assert ends == ["the hub's event loop is closed"]


async def test_a_thread_that_flushes_learns_that_the_store_fails() -> None:
    store, loop = FaultyStore(MemoryStore()), asyncio.get_running_loop()
    has_begun, has_flushed, go_on = asyncio.Event(), asyncio.Event(), threading.Event()
    refused: list[str] = []

    def writes() -> None:
        loop.call_soon_threadsafe(has_begun.set)
        wait_for(go_on)
        runcast.emit("tick")
        try:
            runcast.flush()
        except StoreUnavailable as error:
            refused.append(error.message)
        loop.call_soon_threadsafe(has_flushed.set)

    # The pause outlasts the test, so the hub does not wait long for the end of the run.
    settings = runcast.Settings(
        emit_wait_s=0.0,
        store_retry_s=60.0,
        shutdown_grace_s=0,
        cancel_grace_s=0.01,
        terminate_grace_s=0.01,
    )
    async with runcast.open_hub(store, settings=settings) as hub:
        run = await hub.start(writes)
        await soon(has_begun.wait())
        await hub.flush(run.run_id)
        store.fail_next(1, StoreUnavailable("not now"))
        go_on.set()
        await soon(has_flushed.wait())

    assert len(refused) == 1
    assert "not now" in refused[0]


async def test_outside_a_run_there_is_nothing_to_wait_for() -> None:
    def in_a_thread() -> list[object]:
        return [asyncio.run(runcast.flush()), asyncio.run(runcast.drain()), bool(runcast.flush())]

    assert await asyncio.to_thread(in_a_thread) == [None, None, False]
    assert await runcast.flush() is None
    await runcast.drain()
