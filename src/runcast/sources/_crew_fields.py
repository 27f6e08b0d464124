"""Fields of CrewAI's events, in the form that events of a run have."""

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from runcast.events.plain import cut
from runcast.events.vocabulary import as_number, as_text, pick

__all__ = (
    "Key",
    "Opened",
    "arguments_of",
    "count_of",
    "key_of",
    "place_of",
    "plain_name",
    "seconds_between",
    "short_name",
    "short_text",
    "text_of_message",
)

Key = tuple[str, str]
"""The ids of a task and an agent."""

_MAX_OPEN: Final = 4096
"""Most scopes and tool calls that are remembered; more are never open at once."""

_MAX_NAME_CHARS: Final = 80
_MAX_TEXT_CHARS: Final = 16_384
"""Longest text that is not a model's own: more than anybody reads."""

_SEPARATOR: Final = re.compile(r"[^a-z0-9]+")


class Opened(OrderedDict[str, Any]):
    """What is open, by the id of the event that began it; the oldest is forgotten."""

    def note(self, event_id: object, value: object = True) -> None:
        """Remember a value."""
        self[str(event_id)] = value
        if len(self) > _MAX_OPEN:
            self.popitem(last=False)

    def take(self, event_id: object) -> Any:
        """Return a value and forget it; None if it is unknown."""
        return self.pop(str(event_id), None)


def key_of(event: Any) -> Key:
    """Return the ids of an event's task and agent; their names where an event has no ids."""
    task, agent = getattr(event, "task", None), getattr(event, "agent", None)
    return (
        str(event.task_id or getattr(task, "id", "") or event.task_name or ""),
        str(event.agent_id or getattr(agent, "id", "") or event.agent_role or ""),
    )


def place_of(event: Any) -> tuple[str, str]:
    """Return the node and the agent of an event."""
    return short_name(event.task_name), short_name(event.agent_role)


def short_name(text: object) -> str:
    """Return the name of a task or an agent: one line, not too long."""
    return _short_name(text) if isinstance(text, str) else ""


@lru_cache(maxsize=1024)  # for every event
def _short_name(text: str) -> str:
    lines = text.strip().splitlines()
    return cut(lines[0], _MAX_NAME_CHARS) if lines else ""


def plain_name(tool: str) -> str:
    """Return a tool's name in the form that is equal however CrewAI and the model write it."""
    return _SEPARATOR.sub("_", tool.lower()).strip("_")


def short_text(value: object) -> str:
    """Return a value as text, not too long."""
    return cut(as_text(value), _MAX_TEXT_CHARS)


def arguments_of(args: object) -> object:
    """Return a tool's arguments: an object, or the text that a model wrote instead."""
    if isinstance(args, Mapping):
        return args
    text = short_text(args)
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, dict) else text


def text_of_message(message: object) -> str:
    """Return the text of a message for a model."""
    content = message.get("content") if isinstance(message, Mapping) else None
    return content if isinstance(content, str) else as_text(content)


def seconds_between(start: Any, end: Any) -> float | None:
    """Return the seconds between two times; None if one of them is unknown."""
    try:
        return max(0.0, float((end - start).total_seconds()))
    except (AttributeError, TypeError):
        return None


def count_of(usage: Mapping[str, Any], *names: str) -> int:
    """Return a count of tokens under the first of these names; 0 without one."""
    number = as_number(pick(dict(usage), *names))
    return int(number) if number is not None and number > 0 else 0
