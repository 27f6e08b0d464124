"""What a channel can do, as data. The engine decides by these numbers alone.

Lengths are counted in the channel's own unit, because a limit in another unit is wrong for emoji,
for Chinese, or for both.
"""

from dataclasses import dataclass
from typing import Final, Literal

from runcast.errors import InvalidValue

__all__ = ("MIN_LIMIT", "Capability", "Unit", "measure")

Unit = Literal["utf16", "codepoint", "utf8"]

MIN_LIMIT: Final = 64
"""Shortest limit of a message: below this number, reopened code fences leave no room for text."""

_BYTES_OF_UNIT: Final = 2


def measure(text: str, unit: Unit) -> int:
    """Return a text's length in a unit. Half surrogates, which no channel takes, count as three
    bytes, or as one of the other units."""
    if unit == "codepoint":
        return len(text)
    if unit == "utf8":
        return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    if text.isascii():
        return len(text)
    return len(text.encode("utf-16-le", "surrogatepass")) // _BYTES_OF_UNIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """What a channel can do, and how much of it. Times in seconds.

    Raises:
        InvalidValue: `limit` is too small, or more slots are reserved than there are.
    """

    limit: int
    """Longest text of a message."""
    unit: Unit = "codepoint"
    can_edit: bool = True
    """Whether a sent message can be changed. If not, whole messages are sent: at a tool call, at a
    question and at the end."""
    can_delete: bool = True
    can_type: bool = False
    """Whether the channel shows that somebody writes."""
    typing_s: float = 5.0
    """How often the sign that somebody writes must be repeated."""
    stops_typing: bool = False
    """Whether that sign must be taken back, and does not end with the next message."""
    has_buttons: bool = False
    takes_replies: bool = False
    """Whether the bot sees texts that reply to its messages. Then a text answers a question for a
    text, and without buttons a number answers a question."""
    hears_texts: bool = False
    """Whether the bot sees texts that are written to it, and that name no message: then a number
    answers the question of the only run that is delivered to the chat."""
    is_idempotent: bool = False
    """Whether a send with the same key, sent again, makes no second message."""
    idempotent_s: float = 0.0
    """How long the platform knows a key; 0: no limit. After that a send that got no answer is not
    repeated, because it could make a second message."""
    can_find: bool = False
    """Whether the channel can find the message of a send that got no answer."""
    is_quiet: bool = False
    """Whether only questions and the end are worth a message: e-mail."""
    is_notice: bool = False
    """Whether the channel takes short notices alone. Then deliveries to it show `notice`."""
    interval_s: float = 1.0
    """Pause between two calls for text that grows. It becomes longer when the server refuses."""
    slots: int = 60
    """Calls to one scope in `window_s`."""
    window_s: float = 60.0
    reserved: int = 3
    """Slots that only questions, decisions and endings use."""
    counts_apart: bool = False
    """Whether the platform counts sends, edits and other calls apart: each with its own slots."""
    max_edits: int = 0
    """Edits that one message takes; 0: no limit. Then the text continues in a new message."""
    closes_messages: bool = False
    """Whether a message must be closed when its text has ended: its last edit is then made even if
    it changes no text."""
    lifetime_s: float = 0.0
    """How long a message takes edits; 0: no limit. Shortly before, a new message begins."""

    def __post_init__(self) -> None:
        if self.limit < MIN_LIMIT:
            raise InvalidValue(f"expected limit >= {MIN_LIMIT}, got {self.limit}")
        if not 0 <= self.reserved < self.slots:
            raise InvalidValue(f"expected 0 <= reserved < slots, got {self.reserved}, {self.slots}")
        times = (self.interval_s, self.max_edits, self.lifetime_s, self.idempotent_s)
        if min(times) < 0 or self.window_s <= 0:
            raise InvalidValue("expected times and counts that are not negative")
