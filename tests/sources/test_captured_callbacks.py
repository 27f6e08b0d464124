"""Callbacks that LangChain made for real, captured once, replayed through the recorder."""

import json
from pathlib import Path
from typing import Any

import runcast
from runcast.events.model import Event
from runcast.sources._chain_recorder import ChainRecorder
from runcast.sources._graph_chunks import Call, read_usage
from tests.sources.watching import data_of, run_of

CAPTURED = Path(__file__).parent / "captured" / "langchain-1.5.2.jsonl"


class Replay:
    """Makes the captured calls again; what the capture left out stays out."""

    def __init__(self, recorder: ChainRecorder) -> None:
        self._recorder = recorder
        self._tasks: dict[str | None, str] = {}
        self._errors: dict[str, Exception] = {}

    def call(self, line: dict[str, Any]) -> None:
        """Make one captured call."""
        call, parent, data = line["run"], line["parent"], line["data"]
        recorder, metadata = self._recorder, self._metadata(line)
        match line["type"]:
            case "on_chain_start":
                recorder.chain_started(call, parent, data["name"], metadata, None)
            case "on_chain_end":
                recorder.chain_ended(call, None)
            case "on_chain_error":
                recorder.chain_failed(call, self._error(data))
            case "on_chat_model_start":
                recorder.model_started(call, parent, self, metadata, ())
            case "on_llm_new_token":
                recorder.token(call, self, *_piece(data))
            case "on_llm_end":
                recorder.model_ended(call, None, data["model"], read_usage(data["usage"]))
            case "on_llm_error":
                recorder.model_failed(call, self._error(data))
            case "on_tool_start":
                asked = Call(data["tool_call_id"], data["name"], data["inputs"])
                recorder.tool_started(call, parent, metadata, asked)
            case "on_tool_end":
                recorder.tool_ended(call, data["output"])
            case "on_tool_error":
                recorder.tool_failed(call, self._error(data))

    def _metadata(self, line: dict[str, Any]) -> dict[str, Any]:
        """Restore the namespaces, of which the capture kept the first part."""
        metadata, call = dict(line.get("metadata") or {}), line["run"]
        around = self._tasks.get(line["parent"], "")
        is_step = any(tag.startswith("graph:") for tag in line["data"].get("tags", ()))
        own = f"{metadata['langgraph_node']}:{call}" if is_step else ""
        self._tasks.setdefault(call, "|".join(part for part in (around, own) if part))
        return {**metadata, "langgraph_checkpoint_ns": self._tasks[call]}

    def _error(self, data: dict[str, Any]) -> Exception:
        name = data["error"]
        return self._errors.setdefault(name, type(name, (Exception,), {})("secret"))


class Piece:
    """A message in part, as far as the capture has it."""

    type = "AIMessageChunk"
    additional_kwargs: dict[str, Any] = {}  # noqa: RUF012 - never changed

    def __init__(self, content: Any, chunks: list[Any]) -> None:
        self.content = content
        self.tool_call_chunks = chunks


def _piece(data: dict[str, Any]) -> tuple[Any, Piece]:
    token = data.get("token", "")
    chunks = [it for it in data.get("content_blocks", ()) if it["type"] == "tool_call_chunk"]
    return token, Piece(token, chunks)


def replayed(scenario: str) -> list[Event]:
    """Return the events of a captured scenario."""
    lines = [json.loads(line) for line in CAPTURED.read_text("utf-8").splitlines()]

    def go() -> None:
        writer = runcast.current_writer()
        assert writer is not None
        replay = Replay(ChainRecorder(writer))
        for line in lines:
            if line.get("scenario") == scenario and "type" in line:
                replay.call(line)

    return run_of(go)


def told(events: list[Event]) -> list[tuple[Any, ...]]:
    """Return the events in short, without pieces and steps."""
    kinds = ("tool_call", "tool_result", "usage", "error")
    return [(e.type, e.node, e.agent, e.path) for e in events if e.type in kinds]


def test_two_agents_and_a_tool() -> None:
    events = replayed("two agents, a tool, tokens")

    assert told(events) == [
        ("usage", "model", "looker", ()),
        ("tool_call", "tools", "looker", ()),
        ("tool_result", "tools", "looker", ()),
        ("usage", "model", "looker", ()),
        ("usage", "model", "writer", ()),
    ]
    deltas = data_of(events, "tool_call_delta")
    assert "".join(data["text"] for data in deltas) == '{"city":"Paris"}'
    (call,) = data_of(events, "tool_call")
    assert {data["call_id"] for data in deltas} == {call["call_id"]}
    assert len(data_of(events, "step_start")) == len(data_of(events, "step_complete")) == 6
    assert len({data["message_id"] for data in data_of(events, "content")}) == 2
    assert data_of(events, "usage")[0] == {
        **{"model": "fake", "input_tokens": 9, "output_tokens": 7},
        **{"cached_tokens": 4, "reasoning_tokens": 0},
    }


def test_a_tool_that_raises() -> None:
    events = replayed("tool raises")

    (result,) = data_of(events, "tool_result")
    assert (result["result"], result["ok"]) == ("ValueError", False)
    assert data_of(events, "error") == []
    assert len(data_of(events, "step_complete")) == 1  # of the model


def test_a_provider_that_fails() -> None:
    events = replayed("provider error mid-stream")

    (error,) = data_of(events, "error")
    assert (error["message"], error["code"]) == ("APIError", "model_failed")
    assert [data["text"] for data in data_of(events, "content")] == ["It ", "is ", "sunny "]


def test_the_reasoning_of_responses() -> None:
    events = replayed("reasoning (responses api)")

    assert [data["text"] for data in data_of(events, "thinking")] == ["Let ", "me ", "think."]
    assert data_of(events, "content")[0]["text"] == "It "
    assert told(events) == [("usage", "", "", ())]
