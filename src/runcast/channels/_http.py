"""HTTP for channels: one request, and what became of it.

- A token in a URL is never part of the URL that libraries log: the request has the placeholder
  `{secret}`, which is replaced below the client. Errors name their class alone.
- A request that cannot have reached the server is `not_started`; any other request without an
  answer is `uncertain`.
- Redirections are not followed: a platform's API does not redirect, and a token must not go
  elsewhere.
- With `networks`, only public addresses may be reached, besides these networks. The name is looked
  up once, and the connection goes to the address that was checked.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, Final, NamedTuple

import httpx2
import msgspec

from runcast._addresses import Network, is_public
from runcast.channels.outcome import CallOutcome

__all__ = ("Answer", "Api", "retry_after_of")

_SECRET: Final = b"%7Bsecret%7D"
_TIMEOUT: Final = httpx2.Timeout(20.0, connect=10.0)
_MAX_ANSWER_BYTES: Final = 256 * 1024
"""Most of an answer that is read: what a platform says of one message is short."""

_MAX_REASON_CHARS: Final = 200


class Answer(NamedTuple):
    """What a server answered. `body` is its JSON object, {} if it sent none."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]
    text: str = ""

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300

    def said(self, *names: str) -> str:
        """Return the first of these fields that is a text, for people."""
        for name in names:
            value = self.body.get(name)
            if isinstance(value, str) and value:
                return " ".join(value.split())[:_MAX_REASON_CHARS]
        return f"HTTP {self.status}"


class Api:
    """Requests to one server.

    Args:
        base_url: may contain `{secret}`.
        secret: replaces `{secret}` in paths.
        headers: sent with each request, for example an authorization.
        networks: if not None, private addresses outside these networks are refused.
    """

    def __init__(
        self,
        base_url: str,
        *,
        secret: str = "",
        headers: Mapping[str, str] | None = None,
        networks: Sequence[Network] | None = None,
    ) -> None:
        self._base_url = base_url
        self._secret = secret
        self._headers = {"User-Agent": "runcast", **(headers or {})}
        self._networks = None if networks is None else tuple(networks)
        self._client: httpx2.AsyncClient | None = None

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Answer | CallOutcome:
        """Make one request; an outcome if there is no answer."""
        given = dict(headers or {})
        if content is None and body is not None:
            content = msgspec.json.encode(body)
            given.setdefault("Content-Type", "application/json")
        try:
            if self._client is None:
                # In a thread, because it imports modules and reads certificates.
                self._client = await asyncio.to_thread(self._make)
            async with self._client.stream(
                method, path, content=content, headers=given
            ) as response:
                raw = b""
                async for piece in response.aiter_bytes():
                    raw += piece
                    if len(raw) > _MAX_ANSWER_BYTES:
                        break
                return _answer(response, raw)
        except _Refused as error:
            return CallOutcome("forbidden", reason=str(error))
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            return CallOutcome("not_started", reason=type(error).__name__)
        except (httpx2.HTTPError, OSError) as error:
            return CallOutcome("uncertain", reason=type(error).__name__)
        except httpx2.InvalidURL:
            return CallOutcome("forbidden", reason="its address is not a URL")

    def _make(self) -> httpx2.AsyncClient:
        inner: httpx2.AsyncBaseTransport = httpx2.AsyncHTTPTransport(verify=_certificates())
        if self._networks is not None:
            inner = _Guarded(inner, self._networks)
        return httpx2.AsyncClient(
            base_url=self._base_url,
            transport=_Secret(inner, self._secret),
            headers=self._headers,
            timeout=_TIMEOUT,
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


@cache  # a context costs milliseconds and a megabyte, and there may be a thousand deliveries
def _certificates() -> ssl.SSLContext:
    return ssl.create_default_context()


def _answer(response: httpx2.Response, raw: bytes) -> Answer:
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        body = {}
    known = body if isinstance(body, dict) else {"value": body}
    text = raw[:_MAX_ANSWER_BYTES].decode("utf-8", "replace")
    return Answer(response.status_code, response.headers, known, text)


def retry_after_of(answer: Answer, now: float, default_s: float = 1.0) -> float:
    """Return how long a server asks to wait: the header `Retry-After`, seconds or a date."""
    given = answer.headers.get("retry-after", "")
    try:
        return max(0.0, float(given))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - now)
    except (ValueError, TypeError):
        return default_s


class _Refused(Exception):
    """An address that may not be reached."""


class _Secret(httpx2.AsyncBaseTransport):
    """Puts the secret into the path below the client, which logs the URL of each request."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, secret: str) -> None:
        self._inner = inner
        self._secret = secret.encode()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.raw_path
        if _SECRET in path:
            shown = request.url
            request.url = shown.copy_with(raw_path=path.replace(_SECRET, self._secret))
            try:
                return await self._inner.handle_async_request(request)
            finally:
                request.url = shown
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Guarded(httpx2.AsyncBaseTransport):
    """Connects to public addresses only, and to the address that was checked."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, networks: tuple[Network, ...]) -> None:
        self._inner = inner
        self._networks = networks

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        shown, host = request.url, request.url.host
        port = shown.port or (443 if shown.scheme == "https" else 80)
        address = await self._address_of(host, port)
        request.headers.setdefault("Host", shown.netloc.decode("ascii"))
        request.extensions = {**request.extensions, "sni_hostname": host}
        request.url = shown.copy_with(host=address)
        try:
            return await self._inner.handle_async_request(request)
        finally:
            request.url = shown

    async def _address_of(self, host: str, port: int) -> str:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise httpx2.ConnectError("its name is not known") from None
        for _, _, _, _, where in found:
            address = str(where[0]).partition("%")[0]
            if is_public(ipaddress.ip_address(address), self._networks):
                return address
        raise _Refused("its address is not in the public network; the option allow names networks")

    async def aclose(self) -> None:
        await self._inner.aclose()
