"""What a delivery may say for certain about what it did: its receipt, and the doubts. Pure.

Source: ours.
"""

from collections.abc import Mapping
from typing import Any

from runcast.channels.layout import Layout
from runcast.channels.outcome import CallOutcome, Receipt, ReceiptStatus

__all__ = ("Verdict", "may_be_shown")


class Verdict:
    """What is known of one delivery as a whole; in the end, its receipt."""

    def __init__(self, layout: Layout) -> None:
        self.receipt: Receipt | None = None
        """How the delivery ended; None before that."""
        self._layout = layout
        self._doubts = ""
        self._may_be_shown = False

    def note_send(self, outcome: CallOutcome) -> None:
        """Note the outcome of a send: from the first message on, people may have read it."""
        if outcome.kind in ("ok", "same", "uncertain"):
            self._may_be_shown = True

    def doubt(self, reason: str) -> None:
        """Note why the chat may differ from the document; the receipt names the last reason."""
        self._doubts = reason

    def conclude(self) -> None:
        """Write the receipt of a delivery whose messages show all that they can."""
        layout = self._layout
        shown = [page for page in layout if layout.wanted(page).text]
        if not self._doubts and any(page.state == "uncertain" for page in shown):
            self._doubts = "the platform did not say whether it has taken a message"
        ids = tuple(page.message_id for page in shown if page.message_id)
        status: ReceiptStatus = "uncertain" if self._doubts else "delivered"
        self.receipt = Receipt(status, ids, self._doubts, layout.strays)

    def fail(self, reason: str) -> None:
        """Write the receipt of a delivery that cannot go on."""
        ids = tuple(page.message_id for page in self._layout if page.message_id)
        self.receipt = Receipt("failed", ids, reason, self._layout.strays, self._may_be_shown)

    def unshown(self) -> str:
        """Return the text that no message shows for certain, as Markdown."""
        missing = []
        for page in self._layout:
            wanted = self._layout.wanted(page)
            if page.state != "sealed" and page.shown != wanted.state:
                text = self._layout.segment(page).text
                start = page.shown_end if page.state == "live" else page.start
                missing.append(text[start : page.end])
        return "".join(missing)

    # Across restarts.

    def save(self) -> dict[str, Any]:
        """Return the doubts, as JSON. A delivery with a receipt is not continued."""
        return {"doubts": self._doubts, "may_be_shown": self._may_be_shown}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Take over what `Engine.save` returned."""
        self._doubts = str(saved["doubts"])
        self._may_be_shown = may_be_shown(saved)


def may_be_shown(saved: Mapping[str, Any]) -> bool:
    """Return whether a message may be in the chat, from what `Engine.save` returned."""
    # Older processes did not save it.
    return saved["flight"] is not None or bool(saved.get("may_be_shown", True))
