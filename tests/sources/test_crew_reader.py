"""CrewAI's events, as they were captured, read without CrewAI."""

import importlib
import importlib.util
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runcast import current_writer
from runcast.events.model import Event
from runcast.sources._crew_reader import CrewReader
from tests.sources.watching import data_of, run_of

if importlib.util.find_spec("crewai") is None:

    def test_without_crewai_the_source_says_how_to_install_it() -> None:
        with pytest.raises(ImportError) as raised:
            importlib.import_module("runcast.sources.crewai")

        assert str(raised.value) == (
            "runcast.sources.crewai needs crewai 1.15 or newer, and crewai is not installed: "
            "pip install 'crewai>=1.15'"
        )


CAPTURED = Path(__file__).parent / "captured" / "crewai-1.15.30.jsonl"

FIELDS = (
    *("task", "agent", "task_id", "task_name", "agent_id", "agent_role", "tool_call", "usage"),
    *("response", "failure", "model", "flow_name", "tools", "messages", "error", "output"),
)


def as_object(value: object) -> Any:
    return json.loads(json.dumps(value), object_hook=lambda fields: SimpleNamespace(**fields))


def event_of(record: dict[str, Any]) -> Any:
    """Return a captured event, with the fields that it was captured without as None."""
    data = dict(record.get("data", {}))
    if isinstance(data.get("tool_call"), dict):
        data["tool_call"] = as_object(data["tool_call"])
    if record["type"] == "task_completed":
        data["output"] = as_object(data["output"])
    second = timedelta(seconds=record["n"])
    return SimpleNamespace(
        **dict.fromkeys(FIELDS)
        | data
        | {
            "type": record["type"],
            "event_id": record["id"],
            "parent_event_id": record["parent"],
            "started_event_id": record.get("started"),
            "timestamp": datetime(2026, 1, 1, tzinfo=UTC) + second,
        }
    )


def captured(scenario: str) -> Iterator[Any]:
    for line in CAPTURED.read_text("utf-8").splitlines():
        record = json.loads(line)
        if record.get("scenario") == scenario and "type" in record:
            yield event_of(record)


def read(*events: Any) -> list[Event]:
    """Return what a run has after a reader has read events."""

    def work() -> None:
        writer = current_writer()
        assert writer is not None
        reader = CrewReader(writer)
        for event in events:
            if reader.reads(event.type):
                reader.read(event)

    return run_of(work)[1:-1]


def kinds(events: list[Event]) -> list[str]:
    """Return the types in order; pieces of one text count once."""
    found: list[str] = []
    for event in events:
        is_piece = event.type in ("content", "thinking", "tool_call_delta")
        if not (is_piece and found and found[-1] == event.type):
            found.append(event.type)
    return found


def text(events: list[Event], kind: str = "content") -> str:
    return "".join(data["text"] for data in data_of(events, kind))


def test_two_agents_and_a_tool_are_told_in_order() -> None:
    events = read(*captured("two agents, a tool, tokens"))

    assert kinds(events) == [
        *("step_start", "tool_call_delta", "usage", "tool_call", "tool_result"),
        *("content", "usage", "step_complete"),
        *("step_start", "content", "usage", "step_complete"),
    ]
    assert text(events) == "It is sunny in Paris, 21 degrees.Paris is sunny today."
    assert {(event.node, event.agent) for event in events if event.type == "content"} == {
        ("look", "Weatherman"),
        ("write", "Writer"),
    }
    # The output of a task is not repeated.
    assert [data["message"] for data in data_of(events, "step_complete")] == ["", ""]


def test_a_call_has_the_id_under_which_its_arguments_were_streamed() -> None:
    events = read(*captured("two agents, a tool, tokens"))

    pieces = data_of(events, "tool_call_delta")
    assert "".join(piece["text"] for piece in pieces) == '{"city":"Paris"}'
    (call,), (result,) = data_of(events, "tool_call"), data_of(events, "tool_result")
    assert call["call_id"] == result["call_id"] == pieces[0]["call_id"]
    assert call["args"] == {"city": "Paris"}
    assert result["ok"] is True


def test_usage_is_that_of_each_call() -> None:
    first, *_ = [event for event in read(*captured("reasoning model")) if event.type == "usage"]

    assert (first.node, first.agent) == ("look", "Weatherman")
    assert first.data == {
        **{"model": "fake-reason", "input_tokens": 9, "output_tokens": 7},
        **{"cached_tokens": 4, "reasoning_tokens": 3},
    }


def test_parallel_calls_of_a_tool_keep_their_ids() -> None:
    events = read(*captured("two tools in one turn"))

    assert [(it["call_id"], it["args"]) for it in data_of(events, "tool_call")] == [
        ("call_cb0795", {"city": "Paris"}),
        ("call_101baa", {"city": "Rome"}),
    ]
    assert [(it["call_id"], it["result"]) for it in data_of(events, "tool_result")] == [
        ("call_101baa", "sunny in Rome"),
        ("call_cb0795", "sunny in Paris"),
    ]


def test_a_tool_that_raises_gives_one_failed_result() -> None:
    events = read(*captured("tool raises"))

    (result,) = data_of(events, "tool_result")
    assert (result["ok"], result["result"]) == (False, "ValueError('no such city')")
    assert not data_of(events, "error")


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        ("provider error mid-stream", "OpenAI API call failed: The model is overloaded"),
        ("provider 500", "OpenAI API call failed: Error code: 500"),
    ],
)
def test_an_error_of_the_provider_is_told_once(scenario: str, message: str) -> None:
    events = read(*captured(scenario))

    (error,) = data_of(events, "error")
    assert error["message"].startswith(message)
    assert error["code"] == "llm_call_failed"
    # What was streamed before stays.
    assert text(events) == ("It is sunny " if "mid" in scenario else "")


def test_a_text_that_thinks_and_acts_is_split() -> None:
    events = read(*captured("react text protocol"))

    assert text(events, "thinking").startswith("I should look")
    (call,) = data_of(events, "tool_call")
    assert call["tool"] == "weather"
    assert call["args"] == {"city": "Paris"}


def test_planning_of_crewai_is_left_out_but_counted() -> None:
    events = read(*captured("agent planning"))

    assert [it["tool"] for it in data_of(events, "tool_call")] == ["weather"]
    assert not data_of(events, "error")
    assert len(data_of(events, "usage")) == 3


def test_a_plan_is_reasoning() -> None:
    (event,) = read(
        event_of(
            {
                **{"type": "agent_reasoning_completed", "id": "e2", "parent": "e0", "n": 1},
                **{"started": "e1", "data": {"plan": "1. look", "agent_role": "A"}},
            }
        )
    )

    assert (event.type, event.agent, event.data["text"]) == ("reasoning", "A", "1. look")


def made(kind: str, number: int, parent: str | None = None, **data: Any) -> Any:
    record = {"type": kind, "id": f"m{number}", "parent": parent, "n": number}
    started = data.pop("started", None)
    return event_of({**record, "started": started, "data": {"task_id": "T", **data}})


def test_an_attempt_takes_the_places_of_the_one_before() -> None:
    def attempt(start: int) -> list[Any]:
        about = {"agent_id": "A", "call_id": f"c{start}", "agent_role": "a"}
        return [
            made("agent_execution_started", start, agent_id="A"),
            made("llm_call_started", start + 1, **about),
            made("llm_stream_chunk", start + 2, chunk=f"text {start}", **about),
        ]

    events = read(*attempt(0), *attempt(10))

    assert data_of(events, "content") == [
        {"text": "text 0", "index": 0, "message_id": "c0"},
        {"text": "text 10", "index": 0, "message_id": "c0", "attempt": 2},
    ]


def test_a_task_that_is_executed_again_is_new() -> None:
    def execution(start: int) -> list[Any]:
        about = {"agent_id": "A", "call_id": f"c{start}"}
        return [
            made("task_started", start, task=SimpleNamespace(name="t", agent=None, id="T")),
            made("agent_execution_started", start + 1, agent_id="A"),
            made("llm_stream_chunk", start + 2, chunk="x", **about),
        ]

    events = read(*execution(0), *execution(10))

    assert [it["message_id"] for it in data_of(events, "content")] == ["c0", "c10"]
    assert [it["step_id"] for it in data_of(events, "step_start")] == ["m0", "m10"]


def test_a_text_that_was_not_streamed_comes_whole() -> None:
    about = {"agent_id": "A", "call_id": "c"}
    events = read(
        made("llm_call_started", 1, **about),
        made("llm_call_completed", 2, response="all of it", usage={"prompt_tokens": 1}, **about),
    )

    assert kinds(events) == ["content", "usage"]
    assert text(events) == "all of it"


def test_a_task_tells_an_output_that_nobody_has_seen() -> None:
    task = SimpleNamespace(name="t", agent=None, id="T")
    output = SimpleNamespace(raw='{"n": 1}')
    started = made("task_started", 1, task=task)
    completed = made("task_completed", 2, started="m1", task=task, output=None)
    completed.output = output

    events = read(started, completed)

    assert events[-1].data == {"message": '{"n": 1}', "step_id": "m1"}
    assert events[-1].duration == 1.0


def test_errors_of_different_causes_are_both_told() -> None:
    events = read(
        made("llm_call_failed", 1, parent="f", call_id="c", error="overloaded"),
        made("task_failed", 2, started="f", error="the guardrail refused"),
    )

    assert [it["message"] for it in data_of(events, "error")] == [
        "overloaded",
        "the guardrail refused",
    ]


def test_a_model_call_inside_of_memory_is_only_counted() -> None:
    about = {"call_id": "c", "agent_id": "A"}
    events = read(
        made("memory_save_started", 1),
        made("llm_call_started", 2, parent="m1", **about),
        made("llm_stream_chunk", 3, parent="m2", chunk="{}", **about),
        made("llm_call_completed", 4, usage={"prompt_tokens": 3}, **about),
        made("memory_save_completed", 5, started="m1"),
    )

    assert kinds(events) == ["usage"]


def test_a_tool_that_was_refused_before_it_began_has_a_result() -> None:
    failure = SimpleNamespace(message="not JSON")
    event = made("tool_failure_detected", 1, tool_name="add", tool_args="{", agent_id="A")
    event.failure = failure

    call, result = read(event)

    assert (call.type, call.data["args"]) == ("tool_call", "{")
    assert (result.data["result"], result.data["ok"]) == ("not JSON", False)
    assert call.data["call_id"] == result.data["call_id"]
