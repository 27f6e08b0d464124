"""Payloads of named frames as event data: the `named` dialect's table, read from right to left.

A payload that becomes `data` here is shown by that dialect as it was, and by all others as what it
means. A field is renamed only where the dialect is sure to rename it back.
"""

import json
from typing import Any, Final

from runcast._wire import sse
from runcast.errors import InvalidValue
from runcast.events.model import as_stored
from runcast.events.plain import encode_line
from runcast.events.vocabulary import as_number, as_text, pick

__all__ = (
    "OUTCOMES",
    "checked_name",
    "data_of",
    "done_data",
    "error_data",
    "framed",
    "parsed",
    "renamed",
)

OUTCOMES: Final = frozenset({"done", "error", "failed"})
"""Names of frames that end a stream, if nothing follows them."""

_LEVELS: Final = {"info": "info", "warn": "warning", "error": "error", "debug": "debug"}


def data_of(event: str, msg: object) -> object:
    """Return the data of the event that a frame of this name and payload stands for."""
    if not isinstance(msg, dict):
        return msg
    match event:
        case "content" if isinstance(msg.get("content"), str):
            return renamed(msg, "content", "text")
        case "progress" if _is_percent(msg.get("progress")):
            return renamed(msg, "progress", "percent")
        case "log" if msg.get("type") in _LEVELS and "level" not in msg:
            return renamed({**msg, "type": _LEVELS[msg["type"]]}, "type", "level")
        case "error" if "error" in msg and "type" not in msg:
            return renamed(msg, "error", "message")
    return msg


def done_data(msg: object) -> dict[str, Any]:
    """Return how a run ended, from whatever was sent as the end of a stream."""
    if isinstance(msg, dict) and all(isinstance(name, str) for name in msg):
        return msg
    return {"result": msg}


def error_data(msg: object) -> dict[str, Any]:
    """Return how a run failed, from whatever was sent as an error.

    `{"error": …}`, `{"message": …}` and a bare string mean the same. The fields sent are kept, and
    a watcher of the `named` dialect finds the message under `error` in any case.
    """
    fields = dict(msg) if isinstance(msg, dict) else {}
    found = pick(fields, "error", "message", "content")
    text = as_text(msg if found is None else found)
    known = {"code": "error", "retryable": False}
    if "message" in fields and "error" not in fields:
        return {**known, **fields, "message": text, "error": text}
    fields.pop("error", None)
    return {"message": text, **known, **{n: v for n, v in fields.items() if n != "message"}}


def checked_name(event: object) -> str:
    """Return an event's name. Raises `InvalidValue` if it is no string."""
    if not isinstance(event, str):
        raise InvalidValue(f"expected the name of an event, got {type(event).__name__}")
    return event


def framed(event: str | None, msg: object) -> str:
    """Return a message as an SSE frame, for a stream that no run stands behind.

    Raises:
        InvalidValue: JSON cannot hold the message, or a frame the name.
    """
    return sse.encode(encode_line(as_stored("message", msg).data), event=event).decode()


def parsed(text: str) -> Any:
    """Return what JSON text says; text that is no JSON is a string."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_percent(value: object) -> bool:
    number = as_number(value)
    return number is not None and 0 <= number <= 100


def renamed(data: dict[Any, Any], old: str, new: str) -> dict[Any, Any]:
    """Return data with one field renamed, in its place; as it is if the new name is taken."""
    if new in data:
        return data
    return {new if name == old else name: value for name, value in data.items()}
