"""Open streams: written to as events are committed, kept alive, and ended when they stall.

Two ways lead to a socket. Under `runcast serve` a stream writes frames straight to the connection's
transport: after a commit, fan-out is one loop that calls `write` once per watcher, without waking a
task for each. Under any other ASGI server a task per stream awaits `send`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, Final, Protocol

from runcast.clock import Clock
from runcast.errors import RuncastError
from runcast.http.feeds import Feed
from runcast.settings import Settings

__all__ = ("CONNECTION_KEY", "Connection", "Streams")

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

CONNECTION_KEY: Final = "runcast.connection"
"""Where our own server's protocol puts the `Connection` in a request's `state`."""

_BEAT_S: Final = 1.0
"""How often silence and stalls are looked for; or four times a heartbeat, if that is shorter."""

_PIECE_BYTES: Final = 64 * 1024
"""Most bytes of one send, about what servers buffer before they make us wait."""

_log: Final = logging.getLogger("runcast.http")


class Connection(Protocol):
    """A client's connection, as our own server gives it to a stream."""

    transport: asyncio.Transport
    is_paused: bool
    """Whether the transport's buffer is full."""

    def follow(self, stream: "_DirectStream | None") -> None:
        """Tell this stream when the connection can be written to again, or is lost."""
        ...


class Streams:
    """All open streams of an application, and the one timer for them."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._open: set[_Stream] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.closing = asyncio.Event()
        """Set when the server ends; whatever keeps a request waiting should watch it."""
        self._written: tuple[bytes, bytes] = (b"", b"")
        self.now = clock.monotonic()
        """The time of the last beat, seconds: close enough to tell silence, and free."""
        self.stalled = 0
        """Streams ended since the start because their socket took nothing."""

    def __len__(self) -> int:
        return len(self._open)

    async def run(
        self,
        feed_for: Callable[[Callable[[], None]], Awaitable[Feed]],
        scope: MutableMapping[str, Any],
        receive: Receive,
        send: Send,
        respond: Callable[[Feed], Awaitable[bool]],
    ) -> bool:
        """Send a feed until it ends, the client leaves, or it stalls.

        Args:
            feed_for: makes the feed, given what wakes the stream.
            respond: sends the response's head; False if there is nothing to stream after it.

        Returns:
            True if it was the client who ended it: it left, or took nothing for too long.
        """
        connection = scope.get("state", {}).get(CONNECTION_KEY)
        stream: _Stream
        if connection is not None and scope["http_version"] == "1.1":
            stream = _DirectStream(self, connection, send)
        else:
            stream = _SentStream(self, receive, send)
        feed = await feed_for(stream.wake)
        try:
            if await respond(feed):
                await self._run(stream, feed)
        finally:
            feed.close()
        return stream.lost and not self.closing.is_set()

    async def _run(self, stream: "_Stream", feed: Feed) -> None:
        self._open.add(stream)
        self._start_timer()
        stream.last = self.now
        try:
            retry_ms = int(self._settings.retry_s * 1000)
            if not self.closing.is_set():
                await stream.run(feed, feed.opening(retry_ms))
            if not stream.lost:
                goes_on = stream.dismissed or self.closing.is_set()
                # Still under the eyes of the timer: the last bytes may stall like any others.
                await stream.finish(feed.farewell(retry_ms) if goes_on else b"")
        finally:
            stream.close()
            self._open.discard(stream)

    def close(self) -> None:
        """End all streams with a farewell; new ones end at once. Idempotent."""
        self.closing.set()
        if self._timer is not None:
            self._timer.cancel()
        for stream in list(self._open):
            stream.dismiss()

    def chunked(self, data: bytes) -> bytes:
        """Return data as an HTTP/1.1 chunk, made once for all who get the same bytes object."""
        if self._written[0] is not data:
            self._written = (data, b"%x\r\n%b\r\n" % (len(data), data))
        return self._written[1]

    def _start_timer(self) -> None:
        if self._timer is None and not self.closing.is_set():
            self.now = self._clock.monotonic()
            every_s = min(_BEAT_S, self._settings.heartbeat_s / 4, self._settings.stall_s / 4)
            self._timer = asyncio.get_running_loop().call_later(every_s, self._beat)

    def _beat(self) -> None:
        self._timer = None
        self.now = self._clock.monotonic()
        silent_since = self.now - self._settings.heartbeat_s
        stalled_since = self.now - self._settings.stall_s
        for stream in list(self._open):
            if stream.paused_at is not None:
                if stream.takes_some():
                    stream.paused_at = self.now
                elif stream.paused_at <= stalled_since:
                    self.stalled += 1
                    stream.abort()
            elif stream.last <= silent_since:
                stream.beat()
        if self._open:
            self._start_timer()


class _Stream:
    """What the timer knows of a stream."""

    __slots__ = ("__weakref__", "dismissed", "last", "lost", "paused_at", "send", "streams")

    def __init__(self, streams: Streams, send: Send) -> None:
        self.streams = streams
        self.send = send
        self.last = 0.0
        """When it was last written to."""
        self.paused_at: float | None = None
        """Since when its socket takes nothing."""
        self.lost = self.dismissed = False

    def wake(self) -> None:
        """Say that there may be more to send."""

    async def run(self, feed: Feed, opening: bytes) -> None:
        """Send until there is nothing more to send, or nobody to send it to."""

    async def finish(self, last: bytes) -> None:
        """Send the last bytes and end the response."""
        await self.send({"type": "http.response.body", "body": last, "more_body": False})

    def close(self) -> None:
        """Let go of the connection."""

    def beat(self) -> None:
        """Send a heartbeat."""

    def takes_some(self) -> bool:
        """Tell whether the socket, though full, took something since this was asked before."""
        return False

    def dismiss(self) -> None:
        """End it, though it could go on elsewhere."""

    def abort(self) -> None:
        """Cut the connection."""

    def leave(self, error: Exception) -> None:
        """End it because of an error: the watcher comes back and resumes."""
        if isinstance(error, RuncastError):
            _log.info("a stream was ended: %s", error)
        else:
            # A fault of ours. It must not reach who woke us: commits and other streams go on.
            _log.error("a stream was ended", exc_info=error)
        self.dismiss()


class _DirectStream(_Stream):
    """Writes to the transport from whatever wakes it; its task only waits for the end."""

    __slots__ = ("_connection", "_feed", "_over", "_reading", "_waiting")

    def __init__(self, streams: Streams, connection: Connection, send: Send) -> None:
        super().__init__(streams, send)
        self._connection = connection
        self._feed: Feed | None = None
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reading: asyncio.Task[None] | None = None
        self._waiting = 0

    async def run(self, feed: Feed, opening: bytes) -> None:
        self._feed = feed
        self._connection.follow(self)
        if self._connection.transport.is_closing():
            self.lost = True
            return
        if opening:
            self._write(opening)
        self.wake()
        await self._over

    def close(self) -> None:
        self._connection.follow(None)
        self._end()
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
                if feed.ended:
                    self._end()
                    return
                if feed.is_current:
                    return  # at once, in most wake-ups: a look that finds nothing costs as well
                if data is None:
                    if feed.behind:
                        self._reading = asyncio.ensure_future(self._read(feed))
                    return
        except Exception as error:  # noqa: BLE001 - see leave()
            self.leave(error)

    async def _read(self, feed: Feed) -> None:
        try:
            data = await feed.read()
            if data and not self._over.done():
                self._write(data)
            if feed.ended:
                self._end()
        except Exception as error:  # noqa: BLE001 - see leave()
            self.leave(error)
        finally:
            self._reading = None
        self.wake()

    def _write(self, data: bytes) -> None:
        self.last = self.streams.now
        transport = self._connection.transport
        try:
            transport.write(self.streams.chunked(data))
        except RuntimeError:
            if not transport.is_closing():
                raise
            self.connection_lost()  # some loops refuse to write where others pretend to
        if self._connection.is_paused and self.paused_at is None:
            self.paused_at = self.streams.now
            self._waiting = transport.get_write_buffer_size()

    def takes_some(self) -> bool:
        before, self._waiting = self._waiting, self._connection.transport.get_write_buffer_size()
        return self._waiting < before

    def resume(self) -> None:
        """The transport takes more."""
        self.paused_at = None
        self.wake()

    def connection_lost(self) -> None:
        """The client is gone."""
        self.lost = True
        self._end()

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def beat(self) -> None:
        if self._feed is not None and not self._over.done():
            self._write(self._feed.heartbeat)

    def dismiss(self) -> None:
        if self.paused_at is not None and self.streams.closing.is_set():
            self.abort()  # the server will not wait for it
        self.dismissed = True
        self._end()

    def abort(self) -> None:
        self.lost = True
        self._connection.transport.abort()
        self._end()


class _SentStream(_Stream):
    """A task that awaits the server's `send`: for any ASGI server."""

    __slots__ = ("_beating", "_ready", "_receive", "_task")

    def __init__(self, streams: Streams, receive: Receive, send: Send) -> None:
        super().__init__(streams, send)
        self._receive = receive
        self._ready = asyncio.Event()
        self._beating = False
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        self._ready.set()

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

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # also said once the response is complete

    async def _write(self, data: bytes) -> None:
        # In pieces, since only the end of a send tells that the socket takes something.
        for start in range(0, len(data), _PIECE_BYTES):
            self.last = self.paused_at = self.streams.now
            piece = data[start : start + _PIECE_BYTES]
            await self.send({"type": "http.response.body", "body": piece, "more_body": True})
        self.paused_at = None

    def beat(self) -> None:
        self._beating = True
        self._ready.set()

    def dismiss(self) -> None:
        if self.paused_at is not None and self.streams.closing.is_set():
            self.abort()  # the server will not wait for it
        self.dismissed = True
        self._ready.set()

    def abort(self) -> None:
        self.lost = True
        if self._task is not None:
            self._task.cancel()
