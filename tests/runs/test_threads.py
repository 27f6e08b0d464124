"""Threads that cannot be started: nothing runs that was said not to, and no place is lost."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest

import runcast
from runcast._app import open_hub
from runcast._settings import Settings
from runcast._workers.threads import Threads
from runcast.errors import Overloaded, RunFailed
from tests.opening import eventually, soon, wait_for


@pytest.fixture
def limit_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Let threads for functions not be started from now on, as a limit on processes does; or be."""
    start, is_limited = threading.Thread.start, False

    def start_or_fail(thread: threading.Thread) -> None:
        if is_limited and thread.name.startswith("runcast-run"):
            raise RuntimeError("can't start new thread")
        start(thread)

    def limit(wanted: bool) -> None:
        nonlocal is_limited
        is_limited = wanted

    monkeypatch.setattr(threading.Thread, "start", start_or_fail)
    return limit


async def test_no_function_runs_after_its_run_was_told_that_it_could_not(
    limit_threads: Callable[[bool], None],
) -> None:
    calls: list[str] = []
    async with open_hub(settings=Settings(threads=2)) as hub:
        limit_threads(True)
        for _ in range(5):  # more often than there may be threads
            run = await hub.start(runcast.function(name="early")(lambda: calls.append("early")))
            with pytest.raises(RunFailed, match="thread"):
                await soon(run.result())
            assert (await soon(run.wait())).data["code"] == Overloaded.code
            assert (await soon(run.wait())).data["retryable"]
        limit_threads(False)
        run = await hub.start(runcast.function(name="late")(lambda: calls.append("late")))
        await soon(run.result())

        assert calls == ["late"]


async def test_a_call_waits_for_the_threads_there_are_when_no_more_can_be_started(
    limit_threads: Callable[[bool], None],
) -> None:
    threads, context = Threads(4), contextvars.copy_context()
    go_on, begun = threading.Event(), threading.Event()

    def first() -> str:
        begun.set()
        wait_for(go_on)
        return "first"

    one = threads.submit(first, context)
    await asyncio.to_thread(begun.wait, 5)
    limit_threads(True)
    other = threads.submit(lambda: "second", contextvars.copy_context())
    assert threads.statistics().waiting == 1
    go_on.set()

    assert list(await soon(asyncio.gather(one, other))) == ["first", "second"]
    threads.close()


async def test_what_waits_is_not_left_behind_when_the_last_thread_is_stuck(
    limit_threads: Callable[[bool], None],
) -> None:
    threads = Threads(1)
    go_on, begun = threading.Event(), threading.Event()

    def stuck() -> None:
        begun.set()
        wait_for(go_on)

    one = threads.submit(stuck, contextvars.copy_context())
    await asyncio.to_thread(begun.wait, 5)
    waiting = threads.submit(lambda: "second", contextvars.copy_context())
    limit_threads(True)
    threads.give_up(one)  # no thread takes its place

    with pytest.raises(Overloaded):
        await soon(waiting)
    assert threads.statistics().waiting == 0
    with pytest.raises(Overloaded):
        threads.submit(lambda: "third", contextvars.copy_context())
    limit_threads(False)
    assert await soon(threads.submit(lambda: "fourth", contextvars.copy_context())) == "fourth"
    go_on.set()
    await soon(one)
    threads.close()


async def test_no_place_is_lost_by_threads_that_could_not_be_started(
    limit_threads: Callable[[bool], None],
) -> None:
    threads, results = Threads(2), list[Any]()
    limit_threads(True)
    for _ in range(4):
        with pytest.raises(Overloaded):
            threads.submit(lambda: results.append("refused"), contextvars.copy_context())
    limit_threads(False)
    barrier = threading.Barrier(2)
    both = [threads.submit(lambda: barrier.wait(5), contextvars.copy_context()) for _ in range(2)]

    assert sorted(await soon(asyncio.gather(*both))) == [0, 1]
    assert not results
    threads.close()
    await eventually(lambda: threads.statistics().busy == 0)
