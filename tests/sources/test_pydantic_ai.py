"""The source for pydantic-ai, with real agents and a model that says what the test wants."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import openai
import pytest
from blockbuster import BlockBuster
from pydantic import BaseModel
from pydantic_ai import Agent, ModelMessagesTypeAdapter, ModelRetry
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

import runcast
from runcast.events.model import Event
from runcast.sources import llm
from runcast.sources.pydantic_ai import Reporting
from runcast.testing import ModelCall, ModelServer, ModelTurn
from tests.sources.watching import data_of, let_functions_block, run_of
from tests.waiting import WAIT_S

PARIS = ("weather", {"city": "Paris"})

each_model = pytest.mark.parametrize("kind", [OpenAIChatModel, OpenAIResponsesModel])


@pytest.fixture(autouse=True)
def tapped(blockbuster: BlockBuster) -> Iterator[None]:
    let_functions_block(blockbuster)
    llm.install()  # it must not write what the source for pydantic-ai writes
    try:
        yield
    finally:
        llm.uninstall()


def weather(city: str) -> str:
    """Return the weather."""
    runcast.log(f"looking at {city}")
    return f"sunny in {city}"


def client_of(server: ModelServer) -> openai.AsyncOpenAI:
    """Return a client; close it on its loop."""
    return openai.AsyncOpenAI(base_url=server.openai_url, api_key="none", max_retries=0)


def made(
    client: openai.AsyncOpenAI, kind: Any = OpenAIResponsesModel, **options: Any
) -> Agent[Any, Any]:
    model = kind("m", provider=OpenAIProvider(openai_client=client))
    given = {"name": "Looker", "tools": [weather], "capabilities": [Reporting()], **options}
    return Agent(model, **given)


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
    names = ("text", "message", "result", "args", "input_tokens")
    return [
        (it.type, it.agent, next((it.data[name] for name in names if name in it.data), None))
        for it in events
        if it.type not in ("started", "done", "tool_call_delta", "progress")
    ]


@each_model
@pytest.mark.parametrize("how", ["run", "iter", "run_stream_events"])
def test_an_agent_thinks_calls_a_tool_and_answers(kind: Any, how: str) -> None:
    turns = [
        ModelTurn(thinking="Hm, let", tools=[PARIS], input_tokens=9, output_tokens=7),
        ModelTurn(text="It is sunny.", input_tokens=20, output_tokens=3),
    ]

    async def work(client: openai.AsyncOpenAI) -> None:
        agent = made(client, kind)
        if how == "run":
            assert (await agent.run("Weather?")).output == "It is sunny."
        elif how == "iter":
            async with agent.iter("Weather?") as run:
                async for _ in run:
                    pass
        else:
            async with agent.run_stream_events("Weather?") as events:
                async for _ in events:
                    pass

    events = agents_of(turns, work)

    assert seen(events) == [
        ("step_start", "Looker", "Looker"),
        ("thinking", "Looker", "Hm, "),
        ("thinking", "Looker", "let"),
        ("usage", "Looker", 9),
        ("tool_call", "Looker", {"city": "Paris"}),
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
    assert result["ok"] is True
    assert len(data_of(events, "tool_call_delta")) > 1


def test_texts_of_each_call_have_their_own_ids() -> None:
    turns = [ModelTurn(text="one two", tools=[PARIS]), ModelTurn(text="three four")]

    async def work(client: openai.AsyncOpenAI) -> None:
        await made(client).run("Weather?")

    texts = data_of(agents_of(turns, work), "content")

    assert [it["index"] for it in texts] == [0, 1, 0, 1]
    assert texts[0]["message_id"] != texts[2]["message_id"]


def test_tools_that_raise_or_ask_to_retry_have_results_that_failed() -> None:
    def broken(city: str) -> str:
        raise LookupError("no such city")

    def picky(city: str) -> str:
        raise ModelRetry("another city, please")

    async def work(client: openai.AsyncOpenAI) -> None:
        await made(client, tools=[broken, picky]).run("Weather?")

    turns = [
        ModelTurn(tools=[("picky", {"city": "P"})]),
        ModelTurn(tools=[("broken", {"city": "P"})]),
    ]
    events = agents_of(turns, work)

    results = [(it["tool"], it["ok"]) for it in data_of(events, "tool_result")]
    assert results == [("picky", False), ("broken", False)]
    assert data_of(events, "tool_result")[1]["result"] == "LookupError"
    assert data_of(events, "error") == []
    assert events[-1].type == "failed"


def test_a_structured_output_is_a_tool_call() -> None:
    class City(BaseModel):
        name: str

    async def work(client: openai.AsyncOpenAI) -> None:
        result = await made(client, tools=[], output_type=City).run("Which?")
        assert result.output == City(name="Paris")

    events = agents_of([ModelTurn(tools=[("final_result", {"name": "Paris"})])], work)

    [call] = data_of(events, "tool_call")
    assert (call["tool"], call["args"]) == ("final_result", {"name": "Paris"})


@each_model
@pytest.mark.parametrize("fault", ["error", "failed", "cut"])
def test_a_model_that_fails_is_one_error_after_its_partial_text(kind: Any, fault: Any) -> None:
    async def work(client: openai.AsyncOpenAI) -> None:
        await made(client, kind).run("Weather?")

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

    def outcomes(capabilities: list[Any]) -> list[Any]:
        found: list[Any] = []

        async def work(client: openai.AsyncOpenAI) -> None:
            agent = made(client, kind, capabilities=capabilities)
            for prompt in ("Weather?", "Again?"):
                try:
                    async with agent.run_stream_events(prompt) as events:
                        async for event in events:
                            found.append(type(event).__name__)
                            result = event
                except Exception as error:  # noqa: BLE001 - that is what is compared
                    found.append(f"{type(error).__name__}: {error}")
                else:
                    found.append((result.result.output, result.result.usage))  # type: ignore[union-attr]

        agents_of(list(script), work)
        return found

    assert outcomes([Reporting()]) == outcomes([])


@each_model
def test_agents_that_are_not_streamed_give_the_same_with_and_without_the_source(kind: Any) -> None:
    def outcome(capabilities: list[Any]) -> list[Any]:
        found: list[Any] = []

        async def work(client: openai.AsyncOpenAI) -> None:
            result = await made(client, kind, capabilities=capabilities).run("Weather?")
            parts = [[part.part_kind for part in it.parts] for it in result.all_messages()]
            found.extend((result.output, result.usage, parts))

        agents_of([ModelTurn(text="Let me look.", tools=[PARIS]), ModelTurn(text="Sunny.")], work)
        return found

    assert outcome([Reporting()]) == outcome([])


# Approvals.


def deploy(city: str) -> str:
    """Deploy to a city."""
    runcast.log(f"deployed to {city}")
    return "deployed"


def test_approvals_are_questions_and_an_answer_decides_each() -> None:
    cities = ["Paris", "Rome", "Bonn"]
    turns = [
        ModelTurn(tools=[("deploy", {"city": city}) for city in cities]),
        ModelTurn(text="Done."),
    ]
    answers: list[dict[str, Any]] = [
        {"type": "accept"},
        {"type": "reject", "args": "Not Rome"},
        {"type": "edit", "args": {"city": "Berlin"}},
    ]

    @runcast.function
    async def work() -> str:
        async with client_of(server) as client:
            agent = made(client, tools=[])
            agent.tool_plain(requires_approval=True)(deploy)
            return str((await agent.run("Deploy")).output)

    with ModelServer(turns) as server, runcast.open_hub() as hub:
        run = hub.start(work)
        events = []
        for event in hub.watch(run.run_id):
            events.append(event)
            if event.type == "interrupt_request":
                hub.answer(run.run_id, event.data["interrupt_id"], answers.pop(0))

    questions = data_of(events, "interrupt_request")
    assert [(it["action"], it["args"]["city"]) for it in questions] == [
        ("deploy", city) for city in cities
    ]
    results = {it["call_id"]: (it["result"], it["ok"]) for it in data_of(events, "tool_result")}
    assert [results[it["interrupt_id"]] for it in questions] == [
        ("deployed", True),
        ("Not Rome", False),
        ("deployed", True),
    ]
    deployed = sorted(it["message"] for it in data_of(events, "log"))
    assert deployed == ["deployed to Berlin", "deployed to Paris"]
    assert events[-1].data["result"] == "Done."


def test_the_kept_messages_continue_the_agent_in_another_attempt() -> None:
    turns = [ModelTurn(tools=[("deploy", {"city": "Paris"})]), ModelTurn(text="Done.")]
    kept: list[Any] = []

    class Crash(Exception):
        pass

    class Interrupted(Reporting):
        """Ends before it asks, with what the question would have kept."""

        async def handle_deferred_tool_calls(self, ctx: Any, *, requests: Any) -> Any:
            kept.append(ModelMessagesTypeAdapter.dump_python(ctx.messages, mode="json"))
            raise Crash

    @runcast.function
    async def work() -> str:
        async with client_of(server) as client:
            for capability in (Interrupted(), Reporting()):
                agent = made(client, tools=[], capabilities=[capability])
                agent.tool_plain(requires_approval=True)(deploy)
                try:
                    if not kept:
                        await agent.run("Deploy")
                    history = ModelMessagesTypeAdapter.validate_python(kept[0])
                    return str((await agent.run(message_history=history)).output)
                except Crash:
                    pass
        raise AssertionError

    with ModelServer(turns) as server, runcast.open_hub() as hub:
        run = hub.start(work)
        events = []
        for event in hub.watch(run.run_id):
            events.append(event)
            if event.type == "interrupt_request":
                hub.answer(run.run_id, event.data["interrupt_id"], {"type": "accept"})

    assert [it["args"] for it in data_of(events, "interrupt_request")] == [{"city": "Paris"}]
    assert events[-1].data["result"] == "Done."


# Messages into the run, cancelling, and outside a run.


def test_messages_reach_the_agent_at_its_next_call_and_stay() -> None:
    def turn(call: ModelCall) -> ModelTurn:
        prompts.append(call.prompt)
        return ModelTurn(tools=[("wait_for_message", {})] if call.number < 3 else (), text="ok")

    async def wait_for_message() -> str:
        runcast.progress(1)
        await asyncio.to_thread(sent.wait, WAIT_S)
        return "waited"

    prompts: list[str] = []
    sent = threading.Event()

    @runcast.function
    async def work() -> None:
        async with client_of(server) as client:
            await made(client, tools=[wait_for_message]).run("Begin")

    with ModelServer(turn) as server, runcast.open_hub() as hub:
        run = hub.start(work)
        events = []
        for event in hub.watch(run.run_id):
            events.append(event)
            if event.type == "progress" and not sent.is_set():
                hub.send(run.run_id, "In French, please")
                sent.set()

    assert events[-1].type == "done"
    assert prompts == ["Begin", "In French, please", "In French, please"]


@pytest.mark.parametrize("is_own_loop", [False, True], ids=["coroutine", "thread"])
def test_cancelling_in_mid_token_closes_the_upstream_and_is_no_error(is_own_loop: bool) -> None:
    async def work() -> None:
        async with client_of(server) as client:
            await made(client).run("Weather?")

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


def test_outside_a_run_nothing_happens() -> None:
    async def work() -> Any:
        async with client_of(server) as client:
            return (await made(client).run("Weather?")).output

    with ModelServer([ModelTurn(tools=[PARIS]), ModelTurn(text="Sunny.")]) as server:
        assert asyncio.run(work()) == "Sunny."
