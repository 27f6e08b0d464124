r"""NDJSON: one JSON value a line, out and in.

Pure: bytes in, bytes out; the JSON itself is neither made nor read here.  The rules are those of
NDJSON 1.0 (https://github.com/ndjson/ndjson-spec): LF ends a line, and a CR before it is dropped.

Knowing departures, cited where they are made:

D1. Empty lines are always skipped, so that a lone LF can serve as a heartbeat; the specification
    would have it configurable.
D2. Lines have a size bound; the specification has none.

An unterminated last line, of which the specification says nothing, is handed out apart from the
others, because it may have been cut.
"""

from typing import Final

from runcast.errors import InvalidValue, PeerError
from runcast.wire.sse import MAX_EVENT_BYTES

__all__ = ("MAX_LINE_BYTES", "Decoder", "encode_line")

MAX_LINE_BYTES: Final = MAX_EVENT_BYTES
"""Most bytes of one line, its LF not counted: what the same event may have over SSE."""

# Numbers, because `10 in line` is four times as fast as `b"\n" in line`.
_LF: Final = 0x0A
_CR: Final = 0x0D


def encode_line(canonical: bytes) -> bytes:
    r"""Return one JSON value as a line.

    Args:
        canonical: compact JSON in UTF-8, in which line ends can only be escapes (`\n`).

    Raises:
        InvalidValue: `canonical` is empty or holds CR or LF, so that it would not come back as
            the one line it is.

    Source: NDJSON 1.0, 3.1; refusing the empty line is ours (D1).
    """
    if not canonical or _LF in canonical or _CR in canonical:
        raise InvalidValue(
            f"expected compact JSON without CR and LF, got {canonical[:80]!r}; "
            "encode the value without indentation"
        )
    return canonical + b"\n"


class Decoder:
    """Splits a stream of bytes into lines, however it is cut.

    Feeding the same bytes in other pieces gives the same lines and the same refusal.  Only LF
    ends a line.  Between calls it holds at most `max_line_bytes`, and the work is linear in the
    bytes fed.

    One stream, one thread at a time.
    Source: NDJSON 1.0, 3.2, with the departures of this module.
    """

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        """Begin a stream.

        Args:
            max_line_bytes: longest line, a CR counted, the LF not.
        """
        self._max_line_bytes = max_line_bytes
        self._tail = bytearray()
        self._is_closed = False
        self._refusal: str | None = None
        self._has_told = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that end within `chunk`, in order, without their ends and never empty.

        Raises:
            PeerError: a line is longer than `max_line_bytes`; nothing further can be read.
                Lines before it are never lost: if `chunk` holds some, they are returned, and the
                next `feed` or `close` raises.
            InvalidValue: the stream was closed.
        """
        if self._is_closed:
            raise InvalidValue("expected an open decoder, got a closed one; make a new one")
        if self._refusal is not None:
            self._has_told = True
            raise PeerError(self._refusal)
        found: list[bytes] = []
        try:
            self._read(chunk, found)
        except PeerError as refusal:
            self._tail.clear()
            self._refusal = refusal.message
            self._has_told = not found
            if not found:
                raise
        return found

    def close(self) -> bytes | None:
        """End the stream and return what followed the last LF, as it came.

        Returns:
            None when the stream ended at the end of a line.  Otherwise the rest, which is a whole
            value if the peer left out the last LF and part of one if it was cut: only reading it
            as JSON can tell, and a number may read well and still be cut.  A second call returns
            None.

        Raises:
            PeerError: the stream was refused and no `feed` has said so yet; once only.
        """
        self._is_closed = True
        if self._refusal is not None and not self._has_told:
            self._has_told = True
            raise PeerError(self._refusal)
        rest = bytes(self._tail)
        self._tail.clear()
        return rest or None

    def _read(self, chunk: bytes, found: list[bytes]) -> None:
        lines = chunk.split(b"\n")
        rest = lines.pop()
        if lines and self._tail:
            lines[0] = bytes(self._tail + lines[0])
            self._tail.clear()
        for line in lines:
            self._check(len(line))
            line = line.removesuffix(b"\r")
            if line:  # D1
                found.append(line)
        # One buffer that grows in place: joining the pieces of a long line again at every feed
        # would take quadratic time.
        self._tail += rest
        self._check(len(self._tail))

    def _check(self, line_bytes: int) -> None:
        if line_bytes > self._max_line_bytes:  # D2
            raise PeerError(
                f"expected an NDJSON line of at most {self._max_line_bytes} bytes, got a longer "
                "one; end this stream, or raise max_line_bytes if the peer is trusted"
            )
