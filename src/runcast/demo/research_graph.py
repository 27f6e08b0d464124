"""The research demo as a graph of LangGraph, with agents of LangChain."""

import asyncio
import operator
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final, TypedDict

from langchain_openai import ChatOpenAI

from runcast.demo import research_script as script
from runcast.sources import langgraph as source
from runcast.sources.langchain import _create_agent
from runcast.testing import ModelServer

__all__ = ("research_in_graph",)

_DEFAULT_MODEL: Final = "gpt-5-mini"


class _State(TypedDict, total=False):
    """What the graph knows."""

    topic: str
    questions: list[str]
    notes: Annotated[list[str], operator.add]
    sections: list[tuple[str, str]]
    answer: dict[str, Any]


async def research_in_graph(topic: str, pause_s: float) -> tuple[str, dict[str, Any]]:
    """Return the report, and the answer to the question whether to publish it."""
    async with _model(pause_s) as model:
        graph = await asyncio.to_thread(_graph_of, model)  # which looks at installed packages
        # The checkpoints are in memory, and LangGraph's "sync" needs agents that have their own.
        state = await source.run(graph, {"topic": topic}, durability="async")
    return script.report_of(topic, state["sections"]), state["answer"]


@asynccontextmanager
async def _model(pause_s: float) -> AsyncIterator[ChatOpenAI]:
    """Give the model of the configured endpoint, or one that follows the script."""
    if os.environ.get("OPENAI_BASE_URL"):
        name = os.environ.get("OPENAI_MODEL", _DEFAULT_MODEL)
        yield await _client(model=name)
        return
    async with ModelServer(script.turn_for, delay_s=pause_s) as server:
        yield await _client(model="script", base_url=server.openai_url, api_key="none")


async def _client(**options: Any) -> ChatOpenAI:
    # In a thread, because it reads certificates and versions from files.
    return await asyncio.to_thread(lambda: ChatOpenAI(stream_usage=True, **options))


def _graph_of(model: ChatOpenAI) -> Any:
    planner = _create_agent(model, [], "planner", script.PLANNER)
    researcher = _create_agent(model, [script.look_up], "researcher", script.RESEARCHER)
    writer = _create_agent(model, [], "writer", script.WRITER)

    async def plan(state: _State) -> _State:
        lines = (await _ask(planner, state["topic"])).splitlines()
        return {"questions": [line.strip() for line in lines if line.strip()][:3]}

    def spread(state: _State) -> list[Any]:
        questions = state["questions"]
        return [source.Send("research", {"questions": [question]}) for question in questions]

    async def research(state: _State) -> _State:
        return {"notes": [await _ask(researcher, state["questions"][0])]}

    async def write(state: _State) -> _State:
        notes = " ".join(state["notes"])
        return {"sections": [(title, await _ask(writer, notes)) for title in script.SECTIONS]}

    async def approve(state: _State) -> _State:
        request = {"action": "publish", "args": {"file": "report.md"}}
        asked = {"action_request": request, "description": "Publish the report?"}
        return {"answer": source.interrupt(asked)}

    builder = source.StateGraph(_State)
    for node in (plan, research, write, approve):
        builder.add_node(node.__name__, node)
    builder.add_edge(source.START, "plan")
    builder.add_conditional_edges("plan", spread, ["research"])
    builder.add_edge("research", "write").add_edge("write", "approve")
    return builder.compile(checkpointer=source.InMemorySaver(), name="research")


async def _ask(agent: Any, text: str) -> str:
    state = await agent.ainvoke({"messages": [("user", text)]})
    return str(state["messages"][-1].text)
