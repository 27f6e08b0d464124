"""Watch runs: as a stream, page by page, or several on one connection."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runcast._http.api.requests import (
    WatchOptions,
    check_only_for_one,
    parse_labels,
    parse_many,
    parse_point,
    parse_query,
    parse_thread_limit,
    parse_watch,
)
from runcast._http.api.responses import SAFE_HEADERS
from runcast._http.guard.gate import Gate
from runcast._http.streaming.direct import CONNECTION_KEY
from runcast._http.streaming.feeds import NDJSON, SSE, Form, ManyFeed
from runcast._http.streaming.runs_feed import RunsFeed, Selection
from runcast._http.streaming.stream import Stream
from runcast._http.streaming.streams import Streams
from runcast._http.streaming.thread_feed import ThreadFeed
from runcast._http.streaming.waits import wait_with
from runcast._http.streaming.whole import is_long_poll, whole_answer
from runcast._hub.admission import Admission
from runcast._hub.cursor import Chunk, Cursor
from runcast._hub.hub import Hub
from runcast._hub.thread_place import RunLabels, ThreadPlace
from runcast._hub.watcher import Watch
from runcast._wire import ndjson
from runcast.errors import NotFound
from runcast.events.model import encode_event
from runcast.events.plain import encode_line
from runcast.events.position import split_frames
from runcast.events.view import ViewSpec

__all__ = ("Watching",)

_STREAM_HEADERS: Final = {
    **SAFE_HEADERS,
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",  # nginx would buffer events
}

_MakeFeed = Callable[[Callable[[], None]], RunsFeed | ThreadFeed]
"""Makes a feed of what wakes its stream."""


class Watching:
    """Answers requests to watch runs."""

    def __init__(
        self, hub: Hub, streams: Streams, views: Mapping[str, ViewSpec], gate: Gate
    ) -> None:
        self._hub = hub
        self._gate = gate
        self._streams = streams
        self.views = views

    async def watch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a run's events."""
        request = Request(scope, receive)
        query = parse_query(request.query_params.multi_items())
        options = parse_watch(query, request.headers, self.views)
        run_id = request.path_params["run_id"]
        if options.media_type == "application/json":
            response = await self.page(run_id, options, request)
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
            With `is_awaited`, after the stream: whether the client left before its end.

        Raises, before anything is sent: `NotFound`, and `Overloaded` if there is no room.
        """
        form = NDJSON if options.media_type == NDJSON.content_type else SSE
        request = Request(scope, receive)
        admission = self._hub.admissions.admit([run_id])

        dialect = ndjson.NDJSON if form is NDJSON else options.dialect

        async def begin(stream: Stream) -> bool:
            stream.source = lens = await self._gate.opened(
                request,
                run_id,
                lambda: self._hub.frames(
                    run_id, options.after, dialect=dialect, view=options.view, wake=stream.wake
                ),
            )
            if options.live == "none":
                lens.cursor.stop_at_head()
            if options.after is not None and lens.cursor.is_at_end:
                return await _send_no_content(scope, receive, send)
            stream.held = await self._gate.hold(request, run_id, stream.dismiss)
            fields = {**headers, "runcast-epoch": lens.cursor.position.epoch}
            return await _send_head(scope, send, form, fields)

        stream = self._streams.make(form, admission, scope, receive, send)
        return await self._streams.run(stream, begin, is_awaited=is_awaited)

    async def watch_events(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream the events of several runs on one connection: of given runs, or of a thread."""
        request = Request(scope, receive)
        if "run" not in request.query_params and "label" in request.query_params:
            await self._watch_thread(request, receive, send)
        else:
            await self._watch_many(request, receive, send)

    async def _watch_thread(self, request: Request, receive: Receive, send: Send) -> None:
        """Stream the events of all runs with some labels, also of those that begin later."""
        query = request.query_params
        runs, limit = self._thread_of(request), parse_thread_limit(query)
        text = parse_point(query, request.headers)
        place = ThreadPlace.parse(text) if text else None
        hidden: list[str] = []
        if place is not None:
            await self._hub.list_changes.check(place.point)
            hidden = await self._hidden(request, place.runs)
            for run_id in hidden:
                place.runs.pop(run_id)
        admission = self._hub.admissions.admit(place.runs if place else ())

        def feed(wake: Callable[[], None]) -> ThreadFeed:
            return ThreadFeed(
                *(self._hub, runs, place, wake),
                limit=limit,
                admission=admission,
                hidden=hidden,
            )

        await self._send_feed(feed, admission, request, receive, send)

    def _thread_of(self, request: Request) -> RunLabels:
        """Return which runs a request follows, of those that it may see."""
        labels = parse_labels(request.query_params)
        check_only_for_one({**request.query_params, "live": "true"})
        access = self._gate.access(request.scope)
        ours = access.visible
        is_elsewhere = any(labels.get(name, value) != value for name, value in ours.items())
        return RunLabels({**labels, **ours}, is_elsewhere or not access.may("see"))

    async def _hidden(self, request: Request, run_ids: Iterable[str]) -> list[str]:
        """Return which runs do not exist or may not be seen, after the same time for both."""

        async def is_hidden(run_id: str) -> bool:
            try:
                await self._gate.check(request, run_id)
            except NotFound:
                return True
            return False

        names = list(run_ids)
        found = await asyncio.gather(*map(is_hidden, names))
        return [name for name, is_hidden in zip(names, found, strict=True) if is_hidden]

    async def _watch_many(self, request: Request, receive: Receive, send: Send) -> None:
        """Stream the events of given runs on one connection."""
        scope = request.scope
        query = request.query_params
        positions = parse_many(query.getlist("run"), query, request.headers)
        admission = self._hub.admissions.admit(positions)

        async def begin(stream: Stream) -> bool:
            cursors: list[Cursor] = []
            stream.source = ManyFeed(cursors)
            for run_id, after in positions.items():
                cursor = await self._gate.opened(
                    request, run_id, partial(self._hub.cursor, run_id, after, wake=stream.wake)
                )
                cursors.append(cursor)
            if any(positions.values()) and all(cursor.is_at_end for cursor in cursors):
                return await _send_no_content(scope, receive, send)
            stream.held = self._gate.add(request, positions, stream.dismiss)
            return await _send_head(scope, send, SSE, {})

        stream = self._streams.make(SSE, admission, scope, receive, send)
        await self._streams.run(stream, begin)

    async def watch_list(
        self, selection: Selection, request: Request, receive: Receive, send: Send
    ) -> None:
        """Stream the runs of a list, and then each run that changes."""
        after = parse_point(request.query_params, request.headers)
        if after:
            await self._hub.list_changes.check(after)
        admission = self._hub.admissions.admit([])
        feed = partial(RunsFeed, self._hub, selection, after)
        await self._send_feed(feed, admission, request, receive, send)

    async def _send_feed(
        self, feed: _MakeFeed, admission: Admission, request: Request, receive: Receive, send: Send
    ) -> None:
        """Stream a feed; with long-poll, answer with its next frames, and end."""
        if is_long_poll(request.query_params):
            with admission:
                await self._send_whole(request, receive, send, feed)
            return

        async def begin(stream: Stream) -> bool:
            stream.source = feed(stream.wake)
            stream.held = self._gate.add_list(request, stream.dismiss)
            return await _send_head(request.scope, send, SSE, {})

        stream = self._streams.make(SSE, admission, request.scope, receive, send)
        await self._streams.run(stream, begin)

    async def _send_whole(
        self, request: Request, receive: Receive, send: Send, feed: _MakeFeed
    ) -> None:
        request = Request(request.scope, receive)
        wait_s = self._hub.settings.long_poll_s
        response = await whole_answer(
            request, self._gate, feed, self._streams.closing, wait_s=wait_s
        )
        await response(request.scope, receive, send)

    async def check(self, run_id: str) -> None:
        """Raise `NotFound` if there is no such run."""
        await self._hub.info(run_id)

    async def page(self, run_id: str, options: WatchOptions, request: Request) -> Response:
        """Answer with a page of events as JSON; with long-poll, wait for the first event."""
        may_wait = options.live == "long-poll" and request.method != "HEAD"
        with self._hub.admissions.admit([run_id]), Watch[Chunk]() as watch:
            watch.source = lens = await self._gate.opened(
                request,
                run_id,
                lambda: self._hub.events(run_id, options.after, view=options.view, wake=watch.wake),
            )
            chunk, nothing = None, Chunk(None, None, lens.cursor.position, False)
            if may_wait:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._hub.settings.long_poll_s):
                        chunk = await wait_with(request, watch.next(), self._streams.closing)
            else:
                lens.cursor.stop_at_head()
                chunk = await watch.next()
            if may_wait:
                await self._gate.check_again(request, run_id)
            return _page_response(chunk or nothing)


async def _send_no_content(scope: Scope, receive: Receive, send: Send) -> bool:
    """Answer 204, which stops a browser from reconnecting, and return False."""
    await Response(status_code=204, headers=SAFE_HEADERS)(scope, receive, send)
    return False


async def _send_head(scope: Scope, send: Send, form: Form, headers: Mapping[str, str]) -> bool:
    """Send a stream's head; return True if its body is wanted."""
    fields = {**_STREAM_HEADERS, "content-type": form.content_type, **headers}
    if form is NDJSON and CONNECTION_KEY not in scope.get("state", {}):
        # For the host application's middleware: Starlette's GZipMiddleware would collect lines of
        # NDJSON until compressing is worth it.
        fields["content-encoding"] = "identity"
    wanted: bool = scope["method"] != "HEAD"  # a streaming HEAD would never end
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


def _page_response(chunk: Chunk) -> Response:
    """Answer with a chunk."""
    if chunk.shown is not None:
        events = [encode_event(event) for event in chunk.events()]
    else:
        events = [] if chunk.page is None else split_frames(chunk.page.frames)
    gap = b',"gap":%b' % encode_line(chunk.gap.data()) if chunk.gap is not None else b""
    body = b'{"events":[%b],"position":"%b","closed":%b%b}' % (
        b",".join(events),
        str(chunk.position).encode(),
        b"true" if chunk.ended else b"false",
        gap,
    )
    return Response(body, headers=SAFE_HEADERS, media_type="application/json")
