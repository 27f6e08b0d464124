"""One task's stream: the log of a run without a function, written by any code with its id.

| `event_type` | event |
|---|---|
| `thought` | `thinking{text}` |
| `output` | `content{text}` |
| `error` | `error{message}`, which the run survives |
| `end` `done` | `done{result}`: it ends the stream, and nothing can be put after it |
| any other, such as `start` or `action` | the same, `{message}` |

The metadata become further fields of the data, with other names if theirs are taken. A watcher of
the `task` dialect sees the output of `StreamEvent.to_dict`.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, NamedTuple

from runcast import Event
from runcast._clock import SystemClock
from runcast._hub.forks import make_lock
from runcast._producing.writer import RESERVED
from runcast._wire.dialects import LogRef
from runcast._wire.dialects.base import flatten
from runcast._wire.dialects.task import Task
from runcast.compat.payloads import framed
from runcast.errors import InvalidValue

__all__ = ("CLOSED_AFTER_ERROR", "Said", "StreamEvent", "is_silent_end", "read_event", "said_by")

CLOSED_AFTER_ERROR: Final = "closed_after_error"
"""Code of the ending of a stream whose last event was an error, which was already shown."""

_MAX_COUNTED: Final = 10_000
"""Most tasks whose events are counted; the one counted longest ago is forgotten."""

_CORE: Final = ("task_id", "sequence", "agent_name", "event_type", "content", "timestamp")

_TYPES: Final = {"thought": "thinking", "output": "content", "end": "done"}

_CONTENT_NAMES: Final = {
    "thinking": "text",
    "reasoning": "text",
    "content": "text",
    "done": "result",
    "result": "value",
    "tool_result": "result",
    "interrupt_response": "answer",
}
"""The field with an event's text, if it is not `message`."""

_task: Final = Task()


class StreamEvent:
    """An event of a task.

    `sequence` counts the events made for a task in this process. A watcher sees the place in the
    task's log instead, given when the event is stored: it has no gaps and no duplicates.
    """

    _counted: ClassVar[OrderedDict[str, int]] = OrderedDict()
    _lock: ClassVar[threading.Lock] = make_lock()

    def __init__(
        self,
        event_type: str,
        agent: str,
        content: str,
        task_id: str,
        timestamp: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.event_type = event_type
        self.agent = agent
        self.content = content
        self.task_id = task_id
        self.has_own_time = timestamp is not None
        self.timestamp = timestamp or _utc(SystemClock.time())
        self.metadata = dict(metadata or {})
        self.sequence = self._count(task_id)

    @classmethod
    def _count(cls, task_id: str) -> int:
        with cls._lock:
            count = cls._counted[task_id] = cls._counted.pop(task_id, 0) + 1
            if len(cls._counted) > _MAX_COUNTED:
                cls._counted.popitem(last=False)
            return count

    @classmethod
    def reset_sequence(cls, task_id: str) -> None:
        """Count a task's events from 1 again."""
        with cls._lock:
            cls._counted.pop(task_id, None)

    def to_dict(self) -> dict[str, Any]:
        """Return the event as a flat object; metadata replace none of its fields."""
        core: dict[str, object] = {
            "task_id": self.task_id,
            "sequence": self.sequence,
            "agent_name": self.agent,
            "event_type": self.event_type,
            "content": self.content,
            "timestamp": self.timestamp,
        }
        flatten(core, self.metadata, ("type",))
        return core

    def to_sse_format(self) -> str:
        """Return the event as one SSE frame. Raises `InvalidValue` if JSON cannot hold it."""
        return framed(None, self.to_dict())


class Said(NamedTuple):
    """An event to be appended: its type, data and agent."""

    type: str
    data: dict[str, Any]
    agent: str

    @property
    def place(self) -> tuple[str, str, tuple[str, ...], None]:
        """The place for a record."""
        return "", self.agent, (), None


def said_by(event: StreamEvent) -> Said:
    """Return the event to append for a task's event.

    Raises:
        InvalidValue: only runcast writes this type.
    """
    kind = _TYPES.get(event.event_type, event.event_type)
    if kind in RESERVED and kind != "done":
        raise InvalidValue(
            f"{kind!r} is written by runcast itself; put an 'end' to end the stream, and an "
            "'error' for errors that it survives"
        )
    content = "" if event.content is None else event.content
    data: dict[str, object] = {_CONTENT_NAMES.get(kind, "message"): content}
    flatten(data, event.metadata)
    if event.has_own_time:
        flatten(data, {"timestamp": event.timestamp})
    return Said(kind, data, event.agent or "")


def is_silent_end(event: Event) -> bool:
    """Return whether an event ends a stream without having been put into it."""
    if event.type == "done":
        return not event.data
    return (
        event.type == "failed"
        and isinstance(event.data, dict)
        and event.data.get("code") == CLOSED_AFTER_ERROR
    )


def read_event(stream: LogRef, event: Event) -> StreamEvent:
    """Return a log's event as watchers see it."""
    frame = _task.encode(stream, event)
    payload: dict[str, Any] = json.loads(frame[frame.index(b"data: ") + 6 :])
    known = {name: payload.pop(name) for name in _CORE}
    read = StreamEvent.__new__(StreamEvent)
    read.event_type = known["event_type"]
    read.agent = known["agent_name"]
    read.content = known["content"]
    read.task_id = known["task_id"]
    read.timestamp = known["timestamp"]
    read.sequence = known["sequence"]
    read.has_own_time = False
    read.metadata = payload
    return read


def _utc(time: float) -> str:
    return datetime.fromtimestamp(int(time), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
