"""What each route does. Paths and fields are described in docs/protocol.md."""

import asyncio
import importlib.resources
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from runcast.errors import BodyTooLarge, InvalidValue, NotFound, RuncastError, Unauthorized
from runcast.events.position import Position, split_frames
from runcast.events.view import View, ViewSpec
from runcast.http.answers import (
    SAFE_HEADERS,
    function_view,
    json_response,
    problem,
    run_summary,
    run_view,
)
from runcast.http.feeds import DialectFeed, Feed, ManyFeed, NdjsonFeed
from runcast.http.lens import Lens
from runcast.http.requests import (
    WatchOptions,
    parse_flag,
    parse_invocation,
    parse_limit,
    parse_many,
    parse_preferences,
    parse_watch,
)
from runcast.http.security import COOKIE, Guard
from runcast.http.streams import Streams
from runcast.hub.subscription import Subscription
from runcast.runs.protocols import Runs, StartedRun

__all__ = ("Routes",)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Wake = Callable[[], None]

_STREAM_HEADERS: Final = {
    **SAFE_HEADERS,
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",  # nginx would collect events before it passes them on
}


class Routes:
    """The routes of one application."""

    def __init__(
        self, runs: Runs, streams: Streams, guard: Guard, views: Mapping[str, ViewSpec]
    ) -> None:
        self._views = views
        self._runs = runs
        self._hub = runs.hub
        self._streams = streams
        self._guard = guard

    def all(self) -> list[BaseRoute]:
        """Return the table of routes."""
        return [
            Route("/", self.page, methods=["GET"]),
            Route("/session", self.sign_in, methods=["POST"]),
            Route("/healthz", self.health, methods=["GET"]),
            Route("/readyz", self.ready, methods=["GET"]),
            Route("/functions", self.functions, methods=["GET"]),
            Route("/invoke/{name}", _Raw(self.invoke), methods=["POST"]),
            Route("/runs", self.list_runs, methods=["GET"]),
            Route("/runs/{run_id}", self.show_run, methods=["GET"]),
            Route("/runs/{run_id}", self.delete_run, methods=["DELETE"]),
            Route("/runs/{run_id}/cancel", self.cancel_run, methods=["POST"]),
            Route(
                "/runs/{run_id}/interrupts/{interrupt_id}", self.answer_question, methods=["POST"]
            ),
            Route("/runs/{run_id}/events", _Raw(self.watch), methods=["GET"]),
            Route("/events", _Raw(self.watch_many), methods=["GET"]),
        ]

    # Plain answers.

    async def page(self, _: Request) -> Response:
        """The start page."""
        text = importlib.resources.files("runcast.http").joinpath("page.html").read_bytes()
        policy = "default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
        headers = {**SAFE_HEADERS, "content-security-policy": f"{policy}; frame-ancestors 'none'"}
        return Response(text, headers=headers, media_type="text/html")

    async def sign_in(self, request: Request) -> Response:
        """Trade the access token for a cookie."""
        given = (await self._body(request)).decode("utf-8", "replace").strip()
        response = Response(status_code=204, headers=dict(SAFE_HEADERS))
        if not self._guard.token:
            return response
        if not self._guard.is_token(given):
            raise Unauthorized("this is not the access token")
        response.set_cookie(COOKIE, given, httponly=True, samesite="strict", path="/")
        return response

    async def health(self, _: Request) -> Response:
        """The process answers."""
        return json_response({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """The store answers too."""
        await self._hub.store.list(limit=1)
        return json_response({"status": "ready"})

    async def functions(self, _: Request) -> Response:
        """The functions that can be invoked."""
        found = [self._runs.functions[name] for name in sorted(self._runs.functions)]
        return json_response({"functions": [function_view(function) for function in found]})

    async def list_runs(self, request: Request) -> Response:
        """A page of runs, newest first."""
        query = request.query_params
        labels = {name: query[name] for name in ("status", "function") if name in query}
        for pair in query.getlist("label"):
            name, equals, value = pair.partition("=")
            if not equals or not name:
                raise InvalidValue(f"expected label=name=value, got {pair[:100]!r}")
            labels[name] = value
        limit = parse_limit(query)
        before = None
        if "before" in query:
            last = await self._hub.info(query["before"])
            before = (last.created_at, last.log_id)
        found = await self._hub.store.list(labels=labels, before=before, limit=limit)
        more = found[-1].log_id if len(found) == limit else None
        return json_response({"runs": [run_summary(info) for info in found], "before": more})

    async def show_run(self, request: Request) -> Response:
        """A run's present state."""
        info, snapshot = await self._hub.present(request.path_params["run_id"])
        return json_response(run_view(info, snapshot))

    async def delete_run(self, request: Request) -> Response:
        """Forget an ended run."""
        run_id = request.path_params["run_id"]
        info = await self._hub.info(run_id)
        if not info.closed:
            await self._runs.cancel(run_id, "deleted")
        await self._hub.delete(run_id)
        return Response(status_code=204, headers=dict(SAFE_HEADERS))

    async def cancel_run(self, request: Request) -> Response:
        """Cancel a run; the answer shows what became of it."""
        run_id = request.path_params["run_id"]
        reason = request.query_params.get("reason", "cancelled")
        if len(reason) > _MAX_REASON_CHARS:
            raise InvalidValue(f"expected a reason of at most {_MAX_REASON_CHARS} characters")
        await self._runs.cancel(run_id, reason)
        info = await self._hub.info(run_id)
        return json_response(run_summary(info), 200 if info.closed else 202)

    async def answer_question(self, request: Request) -> Response:
        """Answer a question a run asks; the answer shows the decision that counts."""
        _check_json(request)
        body = await self._body(request)
        try:
            given = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidValue(f'expected a body like {{"type": "accept"}}: {error}') from None
        decision, repeated = await self._runs.answer(
            request.path_params["run_id"], request.path_params["interrupt_id"], given
        )
        return json_response({"decision": decision, "repeated": repeated})

    async def _body(self, request: Request) -> bytes:
        """Return a request's body. Raises `BodyTooLarge`."""
        limit = self._hub.settings.max_body_bytes
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > limit:
                raise BodyTooLarge(f"expected a body of at most {limit} bytes (max_body_bytes)")
        return bytes(body)

    # Streams.

    async def watch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A run's events."""
        request = Request(scope, receive)
        options = parse_watch(request.query_params, request.headers, self._views)
        run_id = request.path_params["run_id"]
        if options.media_type == "application/json":
            response = await self._poll(run_id, options)
            await response(scope, receive, send)
        else:
            await self._stream(run_id, options, {}, scope, receive, send)

    async def _stream(
        self,
        run_id: str,
        options: WatchOptions,
        headers: dict[str, str],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        async def feed_for(wake: Wake) -> Feed:
            subscription = await self._hub.subscribe(run_id, options.after, wake=wake)
            try:
                lens = await self._lens(subscription, options.view)
            except BaseException:
                subscription.close()
                raise
            feed: Feed
            if options.media_type == NdjsonFeed.content_type:
                feed = NdjsonFeed(self._hub, subscription, lens)
            else:
                feed = DialectFeed(self._hub, subscription, options.dialect, lens)
            if options.live == "none":
                feed.stop_at_head()
            return feed

        async def respond(feed: Feed) -> bool:
            if options.after is not None and feed.is_over:
                # The browser has it all: 204 is how it is told not to come back.
                await Response(status_code=204, headers=dict(SAFE_HEADERS))(scope, receive, send)
                return False
            epoch = feed.subscription.position.epoch
            return await _begin(scope, send, feed, {**headers, "runcast-epoch": epoch})

        await self._streams.run(feed_for, scope, receive, send, respond)

    async def _lens(self, subscription: Subscription, view: View | None) -> Lens | None:
        if view is None:
            return None
        lens = Lens(self._hub, subscription.run_id, view)
        info = await self._hub.info(subscription.run_id)
        if subscription.position.epoch == info.epoch:
            await lens.begin(subscription.position, info.first)
        return lens

    async def watch_many(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Events of several runs on one connection."""
        request = Request(scope, receive)
        query = request.query_params
        cursors = parse_many(query.getlist("run"), query, request.headers)

        async def feed_for(wake: Wake) -> Feed:
            subscriptions: list[Subscription] = []
            try:
                for run_id, after in cursors.items():
                    subscriptions.append(await self._hub.subscribe(run_id, after, wake=wake))
            except BaseException:
                for subscription in subscriptions:
                    subscription.close()
                raise
            return ManyFeed(self._hub, subscriptions)

        async def respond(feed: Feed) -> bool:
            if any(cursors.values()) and feed.is_over:
                await Response(status_code=204, headers=dict(SAFE_HEADERS))(scope, receive, send)
                return False
            return await _begin(scope, send, feed, {})

        await self._streams.run(feed_for, scope, receive, send, respond)

    async def _poll(self, run_id: str, options: WatchOptions) -> Response:
        """Answer with a page of events as JSON; with long-poll, wait for the first of them."""
        ready = asyncio.Event()
        with await self._hub.subscribe(run_id, options.after, wake=ready.set) as subscription:
            lens = await self._lens(subscription, options.view)
            chunk = None
            with_wait = options.live == "long-poll"
            try:
                async with asyncio.timeout(self._hub.settings.long_poll_s if with_wait else None):
                    while chunk is None:
                        ready.clear()
                        chunk = subscription.poll()
                        if chunk is None and subscription.behind:
                            chunk = await subscription.read()
                        elif chunk is None and with_wait:
                            await ready.wait()
                        elif chunk is None:
                            break
            except TimeoutError:
                pass
            page = chunk.page if chunk is not None else None
            if page is None:
                events = b""
            elif lens is not None:
                events = b",".join(map(msgspec.json.encode, lens.events(page)))
            else:
                events = b",".join(split_frames(page.frames))
            gap = chunk.gap.data() if chunk is not None and chunk.gap is not None else None
            return _events_response(events, subscription.position, subscription.ended, gap)

    async def invoke(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begin a run; answer with its stream, its result, or where to find it."""
        request = Request(scope, receive)
        name = request.path_params["name"]
        function = self._runs.functions.get(name)
        if function is None:
            raise NotFound(f"there is no function {name[:100]!r}; GET /functions lists them")
        asked = parse_preferences(request.headers.get("prefer", ""))
        options = parse_watch(request.query_params, request.headers, self._views)
        _check_json(request)
        invocation = parse_invocation(await self._body(request))
        leaving = (
            parse_flag(request.query_params, "cancel_on_disconnect")
            or invocation.on_disconnect == "cancel"
        )
        run = await self._runs.start(
            name,
            invocation.inputs,
            run_id=invocation.run_id,
            labels=invocation.labels,
            replace=invocation.replace,
        )
        root = scope.get("root_path", "")
        headers = {"location": f"{root}/runs/{run.run_id}", "runcast-run-id": run.run_id}
        if "respond-async" in asked:
            started = {"run_id": run.run_id, "events": f"{headers['location']}/events"}
            await json_response(started, 202, headers)(scope, receive, send)
            return
        try:
            if function.is_streaming or "text/event-stream" in request.headers.get("accept", ""):
                options = WatchOptions(
                    Position(run.epoch, 0),
                    options.dialect,
                    options.media_type
                    if options.media_type != "application/json"
                    else "text/event-stream",
                    "stream",
                    options.view,
                )
                await self._stream(run.run_id, options, headers, scope, receive, send)
            else:
                response = await _result(run, request, headers)
                await response(scope, receive, send)
        finally:
            if leaving:
                await self._runs.cancel(run.run_id, "the client left")


_MAX_REASON_CHARS: Final = 500


class _Raw:
    """A route that sends its response itself, with our errors as problems until it has begun."""

    def __init__(self, handle: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noted(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._handle(scope, receive, noted)
        except RuncastError as error:
            if begun:
                raise
            await problem(error)(scope, receive, send)
        except ClientDisconnect:
            pass


async def _begin(scope: Scope, send: Send, feed: Feed, headers: dict[str, str]) -> bool:
    """Send a stream's head; True if its body is wanted."""
    fields = {**_STREAM_HEADERS, "content-type": feed.content_type, **headers}
    wanted: bool = scope["method"] != "HEAD"  # a HEAD that streamed would never end
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
        }
    )
    if not wanted:
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    return wanted


def _events_response(
    events: bytes, position: Position, closed: bool, gap: dict[str, object] | None
) -> Response:
    head = b'{"events":[%b],"position":"%b","closed":%b' % (
        events,
        str(position).encode(),
        b"true" if closed else b"false",
    )
    tail = b',"gap":%b}' % msgspec.json.encode(gap) if gap is not None else b"}"
    return Response(head + tail, headers=dict(SAFE_HEADERS), media_type="application/json")


async def _result(run: StartedRun, request: Request, headers: dict[str, str]) -> Response:
    """Wait for a run's end, or for the client to leave, and answer with the result."""
    ending = asyncio.ensure_future(run.wait())
    leaving = asyncio.ensure_future(_left(request))
    waiting: set[asyncio.Future[Any]] = {ending, leaving}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
    if not ending.done():
        ending.cancel()
        raise ClientDisconnect
    kind, data = ending.result()
    if kind == "done":
        return json_response({"result": data.get("result"), "run_id": run.run_id}, 200, headers)
    if kind == "cancelled":
        data = {"message": f"the run was cancelled: {data.get('reason', '')}", "code": "cancelled"}
    error = {name: data[name] for name in ("message", "code", "retryable") if name in data}
    return json_response({"error": error, "run_id": run.run_id}, 500, headers)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _check_json(request: Request) -> None:
    """Refuse bodies that a web page could send without asking first (a form, plain text).

    Raises:
        InvalidValue: the content type is neither JSON nor absent.
    """
    given = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if given != "application/json" and not given.endswith("+json"):
        raise InvalidValue(f"expected a body of type application/json, got {given[:80]!r}")
