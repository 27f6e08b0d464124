"""Payloads of named frames as event data: the `named` dialect's table, read from right to left.

The `named` dialect shows a payload that becomes `data` here unchanged; other dialects show its
meaning. A field is renamed only if the dialect surely renames it back.
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
"""Names of frames that end a stream if nothing follows."""

_LEVELS: Final = {"info": "info", "warn": "warning", "error": "error", "debug": "debug"}


def data_of(event: str, msg: object) -> object:
    """Return the event data for a frame with this name and payload."""
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
    """Return the data of `done` for any payload sent as the end of a stream."""
    if isinstance(msg, dict) and all(isinstance(name, str) for name in msg):
        return msg
    return {"result": msg}


def error_data(msg: object) -> dict[str, Any]:
    """Return the data of an error for any payload sent as an error.

    `{"error": …}`, `{"message": …}` and a bare string mean the same. The sent fields are kept, and
    a watcher of the `named` dialect always finds the message in `error`.
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
    """Return an event's name. Raises `InvalidValue` if it is not a string."""
    if not isinstance(event, str):
        raise InvalidValue(f"expected the name of an event, got {type(event).__name__}")
    return event


def framed(event: str | None, msg: object) -> str:
    """Return a message as an SSE frame, for a stream without a run.

    Raises:
        InvalidValue: the message or the name cannot be sent.
    """
    return sse.encode(encode_line(as_stored("message", msg).data), event=event).decode()


def parsed(text: str) -> Any:
    """Parse JSON text; other text is returned as a string."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_percent(value: object) -> bool:
    number = as_number(value)
    return number is not None and 0 <= number <= 100


def renamed(data: dict[Any, Any], old: str, new: str) -> dict[Any, Any]:
    """Return data with one field renamed, in its place; unchanged if the new name is taken."""
    if new in data:
        return data
    return {new if name == old else name: value for name, value in data.items()}
