"""A function with a graph that asks, to be served and killed: MODEL_URL names its model."""

import os
from pathlib import Path
from typing import Any

os.environ["LANGSMITH_TRACING"] = "false"

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, MessagesState, StateGraph

import runcast


@tool
def publish(text: str) -> str:
    """Publish a text."""
    runcast.log(f"published {text}")
    return f"published {text}"


async def run_graph(prompt: str = "") -> str:
    """Run the graph, or continue where its thread is."""
    model = ChatOpenAI(
        model="test",
        base_url=os.environ["MODEL_URL"],
        api_key="test",  # type: ignore[arg-type]
        stream_usage=True,
    )

    def prepare(state: MessagesState) -> Any:
        runcast.log("prepared")
        return {}

    agent: Any = create_agent(
        model,
        tools=[publish],
        name="publisher",
        middleware=[HumanInTheLoopMiddleware({"publish": True})],
    )
    builder = StateGraph(MessagesState).add_node("prepare", prepare).add_node("agent", agent)
    builder.add_edge(START, "prepare").add_edge("prepare", "agent")
    async with AsyncSqliteSaver.from_conn_string(os.environ["CHECKPOINTS"]) as saver:
        graph = builder.compile(checkpointer=saver)
        writer = runcast.current_writer()
        assert writer is not None
        config = {"configurable": {"thread_id": writer.run_id}}
        asked = {"messages": [("user", prompt)]} if prompt else None
        state = await runcast.sources.langgraph.run(graph, asked, config)
    return str(state["messages"][-1].content)


async def resume(interrupt_id: str, answer: runcast.Answer) -> str:
    """Continue in another process."""
    Path(os.environ["CHECKPOINTS"]).with_suffix(".resumed").write_text(str(os.getpid()))
    return await run_graph()


@runcast.function(resume=resume)
async def asks(prompt: str) -> str:
    """Publish what a person allows."""
    return await run_graph(prompt)
