"""Streams under our own server, which write to the connection's transport directly.

After a commit, the fan-out is one loop that calls `write` once per watcher, without waking a task
per watcher. A request's task waits for the end of its stream only if the caller needs the result.
Otherwise the task ends, which removes most of the cost of a silent watcher.
"""

import asyncio
import fcntl
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from starlette.types import Send

from runcast._http.streaming.feeds import Form
from runcast._http.streaming.stream import Shared, Stream
from runcast._hub.admission import Admission

__all__ = ("CONNECTION_KEY", "Connection", "DirectStream", "unread_bytes", "unsent_bytes")

CONNECTION_KEY: Final = "runcast.connection"
"""The key of the `Connection` in a request's `state`, set by our own server."""


class Connection(Protocol):
    """A client's connection, as our own server passes it to a stream."""

    transport: asyncio.Transport
    is_paused: bool
    """Whether the transport's buffer is full."""
    is_lost: bool
    """Whether the client is gone."""

    def follow(self, stream: "DirectStream | None") -> None:
        """Notify this stream when the connection can be written to again, or is lost."""
        ...

    def park(self) -> Send:
        """Let the request's task end before its response does; return a `send` for the rest."""
        ...


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Return how many bytes the client has yet to take, from our buffer and the kernel's.

    The kernel's buffer may hold megabytes, and asks for more only once a third is sent. So a
    slow client would seem to take nothing for minutes. Linux reports what the kernel's buffer
    holds.
    """
    held = bytearray(4)
    with suppress(OSError, ValueError, TypeError):  # the socket is closed, or this is not Linux
        fcntl.ioctl(transport.get_extra_info("socket"), termios.TIOCOUTQ, held)
    return transport.get_write_buffer_size() + int.from_bytes(held, sys.byteorder)


def unread_bytes(transport: asyncio.Transport) -> int:
    """Return how many bytes of the client's the kernel holds, which the loop has yet to read."""
    held = bytearray(4)
    with suppress(OSError, ValueError, TypeError):  # the socket is closed
        fcntl.ioctl(transport.get_extra_info("socket"), termios.FIONREAD, held)
    return int.from_bytes(held, sys.byteorder)


class DirectStream(Stream):
    """A stream that owns its connection's transport while it runs.

    It can write until the transport is full.
    """

    __slots__ = ("_connection", "_over", "_unsent")

    def __init__(
        self,
        shared: Shared,
        connection: Connection,
        send: Send,
        form: Form,
        admission: Admission,
    ) -> None:
        super().__init__(shared, send, form, admission)
        self._connection = connection
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unsent = 0

    async def run(self, opening: bytes) -> None:
        self._begin(opening)
        await self._over

    def park(self, opening: bytes, then: Callable[[], None]) -> None:
        """Send without a task, and call `then` once the data ends or the client leaves."""
        self._begin(opening)
        self.send = self._connection.park()
        self._over.add_done_callback(lambda _: then())

    def _begin(self, opening: bytes) -> None:
        self._connection.follow(self)
        if self._connection.is_lost:
            self.connection_lost()
            return
        self.is_full = False
        if opening:
            self.take(opening)
        self.wake()

    def close(self) -> None:
        self._connection.follow(None)
        super().close()

    def take(self, item: bytes) -> None:
        self.last = self.shared.now
        transport = self._connection.transport
        if transport.is_closing():
            transport.abort()  # an unexpected end: the unsent data is useless
            return
        transport.write(self.shared.chunked(item))
        if self._connection.is_paused and not self.is_full:
            self.is_full = True
            self.paused_at = self.shared.now
            self._unsent = unsent_bytes(transport)

    def takes_some(self) -> bool:
        before, self._unsent = self._unsent, unsent_bytes(self._connection.transport)
        return self._unsent < before

    def resume(self) -> None:
        """The transport can take data again."""
        self.paused_at = None
        self.is_full = False
        self.wake()

    def connection_lost(self) -> None:
        """The client is gone."""
        self.lost = True
        self.stop()

    def on_stop(self, error: Exception | None) -> None:
        super().on_stop(error)
        if not self._over.done():
            self._over.set_result(None)

    def abort(self) -> None:
        self._connection.transport.abort()  # this calls `connection_lost`
