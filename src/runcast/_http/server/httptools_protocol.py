"""uvicorn's protocol for httptools, whose parser needs more care than h11.

httptools has no bounds: the bytes that it holds back of a head, and the number of waiting requests,
are counted here.

httptools takes the head of a request that offers another protocol for the whole request (`Upgrade:
h2c`, which curl --http2 and Java's HttpClient send with each first request). uvicorn then drops the
body, and takes what comes later for another request. Here such a request is parsed again without
its offer, which a server may ignore. Source: RFC 9110 §7.8.

uvicorn writes the head of an answer and its body one after the other, and uvloop sends each at
once. Here an answer of known length goes out with its head by one write (`_Joined`): one call of
the kernel less, and the client wakes up once.
"""

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runcast._http.server.connection import DirectProtocol

__all__ = ("DirectHttpTools",)


class DirectHttpTools(DirectProtocol, HttpToolsProtocol):
    """httptools, a parser in C, if it is installed."""

    _unread = 0
    """Bytes that the parser holds back: those since the last complete head or piece of a body."""
    _joined: "_Joined"
    _answering: Any = None
    """The request that is being answered; `cycle` is the latest request."""
    head_without_offer = b""
    """The head of a request that offers another protocol, until it is parsed again."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.parser: Any = _Parser(self)

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        super().data_received(data)
        if self._unread > self.settings.max_head_bytes and not self.transport.is_closing():
            most = self.settings.max_head_bytes
            problem = f"expected a head of at most {most} bytes (max_head_bytes)"
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, problem)

    def on_headers_complete(self) -> None:
        self._unread = 0
        version = self.parser.get_http_version()
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self.head_without_offer = self._head_without_offer(version)
            return
        if version != "1.1":
            self.expect_100_continue = False  # RFC 9110 §10.1.1: an older client does not know 100
        if len(self.pipeline) < self.settings.max_pipelined:
            super().on_headers_complete()
        else:
            # uvicorn reads more after each answer, however many requests already wait.
            self.transport.abort()

    def _head_without_offer(self, version: str) -> bytes:
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version.encode())]
        lines += [b"%b: %b" % field for field in self.headers if field[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unread = 0
        if not self.head_without_offer:
            super().on_message_complete()

    @property
    def _answered(self) -> Any:
        return self._answering

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._joined = _Joined(self.transport)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering = cycle
        cycle.transport = self._joined
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self._joined.flush()  # the head of an answer without a body
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._answering is not None and not self._answering.response_complete:
            # uvicorn notifies only the last request, and others may wait behind this one.
            self._answering.disconnected = True
            self._answering.message_event.set()


class _Joined:
    """A connection's transport, as the answers of uvicorn use it.

    It holds the head of an answer of known length back until the first piece of its body.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        """Send data, or hold it back."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.writelines([head, data])
        elif data.startswith(_ANSWER) and _LENGTH in data:
            self._head = data
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Send what is held back. Idempotent."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Send what is held back, and close the connection."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


_ANSWER: Final = b"HTTP/1.1 "
_LENGTH: Final = b"\r\ncontent-length: "


class _Parser:
    """httptools' parser, which continues after a head that offers another protocol."""

    def __init__(self, protocol: DirectHttpTools) -> None:
        self._protocol = protocol
        self._parser = self._begin()

    def _begin(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self._protocol)
        with suppress(AttributeError):  # httptools before 0.6.3; the same as in uvicorn
            parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.get_method = parser.get_method
        self.get_http_version = parser.get_http_version
        self.should_keep_alive = parser.should_keep_alive
        self.should_upgrade = parser.should_upgrade
        return parser

    def feed_data(self, data: bytes) -> None:
        """Parse data. Raises what httptools' own parser raises."""
        rest = memoryview(data)
        while not self._protocol.transport.is_closing():
            try:
                self._parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as offer:
                head, self._protocol.head_without_offer = self._protocol.head_without_offer, b""
                if not head:
                    raise  # CONNECT: the rest belongs to a tunnel that we do not open
                rest = rest[offer.args[0] :]
                # A parser that saw the end of a connection's last request parses no other request.
                self._parser = self._begin()
                self._parser.feed_data(head)
