"""The events of all runs of a thread on one connection, as frames (R-7.7 to R-7.12)."""

from collections.abc import Callable, Iterable
from typing import Any

from runcast._http.api.requests import before_token
from runcast._hub.admission import Admission
from runcast._hub.hub import Hub
from runcast._hub.thread_place import Part, RunLabels, ThreadPlace
from runcast.events.plain import encode_line
from runcast.events.position import split_frames

__all__ = ("ThreadFeed",)


class ThreadFeed:
    """Frames of all runs with some labels, as a source of a stream. It never ends.

    Args:
        after: where the client was; None begins with the newest runs.
        wake: called when there may be something to send.
        hidden: runs that the client named and may not see.
    """

    def __init__(
        self,
        hub: Hub,
        runs: RunLabels,
        after: ThreadPlace | None,
        wake: Callable[[], None],
        *,
        limit: int,
        admission: Admission,
        hidden: Iterable[str] = (),
    ) -> None:
        self._cursor = hub.thread(runs, after, wake=wake, limit=limit, admission=admission)
        self._hidden = [{"left": run_id} for run_id in hidden]

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to send until the next wake-up."""
        return self._cursor.is_current and not self._hidden

    @property
    def behind(self) -> bool:
        """Whether only `read` has the next bytes."""
        return self._cursor.behind

    @property
    def ended(self) -> bool:
        """A thread never ends."""
        return False

    def poll(self) -> bytes | None:
        """Return the next frames from memory, or None."""
        if self._hidden:
            hidden, self._hidden = self._hidden, []
            return b"".join([b"data: %b\n\n" % encode_line(each) for each in hidden])
        return _encode(self._cursor.poll())

    async def read(self) -> bytes | None:
        """Return the next frames from the store."""
        return _encode(await self._cursor.read())

    def close(self) -> None:
        """Close the cursors. Idempotent."""
        self._cursor.close()


def _encode(part: Part | None) -> bytes | None:
    if part is None:
        return None
    chunk = part.chunk
    if chunk is None:
        moves = f"id: {part.tail}\n".encode() if part.tail else b""
        shown = _shown(part)
        return moves + (b"data: %b\n\n" % encode_line(shown) if shown else b"\n")
    run = encode_line(part.run_id)
    if chunk.gap is not None:
        gap = encode_line({"type": "gap", "data": chunk.gap.data()})
        return b'data: {"run":%b,"event":%b}\n\n' % (run, gap)
    page = chunk.page
    if page is None:
        return None
    # Every frame moves the client, because a connection may be lost after any frame.
    head, tail = f"id: {part.head}{page.epoch}-".encode(), f"{part.tail}\n".encode()
    return b"".join(
        [
            b'%b%d%bdata: {"run":%b,"event":%b}\n\n' % (head, seq, tail, run, canonical)
            for seq, canonical in enumerate(split_frames(page.frames), page.first)
        ]
    )


def _shown(part: Part) -> dict[str, Any]:
    match part.notice:
        case "gap":
            return {"gap": {"reason": part.reason}}
        case "earlier" if part.before is not None:
            return {"earlier": before_token(*part.before)}
        case "moved":
            return {}
        case notice:
            return {notice: part.run_id}
