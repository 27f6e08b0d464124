"""What was said before: bounded memory for messages that may come again.

A message repeats one before it if both are about the same and say the same of it, however much
time lies between them. These can be repeated:

| message | is about | and says |
|---|---|---|
| `reasoning` | its node, agent and text | |
| `interrupt_request` | its `interrupt_id`; its node and agent without one | action, message, args |

Pieces of a streamed text are not messages: a token may well come twice.
"""

import hashlib
from typing import Any, Final

import msgspec

from runcast.events.model import Event
from runcast.events.vocabulary import pick

__all__ = ("MAX_SEEN", "Seen")

MAX_SEEN: Final = 1024
"""Repetitions are looked for among this many of the latest distinct messages."""

_QUESTION_ENDS: Final = frozenset({"interrupt_response", "interrupt_resolved"})


class Seen:
    """The latest distinct messages, as digests."""

    __slots__ = ("_said",)

    def __init__(self) -> None:
        self._said: dict[bytes, bytes] = {}  # what was said last, by what it was about

    def copy(self) -> "Seen":
        """Return a memory that can be changed without changing this one."""
        copied = Seen()
        copied._said = dict(self._said)
        return copied

    def is_repetition(self, event: Event) -> bool:
        """Tell whether a message repeats one before it, and remember it."""
        told = _told(event)
        if told is None:
            return False
        about, said = told
        is_repeated = self._said.pop(about, None) == said
        self._said[about] = said
        if len(self._said) > MAX_SEEN:
            del self._said[next(iter(self._said))]
        return is_repeated

    def forget(self, event: Event) -> None:
        """Let a message be said again, as if it had not been."""
        told = _told(event)
        if told is not None:
            self._said.pop(told[0], None)

    def close_question(self, event: Event) -> None:
        """Let a question be asked again in the same words, if this event answers or ends it."""
        if event.type in _QUESTION_ENDS and isinstance(event.data, dict):
            self._said.pop(_question(event, event.data), None)


def _told(event: Event) -> tuple[bytes, bytes] | None:
    """Return what a message is about and what it says; None if nothing can repeat it."""
    data = event.data if isinstance(event.data, dict) else {}
    if event.type == "reasoning" and not {"message_id", "index"} & data.keys():
        text = pick(data, "text", "content") if data else event.data
        if isinstance(text, str) and text:
            return _digest("reasoning", event.node, event.agent, text), b""
    if event.type == "interrupt_request":
        said = (data.get("action"), pick(data, "message", "content"), data.get("args"))
        return _question(event, data), _digest(*said)
    return None


def _question(event: Event, data: dict[str, Any]) -> bytes:
    interrupt_id = data.get("interrupt_id")
    if isinstance(interrupt_id, str) and interrupt_id:
        return _digest("interrupt", interrupt_id)
    return _digest("interrupt", "", event.node, event.agent)


def _digest(*values: object) -> bytes:
    return hashlib.blake2b(_encode(values), digest_size=16).digest()


_encode: Final = msgspec.json.Encoder(order="deterministic").encode
