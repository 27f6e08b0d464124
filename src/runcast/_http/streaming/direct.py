"""Streams under our own server: written to the connection's transport by whatever wakes them.

After a commit, fan-out is one loop that calls `write` once per watcher, without waking a task for
each. The task of the request waits for the end only if somebody wants to know of it. Otherwise it
is let go, and with it most of what a silent watcher would cost.
"""

import asyncio
import fcntl
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from starlette.types import Send

from runcast._http.streaming.feeds import Feed
from runcast._http.streaming.stream import Stream

if TYPE_CHECKING:
    from runcast._http.streaming.streams import Streams

__all__ = ("CONNECTION_KEY", "Connection", "DirectStream", "unsent_bytes")

CONNECTION_KEY: Final = "runcast.connection"
"""Where our own server's protocol puts the `Connection` in a request's `state`."""


class Connection(Protocol):
    """A client's connection, as our own server gives it to a stream."""

    transport: asyncio.Transport
    is_paused: bool
    """Whether the transport's buffer is full."""
    is_lost: bool
    """Whether the client is gone."""

    def follow(self, stream: "DirectStream | None") -> None:
        """Tell this stream when the connection can be written to again, or is lost."""
        ...

    def park(self) -> Send:
        """Let the request's task end before its response does; return what sends the rest."""
        ...


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Return how many bytes the client has yet to take: those in our buffer and in the kernel's.

    The kernel's may be megabytes, and it wants more only once a third of them is gone: who takes
    little would seem to take nothing for minutes. What it holds is told by Linux.
    """
    held = bytearray(4)
    with suppress(OSError, ValueError, TypeError):  # it is closed, or this is not Linux
        fcntl.ioctl(transport.get_extra_info("socket"), termios.TIOCOUTQ, held)
    return transport.get_write_buffer_size() + int.from_bytes(held, sys.byteorder)


class DirectStream(Stream):
    """A stream that owns its connection's transport as long as it runs."""

    __slots__ = ("_connection", "_feed", "_over", "_reading", "_unsent")

    def __init__(self, streams: "Streams", connection: Connection, send: Send) -> None:
        super().__init__(streams, send)
        self._connection = connection
        self._feed: Feed | None = None
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reading: asyncio.Task[None] | None = None
        self._unsent = 0

    async def run(self, feed: Feed, opening: bytes) -> None:
        self._begin(feed, opening)
        await self._over

    def park(self, feed: Feed, opening: bytes, then: Callable[[], None]) -> None:
        """Send without a task, and call `then` once there is nothing more to send, or nobody."""
        self._begin(feed, opening)
        self.send = self._connection.park()
        self._over.add_done_callback(lambda _: then())

    def _begin(self, feed: Feed, opening: bytes) -> None:
        self._feed = feed
        self._connection.follow(self)
        if self._connection.is_lost:
            self.connection_lost()
            return
        if opening:
            self._write(opening)
        self.wake()

    def close(self) -> None:
        self._connection.follow(None)
        self.stop()
        if self._reading is not None:
            self._reading.cancel()

    def wake(self) -> None:
        feed = self._feed
        if feed is None or self._reading is not None or self._over.done():
            return
        try:
            while self.paused_at is None:
                data = feed.poll()
                if data:
                    self._write(data)
                if feed.is_current:
                    return  # at once, in most wake-ups: a look that finds nothing costs as well
                if feed.ended:
                    self.stop()
                    return
                if data is None:
                    if feed.behind:
                        self._reading = asyncio.ensure_future(self._read(feed))
                    return
        except Exception as error:  # noqa: BLE001 - see leave()
            self.leave(error)

    async def _read(self, feed: Feed) -> None:
        """Write what the store has next."""
        try:
            data = await feed.read()
            if data and not self._over.done():
                self._write(data)
            if feed.ended:
                self.stop()
        except Exception as error:  # noqa: BLE001 - see leave()
            self.leave(error)
        finally:
            self._reading = None
        self.wake()

    def _write(self, data: bytes) -> None:
        self.last = self.streams.now
        transport = self._connection.transport
        if transport.is_closing():
            transport.abort()  # there was an end we did not make: what is unsent helps nobody
            return
        transport.write(self.streams.chunked(data))
        if self._connection.is_paused and self.paused_at is None:
            self.paused_at = self.streams.now
            self._unsent = unsent_bytes(transport)

    def takes_some(self) -> bool:
        before, self._unsent = self._unsent, unsent_bytes(self._connection.transport)
        return self._unsent < before

    def resume(self) -> None:
        """The transport takes more."""
        self.paused_at = None
        self.wake()

    def connection_lost(self) -> None:
        """The client is gone."""
        self.lost = True
        self.stop()

    def stop(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def beat(self) -> None:
        if self._feed is not None and not self._over.done():
            self._write(self._feed.heartbeat)

    def abort(self) -> None:
        self._connection.transport.abort()  # which tells us that the connection is lost
