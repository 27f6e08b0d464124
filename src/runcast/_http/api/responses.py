"""Responses that are not streams: JSON, problems, and the JSON of runs and functions."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response

from runcast._runs.protocols import DescribedFunction
from runcast.errors import (
    AlreadyAnswered,
    Gone,
    InvalidEvent,
    InvalidInputs,
    OutOfSequence,
    Overloaded,
    RuncastError,
    RunFailed,
    ServerUnavailable,
    StoreUnavailable,
    Unauthorized,
)
from runcast.events.plain import cut, encode_line
from runcast.events.snapshot import Snapshot
from runcast.stores.base import LogInfo

__all__ = (
    "MAX_DETAIL_CHARS",
    "SAFE_HEADERS",
    "failure",
    "function_view",
    "json_response",
    "problem",
    "problem_document",
    "run_summary",
    "run_view",
)


_RETRY_AFTER_S: Final = 1

MAX_DETAIL_CHARS: Final = 8_000
"""Most characters of a problem's `detail`: room for all problems of an invocation."""

SAFE_HEADERS: Final[Mapping[str, str]] = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
"""On every response: caches, content sniffing and other sites are shut out."""


def json_response(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a JSON response."""
    return Response(
        encode_line(value),
        status,
        {**SAFE_HEADERS, **(headers or {})},
        media_type="application/json",
    )


def problem_document(
    status: int,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    retryable: bool = False,
    **more: Any,
) -> Response:
    """Return a problem document. Source: RFC 9457, where `about:blank` takes HTTP's title."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": cut(detail, MAX_DETAIL_CHARS),
        "retryable": retryable,
        **more,
    }
    fields = {**SAFE_HEADERS, **(headers or {})}
    return Response(encode_line(body), status, fields, media_type="application/problem+json")


def problem(error: RuncastError, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error as a problem document."""
    fields = dict(headers or {})
    if isinstance(error, Overloaded | ServerUnavailable | StoreUnavailable):
        fields["retry-after"] = str(_RETRY_AFTER_S)
    if isinstance(error, Unauthorized):
        fields["www-authenticate"] = "Bearer"
    more: dict[str, Any] = {}
    if isinstance(error, InvalidInputs):
        more["problems"] = list(error.problems)
    if isinstance(error, InvalidEvent):
        more["index"] = error.index
    if isinstance(error, Gone):
        more["reason"] = error.reason
    if isinstance(error, OutOfSequence):
        more["expected"] = error.expected
    if isinstance(error, AlreadyAnswered):
        more["decision"] = error.decision
    return problem_document(
        error.status,
        error.code,
        error.public,
        headers=fields,
        retryable=error.retryable,
        **more,
    )


def failure(
    run_id: str, kind: str, data: Mapping[str, Any], headers: Mapping[str, str]
) -> Response:
    """Return the end of a run without a result (`failed` or `cancelled`) as a problem."""
    if kind == "cancelled":
        data = {"message": f"the run was cancelled: {data.get('reason', '')}", "code": "cancelled"}
    return problem_document(
        RunFailed.status,
        str(data.get("code", "function_error")),
        str(data.get("message", "")),
        headers=headers,
        retryable=data.get("retryable") is True,
        run_id=run_id,
    )


def run_summary(info: LogInfo) -> dict[str, Any]:
    """Return a run as lists show it, from its log's description alone."""
    labels = {name: value for name, value in info.labels.items() if not _is_ours(name)}
    return {
        "run_id": info.log_id,
        "function": info.labels.get("function", ""),
        "status": info.status,
        "labels": labels,
        "created_at": info.created_at,
        "ended_at": info.closed_at,
        "events": info.head,
        "position": str(info.position),
    }


def run_view(info: LogInfo, snapshot: Snapshot, queue_position: int) -> dict[str, Any]:
    """Return a run with its present state; `position` is the position of that state."""
    return {
        **run_summary(info),
        "queue_position": queue_position,
        "state": snapshot,
    }


def function_view(function: DescribedFunction) -> dict[str, Any]:
    """Return a function as `GET /functions` shows it."""
    return {
        "name": function.name,
        "description": function.description,
        "streaming": function.is_streaming,
        "inputs": function.schema,
        "events": function.events,
        "files": list(function.files.values()),
        "secrets": function.secrets,
        "dialect": function.dialect,
    }


def _is_ours(label: str) -> bool:
    return label in ("function", "status") or label.startswith("runcast.")
