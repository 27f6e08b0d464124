"""How large what a generator yields may be: its own words for how it ends are events, too."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

import runcast
from runcast._settings import Settings
from runcast.errors import EventTooLarge, Overloaded
from runcast.stores.memory import MemoryStore
from runcast.testing import FaultyStore
from tests.opening import events_of

LARGE = "x" * (2 << 20)


async def last_of(function: Any, max_event_bytes: int) -> tuple[str, Any]:
    """Return how a run of a function ends."""
    async with runcast.open_hub(settings=Settings(max_event_bytes=max_event_bytes)) as hub:
        run = await hub.start(runcast.Function(function, name="yields"))
        event = (await events_of(hub, run.run_id))[-1]
    return event.type, event.data


@pytest.mark.parametrize("kind", ["done", "error"])
async def test_an_end_that_the_hub_takes_is_not_refused_for_its_size(kind: str) -> None:
    def function() -> Iterator[object]:
        yield {"type": kind, "data": {"message": "m", "output": LARGE}}

    ending, data = await last_of(function, 4 << 20)

    assert ending == ("done" if kind == "done" else "failed")
    assert (data["summary"] if kind == "done" else data)["output"] == LARGE


@pytest.mark.parametrize("kind", ["done", "error"])
async def test_an_end_that_is_too_large_is_not_accepted_first(kind: str) -> None:
    def function() -> Iterator[object]:
        try:
            yield {"type": kind, "data": "x" * 50_000}
        except EventTooLarge:
            yield {"type": "done", "data": "it was told at once"}

    assert await last_of(function, 10_000) == ("done", {"summary": "it was told at once"})


async def test_an_end_does_not_change_after_it_was_yielded() -> None:
    rows: list[object] = [1]

    def function() -> Iterator[object]:
        yield {"type": "done", "data": rows}
        rows.append(object())

    assert await last_of(function, 10_000) == ("done", {"summary": [1]})


async def test_an_error_is_told_although_what_followed_it_was_refused() -> None:
    faulty, loop = FaultyStore(MemoryStore()), asyncio.get_running_loop()
    narrow = Settings(pending_bytes_per_run=2000, max_event_bytes=1000, emit_wait_s=0.0)

    def function() -> Iterator[object]:
        yield {"type": "error", "data": {"message": "survived"}}
        faulty.hold()
        with suppress(Overloaded):
            while True:
                runcast.emit("filler")
        with pytest.raises(Overloaded):
            yield "refused"
        loop.call_soon_threadsafe(faulty.release)
        asyncio.run(runcast.flush())
        yield "taken"

    async with runcast.open_hub(faulty, settings=narrow) as hub:
        run = await hub.start(runcast.Function(function, name="yields"))
        told = [event for event in await events_of(hub, run.run_id) if event.type != "filler"]

    assert [event.type for event in told] == ["started", "error", "content", "done"]
    assert [event.data for event in told[1:3]] == [{"message": "survived"}, {"text": "taken"}]
