"""The processor of chunks with LangGraph itself, in each form of its streams."""

import os
from typing import Any

import pytest

os.environ["LANGSMITH_TRACING"] = "false"

from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.prebuilt import ToolCallTransformer
from langgraph.stream.transformers import CustomTransformer

from runcast.compat.writer import AgentWorkflowProcessor, StreamWriter
from runcast.events.model import Event
from runcast.testing import ModelServer, ModelTurn
from tests.sources.test_langchain import ASKED, TURNS, model_of, team
from tests.sources.watching import data_of, run_of

MODES = ["messages", "updates", "custom", "tools"]


@tool
def weather(city: str) -> str:
    """Look up the weather."""
    get_stream_writer()({"percent": 50})
    return f"sunny in {city}"


def chunks_in(form: str, graph: Any) -> Any:
    """Return the stream of a graph in one of its forms."""
    if form == "v3":
        return graph.stream_events(ASKED, version="v3")
    if form == "v3 with transformers":
        more = [CustomTransformer, ToolCallTransformer]
        return graph.stream_events(ASKED, version="v3", transformers=more)
    if form == "v2":
        return graph.stream(ASKED, stream_mode=MODES, subgraphs=True, version="v2")
    return graph.stream(ASKED, stream_mode=MODES, subgraphs=True)


def processed(chunks: Any) -> list[Event]:
    """Return the events that a processor writes."""

    def go() -> None:
        processor = AgentWorkflowProcessor(StreamWriter("graph"))
        for chunk in chunks():
            processor.process_chunk(chunk)

    return run_of(go)


@pytest.mark.filterwarnings("ignore:The v3 streaming protocol")
@pytest.mark.parametrize("form", ["v2", "tuples", "v3", "v3 with transformers"])
def test_every_form_of_a_stream_becomes_the_same_events(form: str) -> None:
    with ModelServer(TURNS) as server:
        graph = team(server, [weather])
        events = processed(lambda: chunks_in(form, graph))

    shown = [
        (event.type, event.agent, event.data.get("text") or event.data.get("result"))
        for event in events
        if event.type in ("content", "thinking", "tool_call", "tool_result")
    ]
    assert shown == [
        ("tool_call", "looker", None),
        ("tool_result", "looker", "sunny in Paris"),
        *(("content", "looker", text) for text in ("It ", "is ", "sunny.")),
        ("content", "writer", "Done."),
    ]
    assert [data["output_tokens"] for data in data_of(events, "usage")] == [1, 7, 1]
    assert data_of(events, "custom") == ([] if form == "v3" else [{"percent": 50}])
    assert events[-1].type == "done"


@pytest.mark.filterwarnings("ignore:The v3 streaming protocol")
@pytest.mark.parametrize("form", ["v2", "v3"])
def test_the_reasoning_of_responses_is_a_thought(form: str) -> None:
    from langgraph.graph import START, MessagesState, StateGraph

    with ModelServer([ModelTurn(thinking="I look.", text="Sunny.")]) as server:
        model = model_of(server, use_responses_api=True, reasoning={"summary": "auto"})

        def node(state: MessagesState) -> Any:
            return {"messages": [model.invoke(state["messages"])]}

        graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile()
        events = processed(lambda: chunks_in(form, graph))

    assert "".join(data["text"] for data in data_of(events, "thinking")) == "I look."
    assert "".join(data["text"] for data in data_of(events, "content")) == "Sunny."
    assert {event.node for event in events if event.type == "thinking"} == {"node"}
