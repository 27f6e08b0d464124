"""A function with a graph whose process is killed in the middle, to be served again."""

import asyncio
import os
from pathlib import Path
from typing import Any, TypedDict

os.environ["LANGSMITH_TRACING"] = "false"

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph

import runcast


class State(TypedDict, total=False):
    said: list[str]


def say(name: str, state: State) -> State:
    runcast.log(name)
    return {"said": [*state.get("said", []), name]}


async def first(state: State) -> State:
    return say("first", state)


async def second(state: State) -> State:
    said = say("second", state)
    if not os.environ.get("MAY_END"):
        await runcast.flush()
        await asyncio.Event().wait()  # the process is killed here
    return said


async def third(state: State) -> State:
    return say("third", state)


@runcast.function(recover=True)
async def walks(word: str) -> Any:
    """Walk through a graph; after a crash go on where its checkpoint is."""
    builder = StateGraph(State).add_node("first", first).add_node("second", second)
    builder.add_node("third", third)
    builder.add_edge(START, "first").add_edge("first", "second").add_edge("second", "third")
    checkpoints = Path(os.environ["CHECKPOINTS"])
    async with AsyncSqliteSaver.from_conn_string(str(checkpoints)) as saver:
        graph = builder.compile(checkpointer=saver)
        state = await runcast.sources.langgraph.run(graph, {"said": [word]})
    return state["said"]
