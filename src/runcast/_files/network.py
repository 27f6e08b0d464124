"""Waiting for the network in a thread: with a way to stop, and name lookups with a deadline.

The system's resolver has no deadline. `getaddrinfo` cannot be interrupted, and takes as long as its
configuration and the name servers need: half a minute, or for ever. So it is called in a thread
that nobody has to wait for.
"""

import contextlib
import http.client
import socket
import threading
from concurrent import futures
from concurrent.futures import Future
from ipaddress import ip_address
from typing import Any, Final, TypeVar

from runcast._addresses import Address

__all__ = (
    "Lookups",
    "Stop",
    "shut_down",
)

T = TypeVar("T")


class Stop:
    """Tells a fetching thread to give up. Call it from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: set[http.client.HTTPConnection] = set()
        self._stopped: Final[futures.Future[None]] = futures.Future()

    @property
    def is_set(self) -> bool:
        """Whether the thread must give up."""
        return self._stopped.done()

    def set(self) -> None:
        """Make the thread give up: it gets `ConnectionAbortedError`, or another `OSError`."""
        with self._lock:
            if not self._stopped.done():
                self._stopped.set_result(None)
            for connection in self._connections:
                shut_down(connection)

    def enter(self, connection: http.client.HTTPConnection) -> None:
        """Register a connection that `set` shuts down. Raises `ConnectionAbortedError`."""
        with self._lock:
            if self._stopped.done():
                raise ConnectionAbortedError
            self._connections.add(connection)

    def leave(self, connection: http.client.HTTPConnection) -> None:
        """Remove a connection. Idempotent."""
        with self._lock:
            self._connections.discard(connection)

    def wait(self, awaited: "futures.Future[T]", wait_s: float) -> T:
        """Return the result of a future, or raise its error.

        Raises:
            TimeoutError: the future has no result after `wait_s`.
            ConnectionAbortedError: `set` was called.
        """
        # Wait for the first of the two. Callbacks exist only for running waits.
        either: list[futures.Future[Any]] = [awaited, self._stopped]
        futures.wait(either, max(0.0, wait_s), futures.FIRST_COMPLETED)
        if self._stopped.done():
            raise ConnectionAbortedError
        if not awaited.done():
            raise TimeoutError
        return awaited.result()


def shut_down(connection: http.client.HTTPConnection) -> None:
    """Make everything that waits for a connection fail."""
    with contextlib.suppress(OSError, TypeError):  # the connection was closed meanwhile
        # TLS sockets' own method would change the object that another thread reads from.
        socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


class Lookups:
    """Looks up names, each in one thread at a time.

    All callers that ask for the same name share one lookup. So there are at most as many threads as
    names, even if no lookup ends, and at most as many names as in `url_allow`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, int], Future[list[Address]]] = {}

    def find(self, host: str, port: int, wait_s: float, stop: Stop) -> list[Address]:
        """Return the addresses of a host; blocks.

        Raises:
            TimeoutError: the addresses are not known after `wait_s`.
            OSError: the name is unknown, or `stop` is set.
        """
        try:
            return [ip_address(host)]
        except ValueError:
            return stop.wait(self._begin(host, port), wait_s)

    def _begin(self, host: str, port: int) -> "Future[list[Address]]":
        with self._lock:
            found = self._under_way.get((host, port))
            if found is None:
                found = Future()
                thread = threading.Thread(
                    target=self._look_up,
                    args=(host, port, found),
                    name="runcast-lookup",
                    daemon=True,
                )
                try:
                    thread.start()
                except RuntimeError as error:  # the system's limit of threads is reached
                    raise OSError(str(error)) from None
                self._under_way[host, port] = found
            return found

    def _look_up(self, host: str, port: int, found: "Future[list[Address]]") -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            # A link-local address is followed by the name of an interface.
            names = [str(entry[4][0]).partition("%")[0] for entry in entries]
            addresses, error = [ip_address(name) for name in names], None
        except Exception as raised:  # noqa: BLE001 - passed to the waiting callers
            addresses, error = [], raised
        with self._lock:
            del self._under_way[host, port]
        if error is not None:
            found.set_exception(error)
        else:
            found.set_result(addresses)
