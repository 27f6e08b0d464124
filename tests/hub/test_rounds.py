"""The periodic tasks of a process: they try again, and they end."""

import asyncio
from contextlib import suppress

import pytest

from runcast._hub.rounds import Rounds
from runcast.errors import StoreUnavailable
from tests.waiting import WAIT_S

pytestmark = pytest.mark.anyio


async def test_rounds_that_swallow_their_cancellation_end_all_the_same() -> None:
    """As calls of other libraries may, `asyncio.wait_for` before Python 3.12 among them."""
    entered = asyncio.Event()

    async def step() -> None:
        entered.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    rounds = Rounds(step, 0.001, "swallowing")
    rounds.open()
    async with asyncio.timeout(WAIT_S):
        await entered.wait()
        await rounds.close()
        entered.clear()
        rounds.open()  # they may begin again
        await entered.wait()
        await rounds.close()


async def test_rounds_try_again_after_an_error(caplog: pytest.LogCaptureFixture) -> None:
    done = asyncio.Event()
    errors = [StoreUnavailable("gone"), ValueError("a fault")]

    async def step() -> None:
        if errors:
            raise errors.pop(0)
        done.set()

    rounds = Rounds(step, 0.001, "trying")
    rounds.open()
    async with asyncio.timeout(WAIT_S):
        await done.wait()
    await rounds.close()
    await rounds.close()

    assert "trying failed and will be tried again: gone" in caplog.text
    assert "trying failed unexpectedly" in caplog.text
