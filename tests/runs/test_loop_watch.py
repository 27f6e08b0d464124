"""What blocks the event loop is named in the log, once each time that it does."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from blockbuster import BlockBuster

import runcast
from runcast._app import open_hub
from runcast._settings import Settings
from runcast.testing import FakeClock
from tests.opening import soon
from tests.waiting import WAIT_S, until

SETTINGS = Settings(blocked_loop_s=0.02, shutdown_grace_s=0.0)


class WatchedClock(FakeClock):
    """A clock that counts how often the watchdog reads it; time passes for nobody else."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = threading.Semaphore(0)

    def monotonic(self) -> float:
        if threading.current_thread().name == "runcast-watchdog":
            self.looks.release()
        return super().monotonic()

    def block(self) -> None:
        """Block until the watchdog has looked some more, while time passes."""
        self.forget()
        for _ in range(20):
            self.advance(0.01)
            assert self.looks.acquire(timeout=WAIT_S)

    def forget(self) -> None:
        while self.looks.acquire(blocking=False):
            pass

    async def let_it_look(self) -> None:
        """Wait until the watchdog has looked some more, without blocking."""
        self.forget()
        for _ in range(3):
            assert await asyncio.to_thread(self.looks.acquire, timeout=WAIT_S)


@pytest.fixture(autouse=True)
def may_block(blockbuster: BlockBuster) -> None:
    """Let functions block, which other tests do not let them."""
    blockbuster.deactivate()


@pytest.fixture
def clock() -> WatchedClock:
    return WatchedClock()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What the watchdog says."""
    messages: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = Keeping()
    logging.getLogger("runcast.loop").addHandler(handler)
    yield messages
    logging.getLogger("runcast.loop").removeHandler(handler)


async def test_a_coroutine_that_blocks_is_named_once_for_each_time(
    clock: WatchedClock, said: list[str]
) -> None:
    async def blocks(times: int) -> None:
        for _ in range(times):
            clock.block()
            await clock.let_it_look()

    async with open_hub(settings=SETTINGS, clock=clock) as hub:
        await soon((await hub.start(blocks, {"times": 2}, run_id="r")).wait())

    assert len(said) == 2
    for message in said:
        assert "the function 'blocks' of run r" in message
        assert f"{__file__}:" in message
        assert "in test_a_coroutine_that_blocks_is_named_once_for_each_time.<locals>.blocks" in (
            message
        )


def busy(clock: WatchedClock) -> None:
    clock.block()


async def test_it_says_where_the_function_stands_and_what_it_called(
    clock: WatchedClock, said: list[str]
) -> None:
    async def blocks() -> None:
        busy(clock)

    async with open_hub(settings=SETTINGS, clock=clock) as hub:
        await soon((await hub.start(blocks, run_id="r")).wait())

    (message,) = said
    assert "<locals>.blocks" in message
    assert "test_loop_watch.py" in message.partition("<locals>.blocks")[2]


async def test_a_task_that_a_function_began_is_named(clock: WatchedClock, said: list[str]) -> None:
    async def helper() -> None:
        busy(clock)

    async def begins() -> None:
        await asyncio.create_task(helper())

    async with open_hub(settings=SETTINGS, clock=clock) as hub:
        await soon((await hub.start(begins, run_id="r")).wait())

    (message,) = said
    assert "<locals>.helper" in message


async def test_what_blocks_outside_of_runs_is_named_by_its_place(
    clock: WatchedClock, said: list[str]
) -> None:
    async with open_hub(settings=SETTINGS, clock=clock):
        busy(clock)

    (message,) = said
    assert f"{__file__}:" in message
    assert " of run " not in message


async def test_functions_in_threads_block_nobody(clock: WatchedClock, said: list[str]) -> None:
    def blocks() -> None:
        for _ in range(40):
            assert clock.looks.acquire(timeout=WAIT_S)
            clock.advance(0.001)

    async with open_hub(settings=SETTINGS, clock=clock) as hub:
        await soon((await hub.start(blocks)).wait())
    assert said == []


async def test_a_process_that_was_stopped_for_a_while_is_not_blocked(
    clock: WatchedClock, said: list[str]
) -> None:
    async with open_hub(settings=SETTINGS, clock=clock):
        for _ in range(10):
            clock.advance(3600)  # for the watchdog, too
            await clock.let_it_look()
    assert said == []


@pytest.mark.parametrize("blocked_loop_s", [0.0, 0.02])
async def test_the_watchdog_ends_with_the_hub(blocked_loop_s: float) -> None:
    def watchdogs() -> list[Any]:
        return [t for t in threading.enumerate() if t.name == "runcast-watchdog"]

    before = len(watchdogs())
    settings = Settings(blocked_loop_s=blocked_loop_s)
    async with runcast.open_hub(settings=settings):
        assert len(watchdogs()) == before + bool(blocked_loop_s)
    async with asyncio.timeout(WAIT_S):
        await until(lambda: len(watchdogs()) <= before)
