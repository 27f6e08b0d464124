"""The end of a run as a new message: people are notified of a message, and not of an edit. Pure.

When the run has ended, its last page may get a new message, and the message that grew so far is
deleted some seconds after the new one is there. If the new message is refused, the old one stays,
and an edit shows the end.

Source: ours.
"""

from typing import Any, Final, Literal

from runcast.channels.capability import Capability
from runcast.channels.document import Document
from runcast.channels.layout import Layout, Page

__all__ = ("Finish", "Replacement")

Finish = Literal["auto", "in_place", "fresh"]

_FRESH_AFTER_S: Final = 30.0
"""Age of a message from which on the answer is worth a new notification."""

_DWELL_S: Final = 4.0
"""How long the new message is there before the old one goes: clients must have loaded it."""


class Replacement:
    """Replaces the last message of one delivery, at most once.

    Args:
        finish: see `Engine`.
    """

    def __init__(
        self, capability: Capability, document: Document, layout: Layout, finish: Finish
    ) -> None:
        self.delete_at = 0.0
        """No message is deleted before this time."""
        self._capability = capability
        self._document = document
        self._layout = layout
        self._finish: Finish = finish
        self._is_decided = False

    def begin(self, now: float) -> None:
        """Have a new message for the last page, if that is wanted: once, when the run has ended."""
        if self._is_decided or not self._document.has_ended:
            return
        self._is_decided = True
        layout, capability = self._layout, self._capability
        pages = [page for page in layout if layout.wanted(page).text]
        page = pages[-1] if pages else None
        can = capability.can_edit and capability.can_delete and self._finish != "in_place"
        if page is None or not can or page.state != "live" or layout.segment(page).question_id:
            return
        is_old = now >= page.sent_at + _FRESH_AFTER_S
        if self._finish == "fresh" or (capability.is_idempotent and is_old):
            page.old_message_id = page.message_id
            page.renew()

    def complete(self, page: Page, now: float) -> None:
        """Have the old message of a page deleted in a moment, if there is one: the new one is
        there."""
        if page.old_message_id:
            self._layout.surplus.append(page.old_message_id)
            page.old_message_id, self.delete_at = "", now + _DWELL_S

    def cancel(self, page: Page) -> None:
        """Keep the old message of a page."""
        page.message_id, page.old_message_id, page.state = page.old_message_id, "", "live"

    # Across restarts.

    def save(self) -> dict[str, Any]:
        """Return whether the message was replaced, and when the old one goes, as JSON."""
        return {"is_refreshed": self._is_decided, "delete_at": self.delete_at}

    def load(self, saved: dict[str, Any], shift: float) -> None:
        """Take over what `save` returned; times are moved by `shift`."""
        self._is_decided = bool(saved["is_refreshed"])
        self.delete_at = float(saved["delete_at"]) + shift
