"""The `task` dialect: one flat object per event, for watchers of multi-agent tasks.

    id: 01hq3v5k2m-7
    data: {"task_id":"…","sequence":7,"agent_name":"writer","event_type":"thought",
           "content":"…","timestamp":"2026-01-31T10:00:00Z"}

| event | `event_type` | `content` |
|---|---|---|
| `started{function}` | `start` | function |
| `step_start{message}` | `start` | message |
| `thinking{text}` `reasoning{text}` | `thought` | text |
| `tool_call{tool}` | `action` | message, or tool |
| `progress{message}` `step_progress` `log` | `action` | message |
| `interrupt_request{message}` | `action` | message, or action |
| `interrupt_waiting{message}` `interrupt_resolved` | `action` | message |
| `interrupt_response{answer}` | `action` | answer |
| `content{text}` | `output` | text |
| `tool_result{result}` | `output` | result |
| `result{value}` | `output` | value |
| `content_complete{message}` `step_complete` `node_complete` `files` | `output` | message |
| `done{result,summary}` | `end` | result, or summary |
| `error{message}` `failed{message}` | `error` | message |
| `cancelled{reason}` | `error`, with `"code": "cancelled"` | reason |
| `tool_call_delta` | not shown: its `tool_call` has all of the arguments | |
| any other | its type | its `message`, `content` or `text` |

`sequence` is the event's `seq`. `agent_name` is its agent, or its node if it has no agent.
`timestamp` is its time in UTC. Content that is not a string is JSON text. The data's other fields
follow unchanged, as do `node`, `path` and `duration` if the event has them. None of them replaces a
field above, or is called `type`, which marks `connection_end` and `gap`: such a name gets
underscores appended.

The other way round: `thought` is `thinking{text}`, `output` is `content{text}`, `error` is
`error{message}`, `end` is `done{result}`. `start`, `action` and all other types are kept, with
`{"content": …}` as data. Metadata are further fields of the data.

After the terminal event comes `{"type":"connection_end","task_id":…,"timestamp":…}`, with that
event's time. A loss is sent as `{"type":"gap","task_id":…,"data":{…}}`. Neither has an id.

Source: the format's published shape; the mapping of types, `gap` and the treatment of taken names
    are
ours.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from types import MappingProxyType
from typing import ClassVar, Final

from runcast._wire.dialects.base import (
    LogRef,
    Stateless,
    flatten,
    frame,
)
from runcast.events.model import Event
from runcast.events.vocabulary import as_text, pick, text_of

__all__ = ("Task",)

_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "started": "start",
        "step_start": "start",
        "thinking": "thought",
        "reasoning": "thought",
        "tool_call": "action",
        "progress": "action",
        "step_progress": "action",
        "log": "action",
        "interrupt_request": "action",
        "interrupt_waiting": "action",
        "interrupt_resolved": "action",
        "interrupt_response": "action",
        "content": "output",
        "content_complete": "output",
        "tool_result": "output",
        "step_complete": "output",
        "node_complete": "output",
        "result": "output",
        "files": "output",
        "done": "end",
        "failed": "error",
        "cancelled": "error",
    }
)

_STAND_IN: Final[Mapping[str, str]] = MappingProxyType(
    {"started": "function", "tool_call": "tool", "interrupt_request": "action"}
)
"""The field that becomes the content if an event has no message; it is also sent itself."""

_RESERVED: Final = frozenset({"type"})

_LAST_SECOND: Final = 253_402_300_799
"""9999-12-31T23:59:59Z, the last second that has four digits of year."""


class Task(Stateless):
    """Flat objects with `task_id`, `sequence` and `event_type`, closed by `connection_end`."""

    name: ClassVar[str] = "task"

    def encode(self, log: LogRef, event: Event) -> bytes:
        """Return the event's one frame, without id; `b""` for a `tool_call_delta`."""
        if event.type == "tool_call_delta":
            return b""
        content, rest = text_of(event.type, event.data)
        if not content and event.type in _STAND_IN:
            content = as_text(pick(rest, _STAND_IN[event.type]))
        payload: dict[str, object] = {
            "task_id": log.run_id,
            "sequence": event.seq,
            "agent_name": event.agent or event.node,
            "event_type": _TYPES.get(event.type, event.type),
            "content": content,
            "timestamp": _timestamp(event.time),
        }
        if event.node:
            payload["node"] = event.node
        if event.path:
            payload["path"] = event.path
        if event.duration is not None:
            payload["duration"] = event.duration
        if event.type == "cancelled":
            payload["code"] = "cancelled"
        flatten(payload, rest, _RESERVED)
        return frame(payload)

    def gap(self, log: LogRef, gap: Mapping[str, object]) -> bytes:
        """Return one frame of the type `gap`, without id."""
        notice = {"type": "gap", "task_id": log.run_id, "data": dict(gap)}
        return frame(notice)

    def end(self, log: LogRef, event: Event) -> bytes:
        """Return the `connection_end` frame."""
        timestamp = _timestamp(event.time)
        notice = {"type": "connection_end", "task_id": log.run_id, "timestamp": timestamp}
        return frame(notice)


def _timestamp(time: float) -> str:
    seconds = min(max(time, 0.0), _LAST_SECOND) if isfinite(time) else 0.0
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
