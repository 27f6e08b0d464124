"""Files to and from a server, in pieces."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Final

from runcast.client.reconnect import Options
from runcast.client.transport import Transport
from runcast.client.watching import pause_after
from runcast.errors import ServerUnavailable

__all__ = ("fetch", "pieces_of")

_PIECE_BYTES: Final = 256 * 1024

_ATTEMPTS: Final = 4
"""Failed connections in a row, without a byte in between, after which a download gives up."""


async def pieces_of(path: Path) -> AsyncIterator[bytes]:
    """Yield the contents of a file."""
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
            yield piece


async def fetch(transport: Transport, path: str, part: Path, waits: Options) -> None:
    """Write a file of the server, and go on where a connection broke.

    Args:
        part: the file to write; it is emptied first.
        waits: the pauses between connections.

    Raises:
        ServerUnavailable: the server could not be reached several times in a row.
    """
    done, tag, failures = 0, "", 0
    await asyncio.to_thread(part.write_bytes, b"")
    while True:
        headers = {"range": f"bytes={done}-", "if-range": tag} if done and tag else {}
        before = done
        try:
            async with transport.stream("GET", path, headers=headers) as stream:
                if stream.status != 206:
                    await asyncio.to_thread(part.write_bytes, b"")
                    done = 0
                tag = stream.headers.get("etag", "")
                async with aclosing(stream.chunks()) as chunks:
                    async for chunk in chunks:
                        await asyncio.to_thread(_append, part, chunk)
                        done += len(chunk)
            return
        except ServerUnavailable as error:
            failures = 1 if done > before else failures + 1
            if failures >= _ATTEMPTS:
                raise
            await asyncio.sleep(pause_after(failures - 1, waits, error))


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
