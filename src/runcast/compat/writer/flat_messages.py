"""Messages of the `flat` format as events, and the default texts of messages.

The tables are the dialect's, read from right to left.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from runcast import Event
from runcast.errors import InvalidValue
from runcast.events.vocabulary import KNOWN, TERMINAL, as_number, as_text, is_event_type, mend

__all__ = (
    "Texts",
    "event_of",
    "is_message",
)

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
"""For each type, the names of a message's fields and their names in the event."""

_IMPLIED: Final[Mapping[str, frozenset[str]]] = {
    "content": frozenset({"length"}),
    "interrupt_request": frozenset({"requires_approval"}),
    "interrupt_waiting": frozenset({"status"}),
    "interrupt_resolved": frozenset({"status"}),
    "result": frozenset({"is_final"}),
}
"""Fields that the dialect adds itself."""

_PLACE: Final = ("message_type", "node", "agent", "agent_hierarchy", "timestamp", "duration")


def is_message(data: object) -> bool:
    """Return whether a value is a message of the `flat` format."""
    return isinstance(data, Mapping) and isinstance(data.get("message_type"), str)


def event_of(
    message: Mapping[str, Any], node: str = "", agent: str = "", above: tuple[str, ...] = ()
) -> Event:
    """Return the event for a message; all fields are kept.

    Args:
        node, agent, above: the place, if the message has none.
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
    hierarchy = message.get("agent_hierarchy")
    path = (
        tuple(mend(as_text(name)) for name in hierarchy)
        if isinstance(hierarchy, list | tuple)
        else above
    )
    duration = as_number(message.get("duration"))
    return Event(
        type=kind,
        data=data,
        node=node,
        agent=agent,
        path=path[:-1] if path and path[-1] == agent else path,
        duration=None if duration is None else float(duration),
    )


class Texts(NamedTuple):
    """The texts by name; fields in braces are filled in."""

    tool_call: str = "调用了 {tool_name} 工具"
    section_complete: str = "完成章节: {title}"
    research_found: str = "发现研究资料: {title}"
    interrupt_waiting: str = "等待用户响应"
    interrupt_approved: str = "操作已批准: {action}"
    interrupt_rejected: str = "操作已取消"
    agent_complete: str = "{agent}任务完成"

    @classmethod
    def of(cls, templates: Mapping[str, str] | None) -> "Texts":
        """Return the texts with some of them replaced, by their names.

        Raises:
            InvalidValue: a text is unknown, or cannot be filled in.
        """
        given = dict(templates or {})
        if not given.keys() <= set(cls._fields):
            raise InvalidValue(f"expected texts for {', '.join(cls._fields)}; got {list(given)}")
        for name, text in given.items():
            try:
                text.format(tool_name="", title="", action="", agent="")
            except (LookupError, ValueError, AttributeError) as error:
                raise InvalidValue(f"the text for {name} cannot be filled in: {error!r}") from None
        return cls(**given)
