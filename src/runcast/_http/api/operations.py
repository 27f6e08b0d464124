"""The operations of `/openapi.json` that do not depend on functions: what each takes and answers.

One entry per path and method. A test compares the entries with the routes, in both directions.

Long because it is one table.
"""

from collections.abc import Mapping
from typing import Final

from runcast._http.api.describing import Operation, Response, ref
from runcast._http.api.describing import Schema as _Schema
from runcast._http.api.describing import of_object as _object
from runcast._http.api.describing import of_path as _path
from runcast._http.api.describing import parameter as _in
from runcast._http.api.idempotency import MAX_KEY_CHARS
from runcast._http.api.metrics import METRICS_TYPE
from runcast._http.api.requests import BEFORE, DEFAULT_LIMIT, MAX_REASON_CHARS, MAX_RUNS_PER_STREAM
from runcast._hub.thread_place import MAX_OPEN
from runcast._wire.dialects import DIALECTS
from runcast.events.lifecycle import STATUSES
from runcast.events.schemas import EVENT_TYPE, POSITION, RUN_ID
from runcast.stores.base import MAX_LIST

__all__ = ("OPERATIONS",)

_JSON: Final = "application/json"
_EVENT_STREAM: Final = "text/event-stream"
_NDJSON: Final = "application/x-ndjson"


_TEXT: Final[_Schema] = {"type": "string"}
_COUNT: Final[_Schema] = {"type": "integer", "minimum": 0}
_STATUS: Final[_Schema] = {"type": "string", "enum": list(STATUSES)}


_RUN: Final = _path("run_id", RUN_ID, "the run")

# An empty header counts as no header.
_POSITION_OR_NONE: Final[_Schema] = {
    "type": "string",
    "pattern": f"^(|{POSITION[1:-1]})$",
    "examples": ["01hq3v5k2m-7"],
}

_AFTER: Final = _in(
    "query", "after", _POSITION_OR_NONE, "the last position seen; the events after it are sent"
)
_LAST_EVENT_ID: Final = _in(
    "header",
    "Last-Event-ID",
    _POSITION_OR_NONE,
    "the same, as browsers send it; it counts before `after`",
)
_LIVE: Final = _in(
    "query",
    "live",
    {"type": "string", "enum": ["true", "long-poll"]},
    "`long-poll`: the answer ends with the first frames",
)
_DIALECT: Final = _in(
    "query",
    "dialect",
    {"type": "string", "enum": sorted(DIALECTS)},
    "how events look in Server-Sent Events",
)
_SHOWN: Final = (
    _in("query", "view", {"$ref": "#/components/schemas/View"}, "a view that the server has"),
    _in(
        "query",
        "types",
        {"type": "string", "pattern": f"^,*({EVENT_TYPE[1:-1]}(,+|$))*$"},
        "types of events to show, joined by commas",
    ),
    _in("query", "nodes", _TEXT, "nodes to show, joined by commas"),
    _in("query", "agents", _TEXT, "agents to show, joined by commas"),
)
_PREFER: Final = _in(
    "header", "Prefer", {"type": "string"}, "`respond-async`: answer 202 at once, without waiting"
)
_KEY: Final = _in(
    "header",
    "Idempotency-Key",
    {
        "type": "string",
        "pattern": (
            rf'^("([ !#-\[\]-~]|\\["\\]){{1,{MAX_KEY_CHARS}}}"'
            rf"|[!#-+\--:<-\[\]-~]{{1,{MAX_KEY_CHARS}}})$"
        ),
    },
    "identifies a request: a repeated request is answered from the run of the first one",
)

_LABEL: Final = _in(
    "query",
    "label",
    {"type": "array", "items": {"type": "string", "pattern": "^[^=]+="}},
    "name=value; may be repeated",
)

_STREAMS: Final[Mapping[str, _Schema]] = {
    _EVENT_STREAM: {"x-items": ref("Event")},
    _NDJSON: {"x-items": ref("Event")},
}
_WATCHING: Final = Response(
    "the events: as a stream or as a page", {**_STREAMS, _JSON: ref("Page")}
)
_ALL_SEEN: Final = Response("the run has ended and no event follows the position")
_RUN_HEADERS: Final = ("Location", "Runcast-Run-Id", "Runcast-Repeated")
_OF_RUN: Final = ("get_run", "watch", "cancel_run", "list_files", "delete_run")


_FLAG: Final[_Schema] = {"type": "string", "enum": ["true", "false", "1", "0"]}
_DONE: Final[Mapping[str, _Schema]] = {_JSON: _object(("status",), status=_TEXT)}

OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("/", "get"): Operation(
        "page",
        "The console",
        "pages",
        {200: Response("the page", {"text/html": _TEXT})},
        is_open=True,
    ),
    ("/assets/{name}", "get"): Operation(
        "asset",
        "A script, style or image of the console",
        "pages",
        {200: Response("the file", {"*/*": {}}, ("ETag",))},
        (_path("name", "^[^/]+$", "as the console names it"),),
        problems=(404,),
        is_open=True,
    ),
    ("/docs", "get"): Operation(
        "docs",
        "This description as a page",
        "pages",
        {200: Response("the page", {"text/html": _TEXT})},
        is_open=True,
    ),
    ("/openapi.json", "get"): Operation(
        "openapi",
        "This description",
        "pages",
        {200: Response("OpenAPI 3.1", {_JSON: {"type": "object"}})},
    ),
    ("/session", "post"): Operation(
        "sign_in",
        "Exchange the access token for a session, in a cookie",
        "server",
        {
            204: Response(
                "the cookie is set if the server has an access token", headers=("Set-Cookie",)
            )
        },
        body={"text/plain": {"type": "string", "description": "the access token"}},
        problems=(401, 408, 413),
        is_open=True,
    ),
    ("/healthz", "get"): Operation(
        "health",
        "Whether the process is alive",
        "server",
        {200: Response("it is alive", _DONE)},
        is_open=True,
    ),
    ("/readyz", "get"): Operation(
        "ready",
        "Whether the store is ready",
        "server",
        {200: Response("it is ready", _DONE)},
        is_open=True,
    ),
    ("/metrics", "get"): Operation(
        "metrics",
        "The numbers of this process, for Prometheus",
        "server",
        {200: Response("what it holds now, and what it has done so far", {METRICS_TYPE: _TEXT})},
    ),
    ("/functions", "get"): Operation(
        "list_functions",
        "The functions that can be invoked",
        "functions",
        {
            200: Response(
                "all functions",
                {
                    _JSON: _object(
                        ("functions",), functions={"type": "array", "items": ref("Function")}
                    )
                },
            )
        },
    ),
    ("/invoke/{name}", "post"): Operation(
        "invoke",
        "Begin a run of a function",
        "functions",
        {
            200: Response(
                "the run's events, or its result once it has ended, depending on `Accept`",
                {**_STREAMS, _JSON: ref("Result")},
                _RUN_HEADERS,
                _OF_RUN,
            ),
            202: Response("the run has begun", {_JSON: ref("Begun")}, _RUN_HEADERS, _OF_RUN),
            204: _ALL_SEEN,
        },
        (
            _path("name", RUN_ID, "the function"),
            _DIALECT,
            *_SHOWN,
            _in("query", "cancel_on_disconnect", _FLAG, "cancel the run when the client leaves"),
            _PREFER,
            _KEY,
            _LAST_EVENT_ID,
        ),
        {_JSON: ref("Invocation")},
        (404, 408, 409, 410, 413, 422),
    ),
    ("/runs", "get"): Operation(
        "list_runs",
        "Runs, newest first",
        "runs",
        {
            200: Response(
                "a page of runs, or a stream of them as they change",
                {
                    _JSON: _object(
                        ("runs", "before"),
                        runs={"type": "array", "items": ref("Run")},
                        before={
                            "type": ["string", "null"],
                            "description": "the value of `before` for the next page",
                        },
                    ),
                    _EVENT_STREAM: {"x-items": ref("ChangeOfRun")},
                },
            )
        },
        (
            _in("query", "status", _STATUS),
            _in("query", "function", _TEXT),
            _LABEL,
            _in(
                "query",
                "limit",
                {"type": "integer", "minimum": 1, "maximum": MAX_LIST, "default": DEFAULT_LIMIT},
            ),
            _in(
                "query",
                "before",
                {"type": "string", "pattern": BEFORE},
                "the `before` value of the previous page",
            ),
            _in("query", "after", _TEXT, "the last `id` of a stream of runs"),
            _LIVE,
            _in("header", "Last-Event-ID", _TEXT, "the same, as browsers send it"),
        ),
    ),
    ("/runs/{run_id}", "get"): Operation(
        "get_run",
        "A run's present state",
        "runs",
        {200: Response("the state after all its events", {_JSON: ref("RunState")})},
        (_RUN,),
        problems=(404,),
    ),
    ("/runs/{run_id}", "delete"): Operation(
        "delete_run",
        "Delete a run; a running one is cancelled first",
        "runs",
        {204: Response("it is deleted")},
        (_RUN,),
        problems=(404, 409),
    ),
    ("/runs/{run_id}/cancel", "post"): Operation(
        "cancel_run",
        "Cancel a run",
        "runs",
        {
            200: Response("the run has ended", {_JSON: ref("Run")}),
            202: Response("the process that runs it was notified", {_JSON: ref("Run")}),
        },
        (_RUN, _in("query", "reason", {"type": "string", "maxLength": MAX_REASON_CHARS})),
        {_JSON: ref("Cancellation")},
        (404, 408, 409, 413),
    ),
    ("/runs/{run_id}/interrupts/{interrupt_id}", "post"): Operation(
        "answer",
        "Answer a question that a run asks; the first answer wins",
        "runs",
        {200: Response("the decision that counts", {_JSON: ref("Decision")})},
        (_RUN, _path("interrupt_id", "^[!-.0-~]{1,128}$", "the question")),
        {_JSON: ref("Answer")},
        (404, 408, 409, 413),
        is_body_required=True,
    ),
    ("/runs/{run_id}/messages", "post"): Operation(
        "send",
        "Send a message into a run, which reads it when it asks for the next one",
        "runs",
        dict.fromkeys((200, 201), Response("the message is stored", {_JSON: ref("Sent")})),
        (_RUN,),
        {_JSON: ref("Message")},
        (404, 408, 409, 413, 503),
        is_body_required=True,
    ),
    ("/runs/{run_id}/events", "get"): Operation(
        "watch",
        "Watch a run from any position",
        "watching",
        {200: _WATCHING._replace(headers=("Runcast-Epoch",)), 204: _ALL_SEEN},
        (
            _RUN,
            _AFTER,
            _LAST_EVENT_ID,
            _in(
                "query",
                "live",
                {"type": "string", "enum": ["true", "false", "long-poll"]},
                "`false`: only the events so far; `long-poll`: a page once an event follows",
            ),
            _DIALECT,
            *_SHOWN,
        ),
        problems=(404, 410),
    ),
    ("/runs/{run_id}/files", "get"): Operation(
        "list_files",
        "The files that a run made; the list is empty until its end",
        "files",
        {
            200: Response(
                "the kept files, and the files that were not kept",
                {
                    _JSON: _object(
                        ("files", "skipped", "skipped_count"),
                        files={"type": "array", "items": ref("StoredFile")},
                        skipped={"type": "array", "items": ref("Skipped")},
                        skipped_count=_COUNT,
                    )
                },
            )
        },
        (_RUN,),
        problems=(404,),
    ),
    ("/runs/{run_id}/files/{path}", "get"): Operation(
        "download",
        "One of the files that a run made, or a part",
        "files",
        {
            200: Response("the file", {"*/*": {}}, ("ETag", "Content-Disposition")),
            206: Response("a part of the file", {"*/*": {}}, ("ETag", "Content-Range")),
            304: Response("the client's copy is current", headers=("ETag",)),
        },
        (
            _RUN,
            _path("path", "^.+$", "from the list of files; it may contain slashes"),
            _in("header", "Range", _TEXT, "`bytes=0-1023`"),
            _in("header", "If-None-Match", _TEXT),
            _in("header", "If-Range", _TEXT),
        ),
        problems=(404, 416),
    ),
    ("/uploads", "post"): Operation(
        "upload",
        "Upload a file for a later run",
        "files",
        {201: Response("the file was accepted", {_JSON: ref("Upload")})},
        (_in("query", "name", _TEXT, "the file's name, unless a form gives it"),),
        {
            "application/octet-stream": {"type": "string", "format": "binary"},
            "multipart/form-data": _object(("file",), file={"type": "string", "format": "binary"}),
        },
        (408, 413),
        is_body_required=True,
    ),
    ("/events", "get"): Operation(
        "watch_many",
        "Watch several runs on one connection: given runs, or all runs of a thread",
        "watching",
        {
            200: Response(
                "`data:` has a run and its event, `id:` the positions of all runs",
                {_EVENT_STREAM: {"x-items": ref("EventOfRun")}},
            ),
            204: Response("all runs have ended and no event follows the positions"),
        },
        (
            _in(
                "query",
                "run",
                {
                    "type": "array",
                    "items": {"type": "string", "pattern": RUN_ID},
                    "minItems": 1,
                    "maxItems": MAX_RUNS_PER_STREAM,
                    "uniqueItems": True,
                },
                "the runs; either `run` or `label` is required",
            ),
            _LABEL,
            _in("query", "function", _TEXT, "with `label`: only runs of this function"),
            _in(
                "query",
                "limit",
                {"type": "integer", "minimum": 1, "maximum": MAX_OPEN, "default": MAX_OPEN},
                "with `label`: how many runs to begin with, the newest ones",
            ),
            _in("query", "after", {"$ref": "#/components/schemas/Positions"}),
            _LIVE,
            _in("header", "Last-Event-ID", {"$ref": "#/components/schemas/Positions"}),
        ),
        problems=(404, 410),
    ),
}
"""The operations, by path and method."""
