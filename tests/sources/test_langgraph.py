"""Graphs of LangGraph in a run: what they ask, and how they continue."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any, TypedDict

import pytest

os.environ["LANGSMITH_TRACING"] = "false"

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.types import Send, interrupt

import runcast
from runcast.errors import InvalidValue, RunFailed
from runcast.events.model import Event
from runcast.sources import langgraph as source
from runcast.sources._telling import warn_once
from runcast.testing import ModelServer, ModelTurn
from tests.crash.served import Server, Watcher, serving, within
from tests.sources.test_langchain import ASKED, model_of
from tests.sources.watching import data_of, run_of
from tests.waiting import until


class State(TypedDict, total=False):
    said: list[Any]


def graph_of(node: Any, **options: Any) -> Any:
    """Return a graph of one node."""
    builder = StateGraph(State).add_node("node", node).add_edge(START, "node")
    return builder.compile(**{"checkpointer": InMemorySaver(), **options})


def answered(work: Any, answers: dict[str, Any]) -> list[Event]:
    """Return the events of a run whose questions are answered by their text."""
    with runcast.open_hub() as hub:
        run = hub.start(runcast.function(work))
        events = []
        for event in hub.watch(run.run_id):
            events.append(event)
            if event.type == "interrupt_request":
                answer = answers[event.data["message"]]
                hub.answer(run.run_id, event.data["interrupt_id"], answer)
        return events


def both(graph: Any, given: Any) -> list[Any]:
    """Return the two ways to run a graph, as functions."""

    def in_a_thread() -> Any:
        return source.run_sync(graph, given)["said"]

    async def in_a_coroutine() -> Any:
        return (await source.run(graph, given))["said"]

    return [in_a_thread, in_a_coroutine]


@pytest.mark.parametrize("how", [0, 1])
def test_interrupts_are_questions_one_after_the_other(how: int) -> None:
    def node(state: State) -> State:
        name = interrupt("Your name?")
        return {"said": [name, interrupt("Sure?"), interrupt("Sure?")]}

    answers = {
        "Your name?": {"type": "response", "args": "Ada"},
        "Sure?": {"type": "accept"},
    }
    events = answered(both(graph_of(node), {})[how], answers)

    assert events[-1].data == {"result": ["Ada", True, True]}
    asked = data_of(events, "interrupt_request")
    assert [data["message"] for data in asked] == ["Your name?", "Sure?", "Sure?"]
    assert len({data["interrupt_id"] for data in asked}) == 3
    assert data_of(events, "error") == []


@pytest.mark.parametrize("how", [0, 1])
def test_interrupts_at_once_are_asked_at_once(how: int) -> None:
    def ask(state: Any) -> None:
        runcast.log(f"{state['n']} is {interrupt(state['n'])}")

    def spread(state: State) -> list[Send]:
        return [Send("ask", {"n": n}) for n in ("one", "two")]

    builder = StateGraph(State).add_node("ask", ask)
    builder.add_conditional_edges(START, spread, ["ask"])
    graph = builder.compile(checkpointer=InMemorySaver())
    work = both(graph, {"said": []})[how]

    with runcast.open_hub() as hub:
        run = hub.start(runcast.function(work))
        events, open_ones = [], []
        for event in hub.watch(run.run_id):
            events.append(event)
            if event.type == "interrupt_request":
                open_ones.append(event.data)
            if len(open_ones) == 2:  # both are open before the first answer
                for data in open_ones:
                    answer = {"type": "response", "args": data["message"].upper()}
                    hub.answer(run.run_id, data["interrupt_id"], answer)
                open_ones = []

    said = sorted(data["message"] for data in data_of(events, "log"))
    assert said == ["one is ONE", "two is TWO"]
    assert events[-1].type == "done"


@tool
def publish(text: str) -> str:
    """Publish a text."""
    return f"published {text}"


DECISIONS: list[tuple[dict[str, Any], str]] = [
    ({"type": "accept"}, "published draft"),
    ({"type": "edit", "args": {"text": "final"}}, "published final"),
    ({"type": "reject", "args": "too early"}, "too early"),
    ({"type": "response", "args": "I did it"}, "I did it"),
]


@pytest.mark.parametrize("mode", ["batched", "per_call"])
@pytest.mark.parametrize(("answer", "result"), DECISIONS)
def test_a_review_of_tools_takes_all_four_answers(
    mode: Any, answer: dict[str, Any], result: str
) -> None:
    turns = [ModelTurn(tools=[("publish", {"text": "draft"})]), ModelTurn(text="Done.")]
    with ModelServer(turns) as server:
        agent: Any = create_agent(
            model_of(server),
            tools=[publish],
            middleware=[HumanInTheLoopMiddleware({"publish": True}, interrupt_mode=mode)],
            checkpointer=InMemorySaver(),
        )

        async def work() -> str:
            state = await source.run(agent, ASKED)
            return str(state["messages"][-1].content)

        with runcast.open_hub() as hub:
            run = hub.start(runcast.function(work))
            events = []
            for event in hub.watch(run.run_id):
                events.append(event)
                if event.type == "interrupt_request":
                    assert event.data["action"] == "publish"
                    assert event.data["args"] == {"text": "draft"}
                    hub.answer(run.run_id, event.data["interrupt_id"], answer)

    assert events[-1].data == {"result": "Done."}
    results = data_of(events, "tool_result")
    assert len(results) == 1
    assert result in results[0]["result"]
    assert results[0]["call_id"] == "call_1_0"
    assert data_of(events, "error") == []
    assert len(data_of(events, "interrupt_request")) == 1


def test_a_review_shows_which_answers_it_allows() -> None:
    turns = [
        ModelTurn(tools=[("publish", {"text": "a"}), ("publish", {"text": "b"})]),
        ModelTurn(text="Done."),
    ]
    allowed: Any = {"publish": {"allowed_decisions": ["approve", "reject"]}}
    with ModelServer(turns) as server:
        agent: Any = create_agent(
            model_of(server),
            tools=[publish],
            middleware=[HumanInTheLoopMiddleware(allowed)],
            checkpointer=InMemorySaver(),
        )

        async def work() -> list[str]:
            state = await source.run(agent, ASKED)
            return [message.status for message in state["messages"] if message.type == "tool"]

        with runcast.open_hub() as hub:
            run = hub.start(runcast.function(work))
            asked: list[Any] = []
            for event in hub.watch(run.run_id):
                if event.type == "interrupt_request":
                    asked.append(event.data)
                    answer = {"type": "reject" if len(asked) == 2 else "accept"}
                    hub.answer(run.run_id, event.data["interrupt_id"], answer)

    config = {"allow_accept": True, "allow_edit": False, "allow_respond": False}
    assert [data["config"] for data in asked] == [config, config]
    assert [data["args"]["text"] for data in asked] == ["a", "b"]
    assert sorted(event.data["result"]) == ["error", "success"]


def test_what_nodes_write_comes_in_the_order_of_the_run() -> None:
    async def node(state: State) -> None:
        runcast.log("before")
        get_stream_writer()({"percent": 50})
        runcast.log("after")

    async def work() -> None:
        await source.run(graph_of(node), {"said": []})

    events = run_of(work)

    assert [event.type for event in events[2:-2]] == ["log", "custom", "log"]
    assert (events[3].node, events[3].data) == ("node", {"percent": 50})


def test_a_graph_that_asks_needs_a_checkpointer() -> None:
    def node(state: State) -> None:
        interrupt("Sure?")

    async def work() -> None:
        await source.run(graph_of(node, checkpointer=None), {"said": []})

    with runcast.open_hub() as hub, pytest.raises(RunFailed) as caught:
        hub.start(runcast.function(work)).result()

    assert isinstance(caught.value.__cause__, InvalidValue)
    assert "checkpointer" in str(caught.value.__cause__)


async def test_outside_a_run_a_graph_is_only_run() -> None:
    def node(state: State) -> State:
        return {"said": ["hello"]}

    graph = graph_of(node)
    config = {"configurable": {"thread_id": "t"}}

    assert await source.run(graph, {"said": []}, config) == {"said": ["hello"]}
    with pytest.raises(InvalidValue, match="await"):
        source.run_sync(graph, {"said": []}, config)


def test_a_run_that_begins_again_continues_the_graph_of_its_thread() -> None:
    """As an attempt does whose predecessor died: nodes that have ended do not run again."""
    ran: list[str] = []

    def first(state: State) -> State:
        ran.append("first")
        return {"said": ["first"]}

    def second(state: State) -> State:
        ran.append("second")
        if ran.count("second") == 1:
            raise OSError("the process dies here")
        return {"said": [*state["said"], "second"]}

    builder = StateGraph(State).add_node("first", first).add_node("second", second)
    builder.add_edge(START, "first").add_edge("first", "second")
    graph = builder.compile(checkpointer=InMemorySaver())

    async def work() -> Any:
        try:
            await source.run(graph, {"said": []})
        except OSError:
            return (await source.run(graph, {"said": ["not used again"]}))["said"]

    assert run_of(work)[-1].data == {"result": ["first", "second"]}
    assert ran == ["first", "second", "second"]
    ran.clear()
    assert run_of(work)[-1].type == "done"  # another run has another thread
    assert ran[0] == "first"


async def question_in(server: Server, run_id: str) -> dict[str, Any]:
    """Wait until a run asks, and return the question."""
    while True:
        state = json.loads((await server.ask("GET", f"/runs/{run_id}?wait=1")).body)
        assert state["status"] in ("queued", "running", "waiting"), state
        if state["status"] == "waiting":
            (question,) = state["state"]["interrupts"]
            return dict(question)


async def test_a_question_and_its_graph_survive_kill_9(tmp_path: Path) -> None:
    """Another process gets the answer, and continues the graph from its checkpoint in SQLite."""
    turns = [ModelTurn(tools=[("publish", {"text": "draft"})]), ModelTurn(text="It is out.")]
    file = str(Path(__file__).with_name("graph_that_asks.py"))
    async with ModelServer(turns) as model:
        env = {"MODEL_URL": model.openai_url, "CHECKPOINTS": str(tmp_path / "checkpoints.db")}
        store = tmp_path / "runs.db"
        async with serving(store, file, env=env) as server:
            await server.start_run("asks", "r1", prompt="Publish it.")
            question = await question_in(server, "r1")
            await server.kill()
        async with serving(store, file, env=env) as server:
            again = await question_in(server, "r1")
            assert again["interrupt_id"] == question["interrupt_id"]
            answer = {"type": "edit", "args": {"text": "final"}}
            target = f"/runs/r1/interrupts/{question['interrupt_id']}"
            assert (await server.ask("POST", target, answer)).status == 200
            watcher = Watcher("r1")
            async with within():
                await watcher.follow(server.address)
            log = [json.loads(data) for _, data in watcher.seen]
        assert len(model.calls) == 2  # the call before the question was not made again

    assert log[-1]["data"] == {"result": "It is out."}
    assert (tmp_path / "checkpoints.resumed").read_text() != ""
    said = [event["data"]["message"] for event in log if event["type"] == "log"]
    assert said == ["prepared", "published final"]
    assert [event["type"] for event in log].count("interrupt_request") == 1
    assert [event["type"] for event in log].count("error") == 0


async def test_a_graph_continues_from_its_checkpoint_after_kill_9(tmp_path: Path) -> None:
    """In the same epoch: watchers see one log, and nodes that had ended do not run again."""
    file = str(Path(__file__).with_name("graph_that_dies.py"))
    env, store = {"CHECKPOINTS": str(tmp_path / "checkpoints.db")}, tmp_path / "runs.db"
    async with serving(store, file, env=env) as server:
        watcher = await server.start_and_watch("r1", "walks", word="zero")
        following = asyncio.create_task(watcher.follow(server.address))

        def is_at_work() -> bool:
            events = [json.loads(data) for _, data in watcher.seen]
            return any(
                event["type"] == "log" and event["data"]["message"] == "second" for event in events
            )

        async with within():
            await until(is_at_work)
        await server.kill()
        await asyncio.wait([following])
    async with serving(store, file, env={**env, "MAY_END": "yes"}) as server:
        async with within():
            await watcher.follow_to_the_end(server.address)
        state = (await server.ask("GET", "/runs/r1")).json()["state"]

    log = [json.loads(data) for _, data in watcher.seen]
    said = [event["data"]["message"] for event in log if event["type"] == "log"]
    assert said == ["first", "second", "second", "third"]
    assert log[-1]["data"] == {"result": ["zero", "first", "second", "third"]}
    assert [event["seq"] for event in log] == list(range(1, len(log) + 1))
    assert watcher.gaps == []
    assert (state["status"], state["attempt"]) == ("done", 2)


def test_a_version_without_a_way_to_write_is_warned_of_and_runs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    warn_once.cache_clear()
    monkeypatch.setattr(source, "StreamProtocol", None)

    def node(state: State) -> State:
        get_stream_writer()({"percent": 50})
        return {"said": ["done"]}

    async def work() -> Any:
        return (await source.run(graph_of(node), {"said": []}))["said"]

    events = run_of(work)

    assert events[-1].data == {"result": ["done"]}
    assert data_of(events, "custom") == []
    assert any("get_stream_writer" in record.message for record in caplog.records)


async def test_what_is_not_a_compiled_graph_is_refused_with_what_to_do() -> None:
    for given in (StateGraph(State), "graph", None):
        with pytest.raises(InvalidValue, match=f"compiled graph .* got {type(given).__name__}"):
            await source.run(given, {})
    with pytest.raises(InvalidValue, match="got StateGraph; compile"):
        await asyncio.to_thread(source.run_sync, StateGraph(State), {})
