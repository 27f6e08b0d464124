"""JSON Schemas of events and of a run's state, for documents and for clients.

A schema only describes; nothing is checked against it. A function may emit a known type with other
data, which is stored unchanged. So only the fields that runcast itself writes are required.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from runcast.events.snapshot import Snapshot
from runcast.events.vocabulary import KNOWN

__all__ = ("DATA", "EVENT_TYPE", "POSITION", "RUN_ID", "event_schemas", "snapshot_schemas")

_Schema = dict[str, Any]

EVENT_TYPE: Final = "^[a-z][a-z0-9_.-]{0,63}$"
POSITION: Final = "^[0-9a-hjkmnp-tv-z]{10}-(0|[1-9][0-9]{0,15})$"
RUN_ID: Final = "^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$"

_TEXT: Final[_Schema] = {"type": "string"}
_NUMBER: Final[_Schema] = {"type": "number"}


def _described(schema: _Schema, about: str) -> _Schema:
    return {**schema, "description": about}


_MESSAGE: Final = _described(_TEXT, "what a person reads")
_MESSAGE_ID: Final = _described(_TEXT, "which text it belongs to")
_PERCENT: Final[_Schema] = {"type": "number", "minimum": 0, "maximum": 100}
_STEP_ID: Final = _described(_TEXT, "which of the open steps of this node and agent")
_INDEX: Final = _described({"type": "integer"}, "which piece of its text, from 0")
_ATTEMPT: Final = _described(
    {"type": "integer", "minimum": 1}, "which try it is part of; 1 if absent. A higher one replaces"
)
_CALL_ID: Final = _described(_TEXT, "the id that a call and its result share")
_INTERRUPT_ID: Final = _described(_TEXT, "the question")
_ANY: Final[_Schema] = {}

_COUNT: Final[_Schema] = {"type": "integer", "minimum": 0}
_THOUGHT: Final[dict[str, _Schema]] = {
    "text": _TEXT,
    "message_id": _MESSAGE_ID,
    "index": _INDEX,
    "attempt": _ATTEMPT,
}

DATA: Final[Mapping[str, Mapping[str, _Schema]]] = {
    "started": {
        "function": _TEXT,
        "labels": {"type": "object"},
        "attempt": _described({"type": "integer", "minimum": 2}, "the number of a later attempt"),
        "recovered": _described(
            {"type": "boolean"}, "whether the attempt continues after a crash of the one before"
        ),
    },
    "done": {
        "result": _described(_ANY, "what the function returned"),
        "summary": _described(_ANY, "the result in short"),
    },
    "failed": {
        "message": _MESSAGE,
        "code": _described(_TEXT, "why, for programs"),
        "retryable": _described({"type": "boolean"}, "whether the same run can succeed later"),
    },
    "cancelled": {"reason": _TEXT},
    "step_start": {"message": _MESSAGE, "step_id": _STEP_ID},
    "step_progress": {"percent": _PERCENT, "message": _MESSAGE, "step_id": _STEP_ID},
    "step_complete": {"message": _MESSAGE, "step_id": _STEP_ID},
    "node_complete": {
        "message": _MESSAGE,
        "aggregated": _described(_ANY, "what the node made"),
        "step_id": _STEP_ID,
    },
    "progress": {
        "current": _NUMBER,
        "total": _NUMBER,
        "percent": _PERCENT,
        "message": _MESSAGE,
        "task": _described(_TEXT, "which of several bars moves"),
    },
    "log": {
        "level": _described(_TEXT, "debug, info, warning, error or critical"),
        "message": _MESSAGE,
        "logger": _described(_TEXT, "the logger's name"),
    },
    "content": {
        "text": _described(_TEXT, "the text that follows the earlier pieces"),
        "message_id": _MESSAGE_ID,
        "index": _INDEX,
        "attempt": _ATTEMPT,
    },
    "content_complete": {
        "message": _described(_TEXT, "all of the text"),
        "message_id": _MESSAGE_ID,
        "attempt": _ATTEMPT,
    },
    "thinking": _THOUGHT,
    "reasoning": _THOUGHT,
    "tool_call": {"call_id": _CALL_ID, "tool": _TEXT, "args": _ANY, "attempt": _ATTEMPT},
    "tool_call_delta": {
        "call_id": _CALL_ID,
        "tool": _TEXT,
        "text": _described(_TEXT, "what follows of the arguments, as JSON text"),
        "index": _INDEX,
        "attempt": _ATTEMPT,
    },
    "tool_result": {
        "call_id": _CALL_ID,
        "tool": _TEXT,
        "result": _ANY,
        "ok": {"type": "boolean"},
        "length": _described({"type": "integer"}, "length of the result, in characters"),
        "attempt": _ATTEMPT,
    },
    "usage": {
        "model": _TEXT,
        "input_tokens": _described(_COUNT, "including tokens read from a cache"),
        "output_tokens": _described(_COUNT, "including tokens of reasoning"),
        "cached_tokens": _described(_COUNT, "of the input"),
        "reasoning_tokens": _described(_COUNT, "of the output"),
        "cost": _described({"type": "number", "minimum": 0}, "of this call"),
        "currency": _described(_TEXT, "of the cost"),
    },
    "interrupt_request": {
        "interrupt_id": _INTERRUPT_ID,
        "action": _described(_TEXT, "what will be done if the answer is yes"),
        "args": _ANY,
        "message": _MESSAGE,
        "config": _described(_ANY, "which answers are allowed"),
        "expires_at": _described(_NUMBER, "Unix seconds"),
    },
    "interrupt_waiting": {"interrupt_id": _INTERRUPT_ID, "message": _MESSAGE},
    "interrupt_response": {
        "interrupt_id": _INTERRUPT_ID,
        "approved": {"type": "boolean"},
        "answer": _ANY,
        "by": _described(_TEXT, "the person who answered, as given in the answer"),
    },
    "interrupt_resolved": {
        "interrupt_id": _INTERRUPT_ID,
        "outcome": _described(_TEXT, "answered or expired"),
        "message": _MESSAGE,
    },
    "message": {
        "message_id": _described(_TEXT, "the same if the message is sent again"),
        "data": _described(_ANY, "what was sent"),
        "from": _described(_TEXT, "who sent it, as they said"),
    },
    "message_read": {"message_ids": {"type": "array", "items": _TEXT}},
    "error": {"message": _MESSAGE, "code": _TEXT},
    "result": {"value": _described(_ANY, "the result so far")},
    "files": {"files": {"type": "array"}},
}
"""The fields of `data`, by known type."""

_REQUIRED: Final = {"failed": ["message", "code", "retryable"], "cancelled": ["reason"]}
"""Required fields: only runcast writes these types, and it always writes these fields."""

_BASE: Final[_Schema] = {
    "type": "object",
    "required": ["seq", "time", "type", "data"],
    "properties": {
        "seq": {"type": "integer", "minimum": 1, "description": "the event's place in the log"},
        "time": {"type": "number", "description": "Unix seconds"},
        "type": {"type": "string", "pattern": EVENT_TYPE},
        "data": {},
        "node": {"type": "string"},
        "agent": {"type": "string"},
        "path": {"type": "array", "items": {"type": "string"}},
        "duration": {"type": "number", "description": "seconds"},
    },
}


def event_schemas(prefix: str) -> dict[str, _Schema]:
    """Return the schemas of an event: `Event`, and `Event.<type>` for each known type.

    Args:
        prefix: prefix of a name in references, like `#/components/schemas/`.
    """
    found = {"Event": _BASE}
    for name in KNOWN:
        data: _Schema = {"properties": dict(DATA[name])}
        if name in _REQUIRED:
            data["required"] = _REQUIRED[name]
        fields = {"type": {"const": name}, "data": data}
        found[f"Event.{name}"] = {"allOf": [{"$ref": f"{prefix}Event"}], "properties": fields}
    return found


def snapshot_schemas(template: str) -> dict[str, _Schema]:
    """Return the schemas of a run's present state: `Snapshot` and its parts.

    Args:
        template: a reference, with `{name}` where the name of the schema goes.
    """
    _, found = msgspec.json.schema_components([Snapshot], ref_template=template)
    return found
