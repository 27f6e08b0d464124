"""A watcher's place in one log: history first, then live, without a gap.

    poll() ── a chunk ──► use it, poll again
       │
       ├── behind ──► await read(): a page of history, or the notice of a gap
       │
       └── None ────► all known events are taken: poll again after the wake-up

`poll` never waits and reads only memory, so the fan-out to a thousand watchers is a plain loop. The
watcher drives the cursor (`watcher`).
"""

import copy
from collections.abc import Callable
from typing import NamedTuple, Protocol, Self

from runcast._hub.tail import Tail
from runcast.errors import Gone
from runcast.events.model import Event, decode_event
from runcast.events.position import Position, split_frames
from runcast.stores.base import LogInfo, Page

__all__ = ("Chunk", "Cursor", "Gap", "History")


class History(Protocol):
    """What a cursor needs besides its window: access to the stored log."""

    async def read_page(self, run_id: str, after: Position) -> Page:
        """Return the page after a position. Raises what `Store.read` raises."""
        ...

    async def info(self, run_id: str) -> LogInfo:
        """Return a log's description. Raises `NotFound`."""
        ...


class Gap(NamedTuple):
    """A loss: the events after `before` cannot be read; the next events follow `after`.

    `reason` is `trimmed` (retention removed the events), `replaced` (the run was restarted) or
    `rewound` (a loss of power cut the log, which now ends before `before`). After `rewound` the log
    is sent again from its first event, because nobody knows where it was cut; discard what was seen
    after `after`.
    """

    reason: str
    before: Position
    after: Position

    def data(self) -> dict[str, object]:
        """Return the `data` of a `gap` event."""
        return {"reason": self.reason, "before": str(self.before), "after": str(self.after)}


class Chunk(NamedTuple):
    """What a watcher gets next: a page of events, or the notice of a gap.

    `position` is the cursor afterwards. `ended` is True if nothing can ever follow: the page ends
    with the terminal event, or nothing is left to send. `shown` is what a view shows of the page: a
    list for each event that shows anything. It is None without a view.
    """

    page: Page | None
    gap: Gap | None
    position: Position
    ended: bool
    shown: list[list[Event]] | None = None

    def events(self) -> list[Event]:
        """Return the page's events, oldest first, or the events that a view shows."""
        if self.page is None:
            return []
        if self.shown is not None:
            return [event for group in self.shown for event in group]
        return [decode_event(canonical) for canonical in split_frames(self.page.frames)]


class Cursor:
    """A place in a log. Call `poll` and `read`; close it at the end.

    Args:
        wake: called on the loop, at most once per commit, if there may be more to poll. It must
            not raise, and may poll.
    """

    __slots__ = (
        "_epoch",
        "_has_taken_end",
        "_history",
        "_is_closed",
        "_only_epoch",
        "_seq",
        "_stop_at",
        "_tail",
        "behind",
    )

    def __init__(
        self, history: History, tail: Tail, position: Position, wake: Callable[[], None]
    ) -> None:
        self._history = history
        self._tail = tail
        self._epoch, self._seq = position
        self._stop_at: int | None = None
        self._only_epoch = ""
        self._is_closed = self._has_taken_end = False
        self.behind = False
        """Whether only `read()` can return the next chunk."""
        tail.watchers[self] = wake

    def begin(self, after: Position | None) -> None:
        """Set the cursor, now that the window knows the log's head."""
        if after is None:
            self._epoch, self._seq = self._tail.epoch, 0
        elif after.epoch == self._tail.epoch and after.seq > self._tail.head:
            self.behind = True  # beyond the end: the store reports the error

    def stop_at_head(self) -> None:
        """End after the last event that is known now."""
        self._stop_at = self._tail.head

    def keep_to(self, epoch: str) -> bool:
        """End before the gap to any other epoch, because another user may own that epoch.

        Returns False, and changes nothing, if the log is already in another epoch.
        """
        if self._tail.epoch != epoch:
            return False
        self._only_epoch = epoch
        return True

    @property
    def run_id(self) -> str:
        """The run watched."""
        return self._tail.run_id

    @property
    def position(self) -> Position:
        """The position after all events taken so far."""
        return Position(self._epoch, self._seq)

    @property
    def is_at_end(self) -> bool:
        """Whether the cursor is at the end of a closed log."""
        tail = self._tail
        return tail.closed and tail.epoch == self._epoch and tail.head == self._seq

    @property
    def is_at_start(self) -> bool:
        """Whether the cursor is before the first event of the present log."""
        return self._seq == 0 and self._tail.epoch == self._epoch

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to poll until the next wake-up, but more will come."""
        tail = self._tail
        return (
            self._seq == tail.head
            and not (tail.closed or self.behind)
            and tail.epoch == self._epoch
            and tail.error is None
            and self._stop_at is None
        )

    @property
    def ended(self) -> bool:
        """Whether nothing follows the taken chunks."""
        # A cursor beyond the head also counts as behind: its watcher must get a gap first.
        has_stopped = self._stop_at is not None and self._seq >= self._stop_at and not self.behind
        return self._has_taken_end or has_stopped

    def poll(self) -> Chunk | None:
        """Take the next chunk from memory, or return None; `behind` is set if the store has it.

        Raises:
            NotFound: the run was deleted.
            StoreUnavailable: the store failed; all chunks taken so far were committed.
        """
        page = self.take()
        if page is not None:
            return Chunk(page, None, self.position, page.closed)
        tail = self._tail
        if tail.error is not None:
            raise copy.copy(tail.error)
        if self.behind:
            return None
        if tail.epoch != self._epoch:
            if self._has_taken_end and self._only_epoch:
                return None  # the other epoch is nothing to this cursor
            return self._jump("replaced", Position(tail.epoch, 0))
        if self._seq < tail.head:
            self.behind = True
        elif tail.closed and not self._has_taken_end:
            self._has_taken_end = True
            return Chunk(None, None, self.position, True)
        return None

    def take(self) -> Page | None:
        """Take the next page if memory has it and nothing comes before it; otherwise call
        `poll`."""
        tail = self._tail
        if (
            self._seq >= tail.head
            or self.behind
            or tail.epoch != self._epoch
            or tail.error is not None
        ):
            return None
        page = tail.take(self._seq)
        if page is not None:
            self._seq = page.last
            self._has_taken_end = page.closed
        return page

    async def read(self) -> Chunk | None:
        """Take a page of history from the store. Raises what `poll` raises.

        Cancelling leaves the cursor unchanged.
        """
        try:
            page = await self._history.read_page(self.run_id, self.position)
        except Gone as gone:
            to = await self._continuation()
            self.behind = False
            return self._jump(gone.reason, to)
        self.behind = False
        if not page.frames and not page.closed:
            return None
        self._seq = page.last
        self._has_taken_end = page.closed
        return Chunk(page, None, self.position, page.closed)

    async def _continuation(self) -> Position:
        """Return where the log continues after a gap."""
        info = await self._history.info(self.run_id)
        self._tail.learn(info)
        if info.epoch != self._epoch:
            return Position(info.epoch, 0)
        # Also in a log that was cut by a loss of power: events at the head, for example the ending,
        # may be written after the cut, and a cursor placed at the head would miss them.
        return Position(info.epoch, info.first - 1)

    def _jump(self, reason: str, to: Position) -> Chunk:
        before = self.position
        self._has_taken_end = self._only_epoch not in ("", to.epoch)
        if self._has_taken_end:
            return Chunk(None, Gap(reason, before, to), to, True)  # and stay out of it
        self._epoch, self._seq = to
        if self._stop_at is not None:
            self.stop_at_head()  # the stop was counted by events that are gone
        return Chunk(None, Gap(reason, before, to), to, False)

    def close(self) -> None:
        """Close the cursor. Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self._tail.leave(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
