"""What OpenAI Agents and pydantic-ai streamed once, captured, and replayed to their sources."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import agents
import pytest
from openai._models import construct_type
from openai.types.responses import ResponseFunctionToolCall, ResponseStreamEvent
from pydantic import TypeAdapter
from pydantic_ai import AgentStreamEvent, ModelResponse, RequestUsage, ToolCallPart, exceptions

import runcast
from runcast.events.model import Event
from runcast.sources import openai_agents
from runcast.sources._agents_recorder import AgentsRecorder
from runcast.sources.pydantic_ai import Reporting
from tests.sources.watching import data_of, run_of


def captured(file: str) -> dict[str, list[Any]]:
    """Return the lines of each scenario of a capture."""
    found: dict[str, list[Any]] = {}
    for text in (Path(__file__).parent / "captured" / file).read_text("utf-8").splitlines():
        line = json.loads(text)
        if "scenario" in line:
            found.setdefault(line["scenario"], []).append(line)
    return found


AGENTS = captured("openai-agents-0.24.0.jsonl")
PYDANTIC = captured("pydantic-ai-2.68.0.jsonl")


def outline(events: list[Event]) -> list[tuple[str, str, Any]]:
    """Return type, agent and what matters of the data; texts that follow each other are joined."""
    names = ("text", "message", "result", "args", "input_tokens", "to")
    found: list[tuple[str, str, Any]] = []
    for it in events:
        if it.type in ("started", "done", "tool_call_delta", "failed"):
            continue
        said = next((it.data[name] for name in names if name in it.data), None)
        if it.type in ("content", "thinking") and found and found[-1][:2] == (it.type, it.agent):
            said = found.pop()[2] + said
        found.append((it.type, it.agent, said))
    return found


def joined(events: list[Event]) -> dict[str, str]:
    """Return the pieces of the arguments of each tool call, joined."""
    found: dict[str, str] = {}
    for data in data_of(events, "tool_call_delta"):
        found[data["call_id"]] = found.get(data["call_id"], "") + data["text"]
    return found


# OpenAI Agents.


class Streamed:
    """A streamed result, as far as a capture has it; all events come before the first is read."""

    def __init__(self, lines: list[Any]) -> None:
        self._lines = lines
        self._people: dict[str, agents.Agent[Any]] = {}
        self._event_queue: asyncio.Queue[Any] = asyncio.Queue()
        self.new_items: list[Any] = []
        self.interruptions = [it for line in lines for it in line.get("interruptions", ())]

    async def stream_events(self) -> AsyncIterator[Any]:
        for event in self.events():
            self._event_queue.put_nowait(event)
        while not self._event_queue.empty():
            yield self._event_queue.get_nowait()
        for line in self._lines:
            if "raised" in line:
                raise type(line["raised"], (Exception,), {})(line["text"])

    def events(self) -> Iterator[Any]:
        """Make the events again, of the types that they had."""
        for line in self._lines:
            match line.get("type"):
                case "agent_updated_stream_event":
                    yield agents.AgentUpdatedStreamEvent(self._agent(line["new_agent"]))
                case "raw_response_event":
                    data = {"type": line["data_type"], **line["data"]}
                    made: Any = construct_type(type_=ResponseStreamEvent, value=data)
                    yield agents.RawResponsesStreamEvent(made)
                case "run_item_stream_event":
                    yield agents.RunItemStreamEvent(line["name"], self._item(line))

    def _agent(self, name: str) -> agents.Agent[Any]:
        return self._people.setdefault(name, agents.Agent(name))

    def _item(self, line: Any) -> Any:
        agent, raw = self._agent(line["agent"]), line["raw_item"]
        match line["item_type"]:
            case "tool_call_item":
                return agents.ToolCallItem(agent, ResponseFunctionToolCall.construct(**raw))
            case "tool_call_output_item":
                return agents.ToolCallOutputItem(agent, raw, line["output"])
            case "handoff_output_item":
                other = self._agent(json.loads(raw["output"])["assistant"])
                return agents.HandoffOutputItem(agent, raw, agent, other)
            case kind:
                return SimpleNamespace(type=kind, agent=agent, raw_item=raw)


def followed(*scenarios: str) -> list[Event]:
    """Return the events of a run that follows results, each of which continues the one before."""

    async def work() -> None:
        items: list[Any] = []
        for scenario in scenarios:
            result: Any = Streamed(AGENTS[scenario])
            result.new_items.extend(items)
            assert await openai_agents.follow(result) is result
            items += [it.item for it in result.events() if it.type == "run_item_stream_event"]

    return run_of(work)


def of_models(scenario: str, kind: str) -> list[Any]:
    """Return the data of the captured events of models that are of a type."""
    return [it["data"] for it in AGENTS[scenario] if it.get("data_type") == kind]


def test_agents_hand_over() -> None:
    events = followed("two agents (handoff), a tool, tokens")

    assert outline(events) == [
        ("step_start", "Looker", "Looker"),
        ("tool_call", "Looker", {"city": "Paris"}),
        ("usage", "Looker", 9),
        ("tool_result", "Looker", "sunny in Paris"),
        ("tool_call", "Looker", {}),
        ("usage", "Looker", 9),
        ("tool_result", "Looker", '{"assistant": "Writer"}'),
        ("handoff", "Looker", "Writer"),
        ("step_complete", "Looker", "Looker"),
        ("step_start", "Writer", "Writer"),
        ("content", "Writer", "It is sunny in "),
        ("usage", "Writer", 9),
        ("step_complete", "Writer", "Writer"),
    ]
    assert [it["tool"] for it in data_of(events, "tool_result")] == [
        "weather",
        "transfer_to_writer",
    ]
    assert len({it["step_id"] for it in data_of(events, "step_complete")}) == 2


def test_chat_completions_whose_items_all_have_one_id() -> None:
    events = followed("reasoning, chat completions")

    assert outline(events) == [
        ("step_start", "Looker", "Looker"),
        ("thinking", "Looker", "Let me think."),
        ("tool_call", "Looker", {"city": "Paris"}),
        ("usage", "Looker", 9),
        ("tool_result", "Looker", "sunny in Paris"),
        ("thinking", "Looker", "Let me think."),
        ("content", "Looker", "It is sunny in "),
        ("usage", "Looker", 9),
        ("step_complete", "Looker", "Looker"),
    ]
    thoughts, texts = data_of(events, "thinking"), data_of(events, "content")
    assert len({it["message_id"] for it in (*thoughts, *texts)}) == 3
    assert {(it["cached_tokens"], it["reasoning_tokens"]) for it in data_of(events, "usage")} == {
        (4, 3)
    }


def test_tools_of_one_turn_are_not_mixed_up() -> None:
    events = followed("two tools in one turn")

    calls, results = data_of(events, "tool_call"), data_of(events, "tool_result")
    assert [it["args"]["city"] for it in calls] == ["Paris", "Rome"]
    assert [it["result"] for it in results] == ["sunny in Paris", "sunny in Rome"]
    assert [it["call_id"] for it in calls] == [it["call_id"] for it in results]
    assert {it["tool"] for it in (*calls, *results)} == {"weather"}


def test_a_tool_that_raises_has_a_result_that_failed() -> None:
    events = followed("tool raises")

    (result,) = data_of(events, "tool_result")
    assert (result["tool"], result["ok"]) == ("broken", False)
    assert data_of(events, "error") == []


@pytest.mark.parametrize(
    ("scenario", "text", "message"),
    [
        ("provider error mid-stream", "It is sunny ", "The model is overloaded"),
        ("provider error mid-stream, chat", "It is sunny ", "APIError"),
        ("tool raises, no failure function", "", "UserError"),
    ],
)
def test_agents_that_fail_have_one_error(scenario: str, text: str, message: str) -> None:
    events = followed(scenario)

    assert "".join(it["text"] for it in data_of(events, "content")) == text
    assert [it["message"] for it in data_of(events, "error")] == [message]
    assert [it.type for it in events[-3:]] == ["error", "step_complete", "failed"]


def test_a_call_that_was_approved_by_the_program_returns_by_its_name() -> None:
    events = followed("approval", "approval resumed")

    assert outline(events)[-4:] == [
        ("tool_result", "Looker", "deployed Paris"),
        ("content", "Looker", "It is sunny in "),
        ("usage", "Looker", 9),
        ("step_complete", "Looker", "Looker"),
    ]
    [call], [result] = data_of(events, "tool_call"), data_of(events, "tool_result")
    assert (result["tool"], result["call_id"]) == (call["tool"], call["call_id"])


@pytest.mark.parametrize("scenario", AGENTS)
def test_agents_lose_and_repeat_nothing(scenario: str) -> None:
    events = followed(scenario)

    for kind, said in (("content", "output_text"), ("thinking", "reasoning_summary_text")):
        pieces = [it["delta"] for it in of_models(scenario, f"response.{said}.delta")]
        assert [it["text"] for it in data_of(events, kind)] == pieces
    items = [it["item"] for it in of_models(scenario, "response.output_item.done")]
    calls = {it["call_id"]: it["arguments"] for it in items if it["type"] == "function_call"}
    assert joined(events) == calls
    assert Counter(it["call_id"] for it in data_of(events, "tool_call")) == Counter([*calls])
    assert len(data_of(events, "usage")) == len(of_models(scenario, "response.completed"))
    assert data_of(events, "log") == []


@pytest.mark.parametrize("scenario", AGENTS)
def test_agents_whose_events_are_only_read_are_recorded_the_same(scenario: str) -> None:
    def work() -> None:
        writer = runcast.current_writer()
        assert writer is not None
        recorder = AgentsRecorder(writer)
        for event in Streamed(AGENTS[scenario]).events():
            recorder.take(event)
        recorder.close(is_over=True)

    def lasting(events: list[Event]) -> list[Any]:
        kinds = ("content", "thinking", "tool_call", "tool_call_delta", "tool_result", "usage")
        return [(it.type, it.agent, it.data) for it in events if it.type in kinds]

    assert lasting(run_of(work)) == lasting(followed(scenario))


# pydantic-ai.

EVENTS: TypeAdapter[Any] = TypeAdapter(AgentStreamEvent)

OF_MODELS = ("part_start", "part_delta", "part_end", "final_result")


def event_of(data: dict[str, Any]) -> Any:
    """Return a captured event; fields without a value were captured as none."""
    if data["event_kind"] == "final_result":
        data = {"tool_name": None, "tool_call_id": None, **data}
    if data.get("part", {}).get("part_kind") == "thinking":
        data = {**data, "part": {"content": "", **data["part"]}}
    return EVENTS.validate_python(data)


class Replay:
    """Calls the hooks of `Reporting` as an agent does."""

    def __init__(self, lines: list[Any]) -> None:
        self._datas = [line["data"] for line in lines if "data" in line]
        self._used = next((line["usage"] for line in lines if "usage" in line), None)
        self._raised = next((line for line in lines if "raised" in line), None)
        self._context = SimpleNamespace(
            agent=SimpleNamespace(name="Looker"), run_id="run", run_step=0
        )

    async def run(self) -> None:
        """Run the agent again."""
        self._reporting = await Reporting().for_run(self._context)
        await self._reporting.wrap_run(self._context, handler=self._steps)

    async def _steps(self) -> None:
        parts = itertools.groupby(self._datas, lambda data: data["event_kind"] in OF_MODELS)
        nodes = [(is_model, [*datas]) for is_model, datas in parts] or [(True, [])]
        for number, (is_model, datas) in enumerate(nodes, 1):
            self._context.run_step += is_model
            error = self._error(is_model, datas) if number == len(nodes) else None
            await self._node(datas, error, is_model=is_model)

    async def _node(self, datas: list[Any], error: Any, *, is_model: bool) -> None:
        context, reporting = self._context, self._reporting
        stream = self._stream(datas, error, is_model=is_model)
        try:
            async for _ in reporting.wrap_run_event_stream(context, stream=stream):
                pass
        except Exception as raised:
            if is_model:
                await reporting.on_model_request_error(context, request_context=None, error=raised)
            raise
        if is_model and self._used is not None:
            response = ModelResponse([], usage=self._usage(), model_name="fake")
            await reporting.after_model_request(context, request_context=None, response=response)

    async def _stream(self, datas: list[Any], error: Any, *, is_model: bool) -> AsyncIterator[Any]:
        for data in datas:
            yield event_of(data)
        if error is not None and not is_model:
            call = ToolCallPart(**datas[-1]["part"])
            args = call.args_as_dict()
            await self._reporting.on_tool_execute_error(
                self._context, call=call, tool_def=None, args=args, error=error
            )
        if error is not None:
            raise error

    def _error(self, is_model: bool, datas: list[Any]) -> Exception | None:
        if self._raised is None:
            return None
        if not is_model:
            return ValueError(self._raised["text"])
        status = int(self._raised["text"].removeprefix("status_code: ")[:3])
        made: Exception = getattr(exceptions, self._raised["raised"])(status, "fake")
        return made

    def _usage(self) -> RequestUsage:
        """Return what each call used: the capture has the sum, and all calls used the same."""
        assert self._used is not None
        used, details = dict(self._used), {**self._used["details"]}
        count = used.pop("requests")
        del used["details"]
        return RequestUsage(**{it: n // count for it, n in used.items()}, details=details)


def reported(scenario: str) -> list[Event]:
    """Return the events of a captured scenario."""
    return run_of(Replay(PYDANTIC[scenario]).run)


def test_an_agent_with_a_tool() -> None:
    events = reported("a tool, tokens")

    assert outline(events) == [
        ("step_start", "Looker", "Looker"),
        ("usage", "Looker", 9),
        ("tool_call", "Looker", {"city": "Paris"}),
        ("tool_result", "Looker", "sunny in Paris"),
        ("content", "Looker", "It is sunny in Paris, "),
        ("usage", "Looker", 9),
        ("step_complete", "Looker", "Looker"),
    ]
    (result,) = data_of(events, "tool_result")
    assert (result["tool"], result["ok"]) == ("weather", True)


def test_thoughts_and_texts_have_their_own_ids() -> None:
    events = reported("reasoning (responses)")

    assert outline(events)[1:-1] == [
        ("thinking", "Looker", "Let me think."),
        ("content", "Looker", "It is sunny in Paris, "),
        ("usage", "Looker", 9),
    ]
    thoughts, texts = data_of(events, "thinking"), data_of(events, "content")
    assert {it["message_id"] for it in thoughts}.isdisjoint(it["message_id"] for it in texts)
    assert data_of(events, "usage")[0] == {
        **{"model": "fake", "input_tokens": 9, "output_tokens": 7},
        **{"cached_tokens": 4, "reasoning_tokens": 3},
    }


def test_reasoning_that_the_provider_counts_by_another_name() -> None:
    lines = PYDANTIC["reasoning (responses)"]
    lines = [
        {**it, "usage": {**it["usage"], "details": {"thinking_tokens": 3}}} if "usage" in it else it
        for it in lines
    ]

    (used,) = data_of(run_of(Replay(lines).run), "usage")
    assert used["reasoning_tokens"] == 3


@pytest.mark.parametrize(
    ("scenario", "results"),
    [
        ("two tools in one turn", [("sunny in Paris", True), ("sunny in Rome", True)]),
        ("tool asks to retry", [("try another city", False)]),
        ("tool raises", [("ValueError", False)]),
        ("approval", []),
        ("approval denied", [("no", False)]),
    ],
)
def test_results_of_tools(scenario: str, results: list[Any]) -> None:
    events = reported(scenario)

    found, calls = data_of(events, "tool_result"), data_of(events, "tool_call")
    assert [(it["result"], it["ok"]) for it in found] == results
    assert [it["call_id"] for it in found] == [it["call_id"] for it in calls][: len(found)]
    assert {it["tool"] for it in found} <= {it["tool"] for it in calls}
    assert data_of(events, "error") == []


@pytest.mark.parametrize(
    ("scenario", "text", "message"),
    [
        ("provider error mid-stream", "It is sunny ", "ModelOverloadedError"),
        ("500", "", "ModelServerError"),
    ],
)
def test_a_model_that_fails_is_one_error(scenario: str, text: str, message: str) -> None:
    events = reported(scenario)

    assert "".join(it["text"] for it in data_of(events, "content")) == text
    assert [it["message"] for it in data_of(events, "error")] == [message]
    assert [it.type for it in events[-3:]] == ["error", "step_complete", "failed"]


@pytest.mark.parametrize("scenario", PYDANTIC)
def test_an_agent_loses_and_repeats_nothing(scenario: str) -> None:
    events = reported(scenario)

    datas = [line["data"] for line in PYDANTIC[scenario] if "data" in line]
    for kind, part in (("content", "text"), ("thinking", "thinking")):
        pieces = []
        for data in datas:
            if data["event_kind"] == "part_start" and data["part"]["part_kind"] == part:
                pieces.append(data["part"].get("content"))
            if data["event_kind"] == "part_delta" and data["delta"]["part_delta_kind"] == part:
                pieces.append(data["delta"]["content_delta"])
        assert [it["text"] for it in data_of(events, kind)] == [it for it in pieces if it]
    ended = [it["part"] for it in datas if it["event_kind"] == "part_end"]
    args = {it["tool_call_id"]: it["args"] for it in ended if it["part_kind"] == "tool-call"}
    assert joined(events) == args
    called = [it["part"] for it in datas if it["event_kind"] == "function_tool_call"]
    assert Counter(it["call_id"] for it in data_of(events, "tool_call")) == Counter(
        it["tool_call_id"] for it in called
    )
    assert data_of(events, "log") == []
