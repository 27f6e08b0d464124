"""The source for LangChain and LangGraph, with the real packages and a model that we script."""

import asyncio
import importlib
import operator
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Annotated, Any, ClassVar, TypedDict

import pytest

os.environ["LANGSMITH_TRACING"] = "false"  # which asks nobody, also where a key is set

from langchain.agents import create_agent
from langchain_core.callbacks import adispatch_custom_event
from langchain_core.language_models import FakeListLLM
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, Send

import runcast
from runcast.events.model import Event
from runcast.sources import langchain as source
from runcast.sources._chain_recorder import ChainRecorder
from runcast.sources._recorded_calls import is_call_recorded
from runcast.sources._telling import warn_once
from runcast.testing import ModelServer, ModelTurn
from tests.sources.watching import data_of, run_of
from tests.waiting import WAIT_S

ASKED: Any = {"messages": [("user", "How is the weather?")]}


@tool
def weather(city: str) -> str:
    """Look up the weather."""
    runcast.log("in the tool")
    return f"sunny in {city}"


@tool
def broken(city: str) -> str:
    """Fail."""
    raise ValueError(f"secret {city}")


def model_of(server: ModelServer, **options: Any) -> ChatOpenAI:
    """Return a client of the scripted model."""
    return ChatOpenAI(
        model="test",
        base_url=server.openai_url,
        api_key="test",  # type: ignore[arg-type]
        max_retries=0,
        stream_usage=True,
        **options,
    )


def team(server: ModelServer, tools: list[Any]) -> Any:
    """Return a graph of two agents, whose names are not those of their nodes."""
    look: Any = create_agent(model_of(server), tools=tools, name="looker")
    write: Any = create_agent(model_of(server), tools=[], name="writer")
    graph = StateGraph(MessagesState)
    graph.add_node("look", look).add_node("write", write)
    graph.add_edge(START, "look").add_edge("look", "write").add_edge("write", END)
    return graph.compile(name="team")


TURNS = [
    ModelTurn(tools=[("weather", {"city": "Paris"})]),
    ModelTurn(text="It is sunny.", input_tokens=9, output_tokens=7, cached_tokens=4),
    ModelTurn(text="Done."),
]


def told(event: Event) -> tuple[Any, ...]:
    """Return what is the same in every run of an event."""
    data = event.data
    shown = data.get("text") or data.get("message") or data.get("result") or data.get("args")
    return (event.type, event.node, event.agent, event.path, shown)


async def by_tokens(graph: Any) -> Any:
    """Run a graph by `ainvoke`."""
    return await graph.ainvoke(ASKED)


async def by_events(graph: Any) -> Any:
    """Run a graph by the newest streaming interface."""
    run = await graph.astream_events(ASKED, version="v3")
    async for _ in run:
        pass
    return await run.output()


async def by_astream(graph: Any) -> Any:
    """Run a graph by `astream`, with tokens."""
    last = None
    async for mode, chunk in graph.astream(ASKED, stream_mode=["values", "messages"]):
        last = chunk if mode == "values" else last
    return last


def watched(work: Callable[[], Any], *, tokens: bool = False) -> list[Event]:
    """Return the events of a run with the source on; the work may be a coroutine function."""
    if asyncio.iscoroutinefunction(work):

        async def go_async() -> Any:
            with source.stream(tokens=tokens):
                return await work()

        return run_of(go_async)

    def go() -> Any:
        with source.stream(tokens=tokens):
            return work()

    return run_of(go)


STEPS = [
    ("step_start", "look", "", (), "look"),
    ("step_start", "model", "looker", (), "model"),
    ("tool_call", "model", "looker", (), {"city": "Paris"}),
    ("usage", "model", "looker", (), None),
    ("step_complete", "model", "looker", (), None),
    ("step_start", "tools", "looker", (), "tools"),
    ("log", "", "", (), "in the tool"),
    ("tool_result", "tools", "looker", (), "sunny in Paris"),
    ("step_complete", "tools", "looker", (), None),
    ("step_start", "model", "looker", (), "model"),
    ("content", "model", "looker", (), "It is sunny."),
    ("usage", "model", "looker", (), None),
    ("step_complete", "model", "looker", (), None),
    ("step_complete", "look", "", (), None),
    ("step_start", "write", "", (), "write"),
    ("step_start", "model", "writer", (), "model"),
    ("content", "model", "writer", (), "Done."),
    ("usage", "model", "writer", (), None),
    ("step_complete", "model", "writer", (), None),
    ("step_complete", "write", "", (), None),
]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_two_agents_a_tool_and_their_order(how: str) -> None:
    with ModelServer(TURNS) as server:
        graph = team(server, [weather])

        def work() -> str:
            return str(graph.invoke(ASKED)["messages"][-1].content)

        async def work_async() -> str:
            return str((await graph.ainvoke(ASKED))["messages"][-1].content)

        events = watched(work if how == "invoke" else work_async)

    assert [told(event) for event in events[1:-1]] == STEPS
    assert events[-1].data == {"result": "Done."}
    call, result = data_of(events, "tool_call")[0], data_of(events, "tool_result")[0]
    assert call["call_id"] == result["call_id"] == "call_1_0"
    assert data_of(events, "usage")[1] == {
        **{"model": "test", "input_tokens": 9, "output_tokens": 7},
        **{"cached_tokens": 4, "reasoning_tokens": 0},
    }


@pytest.mark.filterwarnings("ignore:The v3 streaming protocol")
@pytest.mark.parametrize("how", ["tokens", "astream", "events"])
def test_pieces_come_once_and_their_whole_message_is_not_repeated(how: str) -> None:
    with ModelServer(TURNS) as server:
        graph = team(server, [weather])

        async def work() -> None:
            ways = {"astream": by_astream, "events": by_events, "tokens": by_tokens}
            await ways[how](graph)

        events = watched(work, tokens=how == "tokens")

    kinds = ("content", "tool_call", "tool_result", "tool_call_delta")
    assert [told(event)[0::4] for event in events if event.type in kinds] == [
        ("tool_call_delta", '{"city":'),
        ("tool_call_delta", ' "Paris"'),
        ("tool_call_delta", "}"),
        ("tool_call", {"city": "Paris"}),
        ("tool_result", "sunny in Paris"),
        *(("content", text) for text in ("It ", "is ", "sunny.", "Done.")),
    ]
    assert len({data["message_id"] for data in data_of(events, "content")}) == 2
    assert len(data_of(events, "usage")) == 3


def result_of(how: str, tokens: bool | None) -> tuple[object, list[dict[str, Any]]]:
    """Return what a program gets, and what its model was asked; without a source for None."""
    turns = [*TURNS[:2], ModelTurn(status=400)] if how.endswith("error") else TURNS
    with ModelServer(turns) as server:
        graph = team(server, [weather])

        async def work() -> object:
            try:
                got = await (by_astream(graph) if how == "astream" else graph.ainvoke(ASKED))
            except Exception as error:  # noqa: BLE001 - it is compared
                return type(error).__name__, str(error)
            return [strip(message) for message in got["messages"]]

        async def go() -> object:
            if tokens is None:
                return await work()
            with source.stream(tokens=tokens):
                return await work()

        with runcast.open_hub() as hub:
            result = hub.start(runcast.function(go)).result()
        return result, [dict(call.body) for call in server.calls]


def strip(message: Any) -> dict[str, Any]:
    """Return a message as JSON, without the ids that differ in every run."""
    return {
        **message.model_dump(mode="json", exclude={"id", "response_metadata"}),
        "finish": message.response_metadata.get("finish_reason"),
        "has_token_usage": "token_usage" in message.response_metadata,
    }


@pytest.mark.parametrize("how", ["ainvoke", "astream", "ainvoke error"])
def test_a_program_gets_the_same_with_and_without(how: str) -> None:
    without = result_of(how, None)

    assert result_of(how, False) == without


def test_asking_for_tokens_is_what_changes_the_calls_of_the_model() -> None:
    (_, without), (_, with_tokens) = result_of("ainvoke", False), result_of("ainvoke", True)

    assert [call.get("stream") for call in without] == [False] * 3
    assert [call.get("stream") for call in with_tokens] == [True] * 3


def test_a_tool_that_raises_has_a_result_and_one_error_is_reported_once() -> None:
    with ModelServer([ModelTurn(tools=[("broken", {"city": "Rome"})])]) as server:
        graph = team(server, [broken])
        events = watched(lambda: graph.invoke(ASKED))

    (result,) = data_of(events, "tool_result")
    assert (result["result"], result["ok"]) == ("ValueError", False)
    assert data_of(events, "error") == []
    assert (events[-1].type, events[-1].data["code"]) == ("failed", "function_error")
    assert not any("secret" in str(event.data) for event in events)


@pytest.mark.parametrize("fault", ["error", "cut"])
def test_a_provider_that_fails_in_mid_stream_leaves_its_text_and_one_error(fault: Any) -> None:
    turn = ModelTurn(text="It is sunny today.", fault=fault, after=2)
    with ModelServer([turn]) as server:
        graph = team(server, [])
        events = watched(lambda: graph.invoke(ASKED), tokens=True)

    assert [data["text"] for data in data_of(events, "content")] == ["It ", "is "]
    (error,) = data_of(events, "error")
    assert error["code"] == "model_failed"
    assert error["message_id"] == data_of(events, "content")[0]["message_id"]
    assert events[-1].type == "failed"


def test_a_node_that_raises_is_an_error_of_its_step() -> None:
    def fail(state: MessagesState) -> None:
        raise LookupError("private")

    inner = StateGraph(MessagesState).add_node("deep", fail).add_edge(START, "deep").compile()
    outer = StateGraph(MessagesState).add_node("shallow", inner).add_edge(START, "shallow")
    events = watched(lambda: outer.compile().invoke(ASKED))

    (error,) = [event for event in events if event.type == "error"]
    assert (error.node, error.agent) == ("deep", "shallow")
    assert error.data == {"message": "LookupError", "code": "node_failed"}


def test_cancelling_in_mid_token_closes_the_upstream_and_is_no_error() -> None:
    turn = ModelTurn(text="one two three", fault="stall", after=1)
    with ModelServer([turn]) as server:
        graph = team(server, [])

        async def work() -> None:
            with source.stream(tokens=True):
                await graph.ainvoke(ASKED)

        with runcast.open_hub() as hub:
            run = hub.start(runcast.function(work))
            events = []
            for event in hub.watch(run.run_id):
                events.append(event)
                if event.type == "content":
                    run.cancel("enough")
        assert server.calls[0].wait() == "left"

    assert [event.type for event in events][-2:] == ["content", "cancelled"]


class Cities(TypedDict):
    cities: list[str]
    found: Annotated[list[str], operator.add]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_parallel_sends_of_one_node_are_kept_apart(how: str) -> None:
    barrier = threading.Barrier(2)

    def turn(call: Any) -> ModelTurn:
        barrier.wait(5)  # both calls are under way
        return ModelTurn(text=f"{call.prompt} is sunny")

    with ModelServer(turn) as server:
        model = model_of(server)

        def look(state: Any) -> Any:
            return {"found": [model.invoke(state["city"]).content]}

        async def look_async(state: Any) -> Any:
            return {"found": [(await model.ainvoke(state["city"])).content]}

        def spread(state: Cities) -> list[Send]:
            return [Send("look", {"city": city}) for city in state["cities"]]

        builder = StateGraph(Cities)
        builder.add_node("look", look if how == "invoke" else look_async)
        builder.add_conditional_edges(START, spread, ["look"])
        graph = builder.compile()
        asked: Any = {"cities": ["Paris", "Rome"], "found": []}

        def work() -> Any:
            return graph.invoke(asked)["found"]

        async def work_async() -> Any:
            return (await graph.ainvoke(asked))["found"]

        events = watched(work if how == "invoke" else work_async, tokens=True)

    assert events[-1].data["result"] == ["Paris is sunny", "Rome is sunny"]
    started = [data["step_id"] for data in data_of(events, "step_start")]
    assert len(set(started)) == 2
    assert sorted(data["step_id"] for data in data_of(events, "step_complete")) == sorted(started)
    texts: dict[str, str] = {}
    for data in data_of(events, "content"):
        texts[data["message_id"]] = texts.get(data["message_id"], "") + data["text"]
    assert sorted(texts.values()) == ["Paris is sunny", "Rome is sunny"]


def test_messages_that_a_node_writes_itself_come_once() -> None:
    def greet(state: MessagesState) -> Any:
        return {"messages": [AIMessage("Hello.")]}

    def answer(state: MessagesState) -> Any:
        call = {"name": "ask", "args": {"n": 1}, "id": "c1"}
        return {
            "messages": [
                AIMessage("", tool_calls=[call]),
                ToolMessage("yes", tool_call_id="c1", name="ask"),
                {"role": "assistant", "content": "Bye."},
            ]
        }

    inner = StateGraph(MessagesState).add_node("greet", greet).add_node("answer", answer)
    inner.add_edge(START, "greet").add_edge("greet", "answer")
    outer = StateGraph(MessagesState).add_node("inner", inner.compile()).add_edge(START, "inner")
    events = watched(lambda: len(outer.compile().invoke(ASKED)["messages"]))

    assert [told(e)[0::4] for e in events if e.type in ("content", "tool_call", "tool_result")] == [
        ("content", "Hello."),
        ("tool_call", {"n": 1}),
        ("tool_result", "yes"),
        ("content", "Bye."),
    ]


def test_agents_in_tools_of_agents_have_a_path() -> None:
    turns = [
        ModelTurn(tools=[("research", {"topic": "tide"})]),
        ModelTurn(text="High."),
        ModelTurn(text="The tide is high."),
    ]
    with ModelServer(turns) as server:
        expert: Any = create_agent(model_of(server), tools=[], name="expert")

        @tool
        def research(topic: str) -> str:
            """Ask an expert."""
            return str(expert.invoke({"messages": [("user", topic)]})["messages"][-1].content)

        boss: Any = create_agent(model_of(server), tools=[research], name="boss")
        events = watched(lambda: boss.invoke(ASKED) and None)

    spoken = [(e.agent, e.path, e.data["text"]) for e in events if e.type == "content"]
    assert spoken == [("expert", ("boss",), "High."), ("boss", (), "The tide is high.")]


def test_models_outside_of_graphs_and_their_thoughts() -> None:
    """Responses' reasoning comes as summaries."""
    turn = ModelTurn(thinking="I look.", text="Sunny.")
    with ModelServer([turn, turn]) as server:
        model = model_of(server, use_responses_api=True, reasoning={"summary": "auto"})

        def ask() -> str:
            return model.invoke("Weather?").text

        events, streamed = watched(ask), watched(ask, tokens=True)

    for found in (events, streamed):
        assert "".join(data["text"] for data in data_of(found, "thinking")) == "I look."
        assert "".join(data["text"] for data in data_of(found, "content")) == "Sunny."
        assert len(data_of(found, "usage")) == 1
    assert len(data_of(events, "content")) == 1


def test_events_that_the_program_dispatches() -> None:
    async def node(state: MessagesState) -> None:
        await adispatch_custom_event("found", {"n": 1})

    graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile()

    async def work() -> None:
        await graph.ainvoke(ASKED)

    (event,) = [event for event in watched(work) if event.type == "custom"]
    assert (event.node, event.data) == ("node", {"name": "found", "data": {"n": 1}})


class Watched(ChatOpenAI):
    """A client that looks whether its calls count as recorded."""

    seen: ClassVar[list[bool]] = []

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        Watched.seen.append(is_call_recorded())
        async for chunk in super()._astream(*args, **kwargs):
            yield chunk

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        Watched.seen.append(is_call_recorded())
        yield from super()._stream(*args, **kwargs)


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "error"])
def test_calls_count_as_recorded_until_they_end_and_not_after(how: str) -> None:
    turn = ModelTurn(text="Sunny.", fault="error" if how == "error" else "", after=1)
    with ModelServer(lambda call: turn) as server:
        model = Watched(
            model="test",
            base_url=server.openai_url,
            api_key="test",  # type: ignore[arg-type]
            max_retries=0,
        )

        def work() -> None:
            with suppress(Exception):
                model.invoke("b")
            Watched.seen.append(is_call_recorded())

        async def work_async() -> None:
            await model.ainvoke("a")
            Watched.seen.append(is_call_recorded())

        watched(work_async if how == "ainvoke" else work, tokens=True)

    seen, Watched.seen[:] = [*Watched.seen], []
    assert seen == [True, False]


def test_a_source_inside_a_source_reports_once() -> None:
    with ModelServer([ModelTurn(text="It is.")]) as server:
        model = model_of(server)

        async def node(state: MessagesState) -> Any:
            with source.stream(tokens=True):
                return {"messages": [await model.ainvoke("a")]}

        graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile()

        async def work() -> None:
            await graph.ainvoke(ASKED)

        events = watched(work)

    assert "".join(data["text"] for data in data_of(events, "content")) == "It is."
    assert len(data_of(events, "usage")) == 1


def test_turned_on_outside_it_is_on_for_every_run_and_off_after() -> None:
    with ModelServer([ModelTurn(text="One."), ModelTurn(text="Two.")]) as server:
        model = model_of(server)

        def ask() -> None:
            model.invoke("a")

        with source.stream():
            events = run_of(ask)
        after = run_of(ask)

    assert [data["text"] for data in data_of(events, "content")] == ["One."]
    assert [event.type for event in after] == ["started", "done"]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_messages_into_the_run_reach_the_agent_at_its_next_call_of_a_model(how: str) -> None:
    turns = [ModelTurn(tools=[("wait", {})]), ModelTurn(text="Both."), ModelTurn(text="None.")]
    sent = threading.Event()

    @tool
    def wait() -> str:
        """Wait for the messages."""
        runcast.log("waiting")
        assert sent.wait(WAIT_S)
        return "done"

    with ModelServer(turns) as server:
        agent: Any = create_agent(
            model_of(server), tools=[wait], middleware=[source.inbox_middleware()]
        )

        def work() -> list[str]:
            return [message.type for message in agent.invoke(ASKED)["messages"]]

        async def work_async() -> list[str]:
            return [message.type for message in (await agent.ainvoke(ASKED))["messages"]]

        with runcast.open_hub() as hub:
            run = hub.start(runcast.function(work if how == "invoke" else work_async))
            events = []
            for event in hub.watch(run.run_id):
                events.append(event)
                if event.type == "log":
                    hub.send(run.run_id, "in Paris", message_id="m1")
                    hub.send(run.run_id, {"unit": "C"}, message_id="m2")
                    sent.set()

    asked = [message["content"] for message in server.calls[1].body["messages"]]
    assert asked[-2:] == ["in Paris", '{"unit":"C"}']
    assert events[-1].data["result"] == ["human", "ai", "tool", "human", "human", "ai"]
    assert data_of(events, "message_read") == [{"message_ids": ["m1", "m2"]}]


def test_the_middleware_does_nothing_outside_a_run() -> None:
    with ModelServer([ModelTurn(text="Hello.")]) as server:
        agent: Any = create_agent(model_of(server), middleware=[source.inbox_middleware()])

        assert agent.invoke(ASKED)["messages"][-1].content == "Hello."


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_the_tap_of_the_client_leaves_recorded_calls_alone(how: str) -> None:
    with ModelServer([ModelTurn(text="It is."), ModelTurn(text="Again.")]) as server:
        model = model_of(server, streaming=True)

        def work() -> None:
            model.invoke("a")

        async def work_async() -> None:
            await model.ainvoke("a")

        with runcast.open_hub() as hub:  # one loop, as the client of coroutines needs it

            def tapped() -> list[Event]:
                run = hub.start(runcast.function(work if how == "invoke" else work_async))
                return list(hub.watch(run.run_id))

            with runcast.sources.llm.stream("openai"):
                with source.stream():
                    both = tapped()
                tap = tapped()

    assert "".join(data["text"] for data in data_of(both, "content")) == "It is."
    assert len(data_of(both, "usage")) == 1
    assert "".join(data["text"] for data in data_of(tap, "content")) == "Again."


@pytest.mark.parametrize("fault", ["failed", "error", "cut"])
def test_responses_that_fail_in_mid_stream_end_in_one_error(fault: Any) -> None:
    """Also where the iterator of the client ends normally."""
    turn = ModelTurn(text="It is sunny today.", fault=fault, after=2)
    with ModelServer([turn]) as server:
        model = model_of(server, use_responses_api=True, streaming=True)

        def work() -> str:
            try:
                return str(model.invoke("Weather?").text)
            except Exception as error:  # noqa: BLE001 - it is compared
                return type(error).__name__

        events = watched(work)

    assert [data["text"] for data in data_of(events, "content")] == ["It ", "is "]
    errors = [data["code"] for data in data_of(events, "error")]
    assert errors == ["model_failed"], events[-1].data


@pytest.mark.parametrize("named", ["langchain", "langgraph"])
def test_a_package_that_is_missing_or_too_old_is_named_with_its_line(
    named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = "langchain-core" if named == "langchain" else "langgraph"
    least = "1.4" if named == "langchain" else "1.2"
    module = importlib.import_module(f"runcast.sources.{named}")

    def no_version(name: str) -> str:
        return "0.9" if name == package else "2.0"

    monkeypatch.setattr("runcast.sources._packages.version", no_version)
    with pytest.raises(ImportError, match=f"pip install '{package}>={least}'") as caught:
        importlib.reload(module)

    assert f"runcast.sources.{named} needs {package} {least} or newer" in str(caught.value)


def test_a_version_that_streams_in_another_way_is_warned_of_and_answers_come_whole(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    warn_once.cache_clear()
    monkeypatch.setitem(sys.modules, "langchain_core.tracers._streaming", None)
    with source.stream(tokens=True), source.stream(tokens=True):
        pass

    (record,) = caplog.records
    assert "langchain-core" in record.message


def test_a_version_with_other_metadata_is_warned_of_and_keeps_the_order(
    caplog: pytest.LogCaptureFixture,
) -> None:
    warn_once.cache_clear()

    def go() -> None:
        writer = runcast.current_writer()
        assert writer is not None
        recorder = ChainRecorder(writer)
        recorder.chain_started("c", None, "node", {"langgraph_node": "node"}, None)
        recorder.model_started("m", "c", None, {"langgraph_node": "node"}, ())
        recorder.token("m", None, "a ", None)
        recorder.token("m", None, "b", None)
        recorder.model_ended("m", "a b", "", None)
        recorder.chain_ended("c", None)

    events = run_of(go)

    assert [data["text"] for data in data_of(events, "content")] == ["a ", "b"]
    assert "langgraph" in caplog.records[0].message


def test_a_model_that_only_completes_texts_and_one_whose_text_is_not_to_be_shown() -> None:
    completing = FakeListLLM(responses=["It is."])
    with ModelServer([ModelTurn(text="Secret.")]) as server:
        quiet = model_of(server).with_config(tags=["nostream"])

        def work() -> None:
            completing.invoke("a")
            quiet.invoke("a")

        events = watched(work, tokens=True)

    assert "".join(data["text"] for data in data_of(events, "content")) == "It is."
    assert [data["model"] for data in data_of(events, "usage")] == ["test"]


def test_a_tool_that_returns_a_command() -> None:
    @tool
    def note(text: str) -> Any:
        """Take a note."""
        call = {"tool_call_id": "call_1_0", "name": "note"}
        return Command(update={"messages": [ToolMessage("noted", **call)]})

    with ModelServer([ModelTurn(tools=[("note", {"text": "x"})]), ModelTurn(text="Ok.")]) as server:
        agent: Any = create_agent(model_of(server), tools=[note], name="noter")

        def work() -> None:
            agent.invoke(ASKED)

        events = watched(work)

    (result,) = data_of(events, "tool_result")
    assert (result["result"], result["ok"]) == ("noted", True)


def test_a_long_text_comes_in_pieces_and_a_long_result_is_cut() -> None:
    size = 3_000_000

    @tool
    def dump() -> str:
        """Return a lot."""
        return "x" * size

    def node(state: MessagesState) -> Any:
        dump.invoke({})
        return {"messages": [AIMessage("y" * size)]}

    graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile()

    def work() -> None:
        graph.invoke(ASKED)

    events = watched(work)

    assert sum(len(data["text"]) for data in data_of(events, "content")) == size
    (result,) = data_of(events, "tool_result")
    assert "more characters" in result["result"]
    assert data_of(events, "log") == []  # nothing was left out
