"""Answers in the form of Anthropic's messages.

Source: https://docs.anthropic.com/en/api/messages
"""

import json
from collections.abc import Iterator
from typing import Any

from runcast.testing.models.turns import Frame, ModelCall, ModelTurn, counts_of, pieces_of

__all__ = ("error_frame", "frames", "refusal", "whole")

_SIGNATURE = "c2lnbmVk"
_ARGS_CHARS = 8
"""Length of a piece of arguments."""


def whole(turn: ModelTurn, call: ModelCall) -> dict[str, Any]:
    """Return the answer to a call that is not streamed."""
    blocks: list[dict[str, Any]] = []
    if turn.thinking:
        thought = "".join(turn.thinking)
        blocks.append({"type": "thinking", "thinking": thought, "signature": _SIGNATURE})
    if turn.text or not turn.tools:
        blocks.append({"type": "text", "text": "".join(turn.text), "citations": None})
    blocks += [
        {"type": "tool_use", "id": f"toolu_{call.number}_{index}", "name": name, "input": args}
        for index, (name, args) in enumerate(turn.tools)
    ]
    return {
        "id": f"msg_{call.number}",
        "type": "message",
        "role": "assistant",
        "model": call.model,
        "content": blocks,
        "stop_reason": "tool_use" if turn.tools else "end_turn",
        "stop_sequence": None,
        "usage": _usage(turn, call),
    }


def frames(turn: ModelTurn, call: ModelCall) -> Iterator[Frame]:
    """Yield the events of a streamed answer."""
    message = whole(turn, call)
    begun = {**message, "content": [], "stop_reason": None}
    begun["usage"] = {**message["usage"], "output_tokens": 1}
    yield _event("message_start", message=begun)
    yield _event("ping")
    for index, block in enumerate(message["content"]):
        yield _event("content_block_start", index=index, content_block=_empty(block))
        for delta in _deltas(turn, block):
            yield _event("content_block_delta", is_piece=True, index=index, delta=delta)
        if block["type"] == "thinking":
            signed = {"type": "signature_delta", "signature": _SIGNATURE}
            yield _event("content_block_delta", index=index, delta=signed)
        yield _event("content_block_stop", index=index)
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": message["usage"]["output_tokens"]}
    yield _event("message_delta", delta=ended, usage=usage)
    yield _event("message_stop")


def error_frame(turn: ModelTurn, call: ModelCall, sequence: int) -> Frame:
    """Return the event that ends a stream with an error."""
    return Frame("error", refusal(529, "Overloaded"))


def refusal(status: int, message: str) -> dict[str, Any]:
    """Return the body of an error."""
    kinds = {400: "invalid_request_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = "overloaded_error" if status == 529 else kinds.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


def _event(kind: str, *, is_piece: bool = False, **fields: Any) -> Frame:
    return Frame(kind, {"type": kind, **fields}, is_piece)


def _deltas(turn: ModelTurn, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if block["type"] == "thinking":
        for piece in pieces_of(turn.thinking):
            yield {"type": "thinking_delta", "thinking": piece}
    elif block["type"] == "text":
        for piece in pieces_of(turn.text):
            yield {"type": "text_delta", "text": piece}
    else:
        text = json.dumps(block["input"])
        for start in range(0, len(text), _ARGS_CHARS):
            piece = text[start : start + _ARGS_CHARS]
            yield {"type": "input_json_delta", "partial_json": piece}


def _empty(block: dict[str, Any]) -> dict[str, Any]:
    """Return a block as it is before its first piece."""
    blank: dict[str, Any] = {"thinking": "", "signature": "", "text": "", "input": {}}
    return block | {name: value for name, value in blank.items() if name in block}


def _usage(turn: ModelTurn, call: ModelCall) -> dict[str, Any]:
    counts = counts_of(turn, call)
    return {
        "input_tokens": max(0, counts.input - counts.cached),  # this API counts them apart
        "output_tokens": counts.output,
        "cache_read_input_tokens": counts.cached,
        "cache_creation_input_tokens": 0,
    }
