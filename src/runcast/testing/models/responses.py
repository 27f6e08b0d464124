"""Answers in the form of OpenAI's Responses.

Thoughts are summaries of reasoning.
Source: https://platform.openai.com/docs/api-reference/responses
"""

import itertools
import json
from collections.abc import Iterator
from typing import Any

from runcast.testing.models.turns import Frame, ModelCall, ModelTurn, counts_of, pieces_of

__all__ = ("error_frame", "frames", "whole")

_CREATED = 1_700_000_000
_ARGS_CHARS = 8
"""Length of a piece of arguments."""


def whole(turn: ModelTurn, call: ModelCall) -> dict[str, Any]:
    """Return the answer to a call that is not streamed."""
    return _response(turn, call, "completed", _items(turn, call))


def frames(turn: ModelTurn, call: ModelCall) -> Iterator[Frame]:
    """Yield the events of a streamed answer."""
    numbers = itertools.count()
    for name, fields, is_piece in _events(turn, call):
        yield Frame(name, {"type": name, "sequence_number": next(numbers), **fields}, is_piece)


def error_frame(turn: ModelTurn, call: ModelCall, sequence: int) -> Frame:
    """Return the event that ends a stream with an error; clients raise nothing for it."""
    error = {"code": "server_error", "message": "The model is overloaded"}
    if turn.fault == "failed":
        failed = {**_response(turn, call, "failed", []), "error": error}
        data = {"type": "response.failed", "sequence_number": sequence, "response": failed}
        return Frame("response.failed", data)
    return Frame("error", {"type": "error", "sequence_number": sequence, "param": None, **error})


def _events(turn: ModelTurn, call: ModelCall) -> Iterator[tuple[str, dict[str, Any], bool]]:
    begun = {"response": _response(turn, call, "in_progress", [])}
    yield "response.created", begun, False
    yield "response.in_progress", begun, False
    items = _items(turn, call)
    for index, item in enumerate(items):
        where = {"item_id": item["id"], "output_index": index}
        yield "response.output_item.added", {"output_index": index, "item": _empty(item)}, False
        if item["type"] == "reasoning":
            where["summary_index"] = 0
            yield "response.reasoning_summary_part.added", {**where, "part": _summary("")}, False
            for piece in pieces_of(turn.thinking):
                yield "response.reasoning_summary_text.delta", {**where, "delta": piece}, True
            text = item["summary"][0]["text"]
            yield "response.reasoning_summary_text.done", {**where, "text": text}, False
            yield "response.reasoning_summary_part.done", {**where, "part": _summary(text)}, False
        elif item["type"] == "message":
            where["content_index"] = 0
            yield "response.content_part.added", {**where, "part": _part("")}, False
            for piece in pieces_of(turn.text):
                fields = {**where, "delta": piece, "logprobs": []}
                yield "response.output_text.delta", fields, True
            text = item["content"][0]["text"]
            yield "response.output_text.done", {**where, "text": text, "logprobs": []}, False
            yield "response.content_part.done", {**where, "part": _part(text)}, False
        else:
            text = item["arguments"]
            for start in range(0, len(text), _ARGS_CHARS):
                fields = {**where, "delta": text[start : start + _ARGS_CHARS]}
                yield "response.function_call_arguments.delta", fields, True
            fields = {**where, "arguments": text, "name": item["name"]}
            yield "response.function_call_arguments.done", fields, False
        yield "response.output_item.done", {"output_index": index, "item": item}, False
    yield "response.completed", {"response": _response(turn, call, "completed", items)}, False


def _items(turn: ModelTurn, call: ModelCall) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if turn.thinking:
        summary = [_summary("".join(turn.thinking))]
        items.append({"id": f"rs_{call.number}", "type": "reasoning", "summary": summary})
    if turn.text or not turn.tools:
        items.append(
            {
                "id": f"msg_{call.number}",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [_part("".join(turn.text))],
            }
        )
    items += [
        {
            "id": f"fc_{call.number}_{index}",
            "type": "function_call",
            "call_id": f"call_{call.number}_{index}",
            "name": name,
            "arguments": json.dumps(args),
            "status": "completed",
        }
        for index, (name, args) in enumerate(turn.tools)
    ]
    return items


def _empty(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item as it is before its first piece."""
    blank = {"summary": [], "content": [], "arguments": "", "status": "in_progress"}
    return item | {name: value for name, value in blank.items() if name in item}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


def _response(
    turn: ModelTurn, call: ModelCall, status: str, items: list[dict[str, Any]]
) -> dict[str, Any]:
    counts = counts_of(turn, call)
    usage = {
        "input_tokens": counts.input,
        "output_tokens": counts.output,
        "total_tokens": counts.input + counts.output,
        "input_tokens_details": {"cached_tokens": counts.cached},
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
    }
    return {
        "id": f"resp_{call.number}",
        "object": "response",
        "created_at": _CREATED,
        "model": call.model,
        "status": status,
        "output": items,
        "usage": usage if status == "completed" else None,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
