"""How large what a generator yields may be: its own words for how it ends are events, too."""

from collections.abc import Iterator
from typing import Any

import pytest

import runcast
from runcast.errors import EventTooLarge
from runcast.settings import Settings
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
