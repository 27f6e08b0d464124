"""An incremental reader of one HTTP/1.1 response: bytes in, body bytes out."""

MOST_HEAD_BYTES = 64 * 1024
MOST_SIZE_LINE_BYTES = 256  # a chunk's size in hex, with room for extensions nobody sends


class BadResponse(Exception):
    """The server sent something that is not an HTTP/1.1 response."""


class ResponseReader:
    """Takes the bytes of a response as they come and gives back those of its body.

    `status` is 0 until the whole head has come; `ended` is True after the last chunk. A body that
    is not chunked is taken to last as long as the connection.
    """

    __slots__ = ("_carry", "_left", "chunked", "ended", "status")

    def __init__(self) -> None:
        self._carry = b""
        self._left = 0  # bytes of the present chunk still to come, its CRLF included
        self.chunked = False
        self.ended = False
        self.status = 0

    def feed(self, data: bytes) -> bytes:
        """Return the body bytes that `data` completes.

        Raises:
            BadResponse: no status line, an endless head, or a chunk size that is no number.
        """
        if not self.status:
            data = self._read_head(data)
        return self._read_chunks(data) if self.chunked else data

    def _read_head(self, data: bytes) -> bytes:
        data = self._carry + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) > MOST_HEAD_BYTES:
                raise BadResponse(f"no end of head in {len(data)} bytes")
            self._carry = data
            return b""
        self._carry = b""
        head = data[:end].lower()
        status = head[9:12]
        if not head.startswith(b"http/1.1 ") or not status.isdigit():
            raise BadResponse(f"expected an HTTP/1.1 status line, got {data[:40]!r}")
        self.status = int(status)
        self.chunked = b"\r\ntransfer-encoding: chunked" in head
        return data[end + 4 :]

    def _read_chunks(self, data: bytes) -> bytes:
        if self._carry:
            data = self._carry + data
            self._carry = b""
        pieces: list[bytes] = []
        left, at, length = self._left, 0, len(data)
        while at < length and not self.ended:
            if left:
                end = at + left
                if end - 2 > at:
                    pieces.append(data[at : end - 2])
                left = max(0, end - length)
                at = end
                continue
            line_end = data.find(b"\r\n", at)
            if line_end < 0:
                self._carry = data[at:]
                if len(self._carry) > MOST_SIZE_LINE_BYTES:
                    raise BadResponse("a chunk's size line does not end")
                break
            try:
                size = int(data[at:line_end].partition(b";")[0], 16)
            except ValueError as error:
                raise BadResponse(f"expected a chunk size, got {data[at:line_end]!r}") from error
            at = line_end + 2
            if size == 0:
                self.ended = True
            else:
                left = size + 2
        self._left = left
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
