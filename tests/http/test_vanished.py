"""Clients that vanish without a word: no FIN comes from them, and no acknowledgement.

A socket filter makes one: the client's kernel drops whatever the server sends. Time is the
kernel's, which counts idle connections in seconds: each test takes about two.
"""

import asyncio
import ctypes
import socket
import struct
import sys
from pathlib import Path
from typing import Any, Self

import pytest
from starlette.types import Message

import runcast
from runcast._http.server.cycle import transport_behind
from runcast._http.streaming.direct import unsent_bytes
from runcast._http.vanished import VanishedClients
from runcast._runs.run import Run
from runcast._settings import Settings
from tests.http.client import WAIT_S, Connection
from tests.http.serving import PROTOCOLS, Server, serving_here, serving_in_thread

pytestmark = pytest.mark.anyio

needs_filters = pytest.mark.skipif(sys.platform != "linux", reason="only Linux filters sockets")

QUICKLY = Settings(stall_s=1.0, heartbeat_s=0.1)

JSON = {"Accept": "application/json"}
SSE = {"Accept": "text/event-stream"}

_SO_ATTACH_FILTER = 26
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)  # BPF_RET | BPF_K: take 0 bytes of each packet


async def vanish(connection: Connection) -> None:
    """Make a client deaf and dumb: what is sent to it gets no answer from its kernel either."""
    program = ctypes.create_string_buffer(_DROP_ALL)
    pointer = struct.pack("HL", len(_DROP_ALL) // 8, ctypes.addressof(program))
    its = connection.writer.get_extra_info("socket")
    its.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)


async def wait() -> None:
    """Run until it is cancelled."""
    await asyncio.Event().wait()


async def bear() -> None:
    """Leave a file larger than what kernels buffer."""
    with (runcast.workspace() / "data" / "outputs" / "large").open("wb") as large:
        large.truncate(50_000_000)


class Clients:
    """Clients of a server that will vanish, and are let go at the end of the block."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connections: list[Connection] = []

    async def ask(
        self, method: str, target: str, headers: dict[str, str], *, reads: bool = True
    ) -> None:
        """Send a request; read the head of its answer unless it has none yet."""
        connection = await self._server.connect()
        self._connections.append(connection)
        body = b"{}" if method == "POST" else None
        await connection.ask(method, self._server.prefix + target, headers, body)
        if reads:
            assert (await connection.read_head()).status == 200

    async def invoke(self) -> list[Run]:
        """Begin runs that end with their clients: one waits for the result, one for events."""
        target = "/invoke/wait?cancel_on_disconnect=true"
        await self.ask("POST", target, JSON, reads=False)
        await self.ask("POST", target, SSE)
        known = self._server.hub.runner.runs
        await self._server.eventually(lambda: len(known) == 2)
        return list(known.values())

    async def vanish(self) -> None:
        for each in self._connections:
            await vanish(each)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for each in self._connections:
            each.reset()
            await each.close()


@needs_filters
@pytest.mark.parametrize("flavour", PROTOCOLS)
async def test_a_client_that_vanishes_is_noticed_whatever_it_waits_for(
    flavour: str, tmp_path: Path
) -> None:
    """R-6.3, R-13.7."""
    options: dict[str, Any] = {"settings": QUICKLY, "store": f"sqlite:///{tmp_path}/runs.db"}
    async with (
        serving_here(flavour, functions=[wait, bear], **options) as server,
        Clients(server) as clients,
    ):
        await server.log("run")
        assert (await server.post("/invoke/bear", b'{"run_id": "bear"}', JSON)).status == 200
        runs = await clients.invoke()
        await clients.ask("GET", "/runs/run/events", SSE)
        await clients.ask("GET", "/events?run=run", SSE)
        await clients.ask("GET", "/runs/run/events?live=long-poll", JSON, reads=False)
        await clients.ask("GET", "/runs/bear/files/large", {})
        await server.eventually(lambda: server.hub.hub.statistics().watchers == 4)
        await clients.vanish()

        async with asyncio.timeout(WAIT_S):
            for run in runs:
                assert await run.wait()
            await asyncio.gather(*server.tasks)
        await server.eventually(lambda: not server.connections)
        assert [run.status for run in runs] == ["cancelled", "cancelled"]
        assert server.hub.hub.statistics().watchers == 0


@needs_filters
@pytest.mark.parametrize("flavour", ["direct-httptools-uvloop", "mounted-fastapi-lifespan"])
def test_it_is_noticed_under_uvloop_too_and_nothing_is_logged(
    flavour: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def leave(server: Server) -> None:
        async with Clients(server) as clients:
            runs = await clients.invoke()
            await clients.vanish()
            for run in runs:
                await server.call(run.wait)
            assert [run.status for run in runs] == ["cancelled", "cancelled"]

    with serving_in_thread(flavour, functions=[wait], settings=QUICKLY) as server:
        asyncio.run(leave(server))

    assert caplog.text == ""


@needs_filters
@pytest.mark.parametrize("flavour", ["direct-httptools", "direct-h11"])
async def test_a_client_that_lives_and_reads_nothing_has_not_vanished(flavour: str) -> None:
    """Its kernel answers; how long it may take nothing is for `stall_s` of the stream to say."""
    async with serving_here(flavour) as server, await server.connect(receive_bytes=2048) as stuck:
        log = await server.log("run")
        await log.emit(1, data="x" * 500_000)
        await stuck.ask("GET", "/runs/run/events", SSE)
        await server.eventually(
            lambda: any(unsent_bytes(each.transport) for each in server.connections)
        )
        (its,) = server.connections
        for later_s in range(0, 1000, 10):
            its.vanished._look_at(its.transport, asyncio.get_running_loop().time() + later_s)

        assert unsent_bytes(its.transport)
        assert not its.transport.is_closing()


async def test_a_connection_is_forgotten_at_its_end(here: Server) -> None:
    async with await here.connect() as connection:
        await connection.ask("GET", "/healthz")
        assert (await connection.read_answer()).status == 200
        (its,) = here.connections
        vanished = its.vanished if here.is_direct else here.app._vanished
        assert list(vanished._silent_since) == ([its.transport] if sys.platform == "linux" else [])
    await here.eventually(lambda: not here.connections)
    for transport in list(vanished._silent_since):
        vanished._look_at(transport, 0.0)

    assert vanished._silent_since == {}


class _Transport:
    """What gives a socket."""

    def __init__(self, its: object) -> None:
        self._its = its

    def get_extra_info(self, name: str) -> object:
        return self._its


class _Socket:
    """What was set on a socket."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self.options: dict[tuple[int, int], int] = {}

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.options[level, option] = value
        raise OSError("not on this platform")


@pytest.mark.parametrize(
    ("stall_s", "idle_s", "every_s", "probes"),
    [(30.0, 15, 5, 3), (5.0, 2, 1, 3), (0.01, 1, 1, 1), (1e12, 16383, 5461, 3)],
)
async def test_an_idle_client_is_probed_so_that_it_is_missed_after_stall_s(
    stall_s: float, idle_s: int, every_s: int, probes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As macOS has the options; that it lacks one is no fault."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(socket, "TCP_KEEPIDLE", raising=False)
    monkeypatch.setattr(socket, "TCP_KEEPALIVE", 0x10, raising=False)
    its = _Socket()
    transport: Any = _Transport(its)

    VanishedClients(stall_s).add(transport)

    assert its.options == {
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
        (socket.IPPROTO_TCP, 0x10): idle_s,
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): every_s,
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): probes,
        (socket.IPPROTO_TCP, 0x80): min(max(int(stall_s), 1), 32767),
    }


async def test_what_is_no_tcp_connection_is_left_alone() -> None:
    async def receive() -> Message:
        raise AssertionError

    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport: Any = _Transport(ours)
        VanishedClients(1.0).add(transport)
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
    assert transport_behind(receive) is None
