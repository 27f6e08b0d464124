"""Looking names up, with a deadline that the system's own resolver does not have.

`getaddrinfo` cannot be broken off, and takes as long as its configuration and the name servers let
it: half a minute, or for ever. So it is called in a thread that nobody has to wait for.
"""

import socket
import threading
from concurrent.futures import Future
from ipaddress import ip_address

from runcast._addresses import Address
from runcast._files.stop import Stop

__all__ = ("Lookups",)


class Lookups:
    """Looks names up, each by one thread at a time.

    All who ask for a name while it is looked up share the answer. So there are no more threads than
    names, even if none of them ends, and of names no more than `url_allow` has.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, int], Future[list[Address]]] = {}

    def find(self, host: str, port: int, wait_s: float, stop: Stop) -> list[Address]:
        """Return the addresses of a host; blocks.

        Raises:
            TimeoutError: they are not known after `wait_s`.
            OSError: the name is not known, or `stop` is set.
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
                except RuntimeError as error:  # there are as many as the system allows
                    raise OSError(str(error)) from None
                self._under_way[host, port] = found
            return found

    def _look_up(self, host: str, port: int, found: "Future[list[Address]]") -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            # An address of a link has the name of an interface behind it.
            names = [str(entry[4][0]).partition("%")[0] for entry in entries]
            addresses, error = [ip_address(name) for name in names], None
        except Exception as raised:  # noqa: BLE001 - handed to those who wait
            addresses, error = [], raised
        with self._lock:
            del self._under_way[host, port]
        if error is not None:
            found.set_exception(error)
        else:
            found.set_result(addresses)
