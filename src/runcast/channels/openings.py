"""When a new message is worth sending, and what it says first. Pure.

A new message notifies people, so it waits for words. If nobody knows what became of an earlier one,
it waits for more of them, because part of the text may be there already; but not for long, because
the first message may be missing as well.

Source: ours.
"""

from typing import Final, NamedTuple

from runcast.channels.capability import Capability
from runcast.channels.document import Document
from runcast.channels.layout import Layout, Page, Wanted
from runcast.channels.searches import Searches

__all__ = ("Opening", "Openings")

_FIRST_CHARS: Final = 30
_FIRST_WAIT_S: Final = 0.5
"""A new message waits for so much text or so long: its notification should carry words, and people
should see something within a second."""

_AGAIN_CHARS: Final = 120
_AGAIN_S: Final = 0.15
"""Length of a text that is sent once more while it grows, because nobody knows what became of its
first message; and how long such a text waits at most. Four times as much, and twice as long, for
each further one: a server that is away for a while shall not leave a message of each try. To wait
longer at first leaves no fewer messages, and people see the text later."""

_BURST_CHARS: Final = 200
_BURST_IDLE_S: Final = 1.0
"""Without edits a message is sent behind a tool's line if there is so much text, or no more text
comes for so long. Otherwise many short calls of tools would be many messages."""

_LEADS: Final = 4
"""How many messages may begin with a part of a whole text; each may remain as a stray. After so
many the whole text is sent, and the receipt says if nobody knows what became of it."""


class Opening(NamedTuple):
    """What a new message says."""

    wanted: Wanted
    shown_end: int
    """How far the segment's text is shown then."""
    is_final: bool


class Openings:
    """Decides when the pages of one delivery become messages."""

    def __init__(
        self, capability: Capability, document: Document, layout: Layout, searches: Searches
    ) -> None:
        self._capability = capability
        self._document = document
        self._layout = layout
        self._searches = searches
        self._grown_at: dict[int, tuple[int, float]] = {}

    def is_worth(self, page: Page, wanted: Wanted, now: float) -> bool:
        """Return whether a page's text is enough for a new message."""
        if self._layout.is_complete(page):
            return page.state == "new" or page.attempted != wanted.digest
        if self._is_in_doubt(page):
            if len(wanted.text) >= _AGAIN_CHARS << 2 * _lost_before(page):
                return True
            due = self.when_worth(page, wanted, now)
            return due is not None and now >= due
        has_waited = page.first_seen is not None and now >= page.first_seen + _FIRST_WAIT_S
        return has_waited or len(wanted.text) >= _FIRST_CHARS

    def when_worth(self, page: Page, wanted: Wanted, now: float) -> float | None:
        """Return when a page's text is worth a new message if it does not grow; None if never.

        A message that may be there could be the whole text, until the text has grown.
        """
        since = now if page.first_seen is None else page.first_seen
        if not self._is_in_doubt(page):
            return since + _FIRST_WAIT_S
        if page.state == "uncertain" and page.attempted == wanted.digest:
            return None
        return since + _AGAIN_S * (1 << _lost_before(page))

    def first(self, page: Page, wanted: Wanted) -> Opening:
        """Return what a new message says.

        Once an answer was lost, or a message deleted, the text is not sent at once where nobody
        would know what became of it: its beginning is sent, and an edit adds the rest. If that
        answer is lost, too, another message begins. The one that may remain has no end, so the
        end is there once.
        """
        layout, capability = self._layout, self._capability
        has_lead = capability.can_edit and not self._searches.settles and not capability.is_notice
        if has_lead and not page.old_message_id and 0 < page.generation <= _LEADS:
            return Opening(*layout.lead(page), False)
        return Opening(wanted, layout.shown_end(page), layout.is_complete(page))

    def _is_in_doubt(self, page: Page) -> bool:
        """Return whether part of a page's text may be there already, in another message."""
        is_again = bool(page.generation) and not self._searches.settles
        return page.state == "uncertain" or is_again

    # Channels that cannot edit.

    def is_flushed(self, page: Page, now: float) -> bool:
        """Return whether a page's text is sent by a channel that cannot edit; perhaps the page
        ends before the present text does."""
        if self._capability.is_quiet:
            segment = self._layout.segment(page)
            later = self._document.segments[page.segment + 1 :]
            has_followed = bool(segment.question_id) or any(each.question_id for each in later)
            return self._document.has_ended or has_followed
        if self._layout.is_complete(page):
            return True
        due = self.when_flushed(page, now)
        if due is None or due > now:
            return False
        self._layout.finish(page, self._layout.segment(page).boundary)
        return True

    def when_flushed(self, page: Page, now: float) -> float | None:
        """Return when a page's text is sent if it does not grow; None if never."""
        segment = self._layout.segment(page)
        if self._capability.is_quiet or segment.boundary <= page.start:
            return None
        size, at = self._grown_at.get(page.segment, (-1, now))
        if size != len(segment.text):
            at = now
            self._grown_at[page.segment] = len(segment.text), now
        return now if segment.boundary - page.start >= _BURST_CHARS else at + _BURST_IDLE_S


def _lost_before(page: Page) -> int:
    """Return how many messages of a page were given up before the last one that was lost."""
    return page.generation if page.state == "uncertain" else page.generation - 1
