"""What a stream sends: the bytes of one run, or of several, in one form.

Watchers that take the same page in the same form get the same bytes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

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

__all__ = ("NDJSON", "SSE", "DialectFeed", "Feed", "Form", "ManyFeed", "NdjsonFeed")

_encode: Final = msgspec.json.encode

_SILENT_EVENTS: Final = 100
"""Events a stream may leave out before it moves the watcher's cursor past them."""


class Form(NamedTuple):
    """What a stream of events has besides its events.

    `opening` is sent at once, so that proxies pass the headers on; `farewell` before a stream is
    ended that could go on elsewhere. Both are given the time to wait before coming back, in
    milliseconds. `heartbeat` is sent after a silence, and means nothing.
    """

    content_type: str
    heartbeat: bytes
    opening: Callable[[int], bytes]
    farewell: Callable[[int], bytes]


SSE: Final = Form(
    "text/event-stream",
    sse.comment("hb"),
    lambda retry_ms: sse.retry_only(retry_ms) + sse.comment("runcast") + b"\n",
    lambda retry_ms: sse.retry_only(retry_ms) + sse.comment("goodbye, come back") + b"\n",
)
NDJSON: Final = Form("application/x-ndjson", b"\n", lambda _: b"", lambda _: b"")


class Feed(ABC):
    """Bytes of one run's events: a source of a stream."""

    def __init__(self, cursor: Cursor, lens: Lens | None = None) -> None:
        self.cursor = cursor
        self._lens = lens

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to poll before the next wake-up, and more will come."""
        return self.cursor.is_current

    @property
    def ended(self) -> bool:
        """Whether nothing follows what was taken."""
        return self.cursor.ended

    @property
    def behind(self) -> bool:
        """Whether only `read()` has the next bytes."""
        return self.cursor.behind

    def poll(self) -> bytes | None:
        """Return what memory has, which may show nothing; None if it has nothing."""
        return self._take(self.cursor.poll())

    async def read(self) -> bytes | None:
        """Return what the store has next."""
        return self._take(await self.cursor.read())

    def _take(self, chunk: Chunk | None) -> bytes | None:
        if chunk is None:
            return None
        if chunk.gap is not None and self._lens is not None:
            self._lens.restart(chunk.position.seq)
        return self.encode(chunk)

    @abstractmethod
    def encode(self, chunk: Chunk) -> bytes:
        """Return a chunk in this feed's form; may be empty."""

    def close(self) -> None:
        """Let the cursor go. Idempotent."""
        self.cursor.close()


class DialectFeed(Feed):
    """Server-Sent Events in a dialect, all of them or as a view shows them."""

    def __init__(
        self, hub: Hub, cursor: Cursor, dialect: Dialect, lens: Lens | None = None
    ) -> None:
        super().__init__(cursor, lens)
        self._hub = hub
        self._dialect = dialect
        # The default dialect's frames are the stored ones: nothing is encoded.
        self._is_stored_form = dialect.name == "runcast" and lens is None
        self._silent = 0

    def poll(self) -> bytes | None:
        # What nearly every wake-up finds, without a `Chunk` in between.
        page = self.cursor.take() if self._is_stored_form else None
        return page.frames if page is not None else super().poll()

    def encode(self, chunk: Chunk) -> bytes:
        run_id = self.cursor.run_id
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

    def encode(self, chunk: Chunk) -> bytes:
        if chunk.gap is not None:
            return _encode({"type": "gap", "data": chunk.gap.data()}) + b"\n"
        if chunk.page is None or not chunk.page.frames:
            return b""
        if self._lens is not None:
            return b"".join(map(_lines, self._lens.events(chunk.page)))
        return b"\n".join([*split_frames(chunk.page.frames), b""])


def _lines(shown: list[Event]) -> bytes:
    """Return a line for each of the events shown because of one; only the last has the `seq`."""
    *others, last = shown
    without = [msgspec.structs.replace(event, seq=0) for event in others]
    return b"".join([encode_event(event) + b"\n" for event in (*without, last)])


class ManyFeed:
    """Several runs on one connection: `data:` is `{"run": id, "event": {…}}`.

    `id:` is a vector of positions, `run=position` joined by commas. It ends when all runs have.
    """

    def __init__(self, cursors: Sequence[Cursor]) -> None:
        self.cursors = cursors
        self._turn = 0

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to poll before the next wake-up, and more will come."""
        return all(cursor.is_current for cursor in self.cursors)

    @property
    def ended(self) -> bool:
        """Whether nothing follows what was taken, of any run."""
        return all(cursor.ended for cursor in self.cursors)

    @property
    def behind(self) -> bool:
        """Whether only `read()` has the next bytes of some run."""
        return any(cursor.behind for cursor in self.cursors)

    def poll(self) -> bytes | None:
        """Return a page of each run, or of as many as fill one page; the others come first next."""
        parts: list[bytes] = []
        size = 0
        for cursor in self._by_turn():
            chunk = _poll(cursor)
            if chunk is not None:
                parts.append(self._encode(cursor, chunk))
                size += len(parts[-1])
                if size >= PAGE_BYTES:
                    break
        return b"".join(parts) if parts else None

    def _by_turn(self) -> Iterator[Cursor]:
        """Yield all, beginning with the one behind the last that was looked at."""
        for _ in self.cursors:
            cursor = self.cursors[self._turn]
            self._turn = (self._turn + 1) % len(self.cursors)
            yield cursor

    async def read(self) -> bytes | None:
        """Return what the store has next of a run that is behind."""
        for cursor in self._by_turn():
            if cursor.behind:
                chunk = await cursor.read()
                return None if chunk is None else self._encode(cursor, chunk)
        return None

    def _encode(self, cursor: Cursor, chunk: Chunk) -> bytes:
        run = _encode(cursor.run_id)
        if chunk.gap is not None:
            gap = _encode({"type": "gap", "data": chunk.gap.data()})
            return b'data: {"run":%b,"event":%b}\n\n' % (run, gap)
        page = chunk.page
        if page is None or not page.frames:
            return b""
        # Every frame moves its run's cursor: a connection may be lost behind any of them.
        place = self.cursors.index(cursor)
        before = "".join(f"{each.run_id}={each.position}," for each in self.cursors[:place])
        after = "".join(f",{each.run_id}={each.position}" for each in self.cursors[place + 1 :])
        head = f"id: {before}{cursor.run_id}={page.epoch}-".encode()
        tail = f"{after}\n".encode()
        return b"".join(
            [
                b'%b%d%bdata: {"run":%b,"event":%b}\n\n' % (head, seq, tail, run, canonical)
                for seq, canonical in enumerate(split_frames(page.frames), page.first)
            ]
        )

    def close(self) -> None:
        """Let the cursors go. Idempotent."""
        for cursor in self.cursors:
            cursor.close()


def _poll(cursor: Cursor) -> Chunk | None:
    try:
        return cursor.poll()
    except NotFound:
        if cursor.ended:
            return None  # it was seen to its end: that it is deleted ends nobody else's stream
        raise
