"""Threads that take turns at long jobs: a short one never waits for a long one to end."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from runcast._files import fair_threads
from runcast._files.fair_threads import FairThreads, Steps, Stopped
from runcast.errors import Overloaded
from tests.opening import eventually, soon, wait_for


@pytest.fixture
async def one() -> AsyncIterator[FairThreads]:
    """A single thread."""
    threads = FairThreads(1, "test")
    yield threads
    await threads.close()


class Long:
    """A job of many steps, each of which waits for the test."""

    def __init__(self, work: int = 100, steps: int = 1000) -> None:
        self._loop = asyncio.get_running_loop()
        self._work = work
        self._steps = steps
        self._may_step = threading.Semaphore(0)
        self.at_step = asyncio.Event()
        self.done = 0
        self.is_closed = False

    def steps(self) -> Steps[str]:
        try:
            while self.done < self._steps:
                self._loop.call_soon_threadsafe(self.at_step.set)
                assert self._may_step.acquire(timeout=5)
                self.done += 1
                yield self._work
        finally:
            self.is_closed = True
        return "long"

    def go_on(self, steps: int = 1) -> None:
        """Let it take steps."""
        self.at_step.clear()
        self._may_step.release(steps)


def quick(result: object = "short") -> Steps[object]:
    return result
    yield


async def test_a_job_gives_what_it_returns_or_raises(one: FairThreads) -> None:
    def fail() -> Steps[None]:
        yield 1
        raise ValueError("no")

    assert await soon(one.run(quick(7))) == 7
    with pytest.raises(ValueError, match="no"):
        await soon(one.run(fail()))
    assert await soon(one.call(lambda a, b: a + b, 1, 2)) == 3


async def test_a_short_job_waits_for_one_step_of_a_long_one(one: FairThreads) -> None:
    long = Long()
    running = asyncio.ensure_future(one.run(long.steps()))
    await soon(long.at_step.wait())
    long.go_on()
    await soon(long.at_step.wait())
    short = asyncio.ensure_future(one.run(quick()))
    await asyncio.sleep(0)
    long.go_on()

    assert await soon(short) == "short"
    assert long.done == 2
    running.cancel()
    long.go_on(1000)


async def test_the_job_goes_on_that_has_had_the_least(one: FairThreads) -> None:
    order: list[str] = []

    def job(name: str, work: int, steps: int) -> Steps[None]:
        for _ in range(steps):
            order.append(name)
            yield work

    long = Long(work=1, steps=1)
    first = asyncio.ensure_future(one.run(long.steps()))
    await soon(long.at_step.wait())
    jobs = [one.run(job("large", 3, 2)), one.run(job("small", 1, 6))]
    both = asyncio.gather(*jobs)
    await asyncio.sleep(0)
    long.go_on()
    await soon(both)
    await first

    assert order == ["large", "small", "small", "small", "large", "small", "small", "small"]


async def test_as_many_jobs_run_at_once_as_there_are_threads() -> None:
    threads, both = FairThreads(2, "test"), threading.Barrier(2)

    def meet() -> Steps[int]:
        yield 1
        return both.wait(5)

    met = await soon(asyncio.gather(*(threads.run(meet()) for _ in range(2))))
    await threads.close()

    assert sorted(met) == [0, 1]


async def test_a_job_whose_caller_leaves_is_closed_at_its_next_step(one: FairThreads) -> None:
    long = Long()
    running = asyncio.ensure_future(one.run(long.steps()))
    await soon(long.at_step.wait())
    running.cancel()
    await asyncio.wait([running])
    assert (one.under_way, long.is_closed) == (1, False)
    long.go_on()

    await eventually(lambda: long.is_closed and one.under_way == 0)
    assert long.done == 1


async def test_what_comes_of_a_job_after_its_caller_has_left_is_handed_over(
    one: FairThreads,
) -> None:
    late: list[str] = []
    is_begun, may_end = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def last_step() -> Steps[str]:
        loop.call_soon_threadsafe(is_begun.set)
        wait_for(may_end)
        return "late"
        yield

    running = asyncio.ensure_future(one.run(last_step(), late.append))
    await soon(is_begun.wait())
    running.cancel()
    await asyncio.wait([running])
    may_end.set()

    await eventually(lambda: late == ["late"])


async def test_so_is_what_comes_in_the_moment_in_which_its_caller_leaves(
    one: FairThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[object] = []
    settle = fair_threads._settle

    def settle_and_leave(*args: Any) -> None:
        settle(*args)
        running.cancel()

    monkeypatch.setattr(fair_threads, "_settle", settle_and_leave)
    running = asyncio.ensure_future(one.run(quick("late"), late.append))

    await soon(asyncio.wait([running]))
    assert running.cancelled()
    assert late == ["late"]


async def test_closing_stops_jobs_and_refuses_others(one: FairThreads) -> None:
    long = Long()
    running = asyncio.ensure_future(one.run(long.steps()))
    await soon(long.at_step.wait())
    closing = asyncio.ensure_future(one.close())
    await asyncio.sleep(0)
    long.go_on()
    await soon(closing)

    with pytest.raises(Stopped):
        await running
    with pytest.raises(Stopped):
        await one.run(quick())
    assert long.is_closed
    assert await soon(one.call(int, "7")) == 7
    one.open()
    assert await soon(one.run(quick())) == "short"


async def test_a_step_that_hangs_holds_nobody_up_at_the_end(
    one: FairThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fair_threads, "_CLOSE_S", 0.01)
    long = Long()
    running = asyncio.ensure_future(one.run(long.steps()))
    await soon(long.at_step.wait())
    await soon(one.close())

    with pytest.raises(Stopped):
        await running
    long.go_on()


async def test_in_a_hurry_only_little_is_done_for_each_job(one: FairThreads) -> None:
    large, small = Long(work=200), Long(work=100)
    running = asyncio.ensure_future(one.run(large.steps()))
    await soon(large.at_step.wait())
    large.go_on()
    await soon(large.at_step.wait())
    one.hurry(250)
    large.go_on(1000)
    with pytest.raises(Stopped):
        await soon(running)
    assert large.done == 2

    small.go_on(1000)
    with pytest.raises(Stopped):
        await soon(one.run(small.steps()))
    assert small.done == 3
    assert await soon(one.run(quick())) == "short"


async def test_idle_threads_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_threads, "_IDLE_S", 0.001)
    threads = FairThreads(4, "idle-test")
    await soon(threads.run(quick()))

    def is_gone() -> bool:
        return not any(thread.name.startswith("idle-test") for thread in threading.enumerate())

    await eventually(is_gone)
    assert await soon(threads.run(quick())) == "short"


async def test_a_job_is_refused_where_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads = FairThreads(1, "test")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(Overloaded):
            await threads.run(quick())
    assert threads.under_way == 0
    assert await soon(threads.run(quick())) == "short"
    await threads.close()
