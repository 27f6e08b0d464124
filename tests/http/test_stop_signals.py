"""A drain that something else ends: the signal that began it reaches the server all the same."""

import asyncio
import os
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from runcast._http.stop_signals import StopSignals

pytestmark = pytest.mark.anyio


@pytest.fixture
def got() -> Iterator[list[int]]:
    """The signals that the server's own handler got."""
    numbers: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        numbers.append(number)

    before = {each: signal.signal(each, handle) for each in (signal.SIGTERM, signal.SIGINT)}
    yield numbers
    for each, handler in before.items():
        signal.signal(each, handler)


async def draining(stopped: list[str]) -> StopSignals:
    """Return signals that SIGTERM has begun a drain of."""
    has_begun = asyncio.Event()
    signals = StopSignals(lambda: stopped.append("stop"), drain=has_begun.set, drain_s=600)
    signals.listen()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(has_begun.wait(), 5)
    return signals


async def test_a_drain_holds_the_signal_back_until_it_is_forgotten(got: list[int]) -> None:
    stopped: list[str] = []
    signals = await draining(stopped)
    assert (got, stopped) == ([], [])

    signals.forget()
    signals.forget()

    assert got == [signal.SIGTERM]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_a_drain(got: list[int], second: signal.Signals) -> None:
    stopped: list[str] = []
    signals = await draining(stopped)

    os.kill(os.getpid(), second)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    signals.forget()

    assert (got, stopped) == ([second], ["stop"])
