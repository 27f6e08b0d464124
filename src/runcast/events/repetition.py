"""A bounded memory of messages, to recognise repetitions.

A message repeats an earlier one if both have the same subject and the same content, however much
time lies between them. These messages can be repeated:

| message | subject | content |
|---|---|---|
| `reasoning` | its node, agent and text | |
| `interrupt_request` | its `interrupt_id`; its node and agent without one | action, message, args |

Pieces of a streamed text are not messages: a token may come twice.
"""

import hashlib
from typing import Any, Final

import msgspec

from runcast.events.model import Event
from runcast.events.vocabulary import pick

__all__ = ("MAX_SEEN", "Seen")

MAX_SEEN: Final = 1024
"""A repetition is recognised among this many of the latest distinct messages."""

_QUESTION_ENDS: Final = frozenset({"interrupt_response", "interrupt_resolved"})


class Seen:
    """The latest distinct messages, as digests."""

    __slots__ = ("_said",)

    def __init__(self) -> None:
        self._said: dict[bytes, bytes] = {}  # the last content, by subject

    def copy(self) -> "Seen":
        """Return an independent copy."""
        copied = Seen()
        copied._said = dict(self._said)
        return copied

    def is_repetition(self, event: Event) -> bool:
        """Return whether a message repeats an earlier one, and remember it."""
        found = _subject_and_content(event)
        if found is None:
            return False
        about, said = found
        is_repeated = self._said.pop(about, None) == said
        self._said[about] = said
        if len(self._said) > MAX_SEEN:
            del self._said[next(iter(self._said))]
        return is_repeated

    def forget(self, event: Event) -> None:
        """Forget a message, so that the same message is no repetition."""
        found = _subject_and_content(event)
        if found is not None:
            self._said.pop(found[0], None)

    def close_question(self, event: Event) -> None:
        """Forget a question that this event answers or ends, so that it may be asked again."""
        if event.type in _QUESTION_ENDS and isinstance(event.data, dict):
            self._said.pop(_question(event, event.data), None)


def _subject_and_content(event: Event) -> tuple[bytes, bytes] | None:
    """Return a message's subject and content, or None if it can never be a repetition."""
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
