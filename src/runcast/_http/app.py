"""The ASGI application: its routes, its lifespan and its guard.

It may be served alone or mounted in another Starlette or FastAPI application. A mounted application
is not notified when its host starts. Then the first request opens the hub. The host's lifespan
should be wrapped with `lifespan`, which closes the hub.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from runcast._http.api.answering import ANSWERS, take_answer_token
from runcast._http.api.responses import SAFE_HEADERS, problem, problem_document
from runcast._http.api.routes import Routes
from runcast._http.api.serving import Serving
from runcast._http.api.tracebacks import ShownTracebacks
from runcast._http.guard.access import Authorize
from runcast._http.guard.gate import Gate
from runcast._http.guard.links import take_link
from runcast._http.guard.security import (
    PREFLIGHT_HEADERS,
    SERVE_ADVICE,
    Guard,
    cors_headers,
    is_open,
)
from runcast._http.server.cycle import transport_behind, without_chunks
from runcast._http.stop_signals import StopSignals
from runcast._http.streaming.direct import CONNECTION_KEY
from runcast._http.streaming.streams import Streams
from runcast._http.vanished import VanishedClients
from runcast._hub.revocations import follow_revocations
from runcast._runs.protocols import Runs
from runcast._settings import Settings
from runcast.errors import HeadTooLarge, InvalidValue, RuncastError, StoreUnavailable
from runcast.events.view import ViewSpec

__all__ = ("HttpApp",)

_log: Final = logging.getLogger("runcast.http")


class HttpApp:
    """Runs over HTTP.

    Args:
        runs: a hub and its functions; both are opened and closed with the application.
        token: the access token; "" lets in every client that can reach the server.
        hosts: names besides the loopback ones that `Host` may have; `*` allows any.
        origins: origins whose pages may send requests.
        views: views that watchers may ask for by name; `default` is used if a watcher names no
            view.
        authorize: decides what each request may do; None allows everything.
        is_inside: whether all clients are in this process. Then signals are left to the program,
            whose streams end with the hub.

    Raises:
        InvalidValue: no request can have this token, host or origin.
    """

    def __init__(
        self,
        runs: Runs,
        *,
        token: str = "",
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        views: Mapping[str, ViewSpec] = MappingProxyType({}),
        authorize: Authorize | None = None,
        is_inside: bool = False,
    ) -> None:
        self._runs = runs
        self._authorize = authorize
        settings, clock = runs.hub.settings, runs.hub.clock
        self._guard = Guard(token, hosts, origins, clock=clock, session_s=settings.session_s)
        self._views = views
        self._signals = (
            None
            if is_inside
            else StopSignals(self.end_streams, drain=self.drain, drain_s=settings.drain_s)
        )
        self.tracebacks = ShownTracebacks()
        """Shows the tracebacks of functions, once it is given a source."""
        self._build()

    def _build(self) -> None:
        """Make the parts that belong to one event loop."""
        settings = self.settings
        self.streams = Streams(settings, self._runs.hub.clock)
        self.gate = Gate(self._runs.hub, self._authorize)
        serving = Serving(self._runs, self.streams, self.gate)
        routes = Routes(serving, self._guard, self._views, self.tracebacks)
        self.health, self._metrics = routes.health, routes.metrics
        self._vanished = VanishedClients(settings.stall_s)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._following: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[object] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._app = Starlette(
            routes=routes.all(),
            exception_handlers={
                HTTPException: _not_routed,
                RuncastError: self._refused,
                ClientDisconnect: _left,
                Exception: _failed,
            },
        )
        # A redirect needs the host that the client knows, and proxies change it.
        self._app.router.redirect_slashes = False

    @property
    def routes(self) -> list[Route]:
        """Every route that requests may take."""
        return [route for route in self._app.routes if isinstance(route, Route)]

    @property
    def settings(self) -> Settings:
        """The hub's settings."""
        return self._runs.hub.settings

    @property
    def is_protected(self) -> bool:
        """Whether the application has an access token."""
        return bool(self._guard.token)

    def serve_at(self, host: str) -> None:
        """Answer requests for the host that `runcast serve` listens on, and advise its options.

        That server calls `drain` and `end_streams` itself, so no signal is listened to.
        """
        self._guard.hosts.add(host.lower())
        self._guard.advice = SERVE_ADVICE
        self._signals = None

    def drain(self) -> None:
        """Be not ready from now on, and close each connection after its next answer. Idempotent."""
        self.health.is_draining = True

    def end_streams(self) -> None:
        """Send a goodbye on all streams and end them; new streams end at once. Idempotent."""
        self.streams.close()

    async def open(self) -> None:
        """Open the hub; once, however many requests arrive.

        Raises:
            StoreUnavailable: the application was opened on another event loop.
        """
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise StoreUnavailable(
                "this application was opened on another event loop; open it once for all requests: "
                "with `lifespan`, which test clients run in `with TestClient(app)`"
            )
        if self._opening is None:
            self._loop = loop
            self._opening = asyncio.ensure_future(self._runs.open())
        opening = self._opening
        if not opening.done():
            await asyncio.wait([opening])  # which a request that is cancelled does not cancel
        try:
            opening.result()
        except Exception:
            if self._opening is opening:
                self._opening = self._loop = None  # the next request tries again
            raise
        if self._signals is not None:
            self._signals.listen()
        if self.gate.is_asking and self._following is None:
            following = follow_revocations(self._runs.hub, self.gate.look_again)
            self._following = asyncio.create_task(following, name="runcast-revocations")

    async def _open_again(self) -> None:
        if self._closing is not None:
            await self._closing
            await self._runs.open()  # this makes a new hub for the routes
            self._build()
        await self.open()

    async def close(self) -> None:
        """End the streams, the runs and the hub. Idempotent."""
        if self._signals is not None:
            self._signals.forget()
        self.end_streams()
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
            self._following = None
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._runs.close())
        await asyncio.shield(self._closing)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """Open on entering, close on leaving: for the lifespan of a host application.

        It can be entered again, also on another event loop, as test suites do.
        """
        await self._open_again()
        try:
            yield
        finally:
            await self.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            if CONNECTION_KEY not in scope.get("state", {}):  # our own server did this
                transport = transport_behind(receive)
                if transport is not None:
                    self._vanished.add(transport)
            if scope["http_version"] in ("0.9", "1.0"):
                send = without_chunks(receive, send)
            await self._answer(scope, receive, send)
        else:
            # WebSocket: closed before it is accepted; servers then answer 403.
            await send({"type": "websocket.close", "code": 1000})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        if self._guard.is_allowed_origin(origin):
            send = _adding(cors_headers(origin), send)
        if self.health.is_draining:
            # The client, or the proxy in front, opens its next connection, which goes elsewhere.
            send = _adding({"connection": "close"}, send)
        try:
            _check_size(scope, self.settings.max_head_bytes)
            if len(headers.getlist("host")) > 1:  # RFC 9112 §3.2: it is unclear which one to check
                raise InvalidValue("expected one Host, got several")
            self._guard.check_source(headers, (scope.get("client") or ("",))[0])
            if scope["method"] == "OPTIONS" and self._guard.is_allowed_origin(origin):
                allowed = Response(None, 204, {**SAFE_HEADERS, **PREFLIGHT_HEADERS})
                await allowed(scope, receive, send)
                return
            await self._admit(scope, receive, headers)
        except RuncastError as error:
            await self._problem(error)(scope, receive, send)
            return
        except HTTPException as error:  # the application's own response
            answer = problem_document(
                error.status_code, "refused", str(error.detail), headers=error.headers or {}
            )
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _refused(self, _: Request, error: Exception) -> Response:
        assert isinstance(error, RuncastError)
        return self._problem(error)

    def _problem(self, error: RuncastError) -> Response:
        """Return an error as a problem; details that clients must not read go to the log."""
        self._metrics.count(error)
        if error.public != error.message:
            _log.warning("a request was not answered: %s", error.message)
        return problem(error)

    async def _admit(self, scope: Scope, receive: Receive, headers: Headers) -> None:
        """Let a request pass, by its token, its link, or what the application says."""
        path = _path_of(scope)
        if path == ANSWERS:
            take_answer_token(scope)
        link = take_link(scope, path)
        if link is None:
            self._guard.check_token(path, headers, scope.get("root_path", ""))
        await self.open()
        if link is not None:
            await self.gate.admit_link(Request(scope, receive), link, path)
        elif not is_open(path):
            await self.gate.admit(Request(scope, receive))

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._open_again()
        except RuncastError as error:
            await send({"type": "lifespan.startup.failed", "message": error.message})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})


def _check_size(scope: Scope, most: int) -> None:
    size = len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"])
    size += sum(len(name) + len(value) for name, value in scope["headers"])
    if size > most:
        raise HeadTooLarge(f"expected path and headers of at most {most} bytes (max_head_bytes)")


def _path_of(scope: Scope) -> str:
    """Return the path below the mount, as the router sees it."""
    root, path = scope.get("root_path", ""), str(scope["path"])
    return path[len(root) :] or "/" if f"{path}/".startswith(f"{root}/") else path


def _adding(headers: Mapping[str, str], send: Send) -> Send:
    """Return a `send` that adds headers to the response."""
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *encoded]}
        await send(message)

    return sending


async def _left(_: Request, error: Exception) -> Response:
    """Send nothing: the client left before the end of its request."""
    return Response(status_code=400, headers=SAFE_HEADERS)


async def _failed(_: Request, error: Exception) -> Response:
    """Answer for our own fault; Starlette writes the error to the log."""
    return problem(RuncastError("the server failed to answer; its log says why"))


_MOST_SHOWN: Final = 200
"""Most characters of a path that an answer repeats."""


async def _not_routed(request: Request, error: Exception) -> Response:
    """Answer in place of Starlette: no such path, or not this method."""
    assert isinstance(error, HTTPException)
    path, headers = request.url.path[:_MOST_SHOWN], error.headers or {}
    docs = f"{request.scope.get('root_path', '')}/docs"
    code, detail = {
        404: ("not_found", f"there is no path {path}; see {docs} for all paths"),
        405: ("method_not_allowed", f"{path} takes {headers.get('Allow')}, not {request.method}"),
    }.get(error.status_code, ("bad_request", error.detail))
    return problem_document(error.status_code, code, detail, headers=headers)
