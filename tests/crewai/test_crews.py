"""Crews, agents and flows of CrewAI, as events of a run."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from crewai import LLM, Crew, Process, Task
from crewai.flow.flow import Flow, listen, start
from crewai.llms.providers.anthropic.completion import AnthropicCompletion
from crewai.tools import tool

import runcast
from runcast.events.fold import fold
from runcast.events.model import Event
from runcast.sources import crewai as source
from runcast.testing import ModelServer, ModelTurn
from tests.crewai.crews import (
    LOOK,
    agent_of,
    broken,
    crew_of,
    events_of,
    llm_of,
    text_of,
    weather,
)
from tests.sources.watching import data_of
from tests.waiting import WAIT_S


def types_of(events: list[Event]) -> list[str]:
    """Return the types in order; pieces of one text count once."""
    found: list[str] = []
    for event in events:
        is_piece = event.type in ("content", "thinking", "tool_call_delta")
        if not (is_piece and found and found[-1] == event.type):
            found.append(event.type)
    return found


def test_a_crew_is_told_in_the_order_in_which_it_works() -> None:
    events = events_of(
        [ModelTurn(tools=[LOOK]), ModelTurn(text="It is sunny."), ModelTurn(text="Sun today.")],
        lambda server: crew_of(
            agent_of(server, "Reporter\n", weather), agent_of(server, "Writer")
        ).kickoff(),
    )

    assert types_of(events) == [
        *("started", "step_start", "tool_call_delta", "usage"),
        *("tool_call", "log", "tool_result", "content", "usage", "step_complete"),
        *("step_start", "content", "usage", "step_complete", "done"),
    ]
    assert text_of(events, agent="Reporter", node="reporter") == "It is sunny."
    assert text_of(events, agent="Writer", node="writer") == "Sun today."
    assert events[-1].data["result"] == "Sun today."


def in_turn(crew: Any) -> Any:
    return [output.raw for output in crew.kickoff_for_each([{}, {}])]


def at_once(crew: Any) -> Any:
    return [output.raw for output in asyncio.run(crew.kickoff_for_each_async([{}, {}]))]


@pytest.mark.parametrize(
    ("kick_off", "texts"),
    [
        (lambda crew: crew.kickoff(), ["It is sunny."]),
        (lambda crew: asyncio.run(crew.akickoff()), ["It is sunny."]),
        (lambda crew: asyncio.run(crew.kickoff_async()), ["It is sunny."]),
        (in_turn, ["It is sunny."] * 2),
        (at_once, ["It is sunny."] * 2),
    ],
)
def test_every_way_to_kick_a_crew_off_is_told(
    kick_off: Callable[[Any], Any], texts: list[str]
) -> None:
    events = events_of(
        lambda call: ModelTurn(text="It is sunny."),
        lambda server: kick_off(crew_of(agent_of(server))),
    )

    assert events[-1].type == "done"
    messages = {data["message_id"]: "" for data in data_of(events, "content")}
    for data in data_of(events, "content"):
        messages[data["message_id"]] += data["text"]
    assert [*messages.values()] == texts
    assert len(data_of(events, "step_complete")) == len(texts)


async def test_a_crew_on_the_loop_of_its_run_is_told() -> None:
    async with ModelServer([ModelTurn(tools=[LOOK]), ModelTurn(text="Sun.")]) as server:

        async def function() -> str:
            with source.stream():
                output = await crew_of(agent_of(server, "Reporter", weather)).akickoff()
            return str(output.raw)

        async with runcast.open_hub() as hub:
            run = await hub.start(runcast.function(function))
            events = [event async for event in hub.watch(run.run_id)]

    assert types_of(events)[-5:] == [*("tool_result", "content", "usage", "step_complete", "done")]
    assert text_of(events) == "Sun."


def test_a_flow_is_told_with_its_methods_as_steps() -> None:
    def work(server: ModelServer) -> Any:
        class Report(Flow):  # type: ignore[misc]
            @start()  # type: ignore[untyped-decorator]
            def first(self) -> str:
                return str(crew_of(agent_of(server, "One")).kickoff().raw)

            @listen(first)  # type: ignore[untyped-decorator]
            async def second(self, before: str) -> str:
                output = await crew_of(agent_of(server, "Two")).akickoff()
                return before + str(output.raw)

        return Report().kickoff()

    events = events_of([ModelTurn(text="one "), ModelTurn(text="two")], work)

    assert [(event.type, event.node) for event in events if event.type.startswith("step")] == [
        ("step_start", "first"),
        *(("step_start", "one"), ("step_complete", "one"), ("step_complete", "first")),
        ("step_start", "second"),
        *(("step_start", "two"), ("step_complete", "two"), ("step_complete", "second")),
    ]
    assert events[-1].data["result"] == "one two"


def test_an_agent_without_a_task_is_told() -> None:
    events = events_of(
        [ModelTurn(tools=[LOOK]), ModelTurn(text="Sun.")],
        lambda server: agent_of(server, "Reporter", weather).kickoff("What is the weather?"),
    )

    assert types_of(events)[:2] == ["started", "step_start"]
    (call,), (result,) = data_of(events, "tool_call"), data_of(events, "tool_result")
    assert call["call_id"] == result["call_id"] == data_of(events, "tool_call_delta")[0]["call_id"]
    assert text_of(events, agent="Reporter") == "Sun."


def test_a_model_that_does_not_stream_is_told_at_once() -> None:
    events = events_of(
        [ModelTurn(tools=[LOOK]), ModelTurn(text="It is sunny.")],
        lambda server: crew_of(
            agent_of(server, "Reporter", weather, llm=llm_of(server, streams=False))
        ).kickoff(),
    )

    assert [data["text"] for data in data_of(events, "content")] == ["It is sunny."]
    assert len(data_of(events, "tool_call")) == 1


def test_the_text_protocol_is_split_into_thought_and_action() -> None:
    act = 'Thought: I should look\nAction: weather\nAction Input: {"city": "Paris"}\n'
    events = events_of(
        [ModelTurn(text=act), ModelTurn(text="Thought: I know\nFinal Answer: It is sunny")],
        lambda server: crew_of(
            agent_of(server, "Reporter", weather, llm=llm_of(server, is_native=False))
        ).kickoff(),
    )

    assert text_of(events, "thinking") == "I should lookI know"
    assert text_of(events) == "It is sunny"
    assert text_of(events, "tool_call_delta") == '{"city": "Paris"}'
    (call,) = data_of(events, "tool_call")
    assert (call["tool"], call["args"]) == ("weather", {"city": "Paris"})
    assert call["call_id"] == data_of(events, "tool_call_delta")[0]["call_id"]
    assert data_of(events, "step_complete")[0]["message"] == ""


def test_a_plan_is_reasoning() -> None:
    def turn(call: Any) -> ModelTurn:
        if "create_reasoning_plan" in str(call.body.get("tools")):
            plan = {"plan": "1. look", "steps": [], "ready": True}
            return ModelTurn(tools=[("create_reasoning_plan", plan)])
        return ModelTurn(text="It is sunny.")

    events = events_of(turn, lambda server: crew_of(agent_of(server, planning=True)).kickoff())

    assert text_of(events, "reasoning") == "1. look"
    assert not data_of(events, "tool_call")


# Errors.


def test_what_an_agent_does_again_takes_the_place_of_the_first_attempt() -> None:
    events = events_of(
        [
            *(ModelTurn(tools=[LOOK]), ModelTurn(text="It is wrong", fault="error", after=2)),
            *(ModelTurn(tools=[LOOK]), ModelTurn(text="It is sunny.")),
        ],
        lambda server: crew_of(agent_of(server, "Reporter", weather)).kickoff(),
    )

    shown = fold(events)
    assert [text.text for text in shown.texts] == ["It is sunny."]
    assert [(it.tool, it.ok) for it in shown.tools] == [("weather", True)]
    (error,) = data_of(events, "error")
    assert error["message"].endswith("The model is overloaded")


def test_an_error_of_the_provider_is_told_once_and_raised() -> None:
    events = events_of(
        [ModelTurn(status=500)] * 9,
        lambda server: crew_of(agent_of(server, max_retry_limit=0)).kickoff(),
    )

    (error,) = data_of(events, "error")
    assert error["code"] == "llm_call_failed"
    assert events[-1].type == "failed"
    assert "InternalServerError" in events[-1].data["message"]


def test_a_connection_that_is_cut_keeps_the_text_before() -> None:
    events = events_of(
        [ModelTurn(text="It is sunny", fault="cut", after=2)],
        lambda server: crew_of(agent_of(server, max_retry_limit=0)).kickoff(),
    )

    assert text_of(events) == "It is "
    assert len(data_of(events, "error")) == 1
    assert events[-1].type == "failed"


@pytest.mark.parametrize(
    ("turn", "result"),
    [
        (ModelTurn(tools=[("broken", {"city": "Ys"})]), "no such city: Ys"),
        (ModelTurn(tools=[("nowhere", {})]), "Tool not found"),
    ],
)
def test_a_call_of_a_tool_that_fails_has_a_result(turn: ModelTurn, result: str) -> None:
    events = events_of(
        [turn, ModelTurn(text="I do not know.")],
        lambda server: crew_of(agent_of(server, "Reporter", broken)).kickoff(),
    )

    (told,) = data_of(events, "tool_result")
    assert (told["ok"], told["result"]) == (False, result)
    assert events[-1].type == "done"


def test_what_a_guardrail_refuses_is_replaced() -> None:
    def is_long(output: Any) -> tuple[bool, str]:
        return len(output.raw) > 4, output.raw if len(output.raw) > 4 else "too short"

    events = events_of(
        [ModelTurn(text="Sun"), ModelTurn(text="It is sunny.")],
        lambda server: crew_of(agent_of(server), guardrail=is_long).kickoff(),
    )

    assert [text.text for text in fold(events).texts] == ["It is sunny."]
    (log,) = data_of(events, "log")
    assert log["message"] == "the guardrail refused the output: too short"


def test_a_manager_and_the_agent_that_it_asks_are_told_apart() -> None:
    def turn(call: Any) -> ModelTurn:
        if call.model != "boss":
            return ModelTurn(text="a hole")
        if any(message["role"] == "tool" for message in call.body["messages"]):
            return ModelTurn(text="All is dug.")
        work = {"task": "dig", "context": "here", "coworker": "Digger"}
        return ModelTurn(tools=[("delegate_work_to_coworker", work)])

    def work(server: ModelServer) -> Any:
        digger = agent_of(server, "Digger")
        task = Task(name="hole", description="Dig", expected_output="a hole")
        boss = LLM(model="openai/boss", base_url=server.openai_url, api_key="test", stream=True)
        return Crew(
            agents=[digger], tasks=[task], process=Process.hierarchical, manager_llm=boss
        ).kickoff()

    events = events_of(turn, work)

    assert text_of(events, agent="Digger") == "a hole"
    assert text_of(events, agent="Crew Manager", node="hole") == "All is dug."
    assert [data["result"] for data in data_of(events, "tool_result")] == ["a hole"]
    assert {event.data["model"]: event.agent for event in events if event.type == "usage"} == {
        "boss": "Crew Manager",
        "fake": "Digger",
    }


def test_a_model_of_anthropic_is_told() -> None:
    def work(server: ModelServer) -> Any:
        llm = AnthropicCompletion(model="m", base_url=server.url, api_key="test", stream=True)
        return crew_of(agent_of(server, "Reporter", weather, llm=llm)).kickoff()

    events = events_of([ModelTurn(tools=[LOOK]), ModelTurn(text="It is sunny.")], work)

    assert text_of(events) == "It is sunny."
    (call,), (result,) = data_of(events, "tool_call"), data_of(events, "tool_result")
    assert call["call_id"] == result["call_id"] == data_of(events, "tool_call_delta")[0]["call_id"]
    assert [data["model"] for data in data_of(events, "usage")] == ["m", "m"]


# Several crews at once.


def meeting(server: ModelServer, name: str, barrier: threading.Barrier) -> Any:
    """Return a crew whose tool waits for that of another crew."""

    @tool("meet")  # type: ignore[untyped-decorator]
    def meet() -> str:
        """Wait for the others."""
        barrier.wait(WAIT_S)
        runcast.log(name)
        return name

    return crew_of(agent_of(server, "Reporter", meet), description=f"Report {name}")


def turn_for_meeting(call: Any) -> ModelTurn:
    name = "north" if "north" in str(call.body["messages"]) else "south"
    if any(message["role"] == "tool" for message in call.body["messages"]):
        return ModelTurn(text=" ".join([name] * 20))
    return ModelTurn(tools=[("meet", {})])


def test_crews_in_two_runs_are_not_mixed() -> None:
    barrier = threading.Barrier(2)
    with ModelServer(turn_for_meeting) as server, runcast.open_hub() as hub:

        def function(name: str) -> None:
            with source.stream():
                meeting(server, name, barrier).kickoff()

        function_of = runcast.function(function)
        runs = {name: hub.start(function_of, {"name": name}) for name in ("north", "south")}
        told = {name: [*hub.watch(run.run_id)] for name, run in runs.items()}

    for name, events in told.items():
        assert text_of(events) == " ".join([name] * 20)
        assert [data["message"] for data in data_of(events, "log")] == [name]
        assert len(data_of(events, "tool_result")) == 1


def test_crews_in_the_threads_of_one_run_are_kept_apart() -> None:
    barrier = threading.Barrier(2)

    def work(server: ModelServer) -> list[str]:
        crews = [meeting(server, name, barrier) for name in ("north", "south")]
        with runcast.ThreadPoolExecutor() as pool:
            return [output.raw for output in pool.map(Crew.kickoff, crews)]

    events = events_of(turn_for_meeting, work)

    texts: dict[str, str] = {}
    for data in data_of(events, "content"):
        texts[data["message_id"]] = texts.get(data["message_id"], "") + data["text"]
    assert {*texts.values()} == {" ".join(["north"] * 20), " ".join(["south"] * 20)}
    assert len({data["step_id"] for data in data_of(events, "step_start")}) == 2
    calls = {data["call_id"] for data in data_of(events, "tool_call")}
    assert calls == {data["call_id"] for data in data_of(events, "tool_result")}
    assert len(calls) == 2


def test_outside_of_the_block_nothing_is_told() -> None:
    def work(server: ModelServer) -> None:
        crew_of(agent_of(server)).kickoff()

    with ModelServer() as server, runcast.open_hub() as hub:

        def function() -> None:
            with source.stream():
                pass
            work(server)

        run = hub.start(runcast.function(function))
        events = [*hub.watch(run.run_id)]

    assert [event.type for event in events] == ["started", "done"]


# A program computes the same with and without the source.


def outcome_of(turns: list[ModelTurn], *, is_told: bool, **options: Any) -> tuple[Any, ...]:
    """Return what a program sees of a crew."""
    seen: list[Any] = []
    with ModelServer(turns) as server:
        crew = crew_of(
            agent_of(server, "Reporter", weather, broken, step_callback=seen.append, **options),
            agent_of(server, "Writer"),
        )
        crew.task_callback = seen.append

        def work() -> Any:
            try:
                return crew.kickoff()
            except Exception as error:  # noqa: BLE001 - whatever a crew raises
                return error

        with runcast.open_hub() as hub:

            def function() -> None:
                if is_told:
                    with source.stream():
                        seen.append(work())
                else:
                    seen.append(work())

            hub.start(runcast.function(function)).result()
        prompts = [call.body["messages"] for call in server.calls]
    result = seen[-1]
    if isinstance(result, Exception):
        return type(result), str(result), len(seen), prompts
    outputs = [output.raw for output in result.tasks_output]
    return result.raw, outputs, result.token_usage, [type(each) for each in seen], prompts


@pytest.mark.parametrize(
    ("turns", "options"),
    [
        ([ModelTurn(tools=[LOOK, LOOK]), ModelTurn(text="Sun."), ModelTurn(text="So.")], {}),
        (
            [
                ModelTurn(tools=[("broken", {"city": "Ys"})]),
                *(ModelTurn(text="No."), ModelTurn(text="So.")),
            ],
            {},
        ),
        ([ModelTurn(text="x y", fault="error", after=1)] * 3, {"max_retry_limit": 1}),
    ],
)
def test_a_program_computes_the_same_with_and_without_the_source(
    turns: list[ModelTurn], options: dict[str, Any]
) -> None:
    without = outcome_of(turns, is_told=False, **options)

    assert outcome_of(turns, is_told=True, **options) == without


def test_usage_adds_up_to_that_of_the_crew() -> None:
    totals: list[Any] = []

    def work(server: ModelServer) -> str:
        output = crew_of(agent_of(server, "Reporter", weather)).kickoff()
        totals.append(output.token_usage)
        return str(output.raw)

    events = events_of(
        [
            ModelTurn(tools=[LOOK], cached_tokens=2, input_tokens=9),
            ModelTurn(text="a b", thinking="t", input_tokens=11),
        ],
        work,
    )

    usage = data_of(events, "usage")
    (total,) = totals
    assert sum(it["input_tokens"] for it in usage) == total.prompt_tokens == 20
    assert sum(it["output_tokens"] for it in usage) == total.completion_tokens
    assert sum(it.get("cached_tokens", 0) for it in usage) == total.cached_prompt_tokens == 2
    assert sum(it.get("reasoning_tokens", 0) for it in usage) == total.reasoning_tokens == 1
