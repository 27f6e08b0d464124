"""What a stream sends besides the events of one run, and the stream of several runs.

The events of one run come from a lens of the hub (`FrameLens`).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from runcast._hub.cursor import Chunk, Cursor
from runcast._wire import sse
from runcast.errors import NotFound
from runcast.events.plain import encode_line
from runcast.events.position import split_frames
from runcast.stores.base import PAGE_BYTES

__all__ = ("NDJSON", "SSE", "Form", "ManyFeed")


class Form(NamedTuple):
    """The form of a stream of events, without the events.

    `opening` is sent at once, so that proxies pass the headers on. `farewell` is sent before ending
    a stream that could continue elsewhere. Both get the time to wait before reconnecting, in
    milliseconds. `heartbeat` is sent after a silence, and clients ignore it.
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


class ManyFeed:
    """Several runs on one connection: `data:` is `{"run": id, "event": {…}}`.

    `id:` is a vector of positions, `run=position` joined by commas. The stream ends when all runs
    have ended.
    """

    def __init__(self, cursors: Sequence[Cursor]) -> None:
        self.cursors = cursors
        self._turn = 0

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to poll until the next wake-up, but more will come."""
        return all(cursor.is_current for cursor in self.cursors)

    @property
    def ended(self) -> bool:
        """Whether no event of any run is left to take."""
        return all(cursor.ended for cursor in self.cursors)

    @property
    def behind(self) -> bool:
        """Whether only `read()` has the next bytes of some run."""
        return any(cursor.behind for cursor in self.cursors)

    def poll(self) -> bytes | None:
        """Return a page of each run, or of as many as fill one page; the others come first next
        time."""
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
        """Yield all cursors, beginning after the last one that was polled."""
        for _ in self.cursors:
            cursor = self.cursors[self._turn]
            self._turn = (self._turn + 1) % len(self.cursors)
            yield cursor

    async def read(self) -> bytes | None:
        """Return the next page of a run that is behind, from the store."""
        for cursor in self._by_turn():
            if cursor.behind:
                chunk = await cursor.read()
                return None if chunk is None else self._encode(cursor, chunk)
        return None

    def _encode(self, cursor: Cursor, chunk: Chunk) -> bytes:
        run = encode_line(cursor.run_id)
        if chunk.gap is not None:
            gap = encode_line({"type": "gap", "data": chunk.gap.data()})
            return b'data: {"run":%b,"event":%b}\n\n' % (run, gap)
        page = chunk.page
        if page is None or not page.frames:
            return b""
        # Every frame moves its run's cursor, because a connection may be lost after any frame.
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
        """Close the cursors. Idempotent."""
        for cursor in self.cursors:
            cursor.close()


def _poll(cursor: Cursor) -> Chunk | None:
    try:
        return cursor.poll()
    except NotFound:
        if cursor.ended:
            return None  # it was sent to its end, so its deletion does not end the stream
        raise
