"""The HTTP client of the commands that ask a running server."""

import argparse
import http.client
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import IO, Any, Final, Protocol
from urllib.parse import SplitResult, quote, urlsplit

from runcast._cli.texts import plain
from runcast._http.guard.token import check_token
from runcast.client.problems import error_of, retry_after_of
from runcast.errors import InvalidValue, PeerError, RuncastError, Unauthorized

__all__ = (
    "DEFAULT_URL",
    "Body",
    "NotNow",
    "Remote",
    "add_options",
    "field_of",
    "sendable",
)

DEFAULT_URL: Final = "http://127.0.0.1:8000"

_TIMEOUT_S: Final = 30.0
"""Longest silence, seconds; a stream has a heartbeat every 15 s."""

_MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
_SEND_BYTES: Final = 256 * 1024

_NONE: Final[Mapping[str, str]] = MappingProxyType({})

_CONNECTIONS: Final = {
    "http": http.client.HTTPConnection,
    "https": http.client.HTTPSConnection,
}


class Body(Protocol):
    """A request's body, read piece by piece. Its length is known beforehand."""

    @property
    def length(self) -> int: ...

    def read(self, size: int = -1) -> bytes: ...


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the server."""
    parser.add_argument(
        "--url",
        type=sendable,
        default=os.environ.get("RUNCAST_URL") or DEFAULT_URL,
        help="the server's address, or RUNCAST_URL in the environment (%(default)s); an access "
        "token is taken from RUNCAST_TOKEN",
    )


def sendable(text: str) -> str:
    """Return an argument that can be sent; argparse refuses any other."""
    if text.isascii() or text.encode("utf-8", "replace").decode() == text:
        return text
    raise argparse.ArgumentTypeError(f"expected UTF-8, got {os.fsencode(text)!r:.100}")


def field_of(value: object, name: str) -> Any:
    """Return a field of a server's answer. Raises `PeerError` if it is missing."""
    if not isinstance(value, dict) or name not in value:
        raise PeerError(f"the server does not answer as runcast does: {name!r} is missing")
    return value[name]


class NotNow(PeerError):
    """The server answered that it cannot do it at present."""

    def __init__(self, message: str, answer_status: int, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.answer_status = answer_status
        self.retry_after_s = retry_after_s


class Remote:
    """A server, reached over HTTP, with the access token from RUNCAST_TOKEN.

    It follows no redirects and uses no proxies, because the token is only for this server.

    Raises:
        InvalidValue: the address is not an HTTP URL, or the token cannot be sent in a header.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._parts = _split(self._url)
        self._token = check_token(os.environ.get("RUNCAST_TOKEN", ""), "RUNCAST_TOKEN")

    @property
    def option(self) -> str:
        """The option that makes a command reach the same server; "" for the default server."""
        usual = (os.environ.get("RUNCAST_URL") or DEFAULT_URL).rstrip("/")
        return "" if self._url == usual else f" --url {shlex.quote(self._url)}"

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] = _NONE,
    ) -> Any:
        """Return the JSON of the response; None if it has no body.

        Raises:
            NotFound, Unauthorized, Conflict, …: what the server answered, by its code.
            PeerError: the server cannot be reached, cannot answer now, or does not answer as
                runcast does.
        """
        wanted = {"accept": "application/json", **headers}
        sent = None if body is None else json.dumps(body).encode()
        if sent is not None:
            wanted["content-type"] = "application/json"
        with self.open(method, path, wanted, sent) as response:
            return self._read(response)

    def send(self, path: str, body: Body) -> Any:
        """POST a body of any length, and return the JSON of the response.

        Raises what `ask` raises, and any error from reading the body.
        """
        headers = {"content-type": "application/octet-stream", "content-length": str(body.length)}
        with self.open("POST", path, headers, body) as response:
            return self._read(response)

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] = _NONE,
        body: bytes | Body | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """Yield the response to a request; the caller reads it.

        Raises what `ask` raises. Reading raises `OSError` or `HTTPException`.
        """
        connection = _CONNECTIONS[self._parts.scheme](
            self._parts.hostname or "",
            self._parts.port,
            timeout=_TIMEOUT_S,
            blocksize=_SEND_BYTES,
        )
        fields = {**headers, "connection": "close"}
        if self._token:
            fields["authorization"] = f"Bearer {self._token}"
        target = quote(self._parts.path, safe="/%") + path
        try:
            try:
                # A server may refuse a large body and hang up before it has read everything.
                with suppress(ConnectionResetError, BrokenPipeError):
                    connection.request(method, target, body, fields)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException, UnicodeError) as error:
                raise self._unreachable(error) from error
            with response:  # holds the socket by itself if the server ends the connection
                if response.status >= 300:
                    raise _refusal(response)
                yield response
        finally:
            connection.close()

    def _read(self, response: IO[bytes]) -> Any:
        try:
            answer = response.read(_MAX_ANSWER_BYTES)
            return json.loads(answer) if answer else None
        except (ValueError, RecursionError, OSError, http.client.HTTPException) as error:
            raise PeerError(f"{self._url} does not answer as a runcast server: {error}") from error

    def _unreachable(self, error: Exception) -> PeerError:
        if isinstance(error, http.client.HTTPException) and not isinstance(error, OSError):
            return PeerError(f"{self._url} does not answer as a web server ({plain(str(error))})")
        if isinstance(error, TimeoutError):
            return PeerError(f"the server at {self._url} does not answer ({_TIMEOUT_S:g} s)")
        reason = plain(str(getattr(error, "strerror", None) or error))
        return PeerError(
            f"no server answers at {self._url} ({reason}); start one with `runcast serve`, or "
            "say where it is with --url or RUNCAST_URL"
        )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in _CONNECTIONS and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise InvalidValue(f"expected an address like {DEFAULT_URL}, got {url!r}")


def _refusal(response: http.client.HTTPResponse) -> RuncastError:
    """Return the error in a problem document."""
    status = response.status
    try:
        problem = json.loads(response.read(_MAX_ANSWER_BYTES))
        message = plain(str(problem["detail"]))
    except (ValueError, KeyError, TypeError, RecursionError, OSError, http.client.HTTPException):
        to = response.headers.get("location")
        elsewhere = (
            f", and points to {plain(to)}; use that with --url if you trust it" if to else ""
        )
        return PeerError(f"the server answered {status} {plain(response.reason)}{elsewhere}")
    if status == 401:
        return Unauthorized("expected the server's access token in RUNCAST_TOKEN")
    if status >= 500 or status in (408, 425, 429):
        return NotNow(message, status, retry_after_of(response.headers.get("retry-after", "")))
    return error_of(status, {**problem, "detail": message})
