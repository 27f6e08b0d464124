"""All open streams: kept alive, and ended when they stall or the server ends.

There are two ways to a socket. Under `runcast serve` a stream writes to the connection's transport
(`direct`). Under any other ASGI server one task per stream awaits `send` (`plain`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import Receive, Scope, Send

from runcast._clock import Clock
from runcast._http.streaming.direct import CONNECTION_KEY, DirectStream
from runcast._http.streaming.feeds import Form
from runcast._http.streaming.plain import PlainStream
from runcast._http.streaming.stream import Shared, Stream
from runcast._hub.admission import Admission
from runcast._settings import Settings
from runcast._wire.sse import MAX_RETRY_MS

__all__ = ("Streams",)

_BEAT_S: Final = 1.0
"""Pause between two checks for silence and stalls; or a quarter of a heartbeat, if shorter."""


class Streams(Shared):
    """The open streams of an application, and the one timer for them."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        super().__init__(clock.monotonic())
        self._settings = settings
        self._clock = clock
        self._open: set[Stream] = set()
        self._finishing: set[asyncio.Task[None]] = set()
        self._retry_ms = int(min(settings.retry_s * 1000, MAX_RETRY_MS))
        self._timer: asyncio.TimerHandle | None = None
        self.stalled = 0
        """Streams that were ended because their socket took nothing, since the start."""

    def __len__(self) -> int:
        return len(self._open)

    def make(
        self, form: Form, admission: Admission, scope: Scope, receive: Receive, send: Send
    ) -> Stream:
        """Return the stream for a request, to be passed to `run`. It releases the admission."""
        connection = scope.get("state", {}).get(CONNECTION_KEY)
        if connection is not None and scope["http_version"] == "1.1":
            return DirectStream(self, connection, send, form, admission)
        return PlainStream(self, receive, send, form, admission)

    async def run(
        self,
        stream: Stream,
        begin: Callable[[Stream], Awaitable[bool]],
        *,
        is_awaited: bool = False,
    ) -> bool:
        """Send a source's data until the source ends, or the client leaves or stalls.

        Args:
            begin: gives the stream its source and sends the response's head; returns False if there
                is nothing to stream.
            is_awaited: return when the stream has ended. Otherwise the stream may continue without
                the caller.

        Returns:
            True if the client is known to have ended the stream: it left, or took nothing for too
            long.
        """
        try:
            if not await begin(stream):
                self._forget(stream)
                return False
            self._open.add(stream)
            self._start_timer()
            stream.last = self.now
            opening = stream.form.opening(self._retry_ms)
            if isinstance(stream, DirectStream) and not (is_awaited or self.closing.is_set()):
                stream.park(opening, lambda: self._part(stream))
                return False
            if not self.closing.is_set():
                await stream.run(opening)
        except BaseException:
            self._forget(stream)
            raise
        await self._finish(stream)
        return stream.lost and not self.closing.is_set()

    async def _finish(self, stream: Stream) -> None:
        """Send the last bytes if the client is still there."""
        try:
            if not stream.lost:
                goes_on = stream.dismissed or self.closing.is_set()
                # The timer still watches the stream: the last bytes may stall like any others.
                await stream.finish(stream.form.farewell(self._retry_ms) if goes_on else b"")
        finally:
            self._forget(stream)

    def _part(self, stream: Stream) -> None:
        """Finish a stream without a waiting task."""

        async def finish() -> None:
            try:
                await self._finish(stream)
            except Exception as error:  # noqa: BLE001 - no server task could report it
                stream.leave(error)
                stream.abort()

        finishing = asyncio.ensure_future(finish())
        self._finishing.add(finishing)
        finishing.add_done_callback(self._finishing.discard)

    def _forget(self, stream: Stream) -> None:
        if stream.held is not None:
            stream.held.forget()
        stream.close()
        self._open.discard(stream)

    def close(self) -> None:
        """End all streams with a farewell; new streams end at once. Idempotent."""
        self.closing.set()
        if self._timer is not None:
            self._timer.cancel()
        for stream in list(self._open):
            stream.dismiss()

    def _start_timer(self) -> None:
        if self._timer is None and not self.closing.is_set():
            self.now = self._clock.monotonic()
            every_s = min(_BEAT_S, self._settings.heartbeat_s / 4, self._settings.stall_s / 4)
            self._timer = asyncio.get_running_loop().call_later(every_s, self._beat)

    def _beat(self) -> None:
        """Check all streams: send heartbeats to silent ones, and end stalled ones."""
        self._timer = None
        self.now = self._clock.monotonic()
        for stream in list(self._open):
            try:
                self._look_at(stream)
            except Exception as error:  # noqa: BLE001 - an error in one stream must not stop the timer
                stream.leave(error)
        if self._open:
            self._start_timer()

    def _look_at(self, stream: Stream) -> None:
        if stream.held is not None and stream.held.has_ended:
            stream.dismiss()
            return
        if stream.paused_at is None:
            if stream.last <= self.now - self._settings.heartbeat_s:
                stream.beat()
        elif stream.takes_some():
            stream.paused_at = self.now
        elif stream.paused_at <= self.now - self._settings.stall_s:
            self.stalled += 1
            stream.abort()
