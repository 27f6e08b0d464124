"""The newest part of one watched log: a window of committed pages, and the log's watchers.

A watcher is a cursor: a number. It takes the events after its cursor from the window. Watchers at
the same place take the same bytes, joined once. A cursor behind the window reads history from the
store, page by page, and reaches the window without a gap: pages have their `seq`, and everything
here happens on the loop's thread, so nothing is published between a look and the wait after it.
"""

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from runcast._logs import get_logger
from runcast.events.position import Position
from runcast.stores.base import PAGE_BYTES, Appended, LogInfo, Page

if TYPE_CHECKING:
    from collections.abc import Callable

    from runcast.errors import RuncastError

__all__ = ("Holder", "Tail")

_log: Final = get_logger("runcast.hub")

_JOINS: Final = 16
"""Most cursors whose joined pages are cached between two commits."""


class Holder(Protocol):
    """The owner of the windows of all logs."""

    size: int
    """Bytes in all windows together: each window adds its own."""

    def left(self, tail: "Tail") -> None:
        """Note that a watcher has left a window."""
        ...


class Tail:
    """The window of one log, and the watchers that follow it. Exists while it has watchers."""

    __slots__ = (
        "_holder",
        "_joined",
        "closed",
        "epoch",
        "error",
        "follow_again",
        "following",
        "head",
        "known",
        "newest",
        "pages",
        "run_id",
        "size",
        "watchers",
    )

    def __init__(self, run_id: str, holder: Holder) -> None:
        self._holder = holder
        self.run_id = run_id
        self.epoch = ""
        self.head = 0
        self.closed = False
        self.error: RuncastError | None = None
        """The error that ends the watchers' streams, or None."""
        self.following = self.follow_again = False
        self.known = False
        """Whether epoch and head are known, from a commit or from the store."""
        self.pages: deque[Page] = deque()
        self.newest: Page | None = None
        """The last page."""
        self.size = 0
        self.watchers: dict[object, Callable[[], None]] = {}
        """The watchers, each with the function that wakes it."""
        self._joined: dict[int, Page] = {}

    @property
    def position(self) -> Position:
        """The position of the last event known."""
        return Position(self.epoch, self.head)

    def learn(self, info: LogInfo) -> None:
        """Take over the store's description of the log; watchers read the events themselves."""
        if self.known and info.epoch < self.epoch:
            return  # read before the present epoch began
        if info.epoch != self.epoch:
            self.begin(info.epoch)
        if info.head > self.head:
            self.clear()
            self.head = info.head
        self.known = True
        if info.closed and info.head == self.head:
            self.closed = True

    def leave(self, watcher: object) -> None:
        """Remove a watcher."""
        del self.watchers[watcher]
        self._holder.left(self)

    def wake(self) -> None:
        """Wake all watchers."""
        for wake in tuple(self.watchers.values()):
            try:
                wake()
            except Exception:  # noqa: BLE001 - an error in one watcher must not end all commits
                _log.exception("a watcher of run %s failed", self.run_id)

    def begin(self, epoch: str) -> None:
        """Begin a new epoch; empty the window."""
        self.epoch, self.head, self.closed = epoch, 0, False
        self.clear()

    def clear(self) -> None:
        """Empty the window; watchers read the store instead."""
        self.shrink(0)

    def publish(self, appended: Appended) -> None:
        """Add committed pages."""
        if appended.epoch != self.epoch:
            if self.known and appended.epoch < self.epoch:
                return
            self.begin(appended.epoch)
        for page in appended.pages:
            if page.first != self.head + 1:
                if page.last <= self.head:
                    continue  # already seen in the store
                if page.first <= self.head:
                    page = page.after(self.head)
                elif self.newest is not None:
                    self.clear()  # another process appended in between: begin a new window
            self.pages.append(page)
            self.newest = page
            self._grow(len(page.frames))
            self.head = page.last
        if self._joined:
            self._joined.clear()
        self.known = True
        if appended.closed and appended.last >= self.head:
            self.head = appended.last
            self.closed = True

    def shrink(self, limit: int) -> None:
        """Drop the oldest pages until at most `limit` bytes are held."""
        if self.size > limit:
            self._joined.clear()
        while self.size > limit:
            self._grow(-len(self.pages.popleft().frames))
        if not self.pages:
            self.newest = None

    def _grow(self, size: int) -> None:
        self.size += size
        self._holder.size += size

    def take(self, seq: int) -> Page | None:
        """Return the events after `seq`, up to a page; None if the window does not hold them."""
        page = self.newest
        if page is None:
            return None
        if page.first == seq + 1 and page.closed == self.closed:
            return page  # nearly always: only the last page is missing
        page = self._joined.get(seq)
        if page is not None:
            return page
        if seq + 1 < self.pages[0].first:
            return None
        page = self._join(seq)
        if len(self._joined) < _JOINS:
            self._joined[seq] = page
        return page

    def _join(self, seq: int) -> Page:
        # From the newest page backwards, because nearly every cursor is near the end.
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
