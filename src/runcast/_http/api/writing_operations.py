"""The operations of `/openapi.json` for remote writers."""

from collections.abc import Mapping
from typing import Final

from runcast._http.api.batches import PRODUCER
from runcast._http.api.describing import (
    GIVEN_LABELS,
    Operation,
    Response,
    Schema,
    of_fields,
    of_object,
    of_path,
    parameter,
    ref,
)
from runcast._http.api.waiting import MAX_WAIT_S
from runcast._producing.batches import MAX_BATCH_EVENTS
from runcast.events.schemas import EVENT_TYPE, POSITION, RUN_ID

__all__ = ("WRITING_OPERATIONS", "WRITING_SCHEMAS")

_JSON: Final = "application/json"
_TEXT: Final[Schema] = {"type": "string"}
_SECONDS: Final[Schema] = {"type": ["number", "null"], "exclusiveMinimum": 0}
_POSITION: Final[Schema] = {"type": "string", "pattern": POSITION}
_NAME: Final[Schema] = {"type": "string", "maxLength": 200}

WRITING_SCHEMAS: Final[Mapping[str, Schema]] = {
    "RemoteRun": of_fields(
        ("name",),
        name={"type": "string", "pattern": RUN_ID, "description": "shown as its function"},
        run_id={"type": "string", "pattern": f"^$|{RUN_ID}", "description": "generated if missing"},
        labels=GIVEN_LABELS,
        ttl_s={**_SECONDS, "description": "how long to keep the run after its end"},
        lease_s={
            **{"type": ["number", "null"], "minimum": 1, "maximum": 86_400},
            "description": "how long the run stays open without a sign of its writer",
        },
        lease_id={
            **{"type": "string", "minLength": 16, "maxLength": 128},
            "pattern": "^[!-~][ -~]*[!-~]$",
            "description": "a secret of the writer; generated if missing",
        },
        replace={"type": "boolean", "description": "begin a run of this id again"},
    ),
    "BegunRemoteRun": of_object(
        ("run_id", "epoch", "position", "lease_id", "lease_s", "events", "time", "repeated"),
        run_id=_TEXT,
        epoch=_TEXT,
        position=_POSITION,
        lease_id={**_TEXT, "description": "send it as Runcast-Lease with each batch"},
        lease_s={"type": "number"},
        events={**_TEXT, "description": "where to post the events"},
        max_event_bytes={"type": "integer"},
        max_body_bytes={"type": "integer"},
        time={"type": "number", "description": "the server's clock, Unix seconds"},
        repeated={"type": "boolean", "description": "whether this very request began it before"},
    ),
    "WrittenEvent": {
        **of_object(
            ("type",),
            type={"type": "string", "pattern": EVENT_TYPE},
            data={},
            time={"type": ["number", "null"], "description": "Unix seconds"},
            node=_NAME,
            agent=_NAME,
            path={"type": "array", "items": _NAME, "maxItems": 32},
            duration={"type": ["number", "null"], "description": "seconds"},
        ),
        "additionalProperties": False,
    },
    "Written": of_object(
        ("position", "lease_s", "cancel", "repeated"),
        position={**_POSITION, "description": "of the last event"},
        lease_s={"type": "number", "description": "the run stays open for so long from now"},
        cancel={
            "type": ["string", "null"],
            "description": "why the run shall end, if it was cancelled",
        },
        repeated={"type": "boolean", "description": "whether the batch was stored before"},
    ),
}

_RUN: Final = of_path("run_id", RUN_ID, "the run")
_LEASE: Final = parameter(
    "header", "Runcast-Lease", _TEXT, "the lease_id of POST /runs", required=True
)
_WRITTEN: Final[Mapping[int, Response]] = {200: Response("it is stored", {_JSON: ref("Written")})}

WRITING_OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("/runs", "post"): Operation(
        "begin_run",
        "Begin a run that the client itself writes and ends",
        "writing",
        dict.fromkeys(
            (200, 201),
            Response(
                "the run has begun",
                {_JSON: ref("BegunRemoteRun")},
                ("Location", "Runcast-Run-Id"),
            ),
        ),
        (),
        {_JSON: ref("RemoteRun")},
        (408, 409, 413),
        is_body_required=True,
    ),
    ("/runs/{run_id}/events", "post"): Operation(
        "write",
        "Append a batch of events, once; a terminal event at its end ends the run",
        "writing",
        _WRITTEN,
        (
            _RUN,
            _LEASE,
            parameter(
                "query",
                "producer",
                {"type": "string", "pattern": PRODUCER},
                "who sends the batch, of the writer's choice",
                required=True,
            ),
            parameter(
                "query",
                "sequence",
                {"type": "integer", "minimum": 1, "maximum": 9_999_999_999_999_999},
                "1 for the producer's first batch, then 2, …; a batch that is sent again keeps it",
                required=True,
            ),
        ),
        {
            _JSON: {
                "type": "array",
                "items": ref("WrittenEvent"),
                "minItems": 1,
                "maxItems": MAX_BATCH_EVENTS,
            },
            "application/x-ndjson": {"x-items": ref("WrittenEvent")},
        },
        (404, 408, 409, 413, 422),
        is_body_required=True,
    ),
    ("/runs/{run_id}/files/{path}", "put"): Operation(
        "send_file",
        "Store a file of the client's run, which is shown once the run has ended",
        "writing",
        dict.fromkeys((200, 201), Response("it is stored", {_JSON: ref("StoredFile")})),
        (
            _RUN,
            of_path("path", "^.+$", "where the file shall be, such as plots/loss.png"),
            _LEASE,
        ),
        {"application/octet-stream": {"type": "string", "format": "binary"}},
        (404, 408, 409, 413),
    ),
    ("/runs/{run_id}/heartbeat", "post"): Operation(
        "renew_lease",
        "Show that the writer of a run is alive, and learn whether the run was cancelled",
        "writing",
        _WRITTEN,
        (
            _RUN,
            _LEASE,
            parameter(
                "query",
                "wait_s",
                {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S},
                "answer once the run is cancelled, or after this time",
            ),
        ),
        problems=(404, 409),
    ),
    ("/runs/{run_id}/interrupts/{interrupt_id}/expire", "post"): Operation(
        "expire_question",
        "Close a question of the writer's run that nobody has answered in time",
        "writing",
        {200: Response("the decision that counts", {_JSON: ref("Decision")})},
        (_RUN, of_path("interrupt_id", "^[!-.0-~]{1,128}$", "the question"), _LEASE),
        problems=(404, 409),
    ),
}
"""The operations, by path and method."""
