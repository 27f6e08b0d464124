"""Messages of the `flat` format as events: the dialect's table, read from right to left."""

from collections.abc import Mapping
from typing import Any, Final

from runcast import Event
from runcast.events.fields import as_number, as_text, mend
from runcast.events.vocabulary import KNOWN, TERMINAL, is_event_type

__all__ = ("event_of", "is_message")

_NEWER: Final = {
    "processing": "step_progress",
    "interrupt": "interrupt_request",
    "content_streaming": "content",
    "final_result": "result",
}

_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "step_progress": {"content": "message", "progress": "percent"},
    "content": {"content": "text", "chunk_index": "index"},
    "thinking": {"content": "text"},
    "reasoning": {"content": "text"},
    "tool_call": {"content": "message", "tool_name": "tool"},
    "tool_result": {"content": "result", "tool_name": "tool"},
    "interrupt_response": {"content": "answer"},
    "result": {"content": "value"},
    "error": {"content": "message", "error_type": "code"},
}
"""For each type the names of a message's fields, and what its event calls them."""

_IMPLIED: Final[Mapping[str, frozenset[str]]] = {
    "content": frozenset({"length"}),
    "interrupt_request": frozenset({"requires_approval"}),
    "interrupt_waiting": frozenset({"status"}),
    "interrupt_resolved": frozenset({"status"}),
    "result": frozenset({"is_final"}),
}
"""Fields that the dialect adds by itself."""

_PLACE: Final = ("message_type", "node", "agent", "agent_hierarchy", "timestamp", "duration")


def is_message(data: object) -> bool:
    """Tell whether something is a message of the `flat` format."""
    return isinstance(data, Mapping) and isinstance(data.get("message_type"), str)


def event_of(
    message: Mapping[str, Any], node: str = "", agent: str = "", above: tuple[str, ...] = ()
) -> Event:
    """Return the event that a message stands for; all of its fields are kept.

    Args:
        node, agent, above: where it happened, if the message does not say.
    """
    said = as_text(message["message_type"])
    kind = _NEWER.get(said, said)
    names = dict(_NAMES.get(kind, {"content": "message"}))
    data: dict[str, object] = {}
    if kind in TERMINAL or kind == "started" or not is_event_type(kind):
        kind, data = "custom", {"message_type": said}
    implied = _IMPLIED.get(kind, frozenset())
    for name, value in message.items():
        if name not in _PLACE and name not in implied:
            data[names.get(name, str(name))] = value
    if kind in KNOWN and "content" in names:
        data.setdefault(names["content"], "")
    if kind == "result":
        data.setdefault("execution_summary", {})
    node = as_text(message.get("node")) or node
    agent = as_text(message.get("agent")) or agent
    told = message.get("agent_hierarchy")
    path = tuple(mend(as_text(name)) for name in told) if isinstance(told, list | tuple) else above
    duration = as_number(message.get("duration"))
    return Event(
        type=kind,
        data=data,
        node=node,
        agent=agent,
        path=path[:-1] if path and path[-1] == agent else path,
        duration=None if duration is None else float(duration),
    )
