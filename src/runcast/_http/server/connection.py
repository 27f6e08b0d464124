"""What a connection of our own server adds to uvicorn's protocol, with either parser.

A stream may write to the connection directly. This needs only `asyncio.Protocol`'s own methods and
the `app_state` that uvicorn copies into each request's scope. If either is missing, streams use
plain ASGI.

The head of a request is bounded in time and, until it is complete, in size. uvicorn would wait for
the rest of a head for ever, and with httptools buffer everything. The application limits the size
of a complete head.

A client that vanishes is noticed (`vanished`).

A client must read its answers. For a client that does not read, uvicorn would keep the answer for
ever, and with httptools any number of requests behind it.

An offer of another protocol (`Upgrade`) is ignored silently.
"""

import asyncio
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from starlette.types import Send

from runcast._http.api.responses import SAFE_HEADERS
from runcast._http.streaming.direct import CONNECTION_KEY, unread_bytes, unsent_bytes
from runcast._http.vanished import VanishedClients
from runcast._settings import Settings

if TYPE_CHECKING:
    from runcast._http.streaming.direct import DirectStream

__all__ = ("DirectProtocol",)

_SAFE: Final = "".join(f"{name}: {value}\r\n" for name, value in SAFE_HEADERS.items())

_LAST_S: Final = 0.5
"""How long a client may take to read the last data when the server ends."""


class _Unheard:
    """An event without waiters, for a request whose task has ended."""

    def set(self) -> None:
        """Do nothing."""


class DirectProtocol(asyncio.Protocol):
    """A mixin for uvicorn's protocols: the `Connection` of their streams."""

    settings: Settings
    vanished: VanishedClients

    transport: asyncio.Transport
    app_state: dict[str, Any]
    cycle: Any
    scope: Any
    headers: Any
    loop: asyncio.AbstractEventLoop
    is_paused = False
    is_lost = False
    _stream: "DirectStream | None" = None
    _head_timer: asyncio.TimerHandle | None = None
    _unsent_timer: asyncio.TimerHandle | None = None

    def follow(self, stream: "DirectStream | None") -> None:
        self._stream = stream

    def park(self) -> Send:
        cycle = self._answered
        # uvicorn complains about a response that its task leaves unfinished, unless disconnected.
        cycle.disconnected = True
        cycle.message_event = _Unheard()
        if self.scope is cycle.scope:
            self.scope = self.headers = None  # otherwise the next request would share them
        cycle.scope = {"method": cycle.scope["method"]}  # its `send` reads only this
        return self._send_rest

    async def _send_rest(self, message: MutableMapping[str, Any]) -> None:
        cycle = self._answered
        cycle.disconnected = self.is_lost
        cycle.on_response = self.on_response_complete
        await cycle.send(message)

    @property
    def _answered(self) -> Any:
        """The request that is being answered now."""
        return self.cycle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.app_state = {**self.app_state, CONNECTION_KEY: self}
        super().connection_made(transport)
        self.vanished.add(self.transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._is_at_work:
            self._expect_head()
        elif self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self.vanished.discard(self.transport)
        for timer in (self._head_timer, self._unsent_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        if self._stream is not None:
            self._stream.connection_lost()

    def pause_writing(self) -> None:
        self.is_paused = True
        super().pause_writing()

    def resume_writing(self) -> None:
        self.is_paused = False
        super().resume_writing()
        if self._stream is not None:
            self._stream.resume()

    def on_response_complete(self) -> None:
        super().on_response_complete()  # type: ignore[misc]
        self._expect_reader()

    def shutdown(self) -> None:
        # uvicorn closes a connection without a request, which would reset one that has just come.
        if self._is_at_work or not unread_bytes(self.transport):
            super().shutdown()  # type: ignore[misc]
        self.loop.call_later(_LAST_S, self._end)

    def send_400_response(self, msg: str) -> None:
        self.refuse(HTTPStatus.BAD_REQUEST, msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: Java's HttpClient offers HTTP/2 on each connection, which is allowed."""

    def refuse(self, status: HTTPStatus, text: str) -> None:
        """Answer a request that cannot be parsed, and close the connection."""
        if self._is_at_work:
            self.transport.abort()  # an answer has begun, so no other can be sent
            return
        head = f"HTTP/1.1 {status} {status.phrase}\r\n{_SAFE}content-type: text/plain\r\n"
        rest = f"content-length: {len(text)}\r\nconnection: close\r\n\r\n{text}"
        self.transport.write(f"{head}{rest}".encode())
        self.transport.close()

    def _end(self) -> None:
        if self.is_paused or not self._is_at_work:
            self.transport.abort()

    @property
    def is_streaming(self) -> bool:
        """Whether the connection sends a stream, which ends by a call only."""
        return self._stream is not None

    @property
    def _is_at_work(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _expect_head(self) -> None:
        if self._head_timer is None and not self.is_lost:
            self._head_timer = self.loop.call_later(self.settings.request_wait_s, self._give_up)

    def _give_up(self) -> None:
        self._head_timer = None
        if not self._is_at_work:
            self.transport.abort()

    def _expect_reader(self) -> None:
        """Check later whether the client reads its answers."""
        if self.transport.get_write_buffer_size() and self._unsent_timer is None:
            wait_s, unsent = self.settings.stall_s, unsent_bytes(self.transport)
            self._unsent_timer = self.loop.call_later(wait_s, self._look_for_reader, unsent)

    def _look_for_reader(self, before: int) -> None:
        self._unsent_timer = None
        if self._stream is not None:
            return  # a stream has its own timer
        if unsent_bytes(self.transport) >= before:
            self.transport.abort()
        else:
            self._expect_reader()
