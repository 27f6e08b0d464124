"""How a program opens a hub: as a context manager, with or without a loop, or as an application."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING

from runcast._app.hub import AnyFunction, OpenHub
from runcast._app.in_thread import OpenHubInThread
from runcast._clock import Clock
from runcast._runs.launch import Launcher
from runcast._settings import Settings
from runcast.errors import InvalidValue
from runcast.events.view import ViewSpec
from runcast.stores.base import Store

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from runcast._http.app import HttpApp
    from runcast._http.guard.access import Authorize

__all__ = ("HubOpener", "asgi", "open_hub", "sse_response")


def asgi(
    hub: OpenHub,
    *,
    token: str = "",
    hosts: Iterable[str] = (),
    origins: Iterable[str] = (),
    views: Mapping[str, ViewSpec] = MappingProxyType({}),
    authorize: "Authorize | None" = None,
) -> "HttpApp":
    """Return a hub as an ASGI application; its `lifespan` opens and closes the hub.

    When the server gets SIGTERM, the streams end with a goodbye. With the setting `drain_s` the
    server first goes on for that long, and `/readyz` says 503. That works under uvicorn, and under
    gunicorn with uvicorn's workers. Under other servers a `RuntimeWarning` says that it does not.

    Args:
        authorize: decides what each request may do: an async callable that gets the request and
            returns an `Access`, or None to refuse it.
        token: an access token that every request must send. With a token `authorize` may be left
            out; then the token allows everything.
        hosts: names besides the loopback ones that `Host` may have; `*` allows any.
        origins: origins whose pages may send requests.
        views: views that watchers may ask for by name; `default` is used if a watcher names no
            view.

    Raises:
        InvalidValue: neither `authorize` nor `token` is given, or no request can have this token,
            host or origin.
    """
    if authorize is None and not token:
        raise InvalidValue(
            "expected authorize= or token=: without them every client that reaches this "
            "application sees all runs and may do everything; if that is meant, say "
            "authorize=runcast.everyone"
        )
    # Imported late: scripts that only emit and watch need no web framework.
    from runcast._http.app import HttpApp

    return HttpApp(hub, token=token, hosts=hosts, origins=origins, views=views, authorize=authorize)


async def sse_response(hub: OpenHub, run_id: str, request: "Request") -> "Response":
    """Return a run's events as the response of your own route.

    The request may use everything that `GET /runs/{run_id}/events` understands: `Last-Event-ID`,
    `after`, `dialect`, `view`, `types`, `Accept`. The stream resumes, sends heartbeats, reports
    gaps, and ends with the hub or the server, as there. The route must check who may see the run.

    Raises:
        NotFound: the run does not exist.
        InvalidValue: the request asks for something that does not exist.
    """
    return await hub._inside.embedded().response(run_id, request)


class HubOpener:
    """The result of `open_hub`. `async with` opens the hub on the running loop, `with` opens it in
    a thread. Use one of them, once."""

    def __init__(self, make: Callable[[], OpenHub]) -> None:
        self._make = make
        self._async: OpenHub | None = None
        self._sync: OpenHubInThread | None = None

    def _check_unused(self) -> None:
        # Otherwise the first opened hub would never be closed.
        if self._async is not None or self._sync is not None:
            raise InvalidValue("expected open_hub(…) to be entered once; call it for each hub")

    async def __aenter__(self) -> OpenHub:
        self._check_unused()
        self._async = self._make()
        return await self._async.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._async is not None:
            await self._async.__aexit__(kind, error, traceback)

    def __enter__(self) -> OpenHubInThread:
        self._check_unused()
        self._sync = OpenHubInThread(self._make())
        return self._sync.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._sync is not None:
            self._sync.__exit__(kind, error, traceback)


def open_hub(
    store: str | Store = "memory://",
    *,
    functions: Iterable[AnyFunction] = (),
    settings: Settings | None = None,
    clock: Clock | None = None,
    launcher: Launcher | None = None,
) -> HubOpener:
    """Open a hub on a store, with `async with` or, in code without a loop, with `with`.

    `with` also works in a notebook's cell, although a loop runs there. In a coroutine it blocks the
    coroutine's loop at each call: use `async with` there.

    Args:
        store: `memory://`, `sqlite:///path`, or a store of your own.
        functions: the functions that can be started by name.
        launcher: hands runs of functions to workers elsewhere; by default the one that the settings
            name.
    """
    return HubOpener(
        lambda: OpenHub(
            store, functions=functions, settings=settings, clock=clock, launcher=launcher
        )
    )
