"""A thread that does jobs for a loop: none is forgotten, whatever comes in between."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from runcast.errors import StoreUnavailable
from runcast.stores.sqlite.worker import Worker
from tests.waiting import WAIT_S

pytestmark = pytest.mark.anyio


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def test_jobs_given_before_the_end_are_done_and_those_after_it_are_refused(
    go_on: threading.Event,
) -> None:
    worker = Worker("runcast-test")
    jobs = [asyncio.create_task(worker.run(lambda: go_on.wait(WAIT_S))) for _ in range(3)]
    await asyncio.sleep(0)
    stopping = [asyncio.create_task(asyncio.to_thread(worker.stop)) for _ in range(2)]
    refused: BaseException | None = None
    async with asyncio.timeout(WAIT_S):
        while refused is None:
            late = asyncio.create_task(worker.run(lambda: True))
            jobs.append(late)
            await asyncio.sleep(0)
            refused = late.exception() if late.done() else None
        jobs.remove(late)
        go_on.set()
        assert all(await asyncio.gather(*jobs))
        await asyncio.gather(*stopping)

    assert isinstance(refused, StoreUnavailable)


async def test_maintenance_that_fails_ends_no_job(caplog: pytest.LogCaptureFixture) -> None:
    was_idle = threading.Event()

    def fail() -> None:
        raise ZeroDivisionError

    def fail_idly() -> None:
        was_idle.set()
        raise ZeroDivisionError

    worker = Worker("runcast-test", idle=fail_idly, idle_s=0.001, after=fail)
    async with asyncio.timeout(WAIT_S):
        assert await worker.run(lambda: 1) == 1
        assert await asyncio.to_thread(was_idle.wait, WAIT_S)
        assert await worker.run(lambda: 2) == 2
        await asyncio.to_thread(worker.stop)

    assert "failed unexpectedly" in caplog.text


async def test_what_a_job_raises_is_raised_where_it_is_awaited() -> None:
    worker = Worker("runcast-test")

    def fail() -> None:
        raise ZeroDivisionError("no")

    with pytest.raises(ZeroDivisionError, match="no"):
        await worker.run(fail)
    await asyncio.to_thread(worker.stop)


async def test_a_thread_is_waited_for_without_blocking_the_loop(go_on: threading.Event) -> None:
    worker = Worker("runcast-test")
    job = asyncio.create_task(worker.run(lambda: go_on.wait(WAIT_S)))
    await asyncio.sleep(0)
    stopped = asyncio.create_task(worker.stopped())
    await asyncio.sleep(0)  # with the job under way, the loop goes on
    assert not stopped.done()
    go_on.set()
    async with asyncio.timeout(WAIT_S):
        await stopped
        assert await job
    assert "runcast-test" not in [thread.name for thread in threading.enumerate()]
