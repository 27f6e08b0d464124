"""uvicorn's protocol for httptools, whose parser needs more care than h11.

It knows no bounds: what it holds back of a head, and how many requests wait, is counted here.

It takes the head of a request that offers another protocol (`Upgrade: h2c`, as curl --http2 and
Java's HttpClient send with each first request) for all of that request. uvicorn then drops what
follows, and takes what comes later for another request. Here such a request is parsed again without
its offer, which a server may ignore. Source: RFC 9110 §7.8.
"""

from contextlib import suppress
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runcast._http.server.connection import DirectProtocol

__all__ = ("DirectHttpTools",)


class DirectHttpTools(DirectProtocol, HttpToolsProtocol):
    """httptools: C, where it is installed."""

    _unread = 0
    """Bytes since a head or a piece of a body was complete: what the parser holds back."""
    _answering: Any = None
    """The request that is being answered; `cycle` is the last one that came."""
    head_without_offer = b""
    """The head of a request that offers another protocol, until it has been parsed again."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.parser: Any = _Parser(self)

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        super().data_received(data)
        if self._unread > self.settings.max_head_bytes and not self.transport.is_closing():
            most = self.settings.max_head_bytes
            told = f"expected a head of at most {most} bytes (max_head_bytes)"
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, told)

    def on_headers_complete(self) -> None:
        self._unread = 0
        version = self.parser.get_http_version()
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self.head_without_offer = self._head_without_offer(version)
            return
        if version != "1.1":
            self.expect_100_continue = False  # RFC 9110 §10.1.1: an older client knows no 100
        if len(self.pipeline) < self.settings.max_pipelined:
            super().on_headers_complete()
        else:
            # uvicorn reads on after each answer, however many requests wait already.
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

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._answering is not None and not self._answering.response_complete:
            # uvicorn tells only the last request, and others may wait behind this one.
            self._answering.disconnected = True
            self._answering.message_event.set()


class _Parser:
    """httptools' parser, which reads on behind a head that offers another protocol."""

    def __init__(self, protocol: DirectHttpTools) -> None:
        self._protocol = protocol
        self._parser = self._begin()

    def _begin(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self._protocol)
        with suppress(AttributeError):  # httptools before 0.6.3; as uvicorn does, and why
            parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.get_method = parser.get_method
        self.get_http_version = parser.get_http_version
        self.should_keep_alive = parser.should_keep_alive
        self.should_upgrade = parser.should_upgrade
        return parser

    def feed_data(self, data: bytes) -> None:
        """Parse data. Raises as httptools' own does."""
        rest = memoryview(data)
        while not self._protocol.transport.is_closing():
            try:
                self._parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as offer:
                head, self._protocol.head_without_offer = self._protocol.head_without_offer, b""
                if not head:
                    raise  # CONNECT: what follows belongs to a tunnel that we do not open
                rest = rest[offer.args[0] :]
                # A parser that has seen the end of a connection's last request reads no other.
                self._parser = self._begin()
                self._parser.feed_data(head)
