"""Crews for tests, with a model that says what a test wants."""

from collections.abc import Callable, Iterable
from typing import Any

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool

import runcast
from runcast.events.model import Event
from runcast.sources import crewai as source
from runcast.testing import ModelServer, ModelTurn

__all__ = ("LOOK", "agent_of", "broken", "crew_of", "events_of", "llm_of", "text_of", "weather")

LOOK = ("weather", {"city": "Paris"})


@tool("weather")  # type: ignore[untyped-decorator]
def weather(city: str) -> str:
    """Return the weather of a city."""
    runcast.log(f"looking at {city}")
    return f"sunny in {city}"


@tool("broken")  # type: ignore[untyped-decorator]
def broken(city: str) -> str:
    """Fail."""
    raise ValueError(f"no such city: {city}")


def llm_of(server: ModelServer, *, is_native: bool = True, streams: bool = True) -> Any:
    """Return a model; without `is_native` it thinks, acts and answers in one text."""
    llm = LLM(model="openai/fake", base_url=server.openai_url, api_key="test", stream=streams)
    if not is_native:
        object.__setattr__(llm, "supports_function_calling", lambda: False)
    return llm


def agent_of(server: ModelServer, role: str = "Reporter", *tools: Any, **options: Any) -> Any:
    llm = options.pop("llm", None) or llm_of(server)
    return Agent(role=role, goal="report", backstory="none", llm=llm, tools=[*tools], **options)


def crew_of(*agents: Any, description: str = "Report", **options: Any) -> Any:
    """Return a crew in which each agent has one task, named after the agent's role."""
    tasks = [
        Task(
            description=description,
            expected_output="a line",
            agent=agent,
            name=agent.role.lower(),
            **options,
        )
        for agent in agents
    ]
    return Crew(agents=[*agents], tasks=tasks)


def events_of(
    turns: Iterable[ModelTurn] | Callable[[Any], ModelTurn],
    work: Callable[[ModelServer], Any],
    act: Callable[[Any, str, Event], None] | None = None,
    **options: Any,
) -> list[Event]:
    """Return the events of a run of `work` under the source.

    Args:
        act: called with the hub, the run's id and each event, as it comes.
    """
    events = []
    with ModelServer(turns) as server, runcast.open_hub() as hub:

        def function() -> Any:
            with source.stream(**options):
                result = work(server)
            return getattr(result, "raw", result)

        run = hub.start(runcast.function(function))
        for event in hub.watch(run.run_id):
            events.append(event)
            if act is not None:
                act(hub, run.run_id, event)
    return events


def text_of(events: list[Event], kind: str = "content", **place: str) -> str:
    """Return the text of all pieces of a type, in a place."""
    return "".join(
        event.data["text"]
        for event in events
        if event.type == kind and all(getattr(event, name) == it for name, it in place.items())
    )
