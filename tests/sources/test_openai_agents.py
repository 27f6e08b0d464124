"""The source for OpenAI Agents, with real agents and a model that says what the test wants."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import openai
import pytest
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    RunState,
    function_tool,
)
from blockbuster import BlockBuster

import runcast
from runcast.errors import InvalidValue
from runcast.events.model import Event
from runcast.sources import llm, openai_agents
from runcast.testing import ModelCall, ModelServer, ModelTurn
from tests.sources.watching import data_of, let_functions_block, run_of
from tests.waiting import WAIT_S

QUIET = RunConfig(tracing_disabled=True)
PARIS = ("weather", {"city": "Paris"})

each_model = pytest.mark.parametrize("kind", [OpenAIChatCompletionsModel, OpenAIResponsesModel])


@pytest.fixture(autouse=True)
def tapped(blockbuster: BlockBuster) -> Iterator[None]:
    let_functions_block(blockbuster)
    llm.install()  # it must not write what the agents' source writes
    try:
        yield
    finally:
        llm.uninstall()


@function_tool
def weather(city: str) -> str:
    """Return the weather."""
    runcast.log(f"looking at {city}")
    return f"sunny in {city}"


@function_tool
def broken(city: str) -> str:
    """Return nothing, ever."""
    raise LookupError("no such city")


@function_tool(needs_approval=True)
def deploy(city: str) -> str:
    """Deploy to a city."""
    runcast.log(f"deployed to {city}")
    return "deployed"


def client_of(server: ModelServer) -> openai.AsyncOpenAI:
    """Return a client; close it on its loop."""
    return openai.AsyncOpenAI(base_url=server.openai_url, api_key="none", max_retries=0)


def made(
    client: openai.AsyncOpenAI, kind: Any = OpenAIResponsesModel, **options: Any
) -> Agent[Any]:
    given = {"name": "Looker", "tools": [weather], **options}
    settings = ModelSettings(include_usage=True)
    return Agent(model=kind(model="m", openai_client=client), model_settings=settings, **given)


def agents_of(
    turns: list[ModelTurn] | Callable[[ModelCall], ModelTurn],
    work: Callable[[openai.AsyncOpenAI], Awaitable[Any]],
) -> list[Event]:
    """Return the events of a run of agents."""

    async def function() -> None:
        async with client_of(server) as client:
            await work(client)

    with ModelServer(turns) as server:
        return run_of(function)


def seen(events: list[Event]) -> list[tuple[str, str, Any]]:
    """Return type, agent and what matters of the data."""
    names = ("text", "message", "result", "args", "input_tokens", "to")
    return [
        (it.type, it.agent, next((it.data[name] for name in names if name in it.data), None))
        for it in events
        if it.type not in ("started", "done", "tool_call_delta", "progress")
    ]


@each_model
def test_an_agent_thinks_calls_a_tool_and_answers(kind: Any) -> None:
    turns = [
        ModelTurn(thinking="Hm, let", tools=[PARIS], input_tokens=9, output_tokens=7),
        ModelTurn(text="It is sunny.", input_tokens=20, output_tokens=3),
    ]

    async def work(client: openai.AsyncOpenAI) -> None:
        result = Runner.run_streamed(made(client, kind), "Weather?", run_config=QUIET)
        assert (await openai_agents.follow(result)).final_output == "It is sunny."

    events = agents_of(turns, work)

    assert seen(events) == [
        ("step_start", "Looker", "Looker"),
        ("thinking", "Looker", "Hm, "),
        ("thinking", "Looker", "let"),
        ("tool_call", "Looker", {"city": "Paris"}),
        ("usage", "Looker", 9),
        ("log", "", "looking at Paris"),
        ("tool_result", "Looker", "sunny in Paris"),
        ("content", "Looker", "It "),
        ("content", "Looker", "is "),
        ("content", "Looker", "sunny."),
        ("usage", "Looker", 20),
        ("step_complete", "Looker", "Looker"),
    ]
    [call], [result] = data_of(events, "tool_call"), data_of(events, "tool_result")
    assert call["call_id"] == result["call_id"] != ""
    assert result["tool"] == "weather"


@each_model
def test_texts_of_each_call_have_their_own_ids(kind: Any) -> None:
    turns = [ModelTurn(text="one two", tools=[PARIS]), ModelTurn(text="three four")]

    async def work(client: openai.AsyncOpenAI) -> None:
        await openai_agents.run(made(client, kind), "Weather?", run_config=QUIET)

    texts = data_of(agents_of(turns, work), "content")

    first, second = texts[:2], texts[2:]
    assert [it["index"] for it in texts] == [0, 1, 0, 1]
    assert {it["message_id"] for it in first} & {it["message_id"] for it in second} == set()


def test_a_handoff_is_a_call_a_result_and_the_next_agent() -> None:
    async def work(client: openai.AsyncOpenAI) -> None:
        writer = made(client, name="Writer")
        looker = made(client, handoffs=[writer])
        result = await openai_agents.run(looker, "Weather?", run_config=QUIET)
        assert result.last_agent.name == "Writer"

    turns = [ModelTurn(tools=[("transfer_to_writer", {})]), ModelTurn(text="Sunny.")]
    found = [it for it in seen(agents_of(turns, work)) if it[0] != "usage"]

    assert [it[:2] for it in found] == [
        ("step_start", "Looker"),
        ("tool_call", "Looker"),
        ("tool_result", "Looker"),
        ("handoff", "Looker"),
        ("step_complete", "Looker"),
        ("step_start", "Writer"),
        ("content", "Writer"),
        ("step_complete", "Writer"),
    ]
    assert found[3][2] == "Writer"


def test_a_tool_that_raises_is_a_result_that_failed() -> None:
    async def work(client: openai.AsyncOpenAI) -> None:
        await openai_agents.run(made(client, tools=[broken]), "Weather?", run_config=QUIET)

    turns = [ModelTurn(tools=[("broken", {"city": "P"})]), ModelTurn(text="Sorry.")]
    [result] = data_of(agents_of(turns, work), "tool_result")

    assert (result["tool"], result["ok"]) == ("broken", False)


@each_model
@pytest.mark.parametrize("fault", ["error", "failed", "cut"])
def test_a_model_that_fails_is_one_error_after_its_partial_text(kind: Any, fault: Any) -> None:
    async def work(client: openai.AsyncOpenAI) -> None:
        await openai_agents.run(made(client, kind), "Weather?", run_config=QUIET)

    events = agents_of([ModelTurn(text="one two three", fault=fault, after=2)], work)

    assert [it["text"] for it in data_of(events, "content")] == ["one ", "two "]
    assert len(data_of(events, "error")) == 1
    assert events[-1].type == "failed"


@each_model
def test_the_program_gets_the_same_with_and_without_the_source(kind: Any) -> None:
    script = [
        ModelTurn(text="Let me look.", tools=[PARIS, ("weather", {"city": "Rome"})]),
        ModelTurn(text="Sunny.", input_tokens=30),
        ModelTurn(text="one two three", fault="error", after=2),
    ]

    async def plain(agent: Any, prompt: str) -> Any:
        result = Runner.run_streamed(agent, prompt, run_config=QUIET)
        async for _ in result.stream_events():
            pass
        return result

    async def observed(agent: Any, prompt: str) -> Any:
        return await openai_agents.run(agent, prompt, run_config=QUIET)

    def outcomes(how: Callable[[Any, str], Awaitable[Any]]) -> list[Any]:
        found: list[Any] = []

        async def work(client: openai.AsyncOpenAI) -> None:
            for prompt in ("Weather?", "Again?"):
                try:
                    result = await how(made(client, kind), prompt)
                except Exception as error:  # noqa: BLE001 - that is what is compared
                    found.append(f"{type(error).__name__}: {error}")
                else:
                    items = [item.to_input_item() for item in result.new_items]
                    found.append((result.final_output, items, result.context_wrapper.usage))

        agents_of(list(script), work)
        return found

    assert outcomes(observed) == outcomes(plain)


def test_an_agent_that_a_tool_runs_is_reported_by_the_source_for_models() -> None:
    async def work(client: openai.AsyncOpenAI) -> None:
        inner = made(client, name="Inner", tools=[])
        outer = made(client, tools=[inner.as_tool("ask", "Ask somebody")])
        await openai_agents.run(outer, "Weather?", run_config=QUIET)

    turns = [
        ModelTurn(tools=[("ask", {"input": "Well?"})]),
        ModelTurn(text="inside"),
        ModelTurn(text="outside"),
    ]
    events = agents_of(turns, work)

    texts = [(it.agent, it.data["text"]) for it in events if it.type == "content"]
    assert texts == [("", "inside"), ("Looker", "outside")]
    assert len(data_of(events, "usage")) == 3


# Approvals.


def answered(
    turns: list[ModelTurn], answers: list[dict[str, Any]], tools: Any = (deploy,)
) -> list[Event]:
    """Return the events of a run whose questions are answered in turn."""

    @runcast.function
    async def work() -> str:
        async with client_of(server) as client:
            agent = made(client, tools=[*tools])
            result = await openai_agents.run(agent, "Deploy", run_config=QUIET)
            return str(result.final_output)

    with ModelServer(turns) as server, runcast.open_hub() as hub:
        run = hub.start(work)
        events = []
        for event in hub.watch(run.run_id):
            events.append(event)
            if event.type == "interrupt_request":
                hub.answer(run.run_id, event.data["interrupt_id"], answers.pop(0))
        return events


def test_approvals_are_questions_and_an_answer_decides_each() -> None:
    turns = [
        ModelTurn(tools=[("deploy", {"city": "Paris"}), ("deploy", {"city": "Rome"})]),
        ModelTurn(text="Half done."),
    ]

    events = answered(turns, [{"type": "accept"}, {"type": "reject", "args": "Not Rome"}])

    questions = data_of(events, "interrupt_request")
    assert [(it["action"], it["args"]) for it in questions] == [
        ("deploy", {"city": "Paris"}),
        ("deploy", {"city": "Rome"}),
    ]
    results = {it["call_id"]: it["result"] for it in data_of(events, "tool_result")}
    assert results == {
        questions[0]["interrupt_id"]: "deployed",
        questions[1]["interrupt_id"]: "Not Rome",
    }
    assert [it["message"] for it in data_of(events, "log")] == ["deployed to Paris"]
    assert {it["tool"] for it in data_of(events, "tool_result")} == {"deploy"}
    steps = [it.type for it in events if it.type.startswith("step_")]
    assert steps == ["step_start", "step_complete"]
    assert events[-1].data["result"] == "Half done."


def test_the_kept_state_continues_the_agents_in_another_attempt() -> None:
    turns = [
        ModelTurn(tools=[("deploy", {"city": "Paris"}), ("deploy", {"city": "Rome"})]),
        ModelTurn(text="Done."),
    ]

    @runcast.function
    async def work() -> str:
        async with client_of(server) as client:
            agent = made(client, tools=[deploy])
            result = Runner.run_streamed(agent, "Deploy", run_config=QUIET)
            state = (await openai_agents.follow(result)).to_state()
            state.approve(state.get_interruptions()[0])
            writer = runcast.current_writer()
            assert writer is not None
            resumed = await RunState.from_json(agent, openai_agents._kept(state, writer))  # type: ignore[arg-type]
            after = await openai_agents.run(agent, resumed, run_config=QUIET)
            return str(after.final_output)

    with ModelServer(turns) as server, runcast.open_hub() as hub:
        run = hub.start(work)
        events = []
        for event in hub.watch(run.run_id):
            events.append(event)
            if event.type == "interrupt_request":
                hub.answer(run.run_id, event.data["interrupt_id"], {"type": "accept"})

    assert [it["args"] for it in data_of(events, "interrupt_request")] == [{"city": "Rome"}]
    assert sorted(it["message"] for it in data_of(events, "log")) == [
        "deployed to Paris",
        "deployed to Rome",
    ]
    assert events[-1].data["result"] == "Done."


# Messages into the run.


@each_model
def test_messages_reach_the_agent_at_its_next_call_and_stay(kind: Any) -> None:
    def turn(call: ModelCall) -> ModelTurn:
        prompts.append(call.prompt)
        return ModelTurn(tools=[("wait_for_message", {})] if call.number < 3 else (), text="ok")

    @function_tool
    async def wait_for_message() -> str:
        """Wait until a message was sent."""
        runcast.progress(1)
        await asyncio.to_thread(sent.wait, WAIT_S)
        return "waited"

    prompts: list[str] = []
    sent = threading.Event()

    @runcast.function
    async def work() -> None:
        async with client_of(server) as client:
            agent = made(client, kind, tools=[wait_for_message])
            await openai_agents.run(agent, "Begin", run_config=QUIET)

    with ModelServer(turn) as server, runcast.open_hub() as hub:
        run = hub.start(work)
        events = []
        for event in hub.watch(run.run_id):
            events.append(event)
            if event.type == "progress" and not sent.is_set():
                hub.send(run.run_id, "In French, please")
                sent.set()
        inputs: list[Any] = [
            call.body.get("input") or call.body.get("messages") for call in server.calls
        ]

    assert events[-1].type == "done"
    assert prompts == ["Begin", "In French, please", "In French, please"]
    users = [it.get("content") for it in inputs[-1] if it.get("role") == "user"]
    assert users == ["Begin", "In French, please"]
    places = [
        [str(it.get("content")) for it in given].index("In French, please") for given in inputs[1:]
    ]
    assert places[0] == places[1]


# Cancelling, and outside a run.


@pytest.mark.parametrize("is_own_loop", [False, True], ids=["coroutine", "thread"])
def test_cancelling_in_mid_token_closes_the_upstream_and_is_no_error(is_own_loop: bool) -> None:
    async def work() -> None:
        async with client_of(server) as client:
            await openai_agents.run(made(client), "Weather?", run_config=QUIET)

    def in_thread() -> None:
        asyncio.run(work())

    turn = ModelTurn(text="one two", fault="stall", after=1)
    with ModelServer([turn]) as server, runcast.open_hub() as hub:
        run = hub.start(runcast.function(in_thread if is_own_loop else work))
        events = []
        for event in hub.watch(run.run_id):
            events.append(event)
            if event.type == "content":
                hub.cancel(run.run_id)
        assert server.calls[0].wait() == "left"

    assert events[-1].type == "cancelled"
    assert data_of(events, "error") == []


def test_outside_a_run_the_agents_run_and_approvals_stay_open() -> None:
    async def work() -> Any:
        async with client_of(server) as client:
            result = await openai_agents.run(made(client, tools=[deploy]), "Go", run_config=QUIET)
            return [item.name for item in result.interruptions]

    with ModelServer([ModelTurn(tools=[("deploy", {"city": "Paris"})])]) as server:
        assert asyncio.run(work()) == ["deploy"]


def test_a_version_without_the_seam_degrades_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Hidden:
        def __init__(self, result: Any) -> None:
            self._result = result
            self.interruptions: list[Any] = []

        def stream_events(self) -> Any:
            return self._result.stream_events()

    async def work(client: openai.AsyncOpenAI) -> None:
        result: Any = Hidden(Runner.run_streamed(made(client), "Weather?", run_config=QUIET))
        with pytest.warns(RuntimeWarning, match="cannot see when events"):
            await openai_agents.follow(result)

    events = agents_of([ModelTurn(text="one two")], work)

    texts = [it["text"] for it in data_of(events, "content")]
    # They may come twice, in an order that depends on the time.
    assert list(dict.fromkeys(texts)) == ["one ", "two"]


async def test_what_is_no_agent_and_no_streamed_result_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"expected an Agent .* got str"):
        await openai_agents.run("Ops", "Deploy")
    with pytest.raises(InvalidValue, match=r"Runner\.run_streamed\(…\), got str"):
        await openai_agents.follow("a result")  # type: ignore[type-var]
