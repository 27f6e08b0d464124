"""Breaking off what waits for the network in a thread."""

import contextlib
import http.client
import socket
import threading
from concurrent import futures
from typing import Any, Final, TypeVar

__all__ = ("Stop", "shut_down")

T = TypeVar("T")


class Stop:
    """What others hold of a thread that fetches, to have it give up. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: set[http.client.HTTPConnection] = set()
        self._stopped: Final[futures.Future[None]] = futures.Future()

    @property
    def is_set(self) -> bool:
        """Whether the thread is to give up."""
        return self._stopped.done()

    def set(self) -> None:
        """Have the thread give up: it gets `ConnectionAbortedError`, or another `OSError`."""
        with self._lock:
            if not self._stopped.done():
                self._stopped.set_result(None)
            for connection in self._connections:
                shut_down(connection)

    def enter(self, connection: http.client.HTTPConnection) -> None:
        """Let `set` shut a connection down. Raises `ConnectionAbortedError`."""
        with self._lock:
            if self._stopped.done():
                raise ConnectionAbortedError
            self._connections.add(connection)

    def leave(self, connection: http.client.HTTPConnection) -> None:
        """Take a connection out. Idempotent."""
        with self._lock:
            self._connections.discard(connection)

    def wait(self, awaited: "futures.Future[T]", wait_s: float) -> T:
        """Return the result of a future, or raise its error.

        Raises:
            TimeoutError: it has none after `wait_s`.
            ConnectionAbortedError: `set` was called.
        """
        # Whatever comes first. Their callbacks are no more than those of waits under way.
        either: list[futures.Future[Any]] = [awaited, self._stopped]
        futures.wait(either, max(0.0, wait_s), futures.FIRST_COMPLETED)
        if self._stopped.done():
            raise ConnectionAbortedError
        if not awaited.done():
            raise TimeoutError
        return awaited.result()


def shut_down(connection: http.client.HTTPConnection) -> None:
    """Have whatever waits for a connection fail."""
    with contextlib.suppress(OSError, TypeError):  # it was closed meanwhile
        # Not the method of TLS sockets, which changes what another thread reads from.
        socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
