"""A proxy that loses requests and answers on purpose, one after the other."""

import asyncio
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, Literal

from tests.waiting import WAIT_S

__all__ = ("Fault", "Proxy", "proxying")

Fault = Literal[
    "pass", "lose request", "lose answer", "cut answer", "503", "shutting down", "garbage"
]

_PART_BYTES: Final = 333
"""How much of a stream comes through before it is cut."""

_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 0\r\n"
    b"connection: close\r\n\r\n"
)
_PROBLEM: Final = (
    b'{"type":"about:blank","title":"Service Unavailable","status":503,"code":"overloaded",'
    b'"detail":"the server is shutting down; try another or again later","retryable":true}'
)
_ENDING: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n"
    b"content-length: %d\r\nretry-after: 0\r\nconnection: close\r\n\r\n%b"
) % (len(_PROBLEM), _PROBLEM)
"""What a server of ours answers that shuts down."""


class Proxy:
    """Forwards to a port that may change. Faults meet the requests whose head has `target`.

    `faults` are used up one by one; after the last one everything passes.
    """

    def __init__(self, port: int, target: str) -> None:
        self.upstream = port
        self.port = 0
        self.faults: deque[Fault] = deque()
        self.met: list[Fault] = []
        self._target = target.encode()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of a client's connection."""
        with suppress(OSError, asyncio.IncompleteReadError):
            try:
                while await self._forward(reader, writer):
                    pass
            finally:
                writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(_length_of(head) or 0)
        fault: Fault = "pass"
        if self._target in head and self.faults:
            fault = self.faults.popleft()
            self.met.append(fault)
        if fault == "lose request":
            return False
        if fault in ("503", "shutting down"):
            writer.write(_BUSY if fault == "503" else _ENDING)
            await writer.drain()
            return False
        if fault == "garbage":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{")
            await writer.drain()
            return False
        theirs, ours = await asyncio.open_connection("127.0.0.1", self.upstream)
        try:
            ours.write(head + body)
            await ours.drain()
            answer = await theirs.readuntil(b"\r\n\r\n")
            length = _length_of(answer)
            if length is None:
                writer.write(answer)
                while chunk := await theirs.read(65536 if fault == "pass" else _PART_BYTES):
                    writer.write(chunk)
                    await writer.drain()
                    if fault != "pass":
                        break
                return False
            answer += await theirs.readexactly(length)
        finally:
            ours.close()
        if fault == "lose answer":
            return False
        writer.write(answer[: len(answer) // 2] if fault == "cut answer" else answer)
        await writer.drain()
        return fault == "pass"


def _length_of(head: bytes) -> int | None:
    found = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
    return int(found[1]) if found else None


@contextmanager
def proxying(port: int, target: str = "/events?producer") -> Iterator[Proxy]:
    """Run a proxy in a thread."""
    proxy = Proxy(port, target)
    ready, loop = threading.Event(), asyncio.new_event_loop()

    async def listen() -> asyncio.Server:
        server = await asyncio.start_server(proxy.answer, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        ready.set()
        return server

    async def end(server: asyncio.Server) -> None:
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever, name="proxy")
    thread.start()
    try:
        listening = asyncio.run_coroutine_threadsafe(listen(), loop)
        assert ready.wait(WAIT_S)
        yield proxy
        asyncio.run_coroutine_threadsafe(end(listening.result()), loop).result(WAIT_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_S)
        loop.close()
