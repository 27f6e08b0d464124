"""The schemas of `/openapi.json` that operations refer to by name."""

from collections.abc import Mapping
from typing import Final

from runcast._http.api.delivering import MAX_TARGETS, TARGET
from runcast._http.api.describing import GIVEN_LABELS, ref
from runcast._http.api.describing import Schema as _Schema
from runcast._http.api.describing import of_fields as _fields
from runcast._http.api.describing import of_object as _object
from runcast._http.api.requests import MAX_REASON_CHARS
from runcast.events.lifecycle import STATUSES
from runcast.events.schemas import POSITION, RUN_ID

__all__ = ("SCHEMAS",)

_TEXT: Final[_Schema] = {"type": "string"}
_COUNT: Final[_Schema] = {"type": "integer", "minimum": 0}
_SECONDS: Final[_Schema] = {"type": "number", "description": "Unix seconds"}
_POSITION: Final[_Schema] = {"type": "string", "pattern": POSITION}
_STATUS: Final[_Schema] = {"type": "string", "enum": list(STATUSES)}
_LABELS: Final[_Schema] = {"type": "object", "additionalProperties": _TEXT}


SCHEMAS: Final[Mapping[str, _Schema]] = {
    "Run": _object(
        ("run_id", "function", "status", "labels", "created_at", "ended_at", "events", "position"),
        run_id={"type": "string", "pattern": RUN_ID},
        function=_TEXT,
        status=_STATUS,
        labels=_LABELS,
        created_at=_SECONDS,
        ended_at={"type": ["number", "null"], "description": "Unix seconds; null before the end"},
        events={**_COUNT, "description": "number of events"},
        position={**_POSITION, "description": "position of the last event; watch from here"},
    ),
    "RunState": {
        "allOf": [ref("Run")],
        **_object(
            ("queue_position", "state"),
            queue_position={**_COUNT, "description": "from 1; 0 if the run is not queued here"},
            state=ref("Snapshot"),
            inputs={
                "type": ["object", "null"],
                "description": "what is kept of the inputs: `values` by name, `left_out` with the "
                "reason for each other input, `files` with their number by group; null if the "
                "function keeps nothing",
            },
            traceback={
                **_TEXT,
                "description": "what the function raised; only `serve --debug` shows it, and only "
                "to its own machine",
            },
        ),
    },
    "Page": _object(
        ("events", "position", "closed"),
        events={"type": "array", "items": ref("Event")},
        position={**_POSITION, "description": "where to continue"},
        closed={"type": "boolean", "description": "whether no event will ever follow"},
        gap=ref("Gap"),
    ),
    "Gap": _object(
        ("reason", "before", "after"),
        reason={"type": "string", "enum": ["trimmed", "replaced", "rewound"]},
        before={**_POSITION, "description": "the requested position"},
        after={**_POSITION, "description": "the position before the next events"},
    ),
    "ChangeOfRun": _object(run=ref("Run"), deleted=_TEXT, gap=_object(("reason",), reason=_TEXT)),
    "Function": _object(
        ("name", "description", "streaming", "inputs", "events"),
        name=_TEXT,
        description=_TEXT,
        streaming={"type": "boolean", "description": "whether it yields events while it works"},
        inputs={"type": "object", "description": "a JSON Schema"},
        events={
            "type": "object",
            "description": "JSON Schemas of the data of its own event types, by type",
        },
        files={
            "type": "array",
            "items": {"type": "object"},
            "description": "the groups of files that the function takes and makes",
        },
        secrets={
            "type": "array",
            "items": {"type": "object"},
            "description": "the names of the secrets that the function needs, never their values",
        },
        dialect={
            **_TEXT,
            "description": "the dialect of its stream if the request names no dialect",
        },
    ),
    "EventOfRun": {
        "oneOf": [
            _object(("run", "event"), run=_TEXT, event=ref("Event")),
            *(_object((notice,), **{notice: _TEXT}) for notice in ("deleted", "left", "left_out")),
            _object(("earlier",), earlier={"type": "string", "description": "for `before`"}),
            _object(("gap",), gap=_object(("reason",), reason=_TEXT)),
        ]
    },
    "Positions": {
        "type": "string",
        "description": "the last `id` of this stream",
    },
    "File": {
        "anyOf": [
            {"type": "string", "description": "a URL if it contains `://`, else a path"},
            *(
                {**_object((given,), **{given: _TEXT}, name=_TEXT), "additionalProperties": False}
                for given in ("upload_id", "path", "url")
            ),
        ]
    },
    "Begun": _object(("run_id", "events"), run_id=_TEXT, events=_TEXT),
    "Result": _object(
        ("result", "run_id"), result={"description": "what the function returned"}, run_id=_TEXT
    ),
    "Answer": {
        "oneOf": [
            {
                **_fields(
                    ("type",),
                    type={"type": "string", "enum": ["accept", "reject", "edit", "response"]},
                    args={"description": "other arguments, or feedback"},
                    by={"type": "string", "description": "who answers"},
                ),
                "not": {"anyOf": [{"required": ["approved"]}, {"required": ["content"]}]},
                "if": {"properties": {"type": {"enum": ["edit", "response"]}}},
                "then": {"required": ["args"]},
            },
            {
                **_fields(
                    ("approved",), approved={"type": "boolean"}, content={}, by={"type": "string"}
                ),
                "not": {"anyOf": [{"required": ["type"]}, {"required": ["args"]}]},
            },
        ]
    },
    "Cancellation": _fields((), reason={"type": "string", "maxLength": MAX_REASON_CHARS}),
    "Decision": _object(
        ("decision", "repeated"),
        decision=_object(
            ("type", "args", "by", "approved"),
            type=_TEXT,
            args={},
            by=_TEXT,
            approved={"type": "boolean"},
        ),
        repeated={"type": "boolean", "description": "whether the answer had been accepted before"},
    ),
    "Invocation": _fields(
        (),
        inputs={"type": "object", "description": "by the function's schema"},
        run_id={"type": "string", "pattern": f"^$|{RUN_ID}", "description": "generated if missing"},
        labels=GIVEN_LABELS,
        replace={"type": "boolean", "description": "begin a run of this id again"},
        on_disconnect={"type": "string", "enum": ["continue", "cancel"]},
        files={
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"},
            "additionalProperties": {"type": "array", "items": ref("File")},
            "description": "the run's files, by group",
        },
        workspace={
            "type": ["string", "null"],
            "description": "the folder of the server that contains each file's `path`",
        },
        deliver={
            "type": "array",
            "items": TARGET,
            "maxItems": MAX_TARGETS,
            "description": "the chats that the run is delivered to",
        },
        _secrets={
            "type": "object",
            "additionalProperties": _TEXT,
            "description": "values of secrets that the function declares",
        },
    ),
}
