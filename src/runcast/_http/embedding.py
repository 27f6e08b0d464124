"""A run's stream as the response of an application's own route.

@app.get("/articles/{name}/events")
async def events(name: str, request: Request):
    check(request.user, name)
    return await runcast.sse_response(hub, f"article-{name}", request)
"""

from collections.abc import Mapping
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runcast._http.api.requests import WatchOptions, parse_query, parse_watch
from runcast._http.api.responses import problem
from runcast._http.guard.gate import Gate
from runcast._http.stop_signals import StopSignals
from runcast._http.streaming.streams import Streams
from runcast._http.streaming.watching import Watching
from runcast._runs.protocols import Runs
from runcast.errors import RuncastError
from runcast.events.view import ViewSpec

__all__ = ("Embedded", "StreamResponse")


class Embedded:
    """The streams of one hub, as responses of an application's own routes."""

    def __init__(self, runs: Runs, views: Mapping[str, ViewSpec] = MappingProxyType({})) -> None:
        hub = runs.hub
        self.streams = Streams(hub.settings, hub.clock)
        self.watching = Watching(hub, self.streams, views, Gate(hub, None))
        self._signals = StopSignals(self.streams.close)

    async def response(self, run_id: str, request: Request) -> Response:
        """Return the response; see `runcast.sse_response`."""
        self._signals.listen()
        query = parse_query(request.query_params.multi_items())
        options = parse_watch(query, request.headers, self.watching.views)
        await self.watching.check(run_id)
        if options.media_type == "application/json":
            return await self.watching.page(run_id, options, request)
        return StreamResponse(self.watching, run_id, options)

    def close(self) -> None:
        """End the streams, with a goodbye. Idempotent."""
        self._signals.forget()
        self.streams.close()


class StreamResponse(Response):
    """A response that streams a run's events."""

    def __init__(self, watching: Watching, run_id: str, options: WatchOptions) -> None:
        super().__init__()
        self._watching = watching
        self._run_id = run_id
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        added = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in self.raw_headers
            if name != b"content-length"
        }
        try:
            await self._watching.stream(
                self._run_id, self._options, added, scope, receive, send, is_awaited=True
            )
        except RuncastError as error:
            await problem(error)(scope, receive, send)
