"""HTTP calls to a chat platform, of which no error and no log record holds the token.

The address of a call may hold a token, as Telegram's does. HTTP clients log addresses. So a client
sees an address without the token; the token is added below it, where nothing is logged.

A call follows no redirects, because a token must not go elsewhere. It uses the proxy of the
environment if the platform speaks HTTPS, because the proxy then sees only the platform's name.

With `networks`, a call reaches only public addresses, and these networks. The name is looked up
once, and the connection goes to the address that was checked. Such a call uses no proxy, because a
proxy looks the name up again.
"""

import asyncio
import ipaddress
import json
import socket
import ssl
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from functools import cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from runcast._addresses import Network, is_public
from runcast._clock import Clock, SystemClock
from runcast.channels.outcome import CallOutcome
from runcast.errors import InvalidValue

__all__ = ("Answer", "Caller", "check_token", "seconds_of")

_CONNECT_S: Final = 10.0
_SILENCE_S: Final = 30.0
"""Longest wait for a connection, and longest silence of a server."""

_MAX_ANSWER_BYTES: Final = 1024 * 1024
_MAX_REASON_CHARS: Final = 300
_MAX_PENALTY_S: Final = 24 * 3600.0
_MAX_GIVEN: Final = 4
_HIDDEN: Final = "***"
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

_NOT_STARTED: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class Answer(NamedTuple):
    """An answer of the platform, with any status."""

    status: int
    headers: Mapping[str, str]
    body: Any
    """The JSON; None if it is not JSON."""

    def field(self, *names: str) -> Any:
        """Return a value inside the body; None if there is none."""
        found = self.body
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    def text(self, *names: str) -> str:
        """Return a text inside the body; empty if there is none."""
        found = self.field(*names)
        return found if isinstance(found, str) else ""

    @property
    def is_ok(self) -> bool:
        """Whether the server did what it was asked."""
        return 200 <= self.status < 300


class Caller:
    """Calls to one platform.

    Args:
        url: the platform's address. The paths of calls are added.
        secrets: what no error may show.
        secret_path: comes between `url` and the path of a call; it may hold a secret.
        networks: if not None, private addresses outside these networks are refused.
        timeout_s: longest silence of the server. A call takes at most twice as long.

    Raises:
        InvalidValue: the address is not one.
    """

    def __init__(
        self,
        url: str,
        *,
        secrets: Iterable[str],
        secret_path: str = "",
        headers: Mapping[str, str] = _NOTHING,
        networks: Iterable[Network] | None = None,
        timeout_s: float = _SILENCE_S,
    ) -> None:
        self._url = _checked(url)
        self._networks = None if networks is None else tuple(networks)
        self._secrets = [each for each in secrets if each]
        self._first_given = len(self._secrets)
        self._secret_path = secret_path
        self._headers = headers
        self._timeout_s = timeout_s
        self._client: httpx2.AsyncClient | None = None
        self._opening = asyncio.Lock()

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] = _NOTHING,
    ) -> Answer | CallOutcome:
        """Send a request with a JSON body; return the answer, or why there is none.

        Without an answer the outcome is `not_started` if no request can have reached the server,
        else `uncertain`. An answer that no platform's API gives is an outcome, too: a redirection
        is `rejected`, and a failure of the server `uncertain`.
        """
        content = None if body is None else json.dumps(body).encode("utf-8", "replace")
        answer = await self.request(method, path, content, headers=headers)
        if isinstance(answer, CallOutcome):
            return answer
        if 300 <= answer.status < 400:
            return self.outcome("rejected", "the server sends us to another address")
        if answer.status >= 500:
            return self.outcome("uncertain", f"the server failed ({answer.status})")
        return answer

    async def request(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        *,
        headers: Mapping[str, str] = _NOTHING,
    ) -> Answer | CallOutcome:
        """Send a request with these bytes as JSON; return the answer, with any status."""
        client = await self._opened()
        kind = {} if content is None else {"content-type": "application/json; charset=utf-8"}
        try:
            request = client.build_request(
                method, self._url + path, content=content, headers={**kind, **headers}
            )
            async with asyncio.timeout(self._timeout_s * 2):
                response = await client.send(request, stream=True)
                try:
                    read = await _read(response)
                finally:
                    await response.aclose()
        except _Refused as error:
            return self.outcome("forbidden", str(error))
        except httpx2.InvalidURL:
            return self.outcome("forbidden", "its address is not a URL")
        except _NOT_STARTED as error:
            return self.outcome("not_started", f"the server cannot be reached: {_name(error)}")
        except TimeoutError:
            return self.outcome("uncertain", "the server does not answer in time")
        except (httpx2.HTTPError, OSError) as error:
            return self.outcome("uncertain", f"the connection broke: {_name(error)}")
        return Answer(response.status_code, response.headers, read)

    def outcome(self, kind: Any, reason: str) -> CallOutcome:
        """Return an outcome without a secret."""
        return CallOutcome(kind, reason=self.clean(reason)[:_MAX_REASON_CHARS])

    def clean(self, text: str) -> str:
        """Return a text in which every secret is hidden."""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN).replace(quote(secret, safe=""), _HIDDEN)
        return text

    def hide(self, secret: str) -> None:
        """Hide one more secret: a token that the platform has given. The oldest of many such
        tokens is forgotten: it has expired."""
        if secret and secret not in self._secrets:
            self._secrets.append(secret)
            del self._secrets[self._first_given : -_MAX_GIVEN]

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _opened(self) -> httpx2.AsyncClient:
        async with self._opening:
            if self._client is None:
                # In a thread, because it reads certificates.
                self._client = await asyncio.to_thread(self._make)
            return self._client

    def _make(self) -> httpx2.AsyncClient:
        is_plain = self._url.startswith("http:")
        has_proxy = self._networks is None and not is_plain
        below: httpx2.AsyncBaseTransport = httpx2.AsyncHTTPTransport(
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if is_plain else _certificates(),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=8),
            proxy=_proxy_of(self._url) if has_proxy else None,
        )
        if self._networks is not None:
            below = _Guarded(below, self._networks)
        return httpx2.AsyncClient(
            transport=_Below(below, urlsplit(self._url).path, self._secret_path),
            headers={"accept": "application/json", "user-agent": "runcast", **self._headers},
            timeout=httpx2.Timeout(self._timeout_s, connect=min(_CONNECT_S, self._timeout_s)),
            follow_redirects=False,
            trust_env=False,
        )


@cache  # a context costs milliseconds and a megabyte, and there may be a thousand deliveries
def _certificates() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


class _Refused(Exception):
    """An address that may not be reached."""


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
        return await self._inner.handle_async_request(request)

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


class _Below(httpx2.AsyncBaseTransport):
    """Adds the secret part of an address below the client, which logs addresses."""

    def __init__(self, transport: httpx2.AsyncBaseTransport, base: str, secret_path: str) -> None:
        self._transport = transport
        self._base = base.encode()
        self._secret_path = secret_path.encode()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        rest = request.url.raw_path.removeprefix(self._base)
        if not self._base and self._secret_path and rest == b"/":
            rest = b""  # the client writes an empty path as /
        secret = httpx2.Request(
            request.method,
            request.url.copy_with(raw_path=self._base + self._secret_path + rest),
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions,
        )
        return await self._transport.handle_async_request(secret)

    async def aclose(self) -> None:
        await self._transport.aclose()


async def _read(response: httpx2.Response) -> Any:
    pieces, size = [], 0
    async for piece in response.aiter_bytes():
        size += len(piece)
        if size > _MAX_ANSWER_BYTES:
            return None
        pieces.append(piece)
    try:
        return json.loads(b"".join(pieces))
    except (ValueError, RecursionError):
        return None


def check_token(token: object, what: str) -> str:
    """Return a token that a header and an address can hold.

    Raises:
        InvalidValue: it is not one. The message does not show it.
    """
    if not isinstance(token, str) or not token or not all("!" <= char <= "~" for char in token):
        raise InvalidValue(f"expected {what}: ASCII characters without spaces")
    return token


def seconds_of(value: object, clock: Clock | None = None) -> float:
    """Return how long a server refuses calls, from a number or from a `Retry-After` header; 0.0 if
    it cannot be read."""
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        try:
            until = parsedate_to_datetime(str(value)).timestamp()
        except (TypeError, ValueError):
            return 0.0
        seconds = until - (clock or SystemClock()).time()
    return min(max(seconds, 0.0), _MAX_PENALTY_S) if seconds == seconds else 0.0


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_more = parts.query or parts.fragment or parts.username
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not is_more:
            return url.rstrip("/")
    except ValueError:
        pass
    raise InvalidValue("expected the platform's address to be like https://chat.example")


def _proxy_of(url: str) -> str | None:
    if proxy_bypass(urlsplit(url).hostname or ""):
        return None
    proxies = getproxies()
    return proxies.get("https") or proxies.get("all") or None


def _name(error: Exception) -> str:
    """Return an error's class: its text may hold an address."""
    return type(error).__name__
