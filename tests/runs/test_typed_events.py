"""The typed functions: what each appends, where, and what it refuses."""

from collections.abc import Callable
from typing import Any

import pytest

import runcast
from runcast.errors import InvalidValue
from runcast.events.model import Event
from runcast.events.vocabulary import KNOWN
from tests.opening import events_of


async def told(write: Callable[[], Any]) -> list[Event]:
    """Return what a function writes inside a run."""
    async with runcast.open_hub() as hub:
        run = await hub.start(write)
        events = await events_of(hub, run.run_id)
    assert events[-1].type == "done", events[-1]
    return events[1:-1]


def everything() -> None:
    runcast.thinking("Hm", message_id="m", node="n", agent="a", path=["above"])
    runcast.thinking("m.", message_id="m", node="n", agent="a")
    runcast.content("The ans", message_id="m", path=["above"])
    runcast.content("The answer", message_id="m", attempt=2)
    runcast.tool_call_delta('{"q"', call_id="c", tool="search")
    runcast.tool_call_delta(":1}", call_id="c")
    runcast.tool_call("search", {"q": 1}, call_id="c", message="searching")
    runcast.tool_result("search", "ten", call_id="c", ok=True, duration=1.5)
    runcast.step_start("reading", step_id="s", node="n")
    runcast.step_progress(50, "half", step_id="s", node="n")
    runcast.step_complete("read", step_id="s", node="n", duration=2)


async def test_each_typed_function_appends_its_event() -> None:
    events = await told(everything)

    assert [(event.type, event.data) for event in events] == [
        ("thinking", {"text": "Hm", "index": 0, "message_id": "m"}),
        ("thinking", {"text": "m.", "index": 1, "message_id": "m"}),
        ("content", {"text": "The ans", "index": 0, "message_id": "m"}),
        ("content", {"text": "The answer", "index": 0, "message_id": "m", "attempt": 2}),
        ("tool_call_delta", {"call_id": "c", "tool": "search", "text": '{"q"', "index": 0}),
        ("tool_call_delta", {"call_id": "c", "text": ":1}", "index": 1}),
        (
            "tool_call",
            {"call_id": "c", "tool": "search", "args": {"q": 1}, "message": "searching"},
        ),
        (
            "tool_result",
            {"call_id": "c", "tool": "search", "result": "ten", "ok": True, "length": 3},
        ),
        ("step_start", {"message": "reading", "step_id": "s"}),
        ("step_progress", {"percent": 50, "message": "half", "step_id": "s"}),
        ("step_complete", {"message": "read", "step_id": "s"}),
    ]
    assert (events[0].node, events[0].agent, events[0].path) == ("n", "a", ("above",))
    assert events[2].path == ("above",)
    assert [events[7].duration, events[-1].duration] == [1.5, 2]
    known = {name for event in events for name in event.data.keys() - set(KNOWN[event.type])}
    assert known <= {"message"}


def test_outside_a_run_the_typed_functions_do_nothing() -> None:
    everything()


REFUSED: list[tuple[str, Callable[[], None], str]] = [
    ("text", lambda: runcast.thinking(7), "expected a text"),  # type: ignore[arg-type]
    ("attempt", lambda: runcast.content("x", attempt=0), "whole number from 1"),
    ("attempt of a call", lambda: runcast.tool_call("t", attempt=True), "whole number from 1"),
    ("no call_id", lambda: runcast.tool_call_delta("{", call_id=""), "expected a call_id"),
    ("ok", lambda: runcast.tool_result("t", ok="yes"), "True, False or None"),  # type: ignore[arg-type]
    ("percent", lambda: runcast.step_progress("half"), "percent"),  # type: ignore[arg-type]
    ("step_id", lambda: runcast.step_start("x", step_id=1), "expected a text"),  # type: ignore[arg-type]
    ("keyword", lambda: runcast.step_start("x", nod="n"), "node= is a keyword"),  # type: ignore[call-arg]
]


@pytest.mark.parametrize(
    ("call", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
async def test_a_typed_function_refuses_what_its_event_cannot_mean(
    call: Callable[[], None], says: str
) -> None:
    def work() -> None:
        with pytest.raises(InvalidValue, match=says):
            call()

    assert await told(work) == []


async def test_a_piece_that_was_refused_leaves_no_hole() -> None:
    def work() -> None:
        runcast.thinking("a")
        with pytest.raises(runcast.EventTooLarge):
            runcast.thinking("x" * 2_000_000)
        runcast.thinking("b")

    assert [event.data["index"] for event in await told(work)] == [0, 1]
