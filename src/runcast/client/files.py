"""Files to and from a server, in pieces; a download goes on where a connection broke."""

import asyncio
import hashlib
import os
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from runcast.client.reconnect import ReconnectOptions
from runcast.client.transport import Transport
from runcast.client.watching import pause_after
from runcast.errors import InvalidValue, PeerError, RuncastError

__all__ = ("Outgoing", "contents", "ignore_bytes", "save", "upload")

_PIECE_BYTES: Final = 256 * 1024

_ATTEMPTS: Final = 4
"""Failed connections in a row, without a byte in between, after which a download gives up."""


def ignore_bytes(count: int) -> None:
    """Do nothing with the length of a piece."""


class Outgoing:
    """A file or bytes on the way to a server, and the digest of what was sent.

    Args:
        on_bytes: called with the length of each piece.

    Raises:
        InvalidValue: the file cannot be read.
    """

    def __init__(self, source: Path | bytes, on_bytes: Callable[[int], None]) -> None:
        self._source = source
        self._on_bytes = on_bytes
        self._digest = hashlib.sha256()
        try:
            self.length = len(source) if isinstance(source, bytes) else source.stat().st_size
        except OSError as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: OSError) -> InvalidValue:
        return InvalidValue(f"the file {str(self._source)!r} cannot be read: {error.strerror}")

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the first `length` bytes, from the beginning at each call.

        Raises `InvalidValue` if they cannot be read.
        """
        self._digest = hashlib.sha256()
        if isinstance(self._source, bytes):
            for at in range(0, self.length, _PIECE_BYTES):
                yield self._counted(self._source[at : at + _PIECE_BYTES])
            return
        left = self.length
        try:
            with await asyncio.to_thread(self._source.open, "rb") as file:
                while left and (
                    piece := await asyncio.to_thread(file.read, min(left, _PIECE_BYTES))
                ):
                    left -= len(piece)
                    yield self._counted(piece)
        except OSError as error:
            raise self._unreadable(error) from None
        if left:
            raise InvalidValue(
                f"the file {str(self._source)!r} became shorter while it was sent; nothing was "
                "begun"
            )

    def _counted(self, piece: bytes) -> bytes:
        self._digest.update(piece)
        self._on_bytes(len(piece))
        return piece

    def check(self, sha256: object) -> None:
        """Raise `PeerError` if the server got something else than was sent."""
        if sha256 != self._digest.hexdigest():
            raise PeerError("the file did not arrive as it was sent; try again")


async def upload(
    transport: Transport, source: str | Path | bytes, name: str, on_bytes: Callable[[int], None]
) -> dict[str, str]:
    """Upload a file for a later run; see `AsyncClient.upload`."""
    path = source if isinstance(source, bytes) else Path(source)
    sent = await asyncio.to_thread(Outgoing, path, on_bytes)
    given = name or (os.fsencode(path.name) if isinstance(path, Path) else b"file")
    answer = await transport.ask(
        "POST",
        f"/uploads?{urlencode({'name': given})}",
        content=sent.pieces(),
        headers={"content-type": "application/octet-stream", "content-length": str(sent.length)},
    )
    sent.check(answer.field("sha256"))
    return {"upload_id": str(answer.field("upload_id"))}


async def save(pieces: AsyncGenerator[bytes, None], target: Path) -> Path:
    """Write a file, which appears when it is whole, and return where it is."""
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with await asyncio.to_thread(part.open, "wb") as file:
            async with aclosing(pieces):
                async for piece in pieces:
                    await asyncio.to_thread(file.write, piece)
        await asyncio.to_thread(os.replace, part, target)
    finally:
        await asyncio.to_thread(part.unlink, missing_ok=True)
    return target


async def contents(
    transport: Transport, path: str, waits: ReconnectOptions
) -> AsyncGenerator[bytes, None]:
    """Yield a file of the server, and go on where a connection broke.

    Args:
        waits: the pauses between connections.

    Raises:
        NotFound: there is no such file.
        PeerError: the file was replaced meanwhile; begin again.
        ServerUnavailable: the server could not be reached several times in a row.
    """
    done, tag, failures = 0, "", 0
    while True:
        headers = {"range": f"bytes={done}-", "if-range": tag} if done else {}
        before = done
        try:
            async with transport.stream("GET", path, headers=headers) as stream:
                found = stream.headers.get("etag", "")
                if done and (stream.status != 206 or not tag or found != tag):
                    raise PeerError("the file was replaced while it was read; try again")
                tag = found
                async with aclosing(stream.chunks()) as chunks:
                    async for chunk in chunks:
                        done += len(chunk)
                        yield chunk
            return
        except RuncastError as error:
            failures = 1 if done > before else failures + 1
            if not error.retryable or failures >= _ATTEMPTS:
                raise
            await asyncio.sleep(pause_after(failures - 1, waits, error))
