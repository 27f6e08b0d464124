"""The source for CrewAI beside other sources, and with other versions of CrewAI."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from crewai.tools import tool

import runcast
from runcast.sources import crewai as source
from runcast.sources import llm
from runcast.testing import ModelServer, ModelTurn
from tests.crewai.crews import LOOK, agent_of, crew_of, events_of, text_of, weather
from tests.environment import environment
from tests.sources.watching import data_of

dispatch = importlib.import_module("crewai.hooks.dispatch")


def test_beside_the_tap_of_the_clients_nothing_is_told_twice() -> None:
    def work(server: ModelServer) -> Any:
        @tool("ask")  # type: ignore[untyped-decorator]
        def ask() -> str:
            """Ask a model without CrewAI."""
            client = openai.OpenAI(base_url=server.openai_url, api_key="test")
            answer = client.chat.completions.create(
                model="other", messages=[{"role": "user", "content": "?"}]
            )
            return str(answer.choices[0].message.content)

        with llm.stream():
            return crew_of(agent_of(server, "Reporter", ask)).kickoff()

    events = events_of(
        [ModelTurn(tools=[("ask", {})]), ModelTurn(text="inner"), ModelTurn(text="outer")], work
    )

    assert text_of(events, agent="Reporter") == "outer"
    assert text_of(events, agent="") == "inner"
    assert [data["model"] for data in data_of(events, "usage")] == ["fake", "other", "fake"]
    assert len(data_of(events, "tool_call")) == 1


@pytest.mark.parametrize("is_async", [False, True])
def test_a_function_may_return_a_crew(is_async: bool) -> None:
    turns = [ModelTurn(tools=[LOOK]), ModelTurn(text="It is sunny.")]
    with ModelServer(turns) as server, runcast.open_hub() as hub:

        def report(city: str, days: int = 2) -> Any:
            description = "Report on {city} for {days} days"
            return crew_of(agent_of(server, "Reporter", weather), description=description)

        async def report_async(city: str, days: int = 2) -> Any:
            return report(city, days)

        run = hub.start(runcast.function(report_async if is_async else report), {"city": "Paris"})
        events = [*hub.watch(run.run_id)]

        assert "Report on Paris for 2 days" in server.calls[0].prompt
    assert events[-1].data == {"result": "It is sunny."}
    assert text_of(events) == "It is sunny."
    assert len(data_of(events, "tool_result")) == 1


def test_what_another_version_lacks_is_said_and_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(source, "_MISSING", {"approvals"})

    events = events_of([ModelTurn(text="So.")], lambda server: crew_of(agent_of(server)).kickoff())

    (warning,) = data_of(events, "log")
    assert warning["message"] == "this version of CrewAI hides its approvals from runcast"
    assert text_of(events) == "So."
    with pytest.raises(ImportError, match="cannot ask for approvals"), source.stream(approve=True):
        pass
    with source.stream():
        assert "hides its approvals" in caplog.text


def test_a_function_of_crewai_that_is_gone_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    missing: set[str] = set()
    monkeypatch.setattr(source, "_MISSING", missing)
    monkeypatch.delattr(dispatch, "_resolve_hooks")

    assert len([*source._patches()]) == 3
    assert missing == {"approvals"}


def test_an_event_of_another_shape_is_left_out_and_the_crew_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def work(server: ModelServer) -> str:
        event_bus = importlib.import_module("crewai.events.event_bus")
        strange = SimpleNamespace(type="llm_stream_chunk")
        event_bus.publish_stream_event(None, strange)
        event_bus.publish_stream_event(None, strange)
        return str(crew_of(agent_of(server)).kickoff().raw)

    events = events_of([ModelTurn(text="So.")], work)

    assert text_of(events) == "So."
    assert events[-1].data["result"] == "So."
    assert caplog.text.count("an event of CrewAI cannot be read") == 1


SCRIPT = """
import sys
from crewai import LLM, Agent, Crew, Task

llm = LLM(model="openai/fake", base_url=sys.argv[1], api_key="test", stream=True)
agent = Agent(role="Writer", goal="write", backstory="none", llm=llm)
task = Task(name="write", description="Write", expected_output="a line", agent=agent)
print(Crew(agents=[agent], tasks=[task]).kickoff().raw)
"""


@pytest.mark.timeout(150)  # CrewAI takes its time to import
def test_a_script_is_told_without_a_change_to_it(tmp_path: Path) -> None:
    script, store = tmp_path / "script.py", f"sqlite:///{tmp_path}/runs.db"
    script.write_text(SCRIPT, "utf-8")
    runcast_at = Path(sys.executable).with_name("runcast")
    with ModelServer([ModelTurn(text="So it is.")]) as server:
        ended = subprocess.run(
            [
                *(runcast_at, "run", "--store", store, "--run-id", "r"),
                *(script, server.openai_url),
            ],
            cwd=tmp_path,
            env=environment(os.environ),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr

    with runcast.open_hub(store) as hub:
        events = [*hub.watch("r")]

    assert text_of(events, node="write", agent="Writer") == "So it is."
    assert [it["message"] for it in data_of(events, "log") if it["logger"] == "stdout"] == [
        "So it is."
    ]
    assert len(data_of(events, "usage")) == 1
