"""What a stream sends: the bytes of one run, or of several, in one format.

A feed is polled like a subscription (it never waits) and answers in bytes that can be written as
they are. Watchers that take the same page in the same format get the same bytes.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from runcast._hub.cursor import Chunk, Cursor
from runcast._hub.hub import Hub
from runcast._hub.lens import Lens
from runcast._wire import sse
from runcast._wire.dialects import Dialect, LogRef
from runcast.errors import NotFound
from runcast.events.model import Event, decode_event, encode_event
from runcast.events.position import split_frames
from runcast.stores.base import PAGE_BYTES, Page

if TYPE_CHECKING:
    from runcast._hub.admission import Admission

__all__ = ("DialectFeed", "Feed", "ManyFeed", "NdjsonFeed")

_encode: Final = msgspec.json.encode

_SILENT_EVENTS: Final = 100
"""Events a stream may leave out before it moves the watcher's cursor past them."""


class Feed(ABC):
    """Bytes of one run's events."""

    content_type: str
    heartbeat: bytes
    """Written after a silence; means nothing."""

    def __init__(self, hub: Hub, subscription: Cursor, lens: Lens | None = None) -> None:
        self._hub = hub
        self.subscription = subscription
        self._lens = lens
        self._stop_at: int | None = None
        self.admission: Admission | None = None
        """The place of its connection among those that watch; closed with the feed."""

    def stop_at_head(self) -> None:
        """End once everything that is in the log now has been sent."""
        self._stop_at = self.subscription.head

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to send now or ever."""
        return self.subscription.is_over

    @property
    def is_current(self) -> bool:
        """Whether it goes on, and there is nothing to poll before the next wake-up."""
        return self._stop_at is None and self.subscription.is_current

    @property
    def ended(self) -> bool:
        """Whether nothing will follow."""
        if self.subscription.ended:
            return True
        # A cursor beyond the head is behind too: it is owed a gap first.
        is_there = self._stop_at is not None and self.subscription.position.seq >= self._stop_at
        return is_there and not self.subscription.behind

    @property
    def behind(self) -> bool:
        """Whether the next bytes must be had by `read()`."""
        return self.subscription.behind

    def poll(self) -> bytes | None:
        """Return what memory has; None if nothing, or if the store must be read (`behind`)."""
        chunk = self.subscription.poll()
        if self._lens is not None and chunk is not None and chunk.gap is not None:
            self._lens.begin_anew()  # memory knows of no other gap than that of a new epoch
        return self._take(chunk)

    async def read(self) -> bytes | None:
        """Return what the store has next."""
        chunk = await self.subscription.read()
        if self._lens is not None and chunk is not None and chunk.gap is not None:
            await self._lens.jump(chunk.position)
        return self._take(chunk)

    def _take(self, chunk: Chunk | None) -> bytes | None:
        if chunk is None:
            return None
        if chunk.gap is not None and self._stop_at is not None:
            self.stop_at_head()  # where it was counted from is void
        return self.encode(chunk)

    @abstractmethod
    def encode(self, chunk: Chunk) -> bytes:
        """Return a chunk in this feed's format; may be empty."""

    @abstractmethod
    def opening(self, retry_ms: int) -> bytes:
        """Return what is sent at once, so that proxies pass the headers on."""

    @abstractmethod
    def farewell(self, retry_ms: int) -> bytes:
        """Return what is sent before a stream is ended that could go on elsewhere."""

    def close(self) -> None:
        """Let the cursors go. Idempotent."""
        self.subscription.close()
        if self.admission is not None:
            self.admission.close()


class _SseFeed(Feed):
    content_type = "text/event-stream"
    heartbeat = sse.comment("hb")

    def opening(self, retry_ms: int) -> bytes:
        return sse.retry_only(retry_ms) + sse.comment("runcast") + b"\n"

    def farewell(self, retry_ms: int) -> bytes:
        return sse.retry_only(retry_ms) + sse.comment("goodbye, come back") + b"\n"


class DialectFeed(_SseFeed):
    """Server-Sent Events in a dialect, all of them or as a view shows them."""

    def __init__(
        self,
        hub: Hub,
        subscription: Cursor,
        dialect: Dialect,
        lens: Lens | None = None,
    ) -> None:
        super().__init__(hub, subscription, lens)
        self._dialect = dialect
        # The default dialect's frames are the stored ones: nothing is encoded.
        self._is_stored_form = dialect.name == "runcast" and lens is None
        self._silent = 0

    def poll(self) -> bytes | None:
        # What nearly every wake-up finds, without a `Chunk` in between.
        page = self.subscription.take() if self._is_stored_form else None
        return page.frames if page is not None else super().poll()

    def encode(self, chunk: Chunk) -> bytes:
        run_id = self.subscription.run_id
        if chunk.gap is not None:
            return self._dialect.gap(LogRef(run_id, chunk.position.epoch), chunk.gap.data())
        page = chunk.page
        if page is None or not page.frames:
            return b""
        if self._is_stored_form:
            return page.frames
        if self._lens is not None:
            frames = self._lens.frames(page, self._dialect)
        else:
            frames = self._hub.encoded.get(run_id, self._dialect, page)
        if chunk.ended:
            last = decode_event(split_frames(page.frames)[-1])
            frames += self._dialect.end(LogRef(run_id, page.epoch), last)
        return frames or self._move_cursor(page, chunk)

    def _move_cursor(self, page: Page, chunk: Chunk) -> bytes:
        """Let the cursor move now and then where pages show nothing."""
        self._silent += page.last - page.first + 1
        if self._silent < _SILENT_EVENTS:
            return b""
        self._silent = 0
        return sse.id_only(str(chunk.position))


class NdjsonFeed(Feed):
    """One canonical event a line, all of them or as a view shows them."""

    content_type = "application/x-ndjson"
    heartbeat = b"\n"

    def encode(self, chunk: Chunk) -> bytes:
        if chunk.gap is not None:
            return _encode({"type": "gap", "data": chunk.gap.data()}) + b"\n"
        if chunk.page is None or not chunk.page.frames:
            return b""
        if self._lens is not None:
            return b"".join(map(_lines, self._lens.events(chunk.page)))
        return b"\n".join([*split_frames(chunk.page.frames), b""])

    def opening(self, retry_ms: int) -> bytes:
        return b""

    def farewell(self, retry_ms: int) -> bytes:
        return b""


def _lines(shown: list[Event]) -> bytes:
    """Return a line for each of the events shown because of one; only the last has the `seq`."""
    *others, last = shown
    without = [msgspec.structs.replace(event, seq=0) for event in others]
    return b"".join([encode_event(event) + b"\n" for event in (*without, last)])


class ManyFeed(_SseFeed):
    """Several runs on one connection: `data:` is `{"run": id, "event": {…}}`.

    `id:` is a vector of positions, `run=position` joined by commas. It ends when all runs have.
    """

    def __init__(self, hub: Hub, subscriptions: Sequence[Cursor]) -> None:
        super().__init__(hub, subscriptions[0])
        self._all = list(subscriptions)
        self._turn = 0

    @property
    def ended(self) -> bool:
        return all(subscription.ended for subscription in self._all)

    @property
    def is_over(self) -> bool:
        return all(subscription.is_over for subscription in self._all)

    @property
    def is_current(self) -> bool:
        return all(subscription.is_current for subscription in self._all)

    @property
    def behind(self) -> bool:
        return any(subscription.behind for subscription in self._all)

    def poll(self) -> bytes | None:
        """Return a page of each run, or of as many as fill one page; the others come first next."""
        parts: list[bytes] = []
        size = 0
        for subscription in self._by_turn():
            chunk = _poll(subscription)
            if chunk is not None:
                parts.append(self._encode_for(subscription, chunk))
                size += len(parts[-1])
                if size >= PAGE_BYTES:
                    break
        return b"".join(parts) if parts else None

    def _by_turn(self) -> Iterator[Cursor]:
        """Yield all, beginning with the one behind the last that was looked at."""
        for _ in self._all:
            subscription = self._all[self._turn]
            self._turn = (self._turn + 1) % len(self._all)
            yield subscription

    async def read(self) -> bytes | None:
        for subscription in self._by_turn():
            if subscription.behind:
                chunk = await subscription.read()
                return None if chunk is None else self._encode_for(subscription, chunk)
        return None

    def encode(self, chunk: Chunk) -> bytes:
        return self._encode_for(self.subscription, chunk)

    def _encode_for(self, subscription: Cursor, chunk: Chunk) -> bytes:
        run = _encode(subscription.run_id)
        if chunk.gap is not None:
            gap = _encode({"type": "gap", "data": chunk.gap.data()})
            return b'data: {"run":%b,"event":%b}\n\n' % (run, gap)
        page = chunk.page
        if page is None or not page.frames:
            return b""
        # Every frame moves its run's cursor: a connection may be lost behind any of them.
        place = self._all.index(subscription)
        before = "".join(f"{each.run_id}={each.position}," for each in self._all[:place])
        after = "".join(f",{each.run_id}={each.position}" for each in self._all[place + 1 :])
        head = f"id: {before}{subscription.run_id}={page.epoch}-".encode()
        tail = f"{after}\n".encode()
        return b"".join(
            [
                b'%b%d%bdata: {"run":%b,"event":%b}\n\n' % (head, seq, tail, run, canonical)
                for seq, canonical in enumerate(split_frames(page.frames), page.first)
            ]
        )

    def close(self) -> None:
        for subscription in self._all:
            subscription.close()
        super().close()


def _poll(subscription: Cursor) -> Chunk | None:
    try:
        return subscription.poll()
    except NotFound:
        if subscription.ended:
            return None  # it was seen to its end: that it is deleted ends nobody else's stream
        raise
