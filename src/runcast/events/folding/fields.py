"""The fields of one event, as the fold reads them: cut to the caps, and each cut counted."""

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from runcast.events import snapshot as caps
from runcast.events.model import Event
from runcast.events.plain import MAX_DEPTH
from runcast.events.snapshot import Snapshot
from runcast.events.vocabulary import as_number, as_text, is_deeper, pick

__all__ = ("Fields", "Law", "push")


class Fields:
    """The fields of one event, cut to the caps. Each cut is counted once, when the field is
    read."""

    __slots__ = ("agent", "data", "dropped", "duration", "node", "seq", "time", "type")

    def __init__(self, snapshot: Snapshot, event: Event) -> None:
        self.dropped = snapshot.dropped
        self.data: object = event.data
        self.duration: object = event.duration
        self.seq = event.seq
        self.time = float(as_number(event.time) or 0.0)
        self.type = self.cut(event.type)
        self.node = self.cut(event.node)
        self.agent = self.cut(event.agent)

    def name(self, *names: str) -> str:
        """Return the first of these fields as a name, or ""."""
        return self.cut(pick(self.data, *names))

    def attempt(self) -> int:
        """Return which try the event is part of, from 1."""
        attempt = as_number(pick(self.data, "attempt"))
        return attempt if isinstance(attempt, int) and attempt >= 1 else 1

    def count(self, name: str) -> int:
        """Return a field as a whole number from 0; 0 if it is something else."""
        number = as_number(pick(self.data, name))
        return number if isinstance(number, int) and number > 0 else 0

    def message(self, *names: str) -> str:
        """Return the event's text for people: its data if that is a string, else a field."""
        data = self.data
        fields = data if isinstance(data, str) else pick(data, *names, "message", "content")
        return self.cut(fields, caps.MAX_MESSAGE_CHARS)

    def cut(self, value: object, most_chars: int = caps.MAX_NAME_CHARS) -> str:
        text = as_text(value)
        over = len(text) - most_chars
        if over <= 0:
            return text
        self.dropped.chars += over
        return text[:most_chars]

    def kept(self, value: object, most_chars: int) -> tuple[Any, int]:
        """Return a copy of a value, or the beginning of its text, and how many chars were cut."""
        if value is None or isinstance(value, bool):
            return value, 0
        text = as_text(value)
        over = max(0, len(text) - most_chars)
        if over or isinstance(value, str):
            self.dropped.chars += over
            return text[:most_chars], over
        try:
            copy = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):  # not JSON, so its text is kept
            return text, 0
        return (text if is_deeper(copy, MAX_DEPTH) else copy), 0


Law: TypeAlias = Callable[[Snapshot, Fields], None]
"""Changes a snapshot by one event."""


def push(entries: list[Any], entry: object, most: int) -> int:
    """Append to a list, keep its last `most` entries, and return how many were dropped."""
    entries.append(entry)
    over = max(0, len(entries) - most)
    del entries[:over]
    return over
