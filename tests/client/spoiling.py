"""A proxy that spoils streams on purpose, as `conformance/README.md` describes it."""

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

__all__ = ("SpoilingProxy", "spoiling")

_PASS: Final[dict[str, Any]] = {"fault": "pass"}
_STREAM: Final = re.compile(
    rb"GET /(?:runs/[^/ ]+/events|events|runs)(?=[? ])(?![^ ]*live=long-poll)"
)
_MOST: Final = 1 << 20


class SpoilingProxy:
    """Forwards to a port; `faults` meet streams one after the other."""

    def __init__(self, upstream: int, faults: Sequence[dict[str, Any]]) -> None:
        self.upstream = upstream
        self.port = 0
        self.streams = 0
        """Streams that were asked for."""
        self.polls = 0
        """Long polls that were asked for."""
        self._faults = faults

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _next(self, head: bytes) -> dict[str, Any]:
        if not _STREAM.match(head) or b"text/event-stream" not in head:
            self.polls += b"live=long-poll" in head.partition(b"\r\n")[0]
            return _PASS
        self.streams += 1
        if self.streams <= len(self._faults):
            return self._faults[self.streams - 1]
        last = self._faults[-1] if self._faults else _PASS
        return last if last.get("always") else _PASS

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close the connection."""
        with suppress(OSError, asyncio.IncompleteReadError):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                await self._spoil(self._next(head), head + body, writer)
            finally:
                writer.close()

    async def _spoil(
        self, fault: dict[str, Any], request: bytes, writer: asyncio.StreamWriter
    ) -> None:
        match fault["fault"]:
            case "refuse":
                return
            case "status":
                retry = f"retry-after: {fault['retry_after']}\r\n" if "retry_after" in fault else ""
                said = f"HTTP/1.1 {fault['status']} No\r\n{retry}content-length: 0\r\n\r\n"
                writer.write(said.encode())
            case "page":
                head = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\n"
                writer.write(head + b"<h1>")
            case _:
                await self._forward(fault, request, writer)
        await writer.drain()

    async def _forward(
        self, fault: dict[str, Any], request: bytes, writer: asyncio.StreamWriter
    ) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self.upstream)
        try:
            asked = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", request)
            ours.write(asked.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
            head = await theirs.readuntil(b"\r\n\r\n")
            if fault["fault"] == "hold":
                writer.write(head + await theirs.read(-1))
                return
            writer.write(head)
            left = fault.get("after_bytes", _MOST * _MOST)
            size = fault.get("bytes", _MOST)
            while left and (chunk := await theirs.read(min(left, size))):
                if "ms" in fault:
                    await _delay(fault["ms"] / 1000)
                left -= len(chunk)
                writer.write(chunk)
                await writer.drain()
            if not left and fault["fault"] == "stall":
                await writer.wait_closed()
            if not left and fault["fault"] == "reset":
                made: socket.socket = writer.get_extra_info("socket")
                made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
        finally:
            ours.close()


async def _delay(seconds: float) -> None:
    late = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, late.set)
    await late.wait()


@asynccontextmanager
async def spoiling(upstream: int, faults: Sequence[dict[str, Any]]) -> AsyncIterator[SpoilingProxy]:
    """Run a proxy on this loop."""
    proxy = SpoilingProxy(upstream, faults)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(proxy.answer(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        left = [*tasks]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
