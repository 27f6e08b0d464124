"""The research demo: with LangGraph, and without."""

from importlib import import_module
from typing import Any

import pytest

import runcast
from runcast.demo import research
from runcast.events.model import Event
from tests.sources.watching import data_of


def researched(answer: dict[str, Any], topic: str = "tides") -> tuple[list[Event], str]:
    """Return the events of a run, and its report."""
    with runcast.open_hub() as hub:
        run = hub.start(research, {"topic": topic, "pause_s": 0})
        events, report = [], ""
        for event in hub.watch(run.run_id):
            events.append(event)
            if event.type == "interrupt_request":
                hub.answer(run.run_id, event.data["interrupt_id"], answer)
        for file in data_of(events, "files"):
            report = str(file["files"])
        return events, report


@pytest.fixture(params=["langgraph", "without"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run with the packages, and as if none of them was installed."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    if request.param == "without":
        module = import_module("runcast.demo.research")
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    return str(request.param)


def test_agents_research_write_and_publish_what_a_person_allows(how: str) -> None:
    events, files = researched({"type": "edit", "args": {"file": "../tides.md"}})

    assert events[-1].data["result"]["file"] == "tides.md"
    assert "'path': 'tides.md'" in files
    agents = {event.agent for event in events if event.type == "content"}
    assert agents == {"planner", "researcher", "writer"}
    calls, results = data_of(events, "tool_call"), data_of(events, "tool_result")
    assert len(calls) == len({data["call_id"] for data in calls}) == len(results) == 2
    written = [e.data["message_id"] for e in events if (e.type, e.agent) == ("content", "writer")]
    assert len(set(written)) == 2  # sections
    assert data_of(events, "error") == []
    warnings = [data for data in data_of(events, "log") if data["level"] == "warning"]
    assert bool(warnings) == (how == "without")
    assert bool(data_of(events, "usage")) == (how == "langgraph")


def test_a_no_publishes_nothing(how: str) -> None:
    events, files = researched({"type": "reject"})

    assert events[-1].data["result"] == {"published": False}
    assert files == ""


def test_what_is_missing_is_said_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = import_module("runcast.demo.research")
    monkeypatch.setattr(module, "find_spec", lambda name: name == "langgraph" or None)
    events, _ = researched({"type": "response", "args": "well done"})

    (log,) = data_of(events, "log")
    assert log["message"].endswith("pip install langchain langchain-openai")
    assert events[-1].data["result"]["published"]


def test_a_topic_is_needed() -> None:
    with runcast.open_hub() as hub:
        ended = hub.start(research, {"topic": " "}).wait()

    assert ended.data["code"] == "invalid_inputs"
