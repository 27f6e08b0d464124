"""Ask for a stream page by page (long-poll), for networks that hold streams back.

Source: docs/protocol.md R-9.
"""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import urlencode

import msgspec

from runcast._wire.sse import Decoder
from runcast.client.transport import Transport
from runcast.errors import PeerError

__all__ = ("Page", "Poll", "poll_feed", "poll_run")

_LONG_POLL_S: Final = 60.0
"""How long a server and the networks between may hold an answer, seconds."""

_STREAM: Final = "text/event-stream"


class Page(NamedTuple):
    """What follows a position: frames as (data, id), and the position to ask with next.

    A gap has no id. `is_closed` is True if nothing will ever follow.
    """

    frames: list[tuple[str, str]]
    position: str
    is_closed: bool


Poll: TypeAlias = Callable[[str], Awaitable[Page]]
"""Returns the page after a position once it has an event, or after a while."""


class _Answer(msgspec.Struct):
    events: list[msgspec.Raw]
    position: str
    closed: bool
    gap: msgspec.Raw = msgspec.Raw()  # empty if there is none


class _Place(msgspec.Struct):
    seq: int = 0


def poll_run(transport: Transport, path: str) -> Poll:
    """Return what asks for the events of a run; `path` is that of its stream, with a query."""

    async def poll(position: str) -> Page:
        query = urlencode({"live": "long-poll"} | ({"after": position} if position else {}))
        asked = f"{path}{'&' if '?' in path else '?'}{query}"
        return _page_of(await transport.read(asked, timeout_s=_LONG_POLL_S))

    return poll


def poll_feed(transport: Transport, path: str) -> Poll:
    """Return what asks for the next frames of a list or a thread; `path` is that of its stream."""

    async def poll(position: str) -> Page:
        query = urlencode({"live": "long-poll"} | ({"after": position} if position else {}))
        asked = f"{path}{'&' if '?' in path else '?'}{query}"
        body = await transport.read(asked, accept=_STREAM, timeout_s=_LONG_POLL_S)
        decoder = Decoder(last_event_id=position)
        frames = [(frame.data, frame.id) for frame in decoder.feed(body)]
        if body.strip() and not frames and decoder.last_event_id == position:
            raise PeerError(f"expected the frames of a stream, got {body[:80]!r}")
        return Page(frames, decoder.last_event_id, False)

    return poll


def _page_of(answer: bytes) -> Page:
    try:
        given = msgspec.json.decode(answer, type=_Answer)
        epoch = given.position.rpartition("-")[0]
        frames = []
        if lost := bytes(given.gap):
            gap = b'{"type":"gap","data":%b}' % lost
            frames.append((gap.decode(), ""))
        for event in given.events:
            seq = msgspec.json.decode(event, type=_Place).seq
            # A view may turn one event into several; only the last of them has a seq.
            frames.append((bytes(event).decode(), f"{epoch}-{seq}" if seq else ""))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise PeerError(f"expected a page of events: {error!s:.300}") from None
    return Page(frames, given.position, given.closed)
