"""Serving runcast to a test, in each of the ways that users have."""

import asyncio
import json
import queue
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from runcast._app import OpenHub
from runcast._clock import Clock
from runcast._http.app import HttpApp
from runcast._http.server import server as http_server
from runcast._http.server.server import protocol_class
from runcast._producing.writer import Writer
from runcast._settings import Settings
from runcast.events.outcome import Outcome, cancelled, done, failed
from runcast.events.position import Position
from runcast.stores.base import Store
from tests.environment import PARSER
from tests.http.client import WAIT_S, Answer, Connection, Watching, fetch, watch
from tests.waiting import until

__all__ = (
    "FLAVOURS",
    "PROTOCOLS",
    "Log",
    "Script",
    "Scripts",
    "Server",
    "serving_here",
    "serving_in_thread",
    "wait_for",
)

T = TypeVar("T")

Fields = Mapping[str, str]


class Log:
    """A run without a function: the test writes what it wants, when it wants."""

    def __init__(self, server: "Server", run_id: str, writer: Writer, epoch: str) -> None:
        self._server = server
        self._writer = writer
        self.run_id = run_id
        self.epoch = epoch

    async def emit(self, *numbers: int, type: str = "step", data: Any = None) -> Position:  # noqa: A002
        """Append an event for each number and return once they are committed."""

        async def emit() -> Position:
            for number in numbers:
                self._writer.emit(type, {"n": number} if data is None else data)
            return await self._writer.flush()

        return await self._server.call(emit)

    async def end(self, ending: Outcome | None = None) -> None:
        """End the run."""
        hub = self._server.hub
        inlet = hub.hub.inlet(self.run_id, self.epoch)
        await self._server.call(lambda: hub.hub.owned.add(inlet).end(ending or done("ok")))


@dataclass
class Script:
    """What a `script` function is to yield, handed over one by one."""

    key: str
    items: queue.Queue[Any] = field(default_factory=queue.Queue)
    begun: threading.Event = field(default_factory=threading.Event)
    """Set once the function runs."""
    finished: threading.Event = field(default_factory=threading.Event)
    """Set by the function's `finally`."""
    thread: int = 0
    """Of the function's body, and after it of its `finally`, if that is the same; -1 if not."""

    def tell(self, *items: Any) -> None:
        for item in items:
            self.items.put(item)

    def end(self) -> None:
        self.items.put(StopIteration)

    @property
    def body(self) -> bytes:
        """What invokes it, as a run of its name."""
        return json.dumps({"inputs": {"key": self.key}, "run_id": self.key}).encode()


class Scripts:
    """Functions that do what tests tell them, made anew for each server."""

    def __init__(self) -> None:
        self.known: dict[str, Script] = {}

    def new(self, key: str) -> Script:
        script = self.known[key] = Script(key)
        return script

    def functions(self) -> list[Callable[..., Any]]:
        """Return the functions of every test server."""

        def script(key: str) -> Iterator[Any]:
            """Yield what the test says."""
            told = self.known[key]
            told.thread = threading.get_ident()
            told.begun.set()
            try:
                while True:
                    try:
                        item = told.items.get(timeout=0.01)
                    except queue.Empty:
                        yield None  # lets cancelling in
                        continue
                    if item is StopIteration:
                        return
                    yield item
            finally:
                told.thread = told.thread if threading.get_ident() == told.thread else -1
                told.finished.set()

        def count(n: int, text: str = "") -> Iterator[dict[str, Any]]:
            """Count to n."""
            for number in range(1, n + 1):
                yield {"type": "step", "data": {"n": number, "text": text}}

        def add(a: int, b: int = 1) -> int:
            """Add two numbers."""
            return a + b

        async def echo(value: Any = None) -> Any:
            """Return what was given."""
            return value

        def fail(message: str = "secret") -> None:
            """Fail."""
            raise ValueError(message)

        return [script, count, add, echo, fail]

    def end(self) -> None:
        """End all scripts."""
        for script in self.known.values():
            script.end()


class Server:
    """A server, as its clients and those who look inside see it."""

    def __init__(
        self, hub: OpenHub, app: HttpApp, scripts: Scripts, flavour: str, prefix: str = ""
    ) -> None:
        self.hub = hub
        self.app = app
        self.scripts = scripts
        self.flavour = flavour
        self.prefix = prefix
        self.host = "127.0.0.1"
        self.port = 0
        self.connections: set[Any] = set()
        """uvicorn's protocols, where the server is on the loop of the test."""
        self.tasks: set[asyncio.Task[None]] = set()
        """Requests that are being answered, there."""
        self.loop: asyncio.AbstractEventLoop | None = None

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def is_direct(self) -> bool:
        """Whether streams write to the transport."""
        return "direct" in self.flavour

    async def call(self, make: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine on the server's loop."""

        async def run() -> T:
            return await make()

        async with asyncio.timeout(WAIT_S):
            if self.loop is asyncio.get_running_loop():
                return await run()
            assert self.loop is not None
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), self.loop))

    async def look(self, what: Callable[[], T]) -> T:
        """Call a function on the server's loop."""

        async def call() -> T:
            return what()

        return await self.call(call)

    async def eventually(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds on the server's loop."""

        await self.call(lambda: until(holds))

    async def fetch(
        self, method: str, target: str, headers: Fields | None = None, body: bytes | None = None
    ) -> Answer:
        """Make one request."""
        return await fetch(self.address, method, self.prefix + target, headers, body)

    async def post(self, target: str, body: bytes = b"", headers: Fields | None = None) -> Answer:
        """Post JSON."""
        fields = {"Content-Type": "application/json", **(headers or {})}
        return await self.fetch("POST", target, fields, body)

    @asynccontextmanager
    async def watch(
        self, target: str, headers: Fields | None = None, **more: Any
    ) -> AsyncIterator[Watching]:
        """Open a stream."""
        async with watch(self.address, self.prefix + target, headers, **more) as watching:
            yield watching

    async def connect(self, *, receive_bytes: int = 0) -> Connection:
        """Open a connection."""
        return await Connection.open(*self.address, receive_bytes=receive_bytes)

    async def begin(self, key: str) -> Script:
        """Begin a run of a script and return once it is at work."""
        script = self.scripts.new(key)
        answer = await self.post("/invoke/script", script.body, {"Prefer": "respond-async"})
        assert answer.status == 202
        await wait_for(script.begun)
        return script

    async def log(self, run_id: str, *, replace: bool = False) -> Log:
        """Begin a run without a function."""
        inlet = await self.call(lambda: self.hub.hub.create(run_id, replace=replace))
        writer = Writer(inlet, self.hub.clock, self.hub.settings.max_event_bytes)
        return Log(self, run_id, writer, inlet.epoch)

    async def closed_log(self, run_id: str, *numbers: int) -> Log:
        """Make a run that has ended after an event for each number."""
        log = await self.log(run_id)
        await log.emit(*numbers)
        await log.end()
        return log


async def wait_for(event: threading.Event) -> None:
    """Wait for what a thread does."""
    assert await asyncio.to_thread(event.wait, WAIT_S)


def _make(
    flavour: str,
    scripts: Scripts,
    *,
    functions: Iterable[Any] = (),
    settings: Settings | None = None,
    clock: Clock | None = None,
    store: str | Store = "memory://",
    **guard: Any,
) -> Server:
    hub = OpenHub(
        store,
        functions=[*scripts.functions(), *functions],
        settings=settings or Settings(),
        clock=clock,
    )
    prefix = "/house/run casts" if "mounted" in flavour else ""
    return Server(hub, HttpApp(hub, **guard), scripts, flavour, prefix.replace(" ", "%20"))


# --- on the test's own loop -----------------------------------------------------------------------

PROTOCOLS: Final = ("direct-httptools", "direct-h11", "plain-httptools", "plain-h11")
"""Ways a request reaches the application, for servers on the test's own loop."""


_HTTPTOOLS: Final = "runcast._http.server.httptools_protocol"
"""What can be imported only where httptools is installed."""


def _protocol(flavour: str, settings: Settings) -> type[asyncio.Protocol]:
    if flavour == "direct-httptools":
        return protocol_class(settings)
    if flavour == "direct-h11":
        with _missing(_HTTPTOOLS):
            return protocol_class(settings)
    return HttpToolsProtocol if flavour == "plain-httptools" else H11Protocol


@contextmanager
def _missing(*modules: str) -> Iterator[None]:
    """Make modules look as if they were not installed."""
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            patch.setitem(sys.modules, module, None)
        yield


@asynccontextmanager
async def serving_here(
    flavour: str = f"direct-{PARSER}", *, is_open: bool = True, **options: Any
) -> AsyncIterator[Server]:
    """Serve on the loop of the test, with uvicorn's protocols but without its server.

    Nothing of it takes time: the test can look at everything between two steps of the loop.
    """
    scripts = Scripts()
    server = _make(flavour, scripts, **options)
    protocol = _protocol(flavour, server.hub.settings)
    config = uvicorn.Config(
        server.app,
        ws="none",
        lifespan="off",
        log_config=None,
        h11_max_incomplete_event_size=server.hub.settings.max_head_bytes,
    )
    config.load()
    state = ServerState()
    server.connections, server.tasks = state.connections, state.tasks
    loop = server.loop = asyncio.get_running_loop()
    listening = await loop.create_server(
        lambda: protocol(config=config, server_state=state, app_state={}),  # type: ignore[call-arg]
        "127.0.0.1",
        0,
    )
    server.port = listening.sockets[0].getsockname()[1]
    try:
        if is_open:
            await server.app.open()
        yield server
    finally:
        scripts.end()
        listening.close()
        server.app.end_streams()
        for connection in list(state.connections):
            connection.transport.abort()
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(*state.tasks, return_exceptions=True)
            await server.app.close()
            await listening.wait_closed()


# --- in a thread of its own -----------------------------------------------------------------------

FLAVOURS: Final = (
    "direct-httptools-uvloop",
    "direct-h11-asyncio",
    "plain-uvicorn",
    "mounted-fastapi-lifespan",
    "mounted-starlette",
)
"""Ways to serve, each as users do it: by `serve`, or by uvicorn."""


@contextmanager
def serving_in_thread(flavour: str, **options: Any) -> Iterator[Server]:
    """Serve in a thread, with a loop of its own, as users do."""
    scripts = Scripts()
    server = _make(flavour, scripts, **options)
    ready = threading.Event()
    servers: list[uvicorn.Server] = []

    def is_ready(url: str) -> None:
        server.loop = asyncio.get_running_loop()
        server.port = int(url.rpartition(":")[2])
        ready.set()

    run = _run_ours if server.is_direct else _run_uvicorn
    failed_with: list[BaseException] = []

    def live() -> None:
        try:
            run(server, servers, is_ready)
        except BaseException as error:  # noqa: BLE001 - told to the test
            failed_with.append(error)
            ready.set()

    thread = threading.Thread(target=live, name=f"serving-{flavour}")
    thread.start()
    try:
        assert ready.wait(WAIT_S)
        if not failed_with:
            asyncio.run(_warm_up(server))
            yield server
    finally:
        scripts.end()
        for each in servers:
            each.should_exit = True
        thread.join(2 * WAIT_S)
        assert not thread.is_alive()
        if failed_with:
            raise failed_with[0]


async def _warm_up(server: Server) -> None:
    # Where the host does not tell it that it starts, the first request opens the hub.
    assert (await server.fetch("GET", "/readyz")).status == 200


def _run_ours(
    server: Server, servers: list[uvicorn.Server], is_ready: Callable[[str], None]
) -> None:
    class Caught(http_server._Server):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            servers.append(self)

    interval = sys.getswitchinterval()
    with ExitStack() as until_ready:
        patch = until_ready.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(http_server, "_Server", Caught)
        if "h11" in server.flavour:
            until_ready.enter_context(_missing(_HTTPTOOLS, "uvloop"))

        def ready(url: str) -> None:
            until_ready.close()  # other servers may begin while this one serves
            is_ready(url)

        try:
            http_server.serve(server.app, port=0, on_ready=ready)
        finally:
            sys.setswitchinterval(interval)


def _run_uvicorn(
    server: Server, servers: list[uvicorn.Server], is_ready: Callable[[str], None]
) -> None:
    class Told(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            port = self.servers[0].sockets[0].getsockname()[1]
            is_ready(f"http://127.0.0.1:{port}")

        async def shutdown(self, sockets: Any = None) -> None:
            server.app.end_streams()  # as the docs advise
            await super().shutdown(sockets)

    app = _mounted(server) if server.prefix else server.app
    config = uvicorn.Config(
        app,
        http=cast("Any", PARSER),  # which it would choose itself, where it is installed
        port=0,
        log_level="error",
        timeout_graceful_shutdown=1,
    )
    told = Told(config)
    servers.append(told)
    told.run()


def _mounted(server: Server) -> ASGIApp:
    path = server.prefix.replace("%20", " ")
    if "fastapi" in server.flavour:
        lifespan = server.app.lifespan if "lifespan" in server.flavour else None
        host = FastAPI(lifespan=lifespan)
        host.mount(path, server.app)
        return host
    return Starlette(routes=[Mount(path, server.app)])


FAILED: Final = failed("it broke", "broken")
CANCELLED: Final = cancelled("enough")
