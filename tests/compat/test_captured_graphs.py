"""Streams that LangGraph made for real, captured once, replayed through the processor of chunks."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from runcast.compat.writer import AgentWorkflowProcessor, StreamWriter
from runcast.events.model import Event
from tests.sources.watching import data_of, run_of

CAPTURED = Path(__file__).parents[1] / "sources" / "captured" / "langgraph-1.2.24.jsonl"

LINES = [json.loads(line) for line in CAPTURED.read_text("utf-8").splitlines()]


def chunks_of(scenario: str, form: str) -> list[Any]:
    """Return the chunks of a captured scenario: `v2` parts, the same as `tuples`, `v3` events."""
    api = "v3" if form == "v3" else "v2"
    lines = [
        line
        for line in LINES
        if line.get("scenario") == scenario and line.get("api") == api and "type" in line
    ]
    assert lines
    if form == "v3":
        return [_event_of(line) for line in lines]
    if form == "tuples":
        return [(tuple(line["ns"]), line["type"], line["data"]) for line in lines]
    return [{name: line[name] for name in ("ns", "type", "data")} for line in lines]


def _event_of(line: dict[str, Any]) -> dict[str, Any]:
    data = line["data"]
    if line["type"] == "lifecycle":  # its namespace was written as a text
        data = {**data, "namespace": ast.literal_eval(data["namespace"])}
    params = {"namespace": line["ns"], "data": data, "interrupts": line.get("interrupts", ())}
    return {"type": "event", "method": line["type"], "params": params, "seq": line["seq"]}


def processed(chunks: list[Any]) -> list[Event]:
    """Return the events that a processor writes."""

    def go() -> None:
        processor = AgentWorkflowProcessor(StreamWriter("graph"))
        for chunk in chunks:
            processor.process_chunk(chunk)

    return run_of(go)[1:-1]


def told(events: list[Event]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return the events in short, without pieces of text."""
    return [(e.type, e.agent, e.path) for e in events if e.type not in ("content", "thinking")]


FORMS = ["v2", "tuples", "v3"]


@pytest.mark.parametrize("form", FORMS)
def test_two_agents_and_a_tool(form: str) -> None:
    events = processed(chunks_of("two agents, a tool, tokens", form))

    kinds = ("tool_call", "custom", "tool_result")
    assert [(e.type, e.agent) for e in events if e.type in kinds] == [
        ("tool_call", "looker"),
        ("custom", "looker"),
        ("tool_result", "looker"),
    ]
    call, result = data_of(events, "tool_call")[0], data_of(events, "tool_result")[0]
    assert call["call_id"] == result["call_id"]
    assert result["result"] == "sunny in Paris"
    spoken = [(event.node, event.agent) for event in events if event.type == "content"]
    assert set(spoken) == {("model", "looker"), ("model", "writer")}
    assert len({data["message_id"] for data in data_of(events, "content")}) == 2
    assert {event.path for event in events} == {()}


@pytest.mark.parametrize("form", FORMS)
def test_usage_is_reported_once_for_each_answer(form: str) -> None:
    usage = data_of(processed(chunks_of("two agents, a tool, tokens", form)), "usage")

    assert len(usage) >= 2  # the capture left out some chunks
    assert usage[0] == {
        **{"model": "fake", "input_tokens": 9, "output_tokens": 7},
        **{"cached_tokens": 4, "reasoning_tokens": 0},
    }


@pytest.mark.parametrize("form", FORMS)
def test_two_tools_at_once_have_their_own_results(form: str) -> None:
    events = processed(chunks_of("two tools in one turn", form))

    calls = {data["call_id"]: data for data in data_of(events, "tool_call")}
    results = {data["call_id"]: data["result"] for data in data_of(events, "tool_result")}
    assert len(calls) == len(data_of(events, "tool_call")) == 2
    assert set(results) == set(calls)
    assert sorted(results.values()) == ["sunny in Paris", "sunny in Rome"]


@pytest.mark.parametrize("form", FORMS)
def test_an_interrupt_is_one_question(form: str) -> None:
    events = processed(chunks_of("interrupt in a tool of a subgraph", form))

    (asked,) = data_of(events, "interrupt_request")
    assert (asked["action"], asked["args"]) == ("publish", {"city": "Paris"})
    assert data_of(events, "error") == []
    assert data_of(processed(chunks_of("resumed", form)), "interrupt_request") == []


@pytest.mark.parametrize("form", ["v2", "v3"])
def test_a_tool_that_raises_has_a_result_without_its_text(form: str) -> None:
    events = processed(chunks_of("tool raises", form))

    (result,) = data_of(events, "tool_result")
    assert result["ok"] is False
    assert "no such city" not in str(events)


def test_a_provider_that_fails_in_mid_stream_leaves_its_text() -> None:
    events = processed(chunks_of("provider error mid-stream", "v3"))

    assert [data["text"] for data in data_of(events, "content")][:2] == ["It ", "is "]
    (error,) = [event for event in events if event.type == "error"]
    assert (error.agent, error.data["code"]) == ("looker", "graph_failed")
    assert "overloaded" not in str(events)
