"""Streams under any ASGI server: one task per stream, which awaits the server's `send`.

We see only what the server reports. A stall is noticed once per piece of 64 KiB, and ended by
leaving the response incomplete. If a client sends another request and then leaves, uvicorn's own
protocol for httptools does not report it, and the stream continues until its run ends.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from starlette.types import Receive, Send

from runcast._http.streaming.feeds import Form
from runcast._http.streaming.stream import Shared, Stream
from runcast._hub.admission import Admission

__all__ = ("PlainStream",)

_PIECE_BYTES: Final = 64 * 1024
"""Most bytes of one send, about what servers buffer before a send waits. Only the end of a send
shows that the socket takes data."""


class PlainStream(Stream):
    """A stream that knows its connection only by the reports of `send` and `receive`.

    The next data to send is collected here.
    """

    __slots__ = ("_next", "_ready", "_receive", "_task")

    def __init__(
        self, shared: Shared, receive: Receive, send: Send, form: Form, admission: Admission
    ) -> None:
        super().__init__(shared, send, form, admission)
        self._receive = receive
        self._next = b""
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def run(self, opening: bytes) -> None:
        await self._do(self._send_all(opening))

    async def finish(self, last: bytes) -> None:
        self.paused_at = self.shared.now
        await self._do(super().finish(last))

    async def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work unless the client leaves or stalls."""
        self._task = asyncio.ensure_future(work)
        # After the client has left, servers differ in when a send fails. Only receive() is sure.
        leaving = asyncio.ensure_future(self._watch())
        try:
            await asyncio.wait({self._task, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not self._task.done():
                self.lost = True
            elif not self._task.cancelled():
                self._task.result()
        except OSError:
            self.lost = True  # some servers report it by an error
        finally:
            for task in (self._task, leaving):
                task.cancel()
            await asyncio.gather(self._task, leaving, return_exceptions=True)

    async def _watch(self) -> None:
        """Wait until the client has left, or the response is complete."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _send_all(self, opening: bytes) -> None:
        self._next = opening
        while True:
            if self._next:
                data, self._next = self._next, b""
                await self._write(data)
            elif self.is_over:
                return
            else:
                self._ready.clear()
                self.is_full = False
                self.wake()
                await self._ready.wait()

    async def _write(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE_BYTES):
            self.last = self.paused_at = self.shared.now
            piece = data[start : start + _PIECE_BYTES]
            await self.send({"type": "http.response.body", "body": piece, "more_body": True})
        self.paused_at = None

    def take(self, item: bytes) -> None:
        self._next += item  # a heartbeat may be waiting already
        self.is_full = True
        self._ready.set()

    def on_stop(self, error: Exception | None) -> None:
        super().on_stop(error)
        self._ready.set()

    def abort(self) -> None:
        self.lost = True
        if self._task is not None:
            self._task.cancel()
