"""Server-Sent Events: frames out, and an incremental decoder from bytes to events.

Pure: bytes in, values out; no I/O, clock or thread.  The rules are the WHATWG HTML standard's,
sections 9.2.5 "Parsing an event stream" and 9.2.6 "Interpreting an event stream"
(https://html.spec.whatwg.org/multipage/server-sent-events.html).  The vectors in `conformance/`
hold both halves to them.

Knowing departures, cited where they are made:

D1. Lines and events have a size bound; beyond it the stream is refused.  The standard has no bound,
    and a peer that never ends a line would take all memory.
D2. `reset` keeps the last event id for the next stream, where the standard starts from "".  A
    reconnected watcher that is first sent an event without an id would lose its place.
D3. A `retry` above `MAX_RETRY_MS` is read as `MAX_RETRY_MS`.
"""

import re
from typing import Final

import msgspec

from runcast.errors import InvalidValue, PeerError

__all__ = (
    "MAX_EVENT_BYTES",
    "MAX_LINE_BYTES",
    "MAX_RETRY_MS",
    "Decoder",
    "SSEvent",
    "comment",
    "encode",
    "id_only",
    "retry_only",
)

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
"""Most bytes of one event's data, 16 MiB: thousands of times a usual event (200 bytes to a few
KiB), yet thirty hostile streams that fill line and event stay near 1 GiB."""

MAX_LINE_BYTES: Final = MAX_EVENT_BYTES + 1024
"""Most bytes of one line, its end not counted: the largest event in a single `data:` line, and
1 KiB over for the field name, so that it is the event bound one meets first."""

MAX_RETRY_MS: Final = 2**31 - 1
"""Longest reconnection time, about 24.8 days: JavaScript's `setTimeout` fires at once above it,
so a server that asks clients to wait would get a storm."""

_BOM: Final = b"\xef\xbb\xbf"

# Numbers, because `13 in chunk` is four times as fast as `b"\r" in chunk`, on every frame.
_CR: Final = 0x0D
_NUL: Final = 0x00

# One rule for `id` and `event`.  A line end would begin a field of the sender's choice (CWE-93).
# NUL: a decoder must ignore an `id` with a NUL, so the cursor would silently stand still.  In an
# event name NUL is legal, but useless, and C-string consumers see only the part before it.
_UNFIT_FOR_A_FIELD: Final = re.compile(r"[\r\n\0]").search


class SSEvent(msgspec.Struct, frozen=True, gc=False):
    """One event as a watcher sees it.

    `event` is its name, "message" by default; `data` is its data, lines joined by
    LF; `id` is the last event id at its end, "" before the first.
    Source: WHATWG HTML 9.2.6.
    """

    event: str
    data: str
    id: str


def encode(
    data: bytes | str,
    *,
    id: str | None = None,  # noqa: A002 - the name of the field
    event: str | None = None,
) -> bytes:
    r"""Return one event as a frame, ready to be joined to others.

    Args:
        data: any text, or bytes taken as UTF-8 (unchecked, on the hot path; what is not UTF-8
            reaches the peer as U+FFFD).  CRLF, CR and LF, and nothing else, end a line; the peer
            gets them all as LF, because SSE cannot carry a CR.  Empty data is an event too.
        id: the cursor from this event on; "" clears it.  No CR, LF or NUL.
        event: its name, not empty.  No CR, LF or NUL.

    Raises:
        InvalidValue: a field cannot be carried, or text holds a lone surrogate.

    Whatever `data` holds, the frame is exactly one event and sets no other field.  Lines end with
    LF.  Source: WHATWG HTML 9.2.5; order of fields ours.
    """
    head = b""
    if id is not None:
        head = b"id: " + _field("id", id) + b"\n"
    if event is not None:
        if not event:
            raise InvalidValue(
                "expected an event name, got ''; pass None to send an unnamed event, "
                "because a decoder takes an empty name as 'message'"
            )
        head += b"event: %b\n" % _field("event", event)
    return head + b"data: " + _continued(data, b"\ndata: ") + b"\n\n"


def comment(text: str) -> bytes:
    """Return `text` as comment lines, which every decoder ignores: a heartbeat.

    No empty line follows.  A comment needs none, and an empty line makes some clients
    that remember the last id hand out an event without data.

    Send it between frames.  Several lines become several comments.

    Raises:
        InvalidValue: `text` holds a lone surrogate.

    Source: WHATWG HTML 9.2.5; the missing empty line ours.
    """
    return b": %b\n" % _continued(text, b"\n: ")


def id_only(id: str) -> bytes:  # noqa: A002 - the name of the field
    """Return a frame that moves the peer's cursor to `id` without being an event.

    Raises:
        InvalidValue: `id` holds CR, LF, NUL or a lone surrogate.

    Source: WHATWG HTML 9.2.6: the id is kept although an empty data buffer gives no event.
    """
    return b"id: %b\n\n" % _field("id", id)


def retry_only(retry_ms: int) -> bytes:
    """Return a `retry` line, which sets the peer's reconnection time without being an event.

    It takes effect without an empty line, and has none for the reason `comment` has none.

    Args:
        retry_ms: 0 to MAX_RETRY_MS.

    Raises:
        InvalidValue: `retry_ms` is outside that range.

    Source: WHATWG HTML 9.2.6; the upper bound ours.
    """
    if not 0 <= retry_ms <= MAX_RETRY_MS:
        raise InvalidValue(f"expected retry_ms from 0 to {MAX_RETRY_MS}, got {retry_ms}")
    return b"retry: %d\n" % retry_ms


def _field(name: str, value: str) -> bytes:
    if _UNFIT_FOR_A_FIELD(value):
        raise InvalidValue(f"expected an SSE {name} without CR, LF and NUL, got {value[:80]!r}")
    return _utf8(value)


def _continued(text: bytes | str, next_line: bytes) -> bytes:
    # Never str.splitlines: U+2028, U+0085, VT and FF do not end a line in SSE; they are data.
    lines = _utf8(text) if isinstance(text, str) else text
    if _CR in lines:
        lines = lines.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return lines.replace(b"\n", next_line)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidValue(
            f"expected text that UTF-8 can carry, got a lone surrogate at index {error.start}; "
            "replace it before encoding"
        ) from None


class Decoder:
    """Turns the bytes of an event stream into events, however they are cut.

    Feeding the same bytes in other pieces gives the same events, ids, retry and refusal.  An
    event comes out as soon as its empty line is there, a lone CR included.  Between calls it
    holds at most a few times `max_line_bytes` + `max_event_bytes`, and the work is linear in the
    bytes fed.

    One stream at a time, one thread at a time.
    Source: WHATWG HTML 9.2.5 and 9.2.6, with the departures of this module.
    """

    _is_closed: bool
    _refusal: str | None  # the error that ended the stream
    _has_raised: bool  # whether the refusal was raised
    _at_start: bool  # before the first line, where a byte order mark may stand
    _swallow_lf: bool  # the last byte was a CR
    _tail: bytearray  # the line that has not ended
    _data: bytes | bytearray | None  # of the block that has not ended, as are the next two
    _event: str
    _id: str  # the value of `last_event_id` after the next empty line

    def __init__(
        self,
        *,
        last_event_id: str = "",
        max_line_bytes: int = MAX_LINE_BYTES,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        """Begin a stream, resumed after `last_event_id`.

        Args:
            last_event_id: what events carry until the stream sets an id.
            max_line_bytes: longest line, comments included, its end not counted.
            max_event_bytes: most bytes of one event's data, the LFs between lines included.
        """
        self._max_line_bytes = max_line_bytes
        self._max_event_bytes = max_event_bytes
        self._last_event_id = last_event_id
        self._retry_ms: int | None = None
        self.reset()

    @property
    def last_event_id(self) -> str:
        """The id at the last empty line, for `Last-Event-ID`; "" without an id.

        An id in a block that never ended does not count: its event was not seen.
        """
        return self._last_event_id

    @property
    def retry_ms(self) -> int | None:
        """The last valid reconnection time, 0 to MAX_RETRY_MS; None before the first."""
        return self._retry_ms

    def feed(self, chunk: bytes) -> list[SSEvent]:
        """Return the events that end within `chunk`, in order; often none.

        Args:
            chunk: the next bytes of the stream, of any length, cut anywhere.

        Raises:
            PeerError: a line or an event is over its bound (D1); nothing further can be read
                until `reset`.  Events before it are never lost: if `chunk` holds some, they are
                returned, and the next `feed` or `close` raises.
            InvalidValue: the stream was closed.
        """
        if self._is_closed:
            raise InvalidValue("expected an open decoder, got a closed one; call reset() first")
        if self._refusal is not None:
            self._has_raised = True
            raise PeerError(self._refusal)
        events: list[SSEvent] = []
        try:
            self._read(chunk, events)
        except PeerError as refusal:
            self._forget()
            self._refusal = refusal.message
            self._has_raised = not events
            if not events:
                raise
        return events

    def close(self) -> bool:
        """End the stream and throw away an event that never got its empty line.

        Returns:
            True if fields or a part of a line were thrown away: the stream was cut.  A second
            call returns False.

        Raises:
            PeerError: the stream was refused and no `feed` has raised that yet; once only.

        `last_event_id` and `retry_ms` stay.  Source: WHATWG HTML 9.2.6, end of the stream.
        """
        self._is_closed = True
        if self._refusal is not None and not self._has_raised:
            self._has_raised = True
            raise PeerError(self._refusal)
        is_cut = bool(self._tail) or self._id != self._last_event_id
        is_cut = is_cut or self._data is not None or self._event != ""
        self._forget()
        return is_cut

    def reset(self) -> None:
        """Begin another stream; unfinished input is forgotten, the id and retry are kept (D2)."""
        self._is_closed = False
        self._refusal = None
        self._has_raised = False
        self._at_start = True
        self._swallow_lf = False
        self._forget()

    def _forget(self) -> None:
        self._tail = bytearray()
        self._data = None
        self._event = ""
        self._id = self._last_event_id

    def _read(self, chunk: bytes, events: list[SSEvent]) -> None:
        if self._swallow_lf and chunk:
            self._swallow_lf = False
            chunk = chunk.removeprefix(b"\n")
        if _CR in chunk:
            # A CR ends its line at once, or an event would wait for the next one to begin. If an LF
            # opens the next chunk, it is the rest of this line end.
            self._swallow_lf = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = chunk.split(b"\n")
        rest = lines.pop()
        if lines:
            if self._tail:
                lines[0] = bytes(self._tail + lines[0])
                self._tail.clear()
            self._read_lines(lines, events)
        # One buffer that grows in place: joining the pieces of a long line again at every feed
        # would take quadratic time.
        self._tail += rest
        if len(self._tail) > self._max_line_bytes:
            raise _too_long("line", self._max_line_bytes)

    def _read_lines(self, lines: list[bytes], events: list[SSEvent]) -> None:
        """Read whole lines, their ends removed, and append the events they end to `events`.

        Decoding line by line is decoding the stream: CR and LF are ASCII, so they end any
        malformed UTF-8 sequence, and no sequence reaches over them.
        """
        if self._at_start:
            self._at_start = False
            if len(lines[0]) <= self._max_line_bytes:  # the mark counts, as it did in the tail
                lines[0] = lines[0].removeprefix(_BOM)
        max_line_bytes = self._max_line_bytes
        for line in lines:
            if len(line) > max_line_bytes:
                raise _too_long("line", max_line_bytes)
            if not line:
                self._last_event_id = self._id
                if self._data is not None:
                    data = self._data.decode("utf-8", "replace")
                    events.append(SSEvent(self._event or "message", data, self._id))
                    self._data = None
                self._event = ""
                continue
            name, _, value = line.partition(b":")
            if value[:1] == b" ":
                value = value[1:]
            if name == b"data":
                self._add_data(value)
            elif name == b"id":
                if _NUL not in value:
                    self._id = value.decode("utf-8", "replace")
            elif name == b"event":
                self._event = value.decode("utf-8", "replace")
            elif name == b"retry" and value.isdigit():
                # bytes.isdigit: ASCII only, and at least one.
                self._retry_ms = _retry_ms(value)

    def _add_data(self, value: bytes) -> None:
        if self._data is None:
            self._data = value
        else:
            # A bytearray from the second line on: a list of short lines would weigh twenty
            # times the bytes that max_event_bytes counts.
            if isinstance(self._data, bytes):
                self._data = bytearray(self._data)
            self._data += b"\n"
            self._data += value
        if len(self._data) > self._max_event_bytes:
            raise _too_long("event", self._max_event_bytes)


def _retry_ms(digits: bytes) -> int:
    # The length first: int() of a long number is slow, and Python refuses it above 4300 digits.
    significant = digits.lstrip(b"0") or b"0"
    if len(significant) > len(str(MAX_RETRY_MS)):
        return MAX_RETRY_MS  # D3
    return min(int(significant), MAX_RETRY_MS)


def _too_long(what: str, bound: int) -> PeerError:
    # D1
    return PeerError(
        f"expected an SSE {what} of at most {bound} bytes, got a longer one; end this stream, "
        f"or raise max_{what}_bytes if the peer is trusted"
    )
