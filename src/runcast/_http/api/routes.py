"""The routes' handlers. Paths and fields are described in docs/protocol.md."""

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from runcast._http.api.answering import Answering
from runcast._http.api.bodies import check_json, parse_json
from runcast._http.api.delivering import Delivering
from runcast._http.api.files import FileTransfers
from runcast._http.api.invoking import Invoking
from runcast._http.api.links import Sharing
from runcast._http.api.messages import parse_message
from runcast._http.api.openapi import build
from runcast._http.api.receiving import Receiving
from runcast._http.api.requests import (
    MAX_REASON_CHARS,
    before_token,
    parse_before,
    parse_labels,
    parse_limit,
    preferred_type,
)
from runcast._http.api.responses import (
    SAFE_HEADERS,
    function_view,
    json_response,
    run_summary,
    run_view,
)
from runcast._http.api.tracebacks import ShownTracebacks
from runcast._http.api.writing import Writing
from runcast._http.console import (
    ASSETS_PATH,
    DOCS,
    START,
    asset_response,
    find_asset,
    page_response,
)
from runcast._http.guard.gate import Gate
from runcast._http.guard.security import Guard
from runcast._http.streaming.feeds import SSE
from runcast._http.streaming.runs_feed import Selection
from runcast._http.streaming.streams import Streams
from runcast._http.streaming.waits import read_body
from runcast._http.streaming.watching import Watching
from runcast._http.streaming.whole import is_long_poll
from runcast._producing.answers import Answer
from runcast._runs.protocols import DescribedFunction, Runs
from runcast.errors import Conflict, InvalidValue, NotFound, Stale
from runcast.events.lifecycle import STATUSES
from runcast.events.view import ViewSpec

__all__ = ("Routes",)


class Routes:
    """The routes of one application."""

    def __init__(
        self,
        runs: Runs,
        streams: Streams,
        guard: Guard,
        gate: Gate,
        views: Mapping[str, ViewSpec],
        tracebacks: ShownTracebacks,
    ) -> None:
        self._runs = runs
        self._hub = runs.hub
        self._streams = streams
        self._guard = guard
        self._gate = gate
        self._tracebacks = tracebacks
        self._watching = Watching(runs.hub, streams, views, gate)
        self._delivering = Delivering(runs, gate, self._body, streams.closing)
        self._invoking = Invoking(runs, streams, self._watching, gate, self._delivering)
        self._writing = Writing(runs, gate, streams.closing, self._body)
        self._receiving = Receiving(runs, streams.closing)
        self._answering = Answering(runs, streams.closing)
        self._sharing = Sharing(runs.hub, gate, self._body)
        self._transfers = FileTransfers(runs, streams.closing, gate)

    def all(self) -> list[Route]:
        """Return the table of routes."""
        return [
            Route("/", self.page, methods=["GET"]),
            Route(ASSETS_PATH + "{name}", self.asset, methods=["GET"]),
            Route("/docs", self.docs, methods=["GET"]),
            Route("/openapi.json", self.openapi, methods=["GET"]),
            Route("/session", self.sign_in, methods=["POST"]),
            Route("/healthz", self.health, methods=["GET"]),
            Route("/readyz", self.ready, methods=["GET"]),
            Route("/functions", self.functions, methods=["GET"]),
            Route("/invoke/{name}", _Raw(self._invoking.invoke), methods=["POST"]),
            Route(
                "/runs", _ReadOrWrite(self.list_runs, self._writing.begin), methods=["GET", "POST"]
            ),
            Route("/runs/{run_id}", self.one_run, methods=["GET", "DELETE"]),
            Route("/runs/{run_id}/cancel", self.cancel_run, methods=["POST"]),
            Route(
                "/runs/{run_id}/interrupts/{interrupt_id}", self.answer_question, methods=["POST"]
            ),
            Route(
                "/runs/{run_id}/interrupts/{interrupt_id}/expire",
                self._writing.expire,
                methods=["POST"],
            ),
            Route("/runs/{run_id}/heartbeat", self._writing.heartbeat, methods=["POST"]),
            Route("/runs/{run_id}/messages", self.send_message, methods=["POST"]),
            Route(
                "/runs/{run_id}/events",
                _ReadOrWrite(self._watching.watch, self._writing.append),
                methods=["GET", "POST"],
            ),
            Route(
                "/runs/{run_id}/deliveries", self._delivering.deliveries, methods=["GET", "POST"]
            ),
            Route("/runs/{run_id}/links", self._sharing.links, methods=["GET", "POST"]),
            Route("/runs/{run_id}/links/{link_id}", self._sharing.revoke, methods=["DELETE"]),
            Route("/runs/{run_id}/files", self._transfers.list_files, methods=["GET"]),
            Route(
                "/runs/{run_id}/files/{path:path}",
                _Raw(self._transfers.download),
                methods=["GET"],
            ),
            Route("/channels/{name}", self._receiving.receive, methods=["POST"]),
            Route("/answers", self._answering.answer, methods=["GET", "POST"]),
            Route("/uploads", self._transfers.upload, methods=["POST"]),
            Route("/events", _Raw(self._watching.watch_events), methods=["GET"]),
        ]

    # Plain answers.

    async def page(self, request: Request) -> Response:
        """Answer with the console."""
        return page_response(START, request)

    async def asset(self, request: Request) -> Response:
        """Answer with a script, style or image of the console."""
        asset = find_asset(request.path_params["name"])
        if asset is None:
            raise NotFound("the console has no such file; a reload brings the present version")
        return asset_response(asset, request)

    async def docs(self, request: Request) -> Response:
        """Answer with the page that shows the description of the API."""
        return page_response(DOCS, request)

    async def openapi(self, request: Request) -> Response:
        """Answer with the description of the API."""
        functions = {function.name: function for function in self._known(request)}
        document = build(
            [
                (_PARAMETER.sub(r"{\1}", route.path), method.lower())
                for route in self.all()
                for method in sorted(route.methods or ())
                if method != "HEAD"
            ],
            [functions[name] for name in sorted(functions)],
            version=_VERSION,
            prefix=quote(request.scope.get("root_path", "")),
            views=self._watching.views,
            is_protected=bool(self._guard.token),
        )
        return json_response(document)

    async def sign_in(self, request: Request) -> Response:
        """Exchange the access token for a session, in a cookie."""
        given = (await self._body(request)).decode("utf-8", "replace").strip()
        response = Response(status_code=204, headers=SAFE_HEADERS)
        if not self._guard.token:
            return response
        mount = request.scope.get("root_path", "")
        response.set_cookie(
            self._guard.cookie_name(request.headers.get("host", ""), mount),
            self._guard.begin_session(given),
            path=quote(mount) or "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return response

    async def health(self, _: Request) -> Response:
        """Answer that the process is alive."""
        return json_response({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """Answer whether the store can be read and written."""
        await self._hub.check()
        return json_response({"status": "ready"})

    async def functions(self, request: Request) -> Response:
        """Answer with the functions that can be invoked."""
        found = self._known(request)
        return json_response({"functions": [function_view(function) for function in found]})

    def _known(self, request: Request) -> list[DescribedFunction]:
        functions = self._runs.functions
        names = (name for name in sorted(functions) if self._gate.may_invoke(request.scope, name))
        return [functions[name] for name in names]

    async def list_runs(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a page of runs, newest first; or with a stream of runs as they change."""
        request = Request(scope, receive)
        selection = self._selection(request)
        is_long_poll(request.query_params)  # refuses an unknown `live` of a page, too
        accept = request.headers.get("accept", "")
        if preferred_type(accept, (_JSON, SSE.content_type), _JSON) == SSE.content_type:
            if "before" in request.query_params:
                raise InvalidValue("expected no before with a stream of runs, which has no pages")
            await self._watching.watch_list(selection, request, receive, send)
        else:
            response = await self._page_of_runs(selection, request)
            await response(scope, receive, send)

    async def _page_of_runs(self, selection: Selection, request: Request) -> Response:
        query = request.query_params
        before = parse_before(query["before"]) if "before" in query else None
        if selection.is_empty:
            return json_response({"runs": [], "before": None})
        status, labels, limit, _ = selection
        found = await self._hub.store.list(status=status, labels=labels, before=before, limit=limit)
        last = found[-1] if len(found) == limit else None
        more = None if last is None else before_token(last.created_at, last.log_id)
        return json_response({"runs": [run_summary(info) for info in found], "before": more})

    def _selection(self, request: Request) -> Selection:
        """Return which runs a request asks for. Raises `InvalidValue`."""
        query = request.query_params
        labels = parse_labels(query)
        # The status was once a label; a query may still ask for it as a label.
        status = query.get("status", labels.pop("status", None))
        if status is not None and status not in STATUSES:
            raise InvalidValue(
                f"expected status to be one of {', '.join(STATUSES)}, got {status[:80]!r}"
            )
        access = self._gate.access(request.scope)
        ours = access.visible
        is_elsewhere = any(labels.get(name, value) != value for name, value in ours.items())
        is_empty = is_elsewhere or not access.may("see")
        return Selection(status, {**labels, **ours}, parse_limit(query), is_empty)

    async def one_run(self, request: Request) -> Response:
        """Answer with a run's present state, or delete the run after cancelling it."""
        run_id = request.path_params["run_id"]
        if request.method == "DELETE":
            await self._gate.check(request, run_id, "delete")
            return await self._delete(run_id)
        await self._gate.check(request, run_id)
        info, snapshot = await self._hub.present(run_id)
        shown = run_view(info, snapshot, self._runs.queue_position(run_id))
        if self._gate.link(request.scope) is not None:
            return json_response({**shown, "labels": {}, "inputs": None})
        shown["inputs"] = await self._runs.inputs(run_id)
        if traceback := self._tracebacks.find(request, run_id, info.epoch):
            shown["traceback"] = traceback
        return json_response(shown)

    async def _delete(self, run_id: str) -> Response:
        info = await self._hub.info(run_id)
        if not info.closed:
            await self._runs.cancel(run_id, "deleted")
            now = await self._hub.info(run_id)
            if now.epoch == info.epoch and not now.closed:
                raise Conflict(
                    f"the run {run_id!r} is being cancelled by the process that runs it; delete "
                    "it once it has ended"
                )
        with suppress(Stale):  # the id is in use again: the run itself is gone
            await self._hub.delete(run_id, info.epoch)
        return Response(status_code=204, headers=SAFE_HEADERS)

    async def cancel_run(self, request: Request) -> Response:
        """Cancel a run; the answer shows the run afterwards."""
        run_id = request.path_params["run_id"]
        reason = request.query_params.get("reason", "cancelled")
        if len(reason) > MAX_REASON_CHARS:
            raise InvalidValue(f"expected a reason of at most {MAX_REASON_CHARS} characters")
        await self._gate.check(request, run_id, "cancel")
        await self._runs.cancel(run_id, reason)
        info = await self._hub.info(run_id)
        return json_response(run_summary(info), 200 if info.closed else 202)

    async def answer_question(self, request: Request) -> Response:
        """Answer a run's question; the response has the decision that counts."""
        check_json(request)
        body = await self._body(request)
        given = parse_json(body, '{"type": "accept"}')
        await self._gate.check(request, request.path_params["run_id"], "answer")
        answer = self._gate.signed(request.scope, Answer.parse(given))
        decision, repeated = await self._runs.answer(
            request.path_params["run_id"], request.path_params["interrupt_id"], answer
        )
        return json_response({"decision": decision, "repeated": repeated})

    async def send_message(self, request: Request) -> Response:
        """Send a message into a run; the response has its id, and its place in the log."""
        check_json(request)
        body = await self._body(request)
        given = parse_message(body)
        run_id = request.path_params["run_id"]
        await self._gate.check(request, run_id, "message")
        sender = self._gate.author(request.scope, given.sender, "from")
        sent = await self._runs.send(run_id, given.data, message_id=given.message_id, sender=sender)
        told = {
            "message_id": sent.message_id,
            "position": str(sent.position),
            "repeated": sent.repeated,
        }
        return json_response(told, 200 if sent.repeated else 201)

    async def _body(self, request: Request) -> bytes:
        return await read_body(request, self._hub.settings, self._streams.closing)


_JSON: Final = "application/json"

_PARAMETER: Final = re.compile(r"\{(\w+):\w+\}")
"""A path parameter with a converter."""


def _version() -> str:
    try:
        return version("runcast")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0"


_VERSION: Final = _version()


class _ReadOrWrite:
    """A route with two methods: GET sends its response itself, POST returns one."""

    def __init__(
        self,
        read: Callable[[Scope, Receive, Send], Awaitable[None]],
        write: Callable[[Request], Awaitable[Response]],
    ) -> None:
        self._read = read
        self._write = write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            response = await self._write(Request(scope, receive))
            await response(scope, receive, send)
        else:
            await self._read(scope, receive, send)


class _Raw:
    """A route that sends its response itself."""

    def __init__(self, handle: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._handle(scope, receive, send)
