"""uvicorn's protocols, with two additions.

A stream may write to the connection itself. This rests on `asyncio.Protocol`'s own methods and on
the `app_state` that uvicorn copies into each request's scope; where either is missing, streams use
plain ASGI.

The head of a request is bounded in time and, where the parser does not see to it, in size: uvicorn
would wait for the rest of one for ever, and keep all of it.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from runcast.http.streams import CONNECTION_KEY

if TYPE_CHECKING:
    from runcast.http.streams import _DirectStream

__all__ = ("MAX_HEAD_BYTES", "protocol_class")

MAX_HEAD_BYTES: Final = 64 * 1024
"""Largest head of a request, 64 KiB: what uvicorn allows with h11. A page of cookies and the vector
of 32 positions need less than 16."""

_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class _Direct(asyncio.Protocol):
    """Mixed into a protocol: is the `Connection` of its streams."""

    request_wait_s: float
    """How long a request's head may take to arrive."""

    transport: asyncio.Transport
    app_state: dict[str, Any]
    cycle: Any
    loop: asyncio.AbstractEventLoop
    is_paused = False
    _stream: "_DirectStream | None" = None
    _head_timer: asyncio.TimerHandle | None = None

    def follow(self, stream: "_DirectStream | None") -> None:
        self._stream = stream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.app_state = {**self.app_state, CONNECTION_KEY: self}
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_at_work:
            self._stop_timer()
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
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

    @property
    def _is_at_work(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.request_wait_s, self._give_up)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if not self._is_at_work:
            self.transport.abort()


class _DirectH11(_Direct, H11Protocol):
    """h11, which is always there."""


def protocol_class(request_wait_s: float) -> type[asyncio.Protocol]:
    """Return the fastest protocol installed, which gives a request's head so long to arrive."""
    protocol: type[_Direct] = _DirectH11
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:
        pass
    else:

        class DirectHttpTools(_Direct, HttpToolsProtocol):
            """httptools: C, where it is installed. Its parser knows no bounds."""

            _unread = 0
            """Bytes since a head or a piece of a body was complete: what the parser holds back."""
            _is_refused = False

            def data_received(self, data: bytes) -> None:
                self._unread += len(data)
                super().data_received(data)
                if self._unread > MAX_HEAD_BYTES or self._is_refused:
                    self._refuse()

            def _refuse(self) -> None:
                if self._is_at_work:
                    self.transport.abort()  # an answer has begun: no other fits in
                elif not self.transport.is_closing():
                    self.transport.write(_TOO_LARGE)
                    self.transport.close()

            def on_headers_complete(self) -> None:
                size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
                self._is_refused = self._is_refused or size > MAX_HEAD_BYTES
                if not self._is_refused:
                    self._unread = 0
                    super().on_headers_complete()

            def on_body(self, body: bytes) -> None:
                if not self._is_refused:
                    self._unread = 0
                    super().on_body(body)

            def on_message_complete(self) -> None:
                if not self._is_refused:
                    self._unread = 0
                    super().on_message_complete()

        protocol = DirectHttpTools

    return type(protocol.__name__, (protocol,), {"request_wait_s": request_wait_s})
