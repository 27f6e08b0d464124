"""uvicorn's protocols, with one addition: a stream may write to the connection itself.

The addition rests on `asyncio.Protocol`'s own methods and on the `app_state` that uvicorn copies into
each request's scope; where either is missing, streams use plain ASGI.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from runcast.http.streams import CONNECTION_KEY

if TYPE_CHECKING:
    from runcast.http.streams import _DirectStream

__all__ = ("protocol_class",)


class _Direct(asyncio.Protocol):
    """Mixed into a protocol: is the `Connection` of its streams."""

    transport: asyncio.Transport
    app_state: dict[str, Any]
    is_paused = False
    _stream: "_DirectStream | None" = None

    def follow(self, stream: "_DirectStream | None") -> None:
        self._stream = stream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.app_state = {**self.app_state, CONNECTION_KEY: self}
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
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


class _DirectH11(_Direct, H11Protocol):
    """h11, which is always there."""


def protocol_class() -> type[asyncio.Protocol]:
    """Return the fastest protocol installed."""
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:
        return _DirectH11

    class DirectHttpTools(_Direct, HttpToolsProtocol):
        """httptools: C, where it is installed."""

    return DirectHttpTools
