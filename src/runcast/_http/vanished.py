"""Clients that vanish without closing: a lid closed, a train in a tunnel, a pulled cable.

Such a client never sends a FIN. Data for it goes into the kernel's buffer, and the kernel retries
for a quarter of an hour. An idle connection is never checked at all. In both cases we end the
connection after `stall_s` without a packet from the client:

- While nothing is sent, the kernel's keepalive probes ask the client's kernel.
- While sent data is not acknowledged there are no probes. On Linux a timer reads the kernel's data
  (TCP_INFO); macOS ends such connections by itself (TCP_RXT_CONNDROPTIME).

The server then sees an ordinary lost connection. TCP_USER_TIMEOUT (RFC 5482) is not used: Linux
also applies it to a live client that reads slowly through a small window.
"""

import asyncio
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

__all__ = ("VanishedClients",)

_LEAST_S: Final = 1.0
"""Shortest silence that counts, seconds: a slow network must not look like a lost one."""

_MOST_S: Final = 32767
"""Longest idle time that Linux takes, seconds; longer than any useful setting."""

_MOST_PROBES: Final = 3
"""Probes of an idle connection: a single one may be lost on the way."""

_TCP_RXT_CONNDROPTIME: Final = 0x80
"""An option of macOS, in seconds (<netinet/tcp.h>); the module `socket` does not name it."""

_SLICES: Final = 8
"""All connections are checked in this many parts, so that no check takes long."""

_LOOKS: Final = 4
"""How often a connection is checked within `stall_s`."""


class VanishedClients:
    """Ends the connections of vanished clients. Make all calls on one loop."""

    def __init__(self, stall_s: float) -> None:
        self._stall_s = min(max(stall_s, _LEAST_S), _MOST_S)
        self._silent_since: dict[asyncio.Transport, float | None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._slice = 0

    def add(self, transport: asyncio.Transport) -> None:
        """Watch a connection until its end; a connection that is not TCP is ignored."""
        its = transport.get_extra_info("socket")
        if (
            transport in self._silent_since
            or its is None
            or its.family not in (socket.AF_INET, socket.AF_INET6)
        ):
            return
        for level, option, value in _options(self._stall_s):
            with suppress(OSError):  # an old kernel; the other options still work
                its.setsockopt(level, option, value)
        if sys.platform == "linux":
            self._silent_since[transport] = None
            self._start_timer()

    def discard(self, transport: asyncio.Transport) -> None:
        """Forget a connection that has ended; otherwise the next check forgets it."""
        self._silent_since.pop(transport, None)

    def _start_timer(self) -> None:
        if self._timer is None:
            every_s = self._stall_s / _LOOKS / _SLICES
            self._timer = asyncio.get_running_loop().call_later(every_s, self._look)

    def _look(self) -> None:
        """Check a slice of all connections."""
        self._timer = None
        self._slice = (self._slice + 1) % _SLICES
        now = asyncio.get_running_loop().time()
        for transport in list(self._silent_since)[self._slice :: _SLICES]:
            self._look_at(transport, now)
        if self._silent_since:
            self._start_timer()

    def _look_at(self, transport: asyncio.Transport, now: float) -> None:
        try:
            unheard_s = _unheard_s(transport.get_extra_info("socket"))
        except (OSError, ValueError):
            self.discard(transport)  # the connection is closed
            return
        if unheard_s is None:
            self._silent_since[transport] = None
            return
        # Data just sent to a client that was idle for hours does not make hours of silence.
        since = max(self._silent_since[transport] or now, now - unheard_s)
        self._silent_since[transport] = since
        if now - since >= self._stall_s:
            _reset(transport)


def _unheard_s(its: socket.socket) -> float | None:
    """Return for how long the client has sent no packet, seconds; None if no packet is due.

    A packet is due after sent data (an acknowledgement) and after a probe of the client's closed
    window (an answer). A live client sends both, however slowly it reads.
    """
    found = its.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _Info.size)
    probes, unacknowledged, unheard_ms = _Info.unpack(found)
    return unheard_ms / 1000 if probes or unacknowledged else None


_Info: Final = struct.Struct("=3xB20xI28xI")
"""The fields of `struct tcp_info` in <linux/tcp.h> that we read: tcpi_probes, tcpi_unacked and
tcpi_last_ack_recv (ms)."""


def _reset(transport: asyncio.Transport) -> None:
    """Cut a connection, and make the kernel discard its unsent data."""
    with suppress(OSError):
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


def _options(stall_s: float) -> Iterator[tuple[int, int, int]]:
    """Yield (level, option, value) for the options of this platform."""
    idle = max(1, int(stall_s / 2))
    every = max(1, int(stall_s / 2 / _MOST_PROBES))
    probes = min(max(1, round((stall_s - idle) / every)), _MOST_PROBES)
    yield socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1
    for name, value in {
        "TCP_KEEPIDLE": idle,
        "TCP_KEEPALIVE": idle,  # the name on macOS
        "TCP_KEEPINTVL": every,
        "TCP_KEEPCNT": probes,
    }.items():
        if (option := getattr(socket, name, None)) is not None:
            yield socket.IPPROTO_TCP, option, value
    if sys.platform == "darwin":
        yield socket.IPPROTO_TCP, _TCP_RXT_CONNDROPTIME, int(stall_s)
