"""The newest part of one watched log: a window of committed pages, and who is to be told of more.

A watcher is a cursor: a number. It takes what follows its cursor from the window; watchers that stand
at the same place take the same bytes, joined once. A cursor behind the window reads history from the
store, page by page, and meets the window without a seam: pages carry their `seq`, and everything here
happens on the loop's thread, so that nothing is published between a look and the wait that follows it.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from runcast.errors import RuncastError
from runcast.events.position import Position
from runcast.stores.base import PAGE_BYTES, Appended, LogInfo, Page

__all__ = ("Tail",)

_JOINS: Final = 16
"""Distinct cursors whose join is remembered between two commits."""


class Tail:
    """The window of one log, and the watchers that follow it. Lives as long as it has watchers."""

    __slots__ = (
        "_joined",
        "closed",
        "epoch",
        "error",
        "follow_again",
        "following",
        "head",
        "known",
        "pages",
        "run_id",
        "size",
        "watchers",
    )

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.epoch = ""
        self.head = 0
        self.closed = False
        self.error: RuncastError | None = None
        """Why watchers must leave; None while all is well."""
        self.following = self.follow_again = False
        self.known = False
        """Whether epoch and head are known: a commit or a look at the store came by."""
        self.pages: deque[Page] = deque()
        self.size = 0
        self.watchers: set[Callable[[], None]] = set()
        self._joined: dict[int, Page] = {}

    @property
    def position(self) -> Position:
        """The position of the last event known."""
        return Position(self.epoch, self.head)

    def learn(self, info: LogInfo) -> None:
        """Take over what the store knows, without its events: watchers read those themselves."""
        if self.known and info.epoch < self.epoch:
            return  # read before an epoch that began since
        if info.epoch != self.epoch:
            self.begin(info.epoch)
        if info.head > self.head:
            self.clear()
            self.head = info.head
        self.known = True
        if info.closed and info.head == self.head:
            self.closed = True

    def wake(self) -> None:
        """Wake all watchers."""
        for wake in tuple(self.watchers):
            wake()

    def begin(self, epoch: str) -> None:
        """Begin a new epoch; what the window held is over."""
        self.epoch, self.head, self.closed = epoch, 0, False
        self.clear()

    def clear(self) -> int:
        """Empty the window; watchers read the store instead. Returns the bytes freed."""
        freed, self.size = self.size, 0
        self.pages.clear()
        self._joined.clear()
        return freed

    def publish(self, appended: Appended) -> int:
        """Take over committed pages. Returns the bytes added."""
        if self.known and appended.epoch < self.epoch:
            return 0
        if appended.epoch != self.epoch:
            self.begin(appended.epoch)
        held = self.size
        for page in appended.pages:
            if page.last <= self.head:
                continue  # seen already, through the store
            if page.first <= self.head:
                page = page.after(self.head)
            elif page.first > self.head + 1 and self.pages:
                self.clear()  # another process appended in between: a new window begins
            self.pages.append(page)
            self.size += len(page.frames)
            self.head = page.last
        self._joined.clear()
        self.known = True
        if appended.closed and appended.last >= self.head:
            self.head = appended.last
            self.closed = True
        return self.size - held

    def shrink(self, limit: int) -> int:
        """Drop the oldest pages until at most `limit` bytes are held. Returns the bytes freed."""
        freed = 0
        while self.size > limit and self.pages:
            freed += len(self.pages[0].frames)
            self.size -= len(self.pages.popleft().frames)
        if freed:
            self._joined.clear()
        return freed

    def take(self, seq: int) -> Page | None:
        """Return what the window has after `seq`, up to a page; None if the store must be asked."""
        page = self._joined.get(seq)
        if page is not None:
            return page
        if not self.pages or seq + 1 < self.pages[0].first:
            return None
        page = self._join(seq)
        if len(self._joined) < _JOINS:
            self._joined[seq] = page
        return page

    def _join(self, seq: int) -> Page:
        # From the newest backwards: nearly every cursor is near the end.
        behind: list[Page] = []
        for page in reversed(self.pages):
            if page.last <= seq:
                break
            behind.append(page)
        if behind[-1].first <= seq:
            behind[-1] = behind[-1].after(seq)
        chosen = [behind.pop()]
        size = len(chosen[0].frames)
        while behind and size + len(behind[-1].frames) <= PAGE_BYTES:
            chosen.append(behind.pop())
            size += len(chosen[-1].frames)
        last = chosen[-1].last
        frames = b"".join([page.frames for page in chosen])
        return Page(self.epoch, seq + 1, last, frames, self.closed and last >= self.head)
