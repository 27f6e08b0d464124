"""The one HTTP client: requests to a runcast server, and its refusals as exceptions.

It follows no redirects and uses no proxies of the environment, because the access token is only for
this server.
"""

import asyncio
import json
import math
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx2

from runcast.client.inside import Application, AppTransport
from runcast.client.problems import refusal
from runcast.errors import InvalidValue, PeerError, RuncastError, ServerUnavailable

__all__ = ("NO_SERVER", "Answer", "Stream", "Transport", "check_url")

_CONNECT_S: Final = 10.0
"""Longest wait for a connection, seconds."""

_MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""Longest answer that is not a stream; longer ones are no answer of ours."""

_MAX_PROBLEM_BYTES: Final = 1024 * 1024

NO_SERVER: Final = "no server answers at"
"""How the message of a `ServerUnavailable` begins if nothing listens at the address."""

_JSON: Final = "application/json"
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


def check_url(url: object) -> str:
    """Return a server's address without its last slash. Raises `InvalidValue`."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        if (
            parts
            and parts.scheme in ("http", "https")
            and (parts.hostname and parts.port != 0)
            and not (parts.query or parts.fragment or parts.username)
        ):
            return parts.geturl().rstrip("/")
    except ValueError:
        pass
    raise InvalidValue(f"expected an address like http://127.0.0.1:8000, got {url!r:.200}")


class Answer:
    """A whole answer: its status and its JSON; `body` is None without a body."""

    def __init__(self, status: int, headers: Mapping[str, str], body: Any) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def field(self, name: str) -> Any:
        """Return a field of the answer. Raises `PeerError` if it is missing."""
        if not isinstance(self.body, dict) or name not in self.body:
            raise PeerError(f"the server does not answer as runcast does: {name!r} is missing")
        return self.body[name]


class Stream:
    """An answer that is read as it arrives."""

    def __init__(self, response: httpx2.Response, url: str) -> None:
        self._response = response
        self._url = url
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.is_silent = False
        """Whether the body broke off because nothing came for too long."""

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body's bytes. Raises `ServerUnavailable` if the connection breaks."""
        try:
            async for chunk in self._response.aiter_bytes():
                yield chunk
        except httpx2.HTTPError as error:
            self.is_silent = isinstance(error, httpx2.ReadTimeout)
            raise _unreachable(self._url, error) from None


class Transport:
    """Requests to one server, on one event loop. Use `async with`.

    Args:
        token: the server's access token; "" sends none.
        link: the token of a link to one run; "" sends none.
        timeout_s: longest silence of the server.
        app: a server in this process, which is asked instead of the address.
        check: called before each request to `app`; raises if it cannot be asked any more.

    Raises:
        InvalidValue: the address or the token is malformed.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        link: str = "",
        timeout_s: float = 30.0,
        app: Application | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.url = check_url(url)
        for name, secret in (("token", token), ("link", link)):
            if not isinstance(secret, str) or not all("!" <= char <= "~" for char in secret):
                raise InvalidValue(
                    f"expected the {name} to be text of ASCII characters without spaces"
                )
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        if link:
            self._headers["runcast-link"] = link
        self.timeout_s = timeout_s
        self.polls_until = -math.inf
        """Until when watches poll, in monotonic seconds: the network holds streams back."""
        self._app = None if app is None else AppTransport(app, check)
        self._client: httpx2.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _opened(self) -> httpx2.AsyncClient:
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise InvalidValue("expected the calls of a client on one event loop")
        self._loop = loop
        if self._client is None:
            # In a thread, because it imports modules and reads certificates.
            made = await asyncio.to_thread(self._make)
            if self._client is None:
                self._client = made
            else:  # another call was faster
                await made.aclose()
        return self._client

    def _make(self) -> httpx2.AsyncClient:
        is_plain = self.url.startswith("http:")
        return httpx2.AsyncClient(
            headers=self._headers,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=8),
            follow_redirects=False,
            trust_env=False,
            transport=self._app,
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if is_plain else _certificates(),
        )

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content: bytes | AsyncIterable[bytes] | None = None,
        headers: Mapping[str, str] = _NONE,
        timeout_s: float | None = None,
    ) -> Answer:
        """Send a request and return the whole answer.

        Args:
            path: begins with a slash; may have a query.
            body: sent as JSON.
            content: sent as it is, instead of `body`.
            timeout_s: longest silence, if it differs from the usual one.

        Raises:
            ServerUnavailable: the server cannot be reached, or cannot do it now.
            PeerError: the answer is not one of a runcast server.
            RuncastError: what the server answered; each code has its class.
        """
        sent = content if body is None else _encoded(body)
        fields = {"accept": _JSON, **headers}
        if body is not None:
            fields.setdefault("content-type", _JSON)
        async with self._send(method, path, sent, fields, timeout_s) as response:
            read = await self._read(response, _MAX_ANSWER_BYTES)
            return Answer(response.status_code, response.headers, self._parse(read))

    async def read(
        self, path: str, *, accept: str = _JSON, timeout_s: float | None = None
    ) -> bytes:
        """Return the body of an answer to `GET` as it arrived; raises what `ask` raises."""
        async with self._send("GET", path, None, {"accept": accept}, timeout_s) as response:
            return await self._read(response, _MAX_ANSWER_BYTES)

    @property
    def is_inside(self) -> bool:
        """Whether the server is in this process, without a network."""
        return self._app is not None

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] = _NONE,
    ) -> AsyncIterator[Stream]:
        """Send a request and yield the answer to be read; raises what `ask` raises."""
        async with self._send(method, path, content, headers, None) as response:
            yield Stream(response, self.url)

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        path: str,
        content: bytes | AsyncIterable[bytes] | None,
        headers: Mapping[str, str],
        timeout_s: float | None,
    ) -> AsyncIterator[httpx2.Response]:
        client = await self._opened()
        seconds = self.timeout_s if timeout_s is None else timeout_s
        request = client.build_request(
            method,
            self.url + path,
            content=content,
            headers=dict(headers),
            timeout=httpx2.Timeout(seconds, connect=min(_CONNECT_S, seconds)),
        )
        try:
            response = await client.send(request, stream=True)
        except httpx2.HTTPError as error:
            raise _unreachable(self.url, error) from None
        try:
            if response.status_code >= 300:
                raise await self._refusal(response)
            yield response
        finally:
            await response.aclose()

    async def _refusal(self, response: httpx2.Response) -> RuncastError:
        document = None
        try:
            document = json.loads(await self._read(response, _MAX_PROBLEM_BYTES))
        except (ValueError, RecursionError):
            pass
        except RuncastError as unread:
            if response.status_code < 500:
                return unread
        if not isinstance(document, dict) and (to := response.headers.get("location")):
            return PeerError(
                f"the server at {self.url} answered {response.status_code} and points to "
                f"{to[:200]!r}; use that address if you trust it"
            )
        return refusal(response.status_code, document, response.headers.get("retry-after", ""))

    async def _read(self, response: httpx2.Response, most: int) -> bytes:
        pieces, size = [], 0
        try:
            async for piece in response.aiter_bytes():
                size += len(piece)
                if size > most:
                    raise PeerError(f"{self.url} answers with more than {most} bytes")
                pieces.append(piece)
        except httpx2.HTTPError as error:
            raise _unreachable(self.url, error) from None
        return b"".join(pieces)

    def _parse(self, read: bytes) -> Any:
        if not read:
            return None
        try:
            return json.loads(read)
        except (ValueError, RecursionError):
            raise PeerError(f"{self.url} does not answer as a runcast server") from None


def _certificates() -> ssl.SSLContext:
    """Return the certificates to trust: the system's, or those that the environment names."""
    return httpx2.create_ssl_context()


def _encoded(body: object) -> bytes:
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidValue(f"expected what JSON can hold: {error!s:.200}") from None


def _unreachable(url: str, error: httpx2.HTTPError) -> RuncastError:
    if isinstance(error, httpx2.RemoteProtocolError) and "illegal" in str(error):
        return PeerError(f"{url} does not answer as a web server ({error!s:.200})")
    if isinstance(error, httpx2.TimeoutException):
        return ServerUnavailable(f"the server at {url} does not answer in time")
    if isinstance(error, httpx2.ConnectError):
        reason = str(error) or "it refuses connections"
        return ServerUnavailable(f"{NO_SERVER} {url} ({reason:.200})")
    said = str(error) or type(error).__name__
    return ServerUnavailable(f"the connection to {url} broke ({said:.200})")
