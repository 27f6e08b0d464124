"""uvicorn's protocols, with four additions.

A stream may write to the connection itself. This rests on `asyncio.Protocol`'s own methods and on
the `app_state` that uvicorn copies into each request's scope; where either is missing, streams use
plain ASGI.

The head of a request is bounded in time and, until it is complete, in size: uvicorn would wait for
the rest of one for ever, and with httptools keep all of it. How large a complete one may be is for
the application to say.

A client must not vanish while an answer is on its way (`vanished`).

An answer must be taken: uvicorn would keep one for ever that a client asks for and does not read,
and with httptools any number of requests behind it.
"""

import asyncio
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from starlette.types import Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from runcast._http.api.responses import SAFE_HEADERS
from runcast._http.streaming.direct import CONNECTION_KEY, unsent_bytes
from runcast._http.vanished import VanishedClients
from runcast._settings import Settings

if TYPE_CHECKING:
    from runcast._http.streaming.direct import DirectStream

__all__ = ("protocol_class",)

_SAFE: Final = "".join(f"{name}: {value}\r\n" for name, value in SAFE_HEADERS.items())

_LAST_S: Final = 0.5
"""How long a client may take what it was last sent once the server ends."""


class _Unheard:
    """An event that nobody waits for: the one of a request whose task has ended."""

    def set(self) -> None:
        """Do nothing."""


class _Direct(asyncio.Protocol):
    """Mixed into a protocol: is the `Connection` of its streams."""

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
        # uvicorn minds an answer that its task leaves unfinished unless nobody is there to get it.
        cycle.disconnected = True
        cycle.message_event = _Unheard()
        if self.scope is cycle.scope:
            self.scope = self.headers = None  # or else they are the next request's
        cycle.scope = {"method": cycle.scope["method"]}  # all that its `send` still looks at
        return self._send_rest

    async def _send_rest(self, message: MutableMapping[str, Any]) -> None:
        cycle = self._answered
        cycle.disconnected = self.is_lost
        cycle.on_response = self.on_response_complete
        await cycle.send(message)

    @property
    def _answered(self) -> Any:
        """The request that is being answered."""
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
        super().shutdown()  # type: ignore[misc]
        self.loop.call_later(_LAST_S, self._end)

    def send_400_response(self, msg: str) -> None:
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        """Answer what cannot be read, and hang up."""
        if self._is_at_work:
            self.transport.abort()  # an answer has begun: no other fits in
            return
        head = f"HTTP/1.1 {status} {status.phrase}\r\n{_SAFE}content-type: text/plain\r\n"
        rest = f"content-length: {len(text)}\r\nconnection: close\r\n\r\n{text}"
        self.transport.write(f"{head}{rest}".encode())
        self.transport.close()

    def _end(self) -> None:
        if self.is_paused or not self._is_at_work:
            self.transport.abort()

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
        """Look again in a while whether what was answered is being read."""
        if self.transport.get_write_buffer_size() and self._unsent_timer is None:
            wait_s, unsent = self.settings.stall_s, unsent_bytes(self.transport)
            self._unsent_timer = self.loop.call_later(wait_s, self._look_for_reader, unsent)

    def _look_for_reader(self, before: int) -> None:
        self._unsent_timer = None
        if self._stream is not None:
            return  # which has a timer of its own
        if unsent_bytes(self.transport) >= before:
            self.transport.abort()
        else:
            self._expect_reader()


class _DirectH11(_Direct, H11Protocol):
    """h11, which is always there. Its parser bounds what it keeps (`h11_max_incomplete…`)."""


def protocol_class(settings: Settings) -> type[asyncio.Protocol]:
    """Return the fastest protocol installed, which keeps to these settings."""
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
            _answering: Any = None
            """The request that is being answered; `cycle` is the last one that came."""

            def data_received(self, data: bytes) -> None:
                self._unread += len(data)
                super().data_received(data)
                if self._unread > self.settings.max_head_bytes and not self.transport.is_closing():
                    most = self.settings.max_head_bytes
                    told = f"expected a head of at most {most} bytes (max_head_bytes)"
                    self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, told)

            def on_headers_complete(self) -> None:
                self._unread = 0
                if len(self.pipeline) < self.settings.max_pipelined:
                    super().on_headers_complete()
                else:
                    # uvicorn reads on after each answer, however many requests wait already.
                    self.transport.abort()

            def on_body(self, body: bytes) -> None:
                self._unread = 0
                super().on_body(body)

            def on_message_complete(self) -> None:
                self._unread = 0
                super().on_message_complete()

            @property
            def _answered(self) -> Any:
                return self._answering

            def _start_asgi_task(self, cycle: Any, app: Any) -> None:
                self._answering = cycle
                super()._start_asgi_task(cycle, app)

            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                if self._answering is not None and not self._answering.response_complete:
                    # uvicorn tells only the last request, and others may wait behind this one.
                    self._answering.disconnected = True
                    self._answering.message_event.set()

        protocol = DirectHttpTools

    shared = {"settings": settings, "vanished": VanishedClients(settings.stall_s)}
    return type(protocol.__name__, (protocol,), shared)
