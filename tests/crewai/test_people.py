"""What people say to crews: approvals, feedback, messages."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from crewai.hooks.dispatch import InterceptionPoint, scoped_hooks
from crewai.tools import tool

import runcast
from runcast.errors import InvalidValue
from runcast.events.model import Event
from runcast.sources import crewai as source
from runcast.testing import ModelServer, ModelTurn
from tests.crewai.crews import LOOK, agent_of, crew_of, events_of, llm_of, text_of, weather
from tests.sources.watching import data_of
from tests.waiting import WAIT_S

TEXT = 'Thought: I look\nAction: weather\nAction Input: {"city": "Paris"}\n'
NATIVE = [ModelTurn(tools=[LOOK]), ModelTurn(text="So.")]
IN_TEXT = [ModelTurn(text=TEXT), ModelTurn(text="Thought: I know\nFinal Answer: So.")]


def answering(*answers: object) -> Callable[[Any, str, Event], None]:
    """Return what answers the questions of a run, in order."""
    left = [*answers]

    def act(hub: Any, run_id: str, event: Event) -> None:
        if event.type == "interrupt_request":
            hub.answer(run_id, event.data["interrupt_id"], left.pop(0))

    return act


@pytest.mark.parametrize("is_native", [True, False])
@pytest.mark.parametrize(
    ("answer", "args", "result", "ok"),
    [
        ({"type": "accept"}, "Paris", "sunny in Paris", True),
        ({"type": "edit", "args": {"city": "Rome"}}, "Rome", "sunny in Rome", True),
        (
            {"type": "reject", "args": "too dear"},
            *("Paris", "A person has refused this call. too dear", False),
        ),
        ({"type": "response", "args": "it rains"}, "Paris", "it rains", True),
    ],
)
def test_a_person_decides_about_the_call_of_a_tool(
    answer: object, args: str, result: str, ok: bool, is_native: bool
) -> None:
    prompts: list[Any] = []

    def work(server: ModelServer) -> str:
        agent = agent_of(server, "Reporter", weather, llm=llm_of(server, is_native=is_native))
        output = crew_of(agent).kickoff()
        prompts.extend(server.calls[1].body["messages"])
        return str(output.raw)

    events = events_of(
        NATIVE if is_native else IN_TEXT, work, answering(answer), approve=["weather"]
    )

    (asked,) = data_of(events, "interrupt_request")
    assert (asked["action"], asked["args"]) == ("weather", {"city": "Paris"})
    assert data_of(events, "tool_call")[-1]["args"] == {"city": args}
    (told,) = data_of(events, "tool_result")
    assert (told["result"], told["ok"]) == (result, ok)
    assert {it["call_id"] for it in data_of(events, "tool_call")} == {told["call_id"]}
    assert result in str(prompts)
    assert events[-1].data["result"] == "So."


def test_an_edit_that_is_no_object_is_asked_again() -> None:
    events = events_of(
        NATIVE,
        lambda server: crew_of(agent_of(server, "Reporter", weather)).kickoff(),
        answering({"type": "edit", "args": "Rome"}, {"type": "accept"}),
        approve=True,
    )

    first, second = data_of(events, "interrupt_request")
    assert first["message"] == "Reporter wants to call weather"
    assert second["message"].startswith("weather needs its arguments as an object")


def test_tools_that_need_no_approval_are_called_at_once() -> None:
    events = events_of(
        NATIVE,
        lambda server: crew_of(agent_of(server, "Reporter", weather)).kickoff(),
        approve=["delete_file"],
    )

    assert not data_of(events, "interrupt_request")
    assert [data["ok"] for data in data_of(events, "tool_result")] == [True]


def test_approvals_are_asked_inside_of_hooks_of_the_program_and_after_them() -> None:
    def move(context: Any) -> None:
        context.tool_input["city"] = "Oslo"

    def work(server: ModelServer) -> Any:
        with scoped_hooks({InterceptionPoint.PRE_TOOL_CALL: [move]}):
            return crew_of(agent_of(server, "Reporter", weather)).kickoff()

    events = events_of(NATIVE, work, answering({"type": "accept"}), approve=True)

    (asked,) = data_of(events, "interrupt_request")
    assert asked["args"] == {"city": "Oslo"}
    assert data_of(events, "tool_result")[0]["result"] == "sunny in Oslo"


@pytest.mark.parametrize("approve", ["weather", [1], 1, None])
def test_names_of_tools_are_expected(approve: Any) -> None:
    with (
        pytest.raises(InvalidValue, match="expected approve to be names of tools, or True"),
        source.stream(approve=approve),
    ):
        pass


def feedback(*answers: object) -> tuple[list[Event], list[str]]:
    """Return the events of a task with human input, and the prompts of its model."""
    prompts: list[str] = []

    def work(server: ModelServer) -> str:
        output = crew_of(agent_of(server), human_input=True).kickoff()
        prompts.extend(str(call.body["messages"]) for call in server.calls)
        return str(output.raw)

    turns = [ModelTurn(text="first draft"), ModelTurn(text="second draft")]
    return events_of(turns, work, answering(*answers)), prompts


def test_an_output_is_accepted() -> None:
    events, _ = feedback({"type": "accept"})

    (asked,) = data_of(events, "interrupt_request")
    assert (asked["action"], asked["args"]) == ("feedback", {"output": "first draft"})
    assert events[-1].data["result"] == "first draft"


@pytest.mark.parametrize("kind", ["response", "reject"])
def test_feedback_makes_the_agent_work_again(kind: str) -> None:
    events, prompts = feedback({"type": kind, "args": "shorter"}, {"type": "accept"})

    assert len(data_of(events, "interrupt_request")) == 2
    assert "shorter" in prompts[1]
    assert text_of(events) == "first draftsecond draft"
    assert events[-1].data["result"] == "second draft"


def test_a_person_writes_the_output() -> None:
    events, _ = feedback({"type": "edit", "args": {"output": "mine"}})

    assert events[-1].data["result"] == "mine"
    # The output was not shown before, so the end of the task shows it.
    assert data_of(events, "step_complete")[0]["message"] == "mine"


def test_messages_reach_the_agent_at_its_next_call() -> None:
    sent, prompts = threading.Event(), list[Any]()

    @tool("wait")  # type: ignore[untyped-decorator]
    def wait() -> str:
        """Wait for the messages."""
        sent.wait(WAIT_S)
        return "waited"

    def act(hub: Any, run_id: str, event: Event) -> None:
        if event.type == "tool_call":
            hub.send(run_id, "Be short.")
            hub.send(run_id, {"text": "In French."})
            sent.set()

    def work(server: ModelServer) -> str:
        output = crew_of(agent_of(server, "Reporter", wait)).kickoff()
        prompts.extend(server.calls[1].body["messages"])
        return str(output.raw)

    events = events_of([ModelTurn(tools=[("wait", {})]), ModelTurn(text="Bon.")], work, act)

    assert [it["content"] for it in prompts if it["role"] == "user"][-2:] == [
        *("Be short.", "In French.")
    ]
    assert sum(len(it["message_ids"]) for it in data_of(events, "message_read")) == 2
    assert text_of(events) == "Bon."


def test_a_program_that_reads_its_messages_itself_keeps_them() -> None:
    seen: list[object] = []

    def act(hub: Any, run_id: str, event: Event) -> None:
        if event.type == "log":
            hub.send(run_id, "for the program")

    def work(server: ModelServer) -> None:
        runcast.log("ready")
        crew_of(agent_of(server)).kickoff()
        seen.append(next(runcast.inbox()).data)

    events_of([ModelTurn(text="So.")], work, act, messages=False)

    assert seen == ["for the program"]
