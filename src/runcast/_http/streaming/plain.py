"""Streams under any ASGI server: a task for each, which awaits the server's `send`.

What the server does not tell cannot be seen. A stall is noticed by the piece of 64 KiB, and ended
by leaving the response incomplete. uvicorn's own protocol for httptools does not tell that a client
has left which had sent another request meanwhile: that stream goes on until its run ends.
"""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from starlette.types import Receive, Send

from runcast._http.streaming.feeds import Feed
from runcast._http.streaming.stream import Stream

if TYPE_CHECKING:
    from runcast._http.streaming.streams import Streams

__all__ = ("PlainStream",)

_PIECE_BYTES: Final = 64 * 1024
"""Most bytes of one send, about what servers buffer before they make us wait: only the end of a
send tells that the socket takes something."""


class PlainStream(Stream):
    """A stream that knows of its connection only what `send` and `receive` tell."""

    __slots__ = ("_beating", "_ready", "_receive", "_task")

    def __init__(self, streams: "Streams", receive: Receive, send: Send) -> None:
        super().__init__(streams, send)
        self._receive = receive
        self._ready = asyncio.Event()
        self._beating = False
        self._task: asyncio.Task[None] | None = None

    async def run(self, feed: Feed, opening: bytes) -> None:
        await self._do(self._pump(feed, opening))

    async def finish(self, last: bytes) -> None:
        self.paused_at = self.streams.now
        await self._do(super().finish(last))

    async def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something unless the client leaves or stalls."""
        self._task = asyncio.ensure_future(work)
        # Servers differ in when a send fails after the client has left: only receive() tells all.
        leaving = asyncio.ensure_future(self._watch())
        try:
            await asyncio.wait({self._task, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not self._task.done():
                self.lost = True
            elif not self._task.cancelled():
                self._task.result()
        except OSError:
            self.lost = True  # and some say it by an error
        finally:
            for task in (self._task, leaving):
                task.cancel()
            await asyncio.gather(self._task, leaving, return_exceptions=True)

    async def _watch(self) -> None:
        """Wait until the client has left, or the response is complete."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _pump(self, feed: Feed, opening: bytes) -> None:
        await self._write(opening)
        while not self.dismissed:
            self._ready.clear()
            try:
                data = feed.poll()
                if data is None and feed.behind:
                    data = await feed.read()
            except Exception as error:  # noqa: BLE001 - see leave()
                self.leave(error)
                return
            if data:
                await self._write(data)
            if feed.ended:
                return
            if self._beating:
                self._beating = False
                await self._write(feed.heartbeat)
            elif data is None and not feed.behind:
                await self._ready.wait()

    async def _write(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE_BYTES):
            self.last = self.paused_at = self.streams.now
            piece = data[start : start + _PIECE_BYTES]
            await self.send({"type": "http.response.body", "body": piece, "more_body": True})
        self.paused_at = None

    def wake(self) -> None:
        self._ready.set()

    def stop(self) -> None:
        self._ready.set()

    def beat(self) -> None:
        self._beating = True
        self._ready.set()

    def abort(self) -> None:
        self.lost = True
        if self._task is not None:
            self._task.cancel()
