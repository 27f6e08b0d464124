"""Requests to a server in this same process: an ASGI application, without a socket.

An open hub gives its clients this, so that a hub and a server are reached in the same way.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias, cast

import httpx2

from runcast._logs import get_logger

__all__ = ("INSIDE_URL", "AppTransport", "Application")

INSIDE_URL: Final = "http://localhost"
"""The address of a server in this process, for its messages and its check of `Host`."""

_QUEUED_PIECES: Final = 4
"""Most pieces of an answer that wait for their reader; then the application waits."""

_LEAVE_S: Final = 5.0
"""How long an application may take to notice that its client has left, before it is cancelled."""

_log: Final = get_logger("runcast.client")

_Message: TypeAlias = MutableMapping[str, Any]
Application: TypeAlias = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[_Message]],
        Callable[[_Message], Awaitable[None]],
    ],
    Awaitable[None],
]
"""An ASGI application. Source: ASGI 3.0, HTTP."""


class AppTransport(httpx2.AsyncBaseTransport):
    """Sends requests to an application in this process, and reads the answers as they come.

    Args:
        check: called before each request; raises if the application cannot be asked any more.
    """

    def __init__(self, app: Application, check: Callable[[], None]) -> None:
        self._app = app
        self._check = check

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self._check()
        exchange = _Exchange(self._app, request)
        try:
            status, headers = await exchange.begin()
        except BaseException:
            await exchange.aclose()
            raise
        return httpx2.Response(status, headers=headers, stream=exchange)


class _Exchange(httpx2.AsyncByteStream):
    """One request and its answer; as a stream, it is the answer's body."""

    def __init__(self, app: Application, request: httpx2.Request) -> None:
        self._request = request
        self._sent = aiter(cast("AsyncIterator[bytes]", request.stream))
        self._is_sent = False
        self._head: asyncio.Future[tuple[int, Any]] = asyncio.get_running_loop().create_future()
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUED_PIECES)
        self._left = asyncio.Event()
        self._task = asyncio.create_task(self._run(app), name="runcast-inside")

    async def begin(self) -> tuple[int, Any]:
        """Return the status and the headers of the answer."""
        return await self._head

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            yield piece
        if not self._is_whole:
            raise httpx2.RemoteProtocolError("the answer ended early")

    async def aclose(self) -> None:
        self._left.set()
        self._head.cancel()
        while not self._pieces.empty():  # the application may wait for room
            self._pieces.get_nowait()
        if not self._task.done():
            await asyncio.wait({self._task}, timeout=_LEAVE_S)
            self._task.cancel()

    async def _run(self, app: Application) -> None:
        self._is_whole = False
        try:
            await app(self._scope(), self._receive, self._send)
        except OSError:
            pass  # the client has left
        except Exception as error:  # noqa: BLE001 - the application's own fault is its answer
            _log.debug("a request inside this process failed: %r", error)
        finally:
            if not self._head.done():
                self._head.set_exception(httpx2.RemoteProtocolError("no answer came"))
            await self._pieces.put(None)  # a client that leaves makes room

    def _scope(self) -> dict[str, Any]:
        url = self._request.url
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self._request.method,
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": url.raw_path.partition(b"?")[0],
            "query_string": url.query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in self._request.headers.raw],
            "server": (url.host, url.port or 80),
            "client": ("127.0.0.1", 0),
        }

    async def _receive(self) -> _Message:
        if not self._is_sent and not self._left.is_set():
            piece = await anext(self._sent, None)
            self._is_sent = piece is None
            return {"type": "http.request", "body": piece or b"", "more_body": not self._is_sent}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: _Message) -> None:
        if self._left.is_set():
            raise OSError("the client has left")
        if message["type"] == "http.response.start":
            self._head.set_result((message["status"], list(message.get("headers", ()))))
        elif message["type"] == "http.response.body":
            if body := bytes(message.get("body", b"")):
                await self._pieces.put(body)
            self._is_whole = not message.get("more_body", False)
