"""A watcher's cursor over one log: history first, then live, without a seam.

    poll() ── a chunk ──► send it, poll again
       │
       ├── behind ──► await read(): a page of history, or the notice of a gap
       │
       └── None ────► everything known is taken: wait for the wake-up, poll again

`poll` never waits and touches memory only, so that fan-out to a thousand watchers is a plain loop.
"""

import asyncio
import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Self

from runcast.errors import Gone, InvalidValue
from runcast.events.model import Event, decode_event
from runcast.events.position import Position, split_frames
from runcast.stores.base import Page

if TYPE_CHECKING:
    from runcast._hub.hub import Hub
    from runcast._hub.tail import Tail

__all__ = ("Chunk", "Cursor", "Gap")


class Gap(NamedTuple):
    """Loss, told: what followed `before` cannot be had; the next events follow `after`.

    `reason` is `trimmed` (retention removed them), `replaced` (the run began anew) or `rewound`
    (the log ends before `before`, since a power loss cut it: nobody knows where, so it is sent
    again from its first event, and what was seen after `after` is void).
    """

    reason: str
    before: Position
    after: Position

    def data(self) -> dict[str, object]:
        """Return the `data` of a `gap` event."""
        return {"reason": self.reason, "before": str(self.before), "after": str(self.after)}


class Chunk(NamedTuple):
    """What a watcher gets next: a page of events, or the notice of a gap.

    `position` is the cursor afterwards. `ended` is True when nothing can ever follow: the page's
    last event is the terminal one, or there is none left to send.
    """

    page: Page | None
    gap: Gap | None
    position: Position
    ended: bool

    def events(self) -> list[Event]:
        """Return the page's events, oldest first."""
        if self.page is None:
            return []
        return [decode_event(canonical) for canonical in split_frames(self.page.frames)]


class Cursor:
    """A cursor. Iterate it, or drive it with `poll`, `read` and `wake`; close it when done.

    Args:
        wake: called on the loop, at most once per commit, when there may be more to poll. It must
            not raise, and may poll.
    """

    __slots__ = (
        "_closed",
        "_epoch",
        "_hub",
        "_ready",
        "_seq",
        "_tail",
        "behind",
        "ended",
    )

    def __init__(
        self, hub: "Hub", tail: "Tail", position: Position, wake: Callable[[], None] | None = None
    ) -> None:
        self._hub = hub
        self._tail = tail
        self._epoch, self._seq = position
        # Only who iterates waits here: most are woken by a call, and an event is a kilobyte.
        self._ready = asyncio.Event() if wake is None else None
        self._closed = False
        self.behind = False
        """Whether the next chunk must be had by `read()`."""
        self.ended = False
        """Whether the chunk that ends the log has been taken."""
        tail.watchers[self] = wake or self._set_ready

    def _set_ready(self) -> None:
        if self._ready is not None:
            self._ready.set()

    def begin(self, after: Position | None) -> None:
        """Set the cursor, now that the window knows where the log stands."""
        if after is None:
            self._epoch, self._seq = self._tail.epoch, 0
        elif after.epoch == self._tail.epoch and after.seq > self._tail.head:
            self.behind = True  # beyond the end: the store says what is wrong

    @property
    def run_id(self) -> str:
        """The run watched."""
        return self._tail.run_id

    @property
    def position(self) -> Position:
        """The cursor: everything up to here has been taken."""
        return Position(self._epoch, self._seq)

    @property
    def head(self) -> int:
        """The last `seq` known to be in the log."""
        return self._tail.head

    @property
    def is_over(self) -> bool:
        """Whether the cursor stands at the end of a log that nothing follows in."""
        tail = self._tail
        return tail.closed and tail.epoch == self._epoch and tail.head == self._seq

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to poll before the next wake-up, and more will come."""
        tail = self._tail
        return (
            self._seq == tail.head
            and not (tail.closed or self.behind)
            and tail.epoch == self._epoch
            and tail.error is None
        )

    def poll(self) -> Chunk | None:
        """Take what memory has; None with `behind` set if the store has it, None if nobody has.

        Raises:
            NotFound: the run was deleted.
            StoreUnavailable: the store failed; what was taken so far was committed.
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
            return self._jump("replaced", Position(tail.epoch, 0))
        if self._seq < tail.head:
            self.behind = True
        elif tail.closed and not self.ended:
            self.ended = True
            return Chunk(None, None, self.position, True)
        return None

    def take(self) -> Page | None:
        """Take the next page, if memory has it and nothing else is to be told; else `poll`."""
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
            self.ended = page.closed
        return page

    async def read(self) -> Chunk | None:
        """Take a page of history from the store. Raises as `poll` does."""
        try:
            page = await self._hub.read_page(self.run_id, self.position)
        except Gone as gone:
            to = await self._continuation()
            self.behind = False
            return self._jump(gone.reason, to)
        self.behind = False
        if not page.frames and not page.closed:
            return None
        return self._advance(page)

    async def _continuation(self) -> Position:
        """Return where the log goes on after a gap."""
        info = await self._hub.info(self.run_id)
        self._tail.learn(info)
        if info.epoch != self._epoch:
            return Position(info.epoch, 0)
        # Of a log that was cut, too: what stands at the head may have been written after the cut,
        # its ending for one, and a cursor put there would never see it.
        return Position(info.epoch, info.first - 1)

    def _jump(self, reason: str, to: Position) -> Chunk:
        before = self.position
        self._epoch, self._seq = to
        self.ended = False
        return Chunk(None, Gap(reason, before, to), to, False)

    def _advance(self, page: Page) -> Chunk:
        self._seq = page.last
        self.ended = page.closed
        return Chunk(page, None, self.position, page.closed)

    async def __anext__(self) -> Chunk:
        """Return the next chunk; wait for it if need be. Ends after the chunk that ends the log."""
        ready = self._ready
        if ready is None:
            raise InvalidValue("expected a cursor made without `wake`, which drives it else")
        while not self.ended:
            ready.clear()
            chunk = self.poll()
            if chunk is None and self.behind:
                chunk = await self.read()
            elif chunk is None:
                await ready.wait()
            if chunk is not None:
                return chunk
        raise StopAsyncIteration

    def __aiter__(self) -> Self:
        return self

    def close(self) -> None:
        """Let the cursor go. Idempotent."""
        if not self._closed:
            self._closed = True
            del self._tail.watchers[self]
            self._hub.leave(self._tail)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
