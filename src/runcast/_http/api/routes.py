"""The routes' handlers. Paths and fields are described in docs/protocol.md."""

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from runcast._http.api.answering import Answering
from runcast._http.api.bodies import check_json, parse_json
from runcast._http.api.delivering import Delivering
from runcast._http.api.fields import check_fields, parse_fields
from runcast._http.api.files import FileTransfers
from runcast._http.api.health import Health
from runcast._http.api.invoking import Invoking
from runcast._http.api.links import Sharing
from runcast._http.api.messages import parse_message
from runcast._http.api.metrics import VERSION, Metrics
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
from runcast._http.api.serving import Serving
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
from runcast._http.guard.security import Guard
from runcast._http.streaming.feeds import SSE
from runcast._http.streaming.runs_feed import Selection
from runcast._http.streaming.watching import Watching
from runcast._http.streaming.whole import is_long_poll
from runcast._producing.answers import Answer
from runcast._runs.protocols import DescribedFunction
from runcast.errors import Conflict, InvalidValue, NotFound, Stale
from runcast.events.lifecycle import STATUSES
from runcast.events.view import ViewSpec

__all__ = ("Routes",)


class Routes:
    """The routes of one application."""

    def __init__(
        self,
        serving: Serving,
        guard: Guard,
        views: Mapping[str, ViewSpec],
        tracebacks: ShownTracebacks,
    ) -> None:
        self._runs = serving.runs
        self._hub = serving.hub
        self._guard = guard
        self._gate = serving.gate
        self._tracebacks = tracebacks
        self._body = serving.read
        self.health = Health(serving.hub, serving.closing)
        self.metrics = Metrics(serving.runs, serving.streams, serving.gate)
        self._watching = Watching(serving.hub, serving.streams, views, serving.gate)
        self._delivering = Delivering(serving)
        self._invoking = Invoking(serving, self._watching, self._delivering)
        self._writing = Writing(serving)
        self._receiving = Receiving(serving)
        self._answering = Answering(serving)
        self._sharing = Sharing(serving)
        self._transfers = FileTransfers(serving)

    def all(self) -> list[Route]:
        """Return the table of routes."""
        return [
            # First, because each route before it costs some microseconds at each batch.
            Route(
                "/runs/{run_id}/events",
                _ReadOrWrite(self._watching.watch, self._writing.append),
                methods=["GET", "POST"],
            ),
            Route("/", self.page, methods=["GET"]),
            Route(ASSETS_PATH + "{name}", self.asset, methods=["GET"]),
            Route("/docs", self.docs, methods=["GET"]),
            Route("/openapi.json", self.openapi, methods=["GET"]),
            Route("/session", self.sign_in, methods=["POST"]),
            Route("/healthz", self.health.health, methods=["GET"]),
            Route("/readyz", self.health.ready, methods=["GET"]),
            Route("/metrics", self.metrics.answer, methods=["GET"]),
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
                "/runs/{run_id}/deliveries", self._delivering.deliveries, methods=["GET", "POST"]
            ),
            Route("/runs/{run_id}/links", self._sharing.links, methods=["GET", "POST"]),
            Route("/runs/{run_id}/links/{link_id}", self._sharing.revoke, methods=["DELETE"]),
            Route("/runs/{run_id}/files", self._transfers.list_files, methods=["GET"]),
            Route(
                "/runs/{run_id}/files/{path:path}",
                _ReadOrWrite(self._transfers.download, self._transfers.put),
                methods=["GET", "PUT"],
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
            version=VERSION,
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
            async with self._gate.passing(request, run_id, "delete") as epoch:
                return await self._delete(run_id, epoch)
        async with self._gate.passing(request, run_id) as epoch:
            inputs = await self._runs.inputs(run_id)  # first, because `present` checks the epoch
            info, snapshot = await self._hub.present(run_id, epoch)
        shown = run_view(info, snapshot, self._runs.queue_position(run_id))
        if self._gate.link(request.scope) is not None:
            return json_response({**shown, "labels": {}, "inputs": None})
        shown["inputs"] = inputs
        if traceback := self._tracebacks.find(request, run_id, info.epoch):
            shown["traceback"] = traceback
        return json_response(shown)

    async def _delete(self, run_id: str, epoch: str) -> Response:
        info = await self._hub.info(run_id, epoch)
        with suppress(Stale):  # the id is in use again: the run itself is gone
            if not info.closed:
                await self._runs.cancel(run_id, "deleted", epoch=info.epoch)
                if not (await self._hub.info(run_id, info.epoch)).closed:
                    raise Conflict(
                        f"the run {run_id!r} is being cancelled by the process that runs it; "
                        "delete it once it has ended"
                    )
            await self._hub.delete(run_id, info.epoch)
        return Response(status_code=204, headers=SAFE_HEADERS)

    async def cancel_run(self, request: Request) -> Response:
        """Cancel a run; the answer shows the run afterwards."""
        run_id = request.path_params["run_id"]
        reason = _reason(request, await self._body(request))
        async with self._gate.passing(request, run_id, "cancel") as epoch:
            await self._runs.cancel(run_id, reason, epoch=epoch)
            info = await self._hub.info(run_id, epoch)
        return json_response(run_summary(info), 200 if info.closed else 202)

    async def answer_question(self, request: Request) -> Response:
        """Answer a run's question; the response has the decision that counts."""
        check_json(request)
        body = await self._body(request)
        given = parse_json(body, '{"type": "accept"}')
        if isinstance(given, dict):
            check_fields(given, ("type", "args", "approved", "content", "by"))
        run_id, interrupt_id = request.path_params["run_id"], request.path_params["interrupt_id"]
        async with self._gate.passing(request, run_id, "answer") as epoch:
            answer = self._gate.signed(request.scope, Answer.parse(given))
            decision, repeated = await self._runs.answer(run_id, interrupt_id, answer, epoch=epoch)
        return json_response({"decision": decision, "repeated": repeated})

    async def send_message(self, request: Request) -> Response:
        """Send a message into a run; the response has its id, and its place in the log."""
        check_json(request)
        body = await self._body(request)
        given = parse_message(body)
        run_id = request.path_params["run_id"]
        async with self._gate.passing(request, run_id, "message") as epoch:
            sender = self._gate.author(request.scope, given.sender, "from")
            sent = await self._runs.send(
                run_id, given.data, message_id=given.message_id, sender=sender, epoch=epoch
            )
        told = {
            "message_id": sent.message_id,
            "position": str(sent.position),
            "repeated": sent.repeated,
        }
        return json_response(told, 200 if sent.repeated else 201)


class _Cancellation(msgspec.Struct):
    """The body of a request to cancel a run."""

    reason: str = ""


def _reason(request: Request, body: bytes) -> str:
    """Return why to cancel a run: what the body says, else the query. Raises `InvalidValue`."""
    reason, more = request.query_params.get("reason", "cancelled"), ""
    if body.strip():
        check_json(request)
        more = parse_fields(body, _Cancellation, '{"reason": "…"}').reason
    if max(len(reason), len(more)) > MAX_REASON_CHARS:
        raise InvalidValue(f"expected a reason of at most {MAX_REASON_CHARS} characters")
    return more or reason


_JSON: Final = "application/json"

_PARAMETER: Final = re.compile(r"\{(\w+):\w+\}")
"""A path parameter with a converter."""


class _ReadOrWrite:
    """A route with two methods: GET sends its response itself, POST or PUT returns one."""

    def __init__(
        self,
        read: Callable[[Scope, Receive, Send], Awaitable[None]],
        write: Callable[[Request], Awaitable[Response]],
    ) -> None:
        self._read = read
        self._write = write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in ("POST", "PUT"):
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
