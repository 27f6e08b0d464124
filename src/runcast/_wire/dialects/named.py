"""The `named` dialect: the event's type is the frame's name, its data the payload.

    id: 01hq3v5k2m-7
    event: progress
    data: {"progress":40,"message":"…"}

| event | frame name | payload |
|---|---|---|
| `content{text,…}` | `content` | `{"content": text, …}` |
| `progress{percent,message,…}` | `progress` | `{"progress": percent, "message": message, …}` |
| `log{level,message,…}` | `log` | `{"type": info, warn or error, "message": message, …}` |
| `done{result,…}` | `done` | `{"result": result, …}` |
| `done{summary}` | `done` | `{"result": summary}` |
| `error{message,code}` | `error` | `{"error": message, "code": code}` |
| `failed{message,code,…}` | `error` | `{"error": message, "code": code, …}` |
| `cancelled{reason}` | `error` | `{"error": reason, "code": "cancelled"}` |
| any other | its type | its data |

Read from right to left, the table gives the event for a payload of this format. A field is renamed
only if the new name is free. So data that already has this format passes unchanged. So does data
that is not an object: a string is sent as a JSON string. `node`, `agent`, `path`, `time` and
`duration` are not sent, because this format has no place for them.

For users of EventSource: `onmessage` gets only frames of the type `message`. A listener for `error`
(or `open`) is also called for EventSource's own event of that name, which has no `data`. A loss is
sent as `gap`.

Source: the format's conventions; `failed`, `cancelled` and `gap` are ours.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final

from runcast._wire.dialects.base import (
    LogRef,
    Stateless,
    flatten,
    frame,
)
from runcast.events.model import Event
from runcast.events.vocabulary import as_text, is_event_type, percent_of, text_of

__all__ = ("Named",)

_LEVELS: Final[Mapping[str, str]] = MappingProxyType(
    {"warning": "warn", "critical": "error", "fatal": "error"}
)


class Named(Stateless):
    """Frames named by their event's type."""

    name: ClassVar[str] = "named"

    def encode(self, log: LogRef, event: Event) -> bytes:
        """Return the event's one frame, without id."""
        name = "error" if event.type in ("failed", "cancelled") else event.type
        # No writer makes another type. If a log holds one, its event is sent without a name.
        named = name if is_event_type(name) else None
        return frame(_payload(event), named)

    def gap(self, log: LogRef, gap: Mapping[str, object]) -> bytes:
        """Return one frame named `gap`, without id."""
        return frame(dict(gap), "gap")


def _payload(event: Event) -> object:
    data = event.data
    match event.type:
        case "failed" if not isinstance(data, dict):
            return {"error": as_text(data)}
        case "failed":
            return _renamed(data, "message", "error")
        case "cancelled":
            reason, rest = text_of("cancelled", data)
            payload: dict[str, object] = {"error": reason or "cancelled", "code": "cancelled"}
            flatten(payload, rest)
            return payload
        case "done":
            is_empty = data is None or (isinstance(data, dict) and not data)
            return {"result": None} if is_empty else _renamed(data, "summary", "result")
        case "content":
            return _renamed(data, "text", "content")
        case "error" if isinstance(data, dict) and "type" not in data:
            return _renamed(data, "message", "error")
        case "log" if isinstance(data, dict) and "type" not in data:
            level = as_text(data.get("level") or "info").lower()
            return _renamed({**data, "level": _LEVELS.get(level, level)}, "level", "type")
        case "progress" if isinstance(data, dict) and "progress" not in data:
            percent = percent_of(data)
            if percent is not None:
                rest = {name: value for name, value in data.items() if name != "percent"}
                return {"progress": percent, **rest}
    return data


def _renamed(data: object, old: str, new: str) -> object:
    """Return an object with one field renamed, in its place, if the new name is free."""
    if not isinstance(data, dict) or old not in data or new in data:
        return data
    return {new if name == old else name: value for name, value in data.items()}
