"""The call in flight: the calls for pages, and what is remembered of one without an outcome. Pure.

Source: ours.
"""

from typing import Any, NamedTuple

from runcast.channels.actions import Action, Edit, Find, Send
from runcast.channels.budget import CallGroup
from runcast.channels.layout import Layout, Page, Wanted
from runcast.channels.openings import Opening

__all__ = ("Flight", "Flights", "Sent")


class Sent(NamedTuple):
    """What is remembered of a send whose outcome is not known: enough to go on without it."""

    digest: str
    """The `Wanted.digest` of what the send says."""
    at: float
    shown_end: int
    """How far the message would show the segment's text."""

    def save(self, page: Page) -> list[Any]:
        """Return the send of a page's message, as JSON."""
        return [page.number, self.digest, self.at, self.shown_end]

    @classmethod
    def load(cls, saved: list[Any], shift: float) -> tuple[int, "Sent"]:
        """Return the page's number and the send from what `save` returned; times are moved by
        `shift`."""
        number, digest, at, *ends = saved  # older processes saved no end
        return int(number), cls(str(digest), float(at) + shift, int(ends[0]) if ends else 0)


class Flight(NamedTuple):
    """An action whose outcome is awaited."""

    action: Action
    at: float
    """When the action was returned."""
    page: Page | None = None
    """The page whose message is sent, edited or looked for; None if the action is for no page."""
    shown_end: int = 0
    """How far the message shows the segment's text, once the action is done."""

    @property
    def group(self) -> CallGroup:
        """What a platform that counts calls apart counts the action with."""
        if isinstance(self.action, Send):
            return "send"
        return "edit" if isinstance(self.action, Edit) else "other"

    def sent(self, layout: Layout) -> Sent | None:
        """Return what to remember of a send; None for other actions."""
        if not isinstance(self.action, Send):
            return None
        return Sent(layout.said_by(self.action).digest, self.at, self.shown_end)


class Flights:
    """Makes the calls for the pages of one delivery.

    Args:
        key: see `Engine`.
    """

    def __init__(self, key: str, layout: Layout) -> None:
        self._key = key
        self._layout = layout

    def send(self, page: Page, opening: Opening, now: float) -> Flight:
        """Return the send of a page's message."""
        send = Send(
            page.number,
            self._key_of(page),
            opening.wanted.text,
            opening.wanted.buttons,
            page.is_plain,
            opening.is_final,
            self._layout.segment(page).question_id,
        )
        return Flight(send, now, page, opening.shown_end)

    def edit(self, page: Page, wanted: Wanted, now: float) -> Flight:
        """Return the edit of a page's message."""
        layout = self._layout
        edit = Edit(
            page.number,
            page.message_id,
            wanted.text,
            wanted.buttons,
            page.is_plain,
            layout.is_complete(page),
            layout.segment(page).question_id,
        )
        return Flight(edit, now, page, layout.shown_end(page))

    def find(self, page: Page, now: float) -> Flight:
        """Return the search for the message of a page's lost send."""
        return Flight(Find(self._key_of(page), max(0.0, now - page.attempted_at)), now, page)

    def _key_of(self, page: Page) -> str:
        return f"{self._key}.{page.number}.{page.generation}"
