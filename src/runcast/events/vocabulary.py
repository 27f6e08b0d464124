"""The event types runcast gives a meaning to. Any other type is carried through unchanged."""

import re
from functools import lru_cache
from typing import Final

__all__ = ("DELTA_TYPES", "KNOWN", "TERMINAL", "is_event_type")

TERMINAL: Final = frozenset({"done", "failed", "cancelled"})
"""The types that end a run: exactly one of them, last in its log."""

DELTA_TYPES: Final = frozenset({"content", "thinking", "reasoning"})
"""Types whose `text` continues the text of the event before."""

KNOWN: Final[dict[str, tuple[str, ...]]] = {
    # life
    "started": ("function", "labels"),
    "done": ("result", "summary"),
    "failed": ("message", "code", "retryable"),
    "cancelled": ("reason",),
    # steps
    "step_start": ("message",),
    "step_progress": ("percent", "message"),
    "step_complete": ("message",),
    "node_complete": ("message", "aggregated"),
    # progress and log
    "progress": ("current", "total", "percent", "message"),
    "log": ("level", "message", "logger"),
    # text
    "content": ("text", "message_id", "index"),
    "content_complete": ("message", "message_id"),
    "thinking": ("text",),
    "reasoning": ("text",),
    # tools
    "tool_call": ("call_id", "tool", "args"),
    "tool_result": ("call_id", "tool", "result", "ok", "length"),
    # questions
    "interrupt_request": ("interrupt_id", "action", "args", "message", "config", "expires_at"),
    "interrupt_waiting": ("interrupt_id", "message"),
    "interrupt_response": ("interrupt_id", "approved", "answer", "by"),
    "interrupt_resolved": ("interrupt_id", "outcome", "message"),
    # other
    "error": ("message", "code"),
    "result": ("value",),
    "files": ("files",),
}
"""Each known type and the fields of its `data`, in the order they are documented."""

_TYPE: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


@lru_cache(maxsize=1024)  # asked for every event, of few types
def is_event_type(text: str) -> bool:
    """Tell whether a string may be an event's type: `[a-z][a-z0-9_.-]{0,63}`."""
    return _TYPE.fullmatch(text) is not None
