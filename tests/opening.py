"""What tests of the hub and of runs begin with: a store of each kind, and bounded waits."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from runcast._app import OpenHub
from runcast.events.model import Event
from runcast.events.position import Position
from runcast.stores.base import Store
from runcast.stores.memory import MemoryStore
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing import FakeClock
from tests.waiting import WAIT_S, until

__all__ = (
    "WAIT_S",
    "clock",
    "events_of",
    "eventually",
    "meet",
    "soon",
    "store",
    "take",
    "wait_for",
)

T = TypeVar("T")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Store:
    """A store that is not open yet."""
    if request.param == "memory":
        return MemoryStore(clock)
    return SQLiteStore(str(tmp_path / "runs.db"), clock)


async def soon(awaitable: Awaitable[T]) -> T:
    """Return what comes, which must be within `WAIT_S`."""
    async with asyncio.timeout(WAIT_S):
        return await awaitable


async def eventually(is_so: Callable[[], bool]) -> None:
    """Let others run until something is so."""
    async with asyncio.timeout(WAIT_S):
        await until(is_so)


async def events_of(
    hub: OpenHub, run_id: str, after: Position | str | None = None, *, wait_s: float = WAIT_S
) -> list[Event]:
    """Return a run's events up to its end."""
    async with asyncio.timeout(wait_s):
        return [event async for event in hub.watch(run_id, after)]


async def take(events: AsyncIterator[Event], count: int = 1) -> list[Event]:
    """Return the next events of a stream."""
    async with asyncio.timeout(WAIT_S):
        return [await anext(events) for _ in range(count)]


def wait_for(event: threading.Event) -> None:
    """Wait in a thread for what must come."""
    assert event.wait(WAIT_S), "it did not come"


def meet(barrier: threading.Barrier) -> None:
    """Wait in a thread until all others are here, too."""
    barrier.wait(WAIT_S)
