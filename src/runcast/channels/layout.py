"""The pages of a document: which text belongs into which message.

Every page has a place in the text of one segment. A page is full when its end is known; the last
page of a segment has no end yet. If the text changes before that, the pages from there on are laid
out again, and take over the messages that are there.

A sealed page cannot be changed any more: the channel has no edits, the message is too old, or
nobody knows its id. What it does not show begins the next page.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

import msgspec

from runcast.channels.actions import Edit, Send
from runcast.channels.capability import MIN_LIMIT
from runcast.channels.document import Button, Document, Segment
from runcast.channels.pages import (
    Room,
    boundary,
    find_end,
    is_blank,
    opening_after,
    page_text,
    preview_end,
)

__all__ = ("Layout", "Page", "PageState", "Wanted")

PageState = Literal["new", "live", "sealed", "uncertain"]

_LEAST_LEAD_CHARS: Final = 30
"""Shortest beginning of a text that is worth showing alone."""

_NO_WORDS: Final = "…"
"""What a message shows until the text follows, if the text is too short to be parted."""


class Wanted(NamedTuple):
    """What a message shall show."""

    text: str
    buttons: tuple[Button, ...]
    is_closed: bool = False
    """Whether the platform knows that the text has ended, where it must know."""

    @property
    def digest(self) -> str:
        """Equal for equal messages, whether they are closed or not."""
        said = "\0".join([self.text, *(button.answer for button in self.buttons)])
        return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def state(self) -> str:
        """The digest, and whether the message is closed: what `Page.shown` is to become."""
        return f"{self.digest}." if self.is_closed else self.digest


class Page(msgspec.Struct):
    """One message: its text's place, and what is known of it in the chat."""

    number: int
    segment: int
    start: int
    opening: str = ""
    end: int | None = None
    state: PageState = "new"
    message_id: str = ""
    shown: str = ""
    """The `Wanted.state` that the message has for certain."""
    shown_end: int = 0
    """How far the segment's text is shown."""
    is_stale: bool = False
    """Whether the message shows text that was replaced since."""
    attempted: str = ""
    """The `Wanted.digest` of what a send without an answer said."""
    attempted_at: float = 0.0
    """When the first such send with the present key began."""
    lost_at: float = 0.0
    """When the last such send ended without an answer."""
    is_mixed: bool = False
    """Whether such sends with the present key said different texts: one of them is there."""
    looks: int = 0
    """How often such a send was looked for without an answer."""
    generation: int = 0
    """How many messages were given up: part of the key of the next send."""
    edits: int = 0
    sent_at: float = 0.0
    first_seen: float | None = None
    strikes: int = 0
    is_plain: bool = False
    old_message_id: str = ""
    """The message that this page replaces, while a fresh one is sent."""
    question_id: str = ""
    """The question that the page shows, noted when it is saved; "" for text."""

    @property
    def may_exist(self) -> bool:
        """Whether there is a message of this page, or may be."""
        return bool(self.message_id or self.attempted) or self.state in ("sealed", "uncertain")

    def renew(self) -> None:
        """Prepare another message for this page."""
        self.state, self.message_id, self.shown, self.edits = "new", "", "", 0
        self.attempted, self.is_mixed, self.is_stale, self.looks = "", False, False, 0
        self.generation += 1


class Layout:
    """The pages of a document, in order.

    Args:
        closes: whether the platform must know that a message's text has ended.
    """

    def __init__(self, document: Document, room: Room, *, closes: bool = False) -> None:
        self.document = document
        self._closes = closes
        self.room = room
        self.surplus: list[str] = []
        """Messages that no page needs any more."""
        self.strays = 0
        """Messages that no page needs any more, and whose ids nobody knows."""
        self._pages: list[list[Page]] = []
        self._grown: list[tuple[int, int]] = []
        self._wanted: dict[int, tuple[object, Wanted]] = {}
        self._number = 0

    def __iter__(self) -> Iterator[Page]:
        for pages in self._pages:
            yield from pages

    def update(self) -> None:
        """Lay out what has come since the last call."""
        for index, segment in enumerate(self.document.segments):
            if index == len(self._pages):
                self._pages.append([self._page(index, 0, "")])
                self._grown.append((-1, -1))
            changed = segment.take_change()
            if changed is not None:
                self.rewind(index, changed)
            size = (len(segment.text), self.room.limit)
            if size != self._grown[index]:
                self._grown[index] = size
                self._grow(index, segment.text, [])

    def segment(self, page: Page) -> Segment:
        """Return a page's segment."""
        return self.document.segments[page.segment]

    def is_complete(self, page: Page) -> bool:
        """Whether a page's text will not grow."""
        if page.end is not None or self.document.has_ended:
            return True
        later = self.document.segments[page.segment + 1 :]
        return any(segment.text for segment in later) or bool(self.segment(page).question_id)

    def is_last(self, page: Page) -> bool:
        """Whether a page is the last one of its segment."""
        return self._pages[page.segment][-1] is page

    def wanted(self, page: Page) -> Wanted:
        """Return what a page's message shall show."""
        segment, is_complete = self.segment(page), self.is_complete(page)
        buttons = segment.buttons if self.is_last(page) else ()
        end = len(segment.text) if page.end is None else page.end
        key = (end, page.start, is_complete, segment.decorations, buttons, segment.text)
        known = self._wanted.get(page.number)
        if known is not None and known[0] == key:
            return known[1]
        text = page_text(segment.text, page.start, end, page.opening, is_preview=not is_complete)
        if not is_complete and not self.room.holds(text):
            text = page_text(segment.text, page.start, end, page.opening)
        is_empty = is_blank(segment.text, page.start, end, page.opening)
        shown = "" if is_empty else text.rstrip().lstrip("\n")
        wanted = Wanted(shown, buttons, self._closes and is_complete)
        self._wanted[page.number] = key, wanted
        return wanted

    def said_by(self, action: Send | Edit) -> Wanted:
        """Return what a message shows after an action."""
        return Wanted(action.text, action.buttons, self._closes and action.is_final)

    def shown_end(self, page: Page) -> int:
        """Return how far a page shows its segment's text, once it shows what is wanted."""
        if page.end is not None:
            return page.end
        text = self.segment(page).text
        is_complete = self.is_complete(page)
        return len(text) if is_complete else preview_end(text, page.start, len(text))

    def lead(self, page: Page) -> tuple[Wanted, int]:
        """Return the beginning of a page's text as a message, without its end, and how far it
        shows the segment's text."""
        text = self.segment(page).text
        size = (len(text) if page.end is None else page.end) - page.start
        end = page.start
        if size >= _LEAST_LEAD_CHARS * 2:
            end = boundary(text, page.start, page.start + size // 2, page.opening)
        shown = page_text(text, page.start, end, page.opening, is_preview=True).strip()
        is_empty = is_blank(text, page.start, end, page.opening)
        if is_empty or not shown or not self.room.holds(shown):
            return Wanted(_NO_WORDS, ()), page.start
        return Wanted(shown, ()), end

    def finish(self, page: Page, end: int | None = None) -> None:
        """End a page before it is full: at `end`, or at the best place in the present text."""
        text = self.segment(page).text
        if end is None:
            end = boundary(text, page.start, len(text), page.opening)
        page.end = end
        self._grow(page.segment, text, [])

    def seal(self, page: Page) -> None:
        """Note that a page's message cannot be changed; the next page shows the rest."""
        if page.is_stale:
            self.give_up(page)
            return
        page.state = "sealed"
        if page.end != page.shown_end:
            page.end = max(page.start, page.shown_end)
            self.rewind(page.segment, page.end)

    def withdraw(self, page: Page) -> None:
        """Give up the message of a page that has no text any more: another attempt replaced it."""
        if page.may_exist and page.state != "sealed" and self.is_complete(page):
            self.give_up(page)

    def give_up(self, page: Page) -> None:
        """Have another message for a page."""
        self._leave(page)
        page.renew()

    def _leave(self, page: Page) -> None:
        if page.message_id:
            self.surplus.append(page.message_id)
        elif page.may_exist:
            self.strays += 1

    def shorten(self, page: Page) -> bool:
        """Make pages shorter, because a message was too long; return False if they cannot be."""
        size = self.room._replace(limit=self.room.limit * 7 // 10)
        if self.room.limit <= MIN_LIMIT:
            return False
        self.room = size._replace(limit=max(size.limit, MIN_LIMIT))
        page.end = None
        self.rewind(page.segment, page.start)
        return True

    def rewind(self, index: int, changed: int) -> None:
        """Lay out a segment again from a place on; messages that are there are used again."""
        pages, text = self._pages[index], self.document.segments[index].text
        at = next(
            (n for n, page in enumerate(pages) if page.end is None or page.end > changed),
            len(pages),
        )
        start, opening = (pages[at].start, pages[at].opening) if at < len(pages) else (-1, "")
        before = pages[at - 1] if at else None
        if before is not None and before.end is not None and before.end != start:
            start = before.end
            opening = opening_after(text, before.start, before.end, before.opening)
        spare = [page for page in pages[at:] if page.state != "sealed"]
        for page in spare:
            page.is_stale = page.is_stale or page.shown_end > min(changed, page.start)
        spoilt = [page for page in pages[at:] if page.state == "sealed"]
        pages[at:] = [self._take(spare, index, start, opening)]
        self._grow(index, text, spare)
        for page in [*spare, *spoilt]:
            self._leave(page)

    def _grow(self, index: int, text: str, spare: list[Page]) -> None:
        pages = self._pages[index]
        if pages[-1].end is not None:
            last = pages[-1]
            opening = opening_after(text, last.start, pages[-1].end, last.opening)
            pages.append(self._take(spare, index, pages[-1].end, opening))
        while True:
            last = pages[-1]
            end = find_end(text, last.start, last.opening, self.room)
            if end is None:
                return
            last.end = end
            opening = opening_after(text, last.start, end, last.opening)
            pages.append(self._take(spare, index, end, opening))

    def _take(self, spare: list[Page], index: int, start: int, opening: str) -> Page:
        if not spare:
            return self._page(index, start, opening)
        page = spare.pop(0)
        page.start, page.opening, page.end = start, opening, None
        return page

    def _page(self, index: int, start: int, opening: str) -> Page:
        self._number += 1
        return Page(self._number, index, start, opening)

    def save(self, also: Page | None = None) -> dict[str, Any]:
        """Return the pages that have been sent, or may have been, as JSON."""
        pages = [page for page in self if page is also or page.may_exist or page.generation]
        for page in pages:
            if page.segment < len(self.document.segments):
                page.question_id = self.segment(page).question_id or page.question_id
        return {
            "limit": self.room.limit,
            "number": self._number,
            "surplus": self.surplus,
            "strays": self.strays,
            "pages": [msgspec.to_builtins(page) for page in pages],
        }

    def load(self, saved: dict[str, Any], shift: float) -> None:
        """Take over saved pages, before the first `update`; times are moved by `shift`."""
        self.room = self.room._replace(limit=min(self.room.limit, int(saved["limit"])))
        self._number = int(saved["number"])
        self.surplus, self.strays = list(saved["surplus"]), int(saved["strays"])
        for page in msgspec.convert(saved["pages"], list[Page]):
            page.sent_at += shift
            page.attempted_at += shift
            page.lost_at += shift
            page.first_seen = None if page.first_seen is None else page.first_seen + shift
            while len(self._pages) <= page.segment:
                self._pages.append([])
                self._grown.append((-1, -1))
            self._pages[page.segment].append(page)
        for index, pages in enumerate(self._pages):
            if not pages:
                pages.append(self._page(index, 0, ""))
