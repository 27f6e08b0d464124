"""Checking what a streaming function yields."""

from typing import Any

import pytest

from runcast.events.model import Event
from runcast.testing import EventsBroken, check_events

START = {"type": "start", "data": {"total": 2}}
DONE = {"type": "done", "data": {"ok": True}}


def step(percentage: float, **more: Any) -> dict[str, Any]:
    return {"type": "progress", "data": {"percentage": percentage}, **more}


@pytest.mark.parametrize(
    "events",
    [
        [DONE],
        [START, DONE],
        [START, step(0), step(50), step(50), step(100), DONE],
        [START, {"type": "progress", "data": {"current": 1, "total": 2}}, DONE],
        [START, {"type": "progress", "data": 3}, DONE],
        [START, {"type": "content", "data": "a"}, {"type": "error", "data": "no"}],
        [{"type": "error", "data": "no", "error_code": "NO"}, DONE],
        [step(90, node="a"), step(10, node="b"), step(91, node="a"), DONE],
        [{"type": "anything.else", "data": [1]}, {"type": "error", "data": {"message": "no"}}],
        [
            Event(seq=1, type="started", data={"function": "f"}),
            Event(seq=2, type="start"),
            Event(seq=3, type="content", data={"text": "a"}),
            Event(seq=4, type="failed", data={"message": "no", "code": "no"}),
        ],
    ],
)
def test_good_events_pass(events: list[Any]) -> None:
    check_events(iter(events))


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        ([], "expected at least one event"),
        ([START], "event 0 (start): expected 'done' or 'error' at the end"),
        ([step(1), START, DONE], "event 1 (start): expected it first"),
        ([START, START, DONE], "event 1 (start): expected it first"),
        ([DONE, step(1)], "event 0 (done): expected nothing after it, got 'progress'"),
        ([DONE, DONE], "event 0 (done): expected nothing after it"),
        ([step(20), step(10), DONE], "event 1 (progress): expected at least 20 percent, got 10"),
        ([step(120), DONE], "expected 0 to 100 percent, got 120"),
        ([step(-1), DONE], "expected 0 to 100 percent, got -1"),
        (
            [{"type": "progress", "data": {"current": 3, "total": 2}}, DONE],
            "expected current <= total, got 3 of 2",
        ),
        ([{"type": "content", "data": 5}, DONE], "event 0 (content): expected data to be a text"),
        ([{"type": "error", "data": None}], "event 0 (error): expected data to be a text"),
        ([{"type": "error", "data": "a", "error_code": 5}], "expected error_code to be a text"),
        ([{"type": "step", "data": object()}, DONE], "something JSON can hold at data"),
        ([{"type": "No Type", "data": 1}, DONE], "event 0: expected a dict with a type"),
        ([{"data": 1}, DONE], "event 0: expected a dict with a type"),
        (["text", DONE], "event 0: expected a dict with a type"),
    ],
)
def test_bad_events_are_told(events: list[Any], problem: str) -> None:
    with pytest.raises(EventsBroken) as raised:
        check_events(events)
    assert problem in str(raised.value)


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(EventsBroken) as raised:
        check_events([step(50), step(40), START, {"type": "content", "data": 1}])
    assert len(raised.value.problems) == 4
