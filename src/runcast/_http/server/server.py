"""The server that `runcast serve` starts: uvicorn, which ends its streams before it waits for them,
and the protocol that it speaks."""

import asyncio
import contextlib
import gc
import ipaddress
import logging
import math
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from runcast._http.app import HttpApp
from runcast._http.server.connection import DirectProtocol
from runcast._http.vanished import VanishedClients
from runcast._logs import get_logger
from runcast._settings import Settings
from runcast.errors import Forbidden, InvalidValue

__all__ = (
    "bind",
    "is_loopback",
    "protocol_class",
    "serve",
)


class _DirectH11(DirectProtocol, H11Protocol):
    """h11, which is always installed. Its parser has bounded buffers (`h11_max_incomplete…`)."""


def protocol_class(settings: Settings) -> type[asyncio.Protocol]:
    """Return the fastest installed protocol, bounded by these settings."""
    protocol: type[DirectProtocol] = _DirectH11
    try:
        from runcast._http.server.httptools_protocol import DirectHttpTools
    except ImportError:
        pass
    else:
        protocol = DirectHttpTools
    shared = {"settings": settings, "vanished": VanishedClients(settings.stall_s)}
    return type(protocol.__name__, (protocol,), shared)


_log: Final = get_logger("runcast.http")

_SWITCH_INTERVAL_S: Final = 0.0005
"""How long a busy thread may keep the interpreter from other threads. Python's default of 5 ms
makes every step of a commit wait that long beside one function that computes."""

_GC_THRESHOLD: Final = 10_000
"""New objects before the garbage collector runs. With Python's default of 700, it would run on the
events of each commit while they are being delivered."""

_KEEP_ALIVE_S: Final = 15
"""How long a connection may be idle, seconds: longer than a page takes between two requests."""

_LAST_S: Final = 0.5
"""How long requests are still answered once nobody can connect any more, seconds: those that were
sent before, and those that a proxy sends over a connection that it keeps."""

_LOOK_S: Final = 0.02
"""Pause between two looks at whether these requests are answered, seconds."""

_REST_S: Final = 1
"""How long a request other than a stream may still take at shutdown, seconds, in addition to the
time of running functions."""

_BACKLOG: Final = 4096
"""Connections that may wait to be accepted: all watchers reconnect at once after a restart."""


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        app: HttpApp,
        on_ready: Callable[[], None],
        on_end: Callable[[], None],
        on_hurry: Callable[[signal.Signals], None],
    ) -> None:
        super().__init__(config)
        self._app = app
        self._on_ready = on_ready
        self._on_end = on_end
        self._on_hurry = on_hurry
        self._handlers: dict[signal.Signals, Any] = {}
        """Our signal handlers; empty if the loop is not in the main thread."""
        self._is_draining = False
        self._drains_until: float | None = None

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        with asyncio.Runner(loop_factory=self.config.get_loop_factory()) as runner:
            # Making a loop takes a while. The coroutine is made after that: Python would complain
            # of one that never begins, because of a signal meanwhile.
            runner.get_loop()
            runner.run(self.serve(sockets))

    async def on_tick(self, counter: int) -> bool:
        self._keep_signals()
        if self._is_draining and not self.should_exit:
            self._drain()
        return await super().on_tick(counter)

    def _drain(self) -> None:
        """Begin to drain, or end it if it is time."""
        now = asyncio.get_running_loop().time()
        if self._drains_until is None:
            self._app.drain()
            self._drains_until = now + self._app.settings.drain_s
        elif now >= self._drains_until:
            super().handle_exit(signal.SIGTERM, None)

    def _keep_signals(self) -> None:
        """Restore the server's signal handlers if a function on the loop, or its module, changed
        them."""
        for number, handler in self._handlers.items():
            if signal.getsignal(number) != handler:
                signal.signal(number, handler)
                _log.warning("something changed what %s does; it is set again", number.name)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain on SIGTERM. SIGINT, and a signal while it drains, end the server."""
        if self.should_exit:
            self._on_hurry(signal.Signals(sig))
        elif sig == signal.SIGTERM and not self._is_draining and self._app.settings.drain_s:
            self._is_draining = True
            return
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # Open before uvicorn runs the lifespan, because uvicorn would hide the error.
        await self._app.open()
        await super().startup(sockets)
        if threading.current_thread() is threading.main_thread():
            ending = (signal.SIGINT, signal.SIGTERM)
            self._handlers = {number: signal.getsignal(number) for number in ending}
            # Otherwise a client that leaves during a write would end the process.
            self._handlers[signal.SIGPIPE] = signal.SIG_IGN
        # Objects in memory by now stay. The garbage collector need not walk through them again
        # and again while everything waits.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD)
        if not self.should_exit:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.drain()
        await self._stop_listening(sockets or [])
        if signal.SIGINT not in self._captured_signals:  # a person need not wait for that
            await self._answer_last()
        # uvicorn waits for open responses, and only then ends the lifespan. Streams would keep it
        # waiting for ever, and requests for a result as long as the function works.
        self._app.end_streams()
        closing = asyncio.ensure_future(self._app.close())
        await super().shutdown(sockets)
        await closing
        if self.force_exit:  # then uvicorn does not end the lifespan, and would log its error
            await self.lifespan.shutdown()
        # At its end, the loop waits for the threads of its executor, and functions may still occupy
        # them. So it gets a new executor without threads.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        self._on_end()

    async def _stop_listening(self, sockets: Sequence[socket.socket]) -> None:
        """Close the addresses. Connections that the kernel has accepted are taken before: closing
        would reset them, though their requests may have been sent."""
        loop = asyncio.get_running_loop()
        held = [listening.dup() for listening in sockets]
        for server in self.servers:
            server.close()
        for listening in sockets:
            listening.close()
        await asyncio.sleep(_LOOK_S)  # until the loop has let go of them, and nobody else accepts
        taken: list[socket.socket] = []
        for listening in held:
            with listening, contextlib.suppress(OSError):  # no other connection waits
                while len(taken) < _BACKLOG:
                    taken.append(listening.accept()[0])
        for connection in taken:
            connection.setblocking(False)
        opening = (loop.connect_accepted_socket(self._make_protocol, each) for each in taken)
        await asyncio.gather(*opening, return_exceptions=True)  # a client may have left

    def _make_protocol(self) -> asyncio.Protocol:
        """Return the protocol of a connection, as uvicorn makes it."""
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    async def _answer_last(self) -> None:
        """Answer as ever for a moment, until only streams are open."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _LAST_S
        while loop.time() < until and not self.force_exit:
            if all(getattr(each, "is_streaming", False) for each in self.server_state.connections):
                break
            await asyncio.sleep(_LOOK_S)


def serve(
    app: HttpApp,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    on_ready: Callable[[str], None] = lambda url: None,
    on_end: Callable[[], None] = lambda: None,
    on_hurry: Callable[[signal.Signals], None] = lambda number: None,
    log_level: str = "warning",
    insecure: bool = False,
    bound: socket.socket | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    After SIGTERM it goes on for `drain_s`, without being ready. Then it stops to listen, answers
    the requests that are on their way, ends the streams, and closes the application.

    Args:
        port: 0 takes a free one.
        bound: the address, if it was bound already (`bind`); `port` does not matter then.
        on_ready: called with the base URL once requests are answered.
        on_end: called on the loop after everything is closed, just before the loop ends.
        on_hurry: called with each signal that comes after the one that ends the server, as its
            handler.
        insecure: let other machines in without an access token.

    Raises:
        InvalidValue: the address cannot be bound.
        Forbidden: other machines can reach the address, and there is no access token.
        BackendError: the store cannot be opened.
    """
    if not insecure and not app.is_protected and not is_loopback(host):
        raise Forbidden(
            f"{host} can be reached from other machines, and any client there could invoke your "
            "functions: give a --token (or RUNCAST_TOKEN), or say --insecure"
        )
    bound = bound or bind(host, port)
    actual = bound.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{actual}"
    app.serve_at(host)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    config = uvicorn.Config(
        app,
        host=host,
        port=actual,
        http=protocol_class(app.settings),
        h11_max_incomplete_event_size=app.settings.max_head_bytes,
        ws="none",
        lifespan="on",
        log_config=None,  # its loggers use the same handlers as all others
        log_level=log_level,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_REST_S + math.ceil(app.settings.shutdown_grace_s),
    )
    server = _Server(config, app, lambda: on_ready(url), on_end, on_hurry)
    logging.getLogger("uvicorn.error").setLevel(log_level.upper())
    with bound:
        server.run(sockets=[bound])


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address. Raises `InvalidValue`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        bound.close()
        reason = getattr(error, "strerror", None) or error
        raise InvalidValue(
            f"cannot listen on {host}:{port} ({reason}); choose another --port, or 0 for a free one"
        ) from error
    bound.setblocking(False)
    return bound
