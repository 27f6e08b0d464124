"""A client that speaks HTTP byte by byte: what a test sends is what goes over the socket."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self

from runcast._wire import sse
from tests.waiting import WAIT_S

__all__ = ("WAIT_S", "Answer", "Connection", "Cut", "Head", "Watching", "fetch", "watch")

Fields = Mapping[str, str]


class Cut(Exception):
    """The connection ended before the response did."""


@dataclass(frozen=True)
class Head:
    """Status and headers of a response; names in lower case, repeated ones joined by LF."""

    status: int
    headers: dict[str, str]


@dataclass(frozen=True)
class Answer(Head):
    """A whole response."""

    body: bytes = b""

    def json(self) -> Any:
        """Return the body, read as the JSON it says it is."""
        assert self.headers["content-type"] == "application/json", self
        return json.loads(self.body)

    def problem(self) -> tuple[int, str]:
        """Return status and code of an error, having checked its form."""
        assert self.headers["content-type"] == "application/problem+json", self
        document = json.loads(self.body)
        assert document["status"] == self.status
        assert document["title"] == HTTPStatus(self.status).phrase
        assert document["detail"]
        assert document["retryable"] in (True, False)
        return self.status, document["code"]

    def detail(self) -> str:
        """Return what an error says."""
        self.problem()
        return str(json.loads(self.body)["detail"])


class Connection:
    """One TCP connection to a server."""

    def __init__(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.host = host
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, host: str, port: int, *, receive_bytes: int = 0) -> Self:
        """Connect; `receive_bytes` makes the kernel's buffer small."""
        sock = socket.socket()
        sock.setblocking(False)
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        try:
            async with asyncio.timeout(WAIT_S):
                await asyncio.get_running_loop().sock_connect(sock, (host, port))
                # A small limit, so that a client that does not read leaves the bytes to the kernel.
                reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
        except BaseException:
            sock.close()
            raise
        return cls(f"{host}:{port}", reader, writer)

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        async with asyncio.timeout(WAIT_S):
            await self.writer.drain()

    async def ask(
        self,
        method: str,
        target: str,
        headers: Fields | None = None,
        body: bytes | None = None,
        *,
        version: str = "1.1",
    ) -> None:
        """Send a request. A header given as "" is left out, so that `Host` can be missing."""
        fields = {"Host": self.host, **(headers or {})}
        if body is not None:
            fields.setdefault("Content-Length", str(len(body)))
        lines = [f"{name}: {value}\r\n" for name, value in fields.items() if value]
        head = f"{method} {target} HTTP/{version}\r\n{''.join(lines)}\r\n"
        await self.send(head.encode("utf-8") + (body or b""))

    async def read_head(self) -> Head:
        """Read a response's head. Raises `Cut`."""
        text = await self._until(b"\r\n\r\n")
        first, *lines = text[:-4].decode("latin-1").split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name = name.lower()
            headers[name] = "\n".join(filter(None, (headers.get(name), value.strip())))
        return Head(int(first.split(" ")[1]), headers)

    async def read_chunk(self) -> bytes | None:
        """Read one chunk of a body; None at its end. Raises `Cut`."""
        size = int(await self._until(b"\r\n"), 16)
        data = await self._exactly(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2] if size else None

    async def read_answer(self, method: str = "GET") -> Answer:
        """Read a whole response. Raises `Cut`."""
        head = await self.read_head()
        body = b""
        if method == "HEAD" or head.status in (204, 304):
            pass
        elif "content-length" in head.headers:
            body = await self._exactly(int(head.headers["content-length"]))
        elif head.headers.get("transfer-encoding") == "chunked":
            while (chunk := await self.read_chunk()) is not None:
                body += chunk
        else:
            body = await self.read_rest()
        return Answer(head.status, head.headers, body)

    async def read_rest(self) -> bytes:
        """Read until the server closes the connection."""
        async with asyncio.timeout(WAIT_S):
            try:
                return await self.reader.read(-1)
            except ConnectionError:
                return b""

    async def _until(self, separator: bytes) -> bytes:
        found = b""
        while not found.endswith(separator):
            found += await self._line()
        return found

    async def _line(self) -> bytes:
        async with asyncio.timeout(WAIT_S):
            try:
                return await self.reader.readuntil(b"\n")
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise Cut(repr(error)) from None

    async def _exactly(self, count: int) -> bytes:
        async with asyncio.timeout(WAIT_S):
            try:
                return await self.reader.readexactly(count)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise Cut(repr(error)) from None

    async def half_close(self) -> None:
        """Send nothing more."""
        self.writer.write_eof()

    def reset(self) -> None:
        """Leave with an RST instead of a FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        """Leave. Idempotent."""
        self.writer.close()
        try:
            async with asyncio.timeout(WAIT_S):
                await self.writer.wait_closed()
        except ConnectionError:
            pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


@dataclass
class Watching:
    """A stream that is being read. `raw` is all of its body that came so far."""

    connection: Connection
    head: Head
    raw: bytes = b""
    ended: bool = False
    """Whether the response came to its end, instead of being cut."""
    _decoder: sse.Decoder = field(default_factory=sse.Decoder)
    _events: list[sse.SSEvent] = field(default_factory=list)

    async def _read(self) -> bool:
        """Read a chunk; False at the end. Raises `Cut`."""
        if self.ended:
            return False
        chunk = await self.connection.read_chunk()
        if chunk is None:
            self.ended = True
            return False
        self.raw += chunk
        if self.head.headers["content-type"] == "text/event-stream":
            self._events += self._decoder.feed(chunk)
        return True

    async def read_until(self, text: bytes) -> None:
        """Read until this has come."""
        while text not in self.raw:
            assert await self._read(), f"the stream ended without {text!r}: {self.raw!r}"

    async def event(self) -> sse.SSEvent:
        """Return the next event."""
        event = await self.event_or_none()
        assert event is not None, f"the stream ended: {self.raw!r}"
        return event

    async def event_or_none(self) -> sse.SSEvent | None:
        """Return the next event, None at the end of the response. Raises `Cut`."""
        while not self._events:
            if not await self._read():
                return None
        return self._events.pop(0)

    async def json(self) -> Any:
        """Return the data of the next event."""
        return json.loads((await self.event()).data)

    async def rest(self) -> list[sse.SSEvent]:
        """Return the events up to the end of the response. Raises `Cut`."""
        while await self._read():
            pass
        events, self._events = self._events, []
        return events

    async def read_all(self) -> bytes:
        """Return the whole body. Raises `Cut`."""
        while await self._read():
            pass
        return self.raw

    async def until_cut(self) -> list[sse.SSEvent]:
        """Return the events up to where the connection ends, in whatever way."""
        try:
            return await self.rest()
        except Cut:
            events, self._events = self._events, []
            return events

    @property
    def last_event_id(self) -> str:
        """What a browser would send to go on from here."""
        return self._decoder.last_event_id


async def fetch(
    address: tuple[str, int],
    method: str,
    target: str,
    headers: Fields | None = None,
    body: bytes | None = None,
) -> Answer:
    """Make one request on a connection of its own."""
    async with await Connection.open(*address) as connection:
        await connection.ask(method, target, headers, body)
        return await connection.read_answer(method)


@asynccontextmanager
async def watch(
    address: tuple[str, int],
    target: str,
    headers: Fields | None = None,
    *,
    method: str = "GET",
    body: bytes | None = None,
) -> AsyncIterator[Watching]:
    """Open a stream on a connection of its own, and leave it at the end of the block."""
    async with await Connection.open(*address) as connection:
        await connection.ask(method, target, headers, body)
        head = await connection.read_head()
        assert head.status == 200, (head, await connection.read_rest())
        yield Watching(connection, head)
