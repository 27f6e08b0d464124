"""Answers in the form of OpenAI's chat completions.

Thoughts are `reasoning_content`, as servers send them that are compatible with this API.
Source: https://platform.openai.com/docs/api-reference/chat
"""

import json
from collections.abc import Iterator
from typing import Any

from runcast.testing.models.turns import Frame, ModelCall, ModelTurn, counts_of, pieces_of

__all__ = ("error_frame", "frames", "refusal", "whole")

_CREATED = 1_700_000_000
_ARGS_CHARS = 8
"""Length of a piece of arguments."""


def whole(turn: ModelTurn, call: ModelCall) -> dict[str, Any]:
    """Return the answer to a call that is not streamed."""
    message: dict[str, Any] = {"role": "assistant", "content": "".join(turn.text) or None}
    if turn.thinking:
        message["reasoning_content"] = "".join(turn.thinking)
    if turn.tools:
        message["tool_calls"] = [
            {
                "id": f"call_{call.number}_{index}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(args)},
            }
            for index, (name, args) in enumerate(turn.tools)
        ]
    choice = {"index": 0, "message": message, "finish_reason": _reason(turn), "logprobs": None}
    return {
        **_head(call, "chat.completion"),
        "choices": [choice],
        "usage": _usage(turn, call),
    }


def frames(turn: ModelTurn, call: ModelCall) -> Iterator[Frame]:
    """Yield the events of a streamed answer."""
    head = _head(call, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], reason: str | None = None, *, is_piece: bool = True) -> Frame:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return Frame("", {**head, "choices": [choice]}, is_piece)

    yield chunk({"role": "assistant", "content": ""}, is_piece=False)
    for piece in pieces_of(turn.thinking):
        yield chunk({"reasoning_content": piece})
    for piece in pieces_of(turn.text):
        yield chunk({"content": piece})
    for index, (name, args) in enumerate(turn.tools):
        function: dict[str, Any] = {"name": name, "arguments": ""}
        opened = {"index": index, "id": f"call_{call.number}_{index}", "type": "function"}
        yield chunk({"tool_calls": [{**opened, "function": function}]}, is_piece=False)
        text = json.dumps(args)
        for start in range(0, len(text), _ARGS_CHARS):
            function = {"arguments": text[start : start + _ARGS_CHARS]}
            yield chunk({"tool_calls": [{"index": index, "function": function}]})
    yield chunk({}, _reason(turn), is_piece=False)
    if (call.body.get("stream_options") or {}).get("include_usage"):
        yield Frame("", {**head, "choices": [], "usage": _usage(turn, call)})
    yield Frame("", "[DONE]")


def error_frame(turn: ModelTurn, call: ModelCall, sequence: int) -> Frame:
    """Return the event that ends a stream with an error."""
    return Frame("", refusal(500, "The model is overloaded"))


def refusal(status: int, message: str) -> dict[str, Any]:
    """Return the body of an error."""
    kind = {400: "invalid_request_error", 429: "rate_limit_error"}.get(status, "server_error")
    code = {429: "rate_limit_exceeded", 500: "server_error"}.get(status)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _head(call: ModelCall, kind: str) -> dict[str, Any]:
    number = f"chatcmpl-{call.number}"
    return {"id": number, "object": kind, "created": _CREATED, "model": call.model}


def _reason(turn: ModelTurn) -> str:
    return "tool_calls" if turn.tools else "stop"


def _usage(turn: ModelTurn, call: ModelCall) -> dict[str, Any]:
    counts = counts_of(turn, call)
    return {
        "prompt_tokens": counts.input,
        "completion_tokens": counts.output,
        "total_tokens": counts.input + counts.output,
        "prompt_tokens_details": {"cached_tokens": counts.cached},
        "completion_tokens_details": {"reasoning_tokens": counts.reasoning},
    }
