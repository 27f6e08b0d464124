"""Watching runs: as a stream, page by page, or several on one connection."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runcast._http.api.requests import WatchOptions, parse_many, parse_query, parse_watch
from runcast._http.api.responses import SAFE_HEADERS
from runcast._http.streaming.feeds import DialectFeed, Feed, ManyFeed, NdjsonFeed
from runcast._http.streaming.patience import wait_with
from runcast._http.streaming.streams import Streams
from runcast._hub.cursor import Chunk, Cursor
from runcast._hub.hub import Hub
from runcast._hub.lens import Lens
from runcast.events.model import encode_event
from runcast.events.position import split_frames
from runcast.events.view import View, ViewSpec

__all__ = ("Watching",)

_Wake: TypeAlias = Callable[[], None]

_STREAM_HEADERS: Final = {
    **SAFE_HEADERS,
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",  # nginx would collect events before it passes them on
}


class Watching:
    """Answers whoever wants to watch."""

    def __init__(self, hub: Hub, streams: Streams, views: Mapping[str, ViewSpec]) -> None:
        self._hub = hub
        self._streams = streams
        self.views = views

    async def watch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a run's events."""
        request = Request(scope, receive)
        query = parse_query(request.query_params.multi_items())
        options = parse_watch(query, request.headers, self.views)
        run_id = request.path_params["run_id"]
        if options.media_type == "application/json":
            response = await self._poll(run_id, options, request)
            await response(scope, receive, send)
        else:
            await self.stream(run_id, options, {}, scope, receive, send)

    async def stream(
        self,
        run_id: str,
        options: WatchOptions,
        headers: Mapping[str, str],
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        is_awaited: bool = False,
    ) -> bool:
        """Stream a run's events.

        Returns:
            With `is_awaited`, at the end of the stream: whether the client left before it.

        Raises, before anything is sent: `NotFound`, and `Overloaded` if there is no room.
        """

        async def feed_for(wake: _Wake) -> Feed:
            feed: Feed
            with contextlib.ExitStack() as undoing:
                admission = undoing.enter_context(self._hub.admissions.admit([run_id]))
                subscription = await self._hub.subscribe(run_id, options.after, wake=wake)
                undoing.callback(subscription.close)
                lens = await self._lens(subscription, options.view)
                undoing.pop_all()
            if options.media_type == NdjsonFeed.content_type:
                feed = NdjsonFeed(self._hub, subscription, lens)
            else:
                feed = DialectFeed(self._hub, subscription, options.dialect, lens)
            feed.admission = admission
            if options.live == "none":
                feed.stop_at_head()
            return feed

        async def respond(feed: Feed) -> bool:
            if options.after is not None and feed.is_over:
                return await _have_it_all(scope, receive, send)
            epoch = feed.subscription.position.epoch
            return await _begin(scope, send, feed, {**headers, "runcast-epoch": epoch})

        return await self._streams.run(
            feed_for, scope, receive, send, respond, is_awaited=is_awaited
        )

    async def _lens(self, subscription: Cursor, view: View | None) -> Lens | None:
        if view is None:
            return None
        lens = Lens(self._hub, subscription.run_id, view)
        info = await self._hub.info(subscription.run_id)
        if subscription.position.epoch == info.epoch:
            await lens.begin(subscription.position, info.first)
        return lens

    async def watch_many(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream the events of several runs on one connection."""
        request = Request(scope, receive)
        query = request.query_params
        cursors = parse_many(query.getlist("run"), query, request.headers)

        async def feed_for(wake: _Wake) -> Feed:
            subscriptions: list[Cursor] = []
            with contextlib.ExitStack() as undoing:
                admission = undoing.enter_context(self._hub.admissions.admit(cursors))
                for run_id, after in cursors.items():
                    subscription = await self._hub.subscribe(run_id, after, wake=wake)
                    undoing.callback(subscription.close)
                    subscriptions.append(subscription)
                undoing.pop_all()
            feed = ManyFeed(self._hub, subscriptions)
            feed.admission = admission
            return feed

        async def respond(feed: Feed) -> bool:
            if any(cursors.values()) and feed.is_over:
                return await _have_it_all(scope, receive, send)
            return await _begin(scope, send, feed, {})

        await self._streams.run(feed_for, scope, receive, send, respond)

    async def _poll(self, run_id: str, options: WatchOptions, request: Request) -> Response:
        """Answer with a page of events as JSON; with long-poll, wait for the first of them."""
        ready = asyncio.Event()
        with (
            self._hub.admissions.admit([run_id]),
            await self._hub.subscribe(run_id, options.after, wake=ready.set) as subscription,
        ):
            lens = await self._lens(subscription, options.view)
            may_wait = options.live == "long-poll" and request.method != "HEAD"
            timeout_s = self._hub.settings.long_poll_s
            chunk = None
            try:
                async with asyncio.timeout(timeout_s if may_wait else None):
                    while chunk is None:
                        ready.clear()
                        chunk = subscription.poll()
                        if chunk is not None:
                            break
                        if subscription.behind:
                            chunk = await subscription.read()
                        elif not may_wait or await self._is_closing_before(ready, request):
                            break
            except TimeoutError:
                pass
            return _events_response(chunk, subscription, lens)

    async def _is_closing_before(self, ready: asyncio.Event, request: Request) -> bool:
        return await wait_with(request, ready.wait(), self._streams.closing) is None


async def _have_it_all(scope: Scope, receive: Receive, send: Send) -> bool:
    """Answer 204: it is how a browser is told not to come back. Nothing follows: False."""
    await Response(status_code=204, headers=SAFE_HEADERS)(scope, receive, send)
    return False


async def _begin(scope: Scope, send: Send, feed: Feed, headers: Mapping[str, str]) -> bool:
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


def _events_response(chunk: Chunk | None, subscription: Cursor, lens: Lens | None) -> Response:
    page = chunk.page if chunk is not None else None
    if page is None:
        events = b""
    elif lens is not None:
        events = b",".join(encode_event(event) for shown in lens.events(page) for event in shown)
    else:
        events = b",".join(split_frames(page.frames))
    gap = chunk.gap.data() if chunk is not None and chunk.gap is not None else None
    head = b'{"events":[%b],"position":"%b","closed":%b' % (
        events,
        str(subscription.position).encode(),
        b"true" if subscription.ended else b"false",
    )
    tail = b',"gap":%b}' % msgspec.json.encode(gap) if gap is not None else b"}"
    return Response(head + tail, headers=SAFE_HEADERS, media_type="application/json")
