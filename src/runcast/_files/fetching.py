"""Fetch files from URLs, but only from where the operator allows.

Every redirection is checked like the first URL. A host's address is looked up once, checked, and
then used for the connection, so a name server cannot give a second, different answer. Proxies from
the environment are not used.
"""

import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from runcast._addresses import Address, Network, is_public
from runcast._clock import Clock
from runcast._files.network import Lookups, Stop, shut_down
from runcast.errors import FileTooLarge, Forbidden, InvalidValue, PeerError

__all__ = ("Fetcher",)

_MAX_REDIRECTIONS: Final = 3
_MAX_URL_CHARS: Final = 8192
_READ_BYTES: Final = 256 * 1024
_STALL_S: Final = 15.0
"""How long a server may stay silent."""

_PORTS: Final = {"http": 80, "https": 443}
_ODD: Final = re.compile(r"[\x00-\x20\x7f-\U0010ffff\\]")


@dataclass(frozen=True, slots=True)
class _Beginning:
    """An allowed beginning of URLs."""

    scheme: str
    host: str
    port: int
    path: str

    def matches(self, url: SplitResult) -> bool:
        if (url.scheme, url.hostname, _port(url)) != (self.scheme, self.host, self.port):
            return False
        path = url.path or "/"
        return path == self.path or path.startswith(self.path.rstrip("/") + "/")


class Fetcher:
    """Fetches files; blocks, and may be called from any thread.

    allowed: beginnings of URLs, and networks whose private addresses may be reached. A
        beginning with an address instead of a name allows that address.

    Raises:
        InvalidValue: an entry has neither form.
    """

    def __init__(self, allowed: Sequence[str], clock: Clock) -> None:
        self._clock = clock
        self._beginnings: list[_Beginning] = []
        self._networks: list[Network] = []
        self._lookups = Lookups()
        for entry in allowed:
            try:
                self._networks.append(ipaddress.ip_network(entry))
            except ValueError:
                self._beginnings.append(_parse_beginning(entry))

    def check(self, url: str) -> SplitResult:
        """Check that a URL may be fetched, and return its parts.

        Raises:
            InvalidValue: the text is not a URL of a file.
            Forbidden: the URL is not allowed.
        """
        parts = _split(url)
        if not self._beginnings:
            raise Forbidden("files cannot be given as URLs here: the setting url_allow is empty")
        if not any(beginning.matches(parts) for beginning in self._beginnings):
            raise Forbidden(f"files of {parts.scheme}://{parts.netloc} are not allowed (url_allow)")
        return parts

    def fetch(
        self, url: str, file: BinaryIO, most: int, deadline: float, stop: Stop | None = None
    ) -> int:
        """Write a URL's content to a file, and return the number of bytes.

        Args:
            most: largest content, bytes.
            deadline: when to give up, by the clock's `monotonic`. Every wait ends then: for the
                name, for the connection, and for the server's data.
            stop: stops the fetch.

        Raises:
            InvalidValue, Forbidden: as in `check`. Messages about redirections repeat nothing that
                the server has written.
            FileTooLarge: the content is longer than `most` bytes.
            PeerError: the URL cannot be fetched.
        """
        stop = stop or Stop()
        parts = self.check(url)
        shown = _shown(parts)
        for _ in range(_MAX_REDIRECTIONS + 1):
            with self._connect(parts, shown, deadline, stop) as connection:
                target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
                headers = {"Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
                connection.request("GET", target, headers=headers)
                # The answer ends the connection, so the answer alone holds the socket.
                with connection.getresponse() as response:
                    location = response.getheader("location")
                    if response.status in (301, 302, 303, 307, 308) and location:
                        parts = self._redirected(parts, location, shown)
                        continue
                    if response.status != 200:
                        raise PeerError(f"{shown} answered {response.status}")
                    return self._copy(response, file, most, deadline, shown)
        raise PeerError(f"{shown} redirects more than {_MAX_REDIRECTIONS} times")

    def _redirected(self, parts: SplitResult, location: str, shown: str) -> SplitResult:
        try:
            return self.check(urljoin(parts.geturl(), location))
        except (ValueError, Forbidden):
            raise Forbidden(f"{shown} redirects to a URL that is not allowed (url_allow)") from None

    def _copy(
        self,
        response: http.client.HTTPResponse,
        file: BinaryIO,
        most: int,
        deadline: float,
        shown: str,
    ) -> int:
        announced, size = response.length, 0
        while True:
            if (announced or size) > most:
                raise FileTooLarge(f"expected at most {most} more bytes (max_input_bytes): {shown}")
            if self._clock.monotonic() > deadline:
                raise PeerError(f"{shown} took too long (fetch_wait_s)")
            piece = response.read1(_READ_BYTES)
            if not piece:
                break
            size += len(piece)
            if size <= most:
                file.write(piece)
        if announced is not None and size != announced:
            raise PeerError(f"{shown} ended after {size} of {announced} bytes")
        return size

    @contextlib.contextmanager
    def _connect(
        self, parts: SplitResult, shown: str, deadline: float, stop: Stop
    ) -> Iterator[http.client.HTTPConnection]:
        host, port = parts.hostname or "", _port(parts)
        connection = http.client.HTTPConnection(host, port)
        try:
            try:
                address = self._address_of(host, port, self._left(shown, deadline), stop)
            except TimeoutError:
                raise PeerError(f"{shown} took too long (fetch_wait_s)") from None
            left_s = min(_STALL_S, self._left(shown, deadline))
            connection.sock = socket.create_connection((str(address), port), left_s)
            stop.enter(connection)
            # A server that sends one byte now and then never stalls, so only the deadline ends it.
            ending = threading.Timer(
                deadline - self._clock.monotonic(), shut_down, args=(connection,)
            )
            ending.daemon = True
            ending.start()
            try:
                if parts.scheme == "https":
                    connection.sock = ssl.create_default_context().wrap_socket(
                        connection.sock, server_hostname=host, do_handshake_on_connect=False
                    )
                    connection.sock.do_handshake()
                yield connection
            finally:
                ending.cancel()
        except (OSError, http.client.HTTPException) as error:
            raise PeerError(f"{shown} cannot be fetched: {_reason(error)}") from None
        finally:
            stop.leave(connection)
            connection.close()

    def _left(self, shown: str, deadline: float) -> float:
        """Return the seconds until the deadline. Raises `PeerError` after the deadline."""
        left_s = deadline - self._clock.monotonic()
        if left_s <= 0:
            raise PeerError(f"{shown} took too long (fetch_wait_s)")
        return left_s

    def _address_of(self, host: str, port: int, wait_s: float, stop: Stop) -> Address:
        """Return the address of a host. Raises `Forbidden` if the address is not public."""
        for address in self._lookups.find(host, port, wait_s, stop):
            # The address itself may be allowed by a beginning.
            if host == str(address) or is_public(address, self._networks):
                return address
        raise Forbidden(
            f"{host} is not in the public network; add its address to url_allow if it may be used"
        )


def _split(url: str) -> SplitResult:
    """Return the parts of a URL that every parser understands in the same way."""
    expected = f"expected a URL like https://files.example.org/in/a.pdf, got {url[:200]!r}"
    if len(url) > _MAX_URL_CHARS or _ODD.search(url):
        raise InvalidValue(expected)
    try:
        parts = urlsplit(url)
        _port(parts)
    except ValueError:
        raise InvalidValue(expected) from None
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc or parts.fragment:
        raise InvalidValue(expected)
    segments = unquote(unquote(parts.path)).replace("\\", "/").split("/")
    if ".." in segments or "." in segments:
        raise InvalidValue(expected)
    return parts


def _parse_beginning(entry: str) -> _Beginning:
    try:
        parts = _split(entry)
    except InvalidValue as error:
        raise InvalidValue(f"url_allow: {error.message}") from None
    if parts.query:
        raise InvalidValue(f"url_allow: expected no query, got {entry[:200]!r}")
    return _Beginning(parts.scheme, parts.hostname or "", _port(parts), parts.path or "/")


def _port(parts: SplitResult) -> int:
    return parts.port or _PORTS.get(parts.scheme, 0)


def _shown(parts: SplitResult) -> str:
    """Return a URL without its query, which may be confidential."""
    return f"{parts.scheme}://{parts.netloc}{parts.path}"[:200]


def _reason(error: Exception) -> str:
    """Return the reason of an error, without text from a server."""
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, ssl.SSLError):
        return "its certificate or connection is not secure"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    return type(error).__name__
