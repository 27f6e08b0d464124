"""Streams under our own server: written to the connection's transport by whatever wakes them.

After a commit, fan-out is one loop that calls `write` once per watcher, without waking a task for
each. The task of the request waits for the end only if somebody wants to know of the end. Otherwise
the task ends, and most of what a silent watcher would cost ends with it.
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
    """A stream that owns its connection's transport as long as it runs.

    It has room until the transport says that it has none.
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
        """Send without a task, and call `then` once there is nothing more to send, or nobody."""
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
            transport.abort()  # there was an end we did not make: what is unsent helps nobody
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
        """The transport takes more."""
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
        self._connection.transport.abort()  # which tells us that the connection is lost
