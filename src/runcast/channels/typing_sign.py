"""When a chat shows that somebody writes. Pure.

The sign is shown while the run works, and repeated before the platform lets it go out. It is taken
back at the end where the platform does not do so by itself.

Source: ours.
"""

from runcast.channels.actions import Typing
from runcast.channels.capability import Capability
from runcast.channels.document import Document

__all__ = ("TypingSign",)


class TypingSign:
    """The sign of writing of one delivery."""

    def __init__(self, capability: Capability, document: Document) -> None:
        self._capability = capability
        self._document = document
        self._shown_at: float | None = None

    def next(self, now: float) -> Typing | float | None:
        """Return the sign if it is due, or when it is, or None if it is not wanted now."""
        capability, document = self._capability, self._document
        if not capability.can_type or document.has_ended or document.is_waiting:
            return None
        due = now if self._shown_at is None else self._shown_at + capability.typing_s
        if due > now:
            return due
        self._shown_at = now
        return Typing(True)

    def take_back(self) -> Typing | None:
        """Return the end of the sign, once, if the chat shows it until it is taken back."""
        if not self._capability.stops_typing or self._shown_at is None:
            return None
        self._shown_at = None
        return Typing(False)

    def settle(self, action: Typing, now: float) -> None:
        """Note when the call for the sign ended. A sign that failed is not worth another try."""
        self._shown_at = now if action.is_on else None
