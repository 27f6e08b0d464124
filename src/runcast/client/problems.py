"""A server's problem document as an exception of `runcast.errors`. Pure.

Each `code` is one class. A document with a code that this version does not know becomes the class
of its status; so does an answer that is not a problem document, as a proxy sends it.

The vectors in `conformance/problems.json` test clients of every language.
Source: docs/protocol.md R-16.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from runcast import errors
from runcast.errors import (
    AlreadyAnswered,
    BackendError,
    CallerError,
    Forbidden,
    Gone,
    InvalidEvent,
    InvalidInputs,
    NotFound,
    OutOfSequence,
    PeerError,
    RuncastError,
    RunFailed,
    ServerUnavailable,
    Unauthorized,
)

__all__ = ("error_of", "refusal", "retry_after_of")

_PASSING: Final = frozenset({408, 425, 429})
"""Statuses below 500 that mean "try again later"."""

_BY_STATUS: Final[Mapping[int, type[RuncastError]]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
}

_MAX_DETAIL_CHARS: Final = 8_000


def refusal(status: int, document: object, retry_after: str = "") -> RuncastError:
    """Return the exception for an answer that is not a success, with how long to wait.

    Args:
        document: the JSON of the body; None if the body has none.
        retry_after: the header `Retry-After`.
    """
    error = error_of(status, document)
    if error.retryable:
        error.retry_after_s = retry_after_of(retry_after)
    return error


def error_of(status: int, document: object) -> RuncastError:
    """Return the exception for an answer that is not a success.

    Args:
        document: the JSON of the body; None if the body has none.
    """
    fields: Mapping[str, Any] = document if isinstance(document, dict) else {}
    code, detail = fields.get("code"), fields.get("detail")
    message = detail[:_MAX_DETAIL_CHARS] if isinstance(detail, str) and detail else ""
    message = message or f"the server answered {status}"
    if isinstance(fields.get("run_id"), str) and isinstance(code, str):
        return RunFailed(message, code)
    kind = _BY_CODE.get(code) if isinstance(code, str) else None
    if kind is None:
        kind = _class_of_status(status, fields.get("retryable"))
    if kind is Gone:
        reason = fields.get("reason")
        return Gone(message, reason if isinstance(reason, str) else "trimmed")
    if kind is InvalidInputs:
        problems = fields.get("problems")
        return InvalidInputs(
            message, tuple(map(str, problems if isinstance(problems, list) else ()))
        )
    if kind is InvalidEvent:
        index = fields.get("index")
        return InvalidEvent(message, index if isinstance(index, int) else 0)
    if kind is OutOfSequence:
        expected = fields.get("expected")
        return OutOfSequence(message, expected if isinstance(expected, int) else None)
    if kind is errors.Conflict and isinstance(fields.get("decision"), dict):
        return AlreadyAnswered(message, fields["decision"])
    return kind(message)


def _class_of_status(status: int, retryable: object) -> type[RuncastError]:
    """Return the class of an answer whose code is missing or not known."""
    is_failure = status >= 500 or status in _PASSING
    if retryable is True or (is_failure and retryable is not False):
        return ServerUnavailable
    if is_failure:
        return BackendError
    return _BY_STATUS.get(status, CallerError if 400 <= status < 500 else PeerError)


def retry_after_of(value: str) -> float | None:
    """Return the seconds of a `Retry-After`, or None: dates are left out."""
    return float(value) if value.isascii() and value.isdigit() and len(value) < 9 else None


def _classes(root: type[RuncastError]) -> Iterator[type[RuncastError]]:
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from _classes(kind)


def _by_code() -> dict[str, type[RuncastError]]:
    found: dict[str, type[RuncastError]] = {}
    for kind in _classes(RuncastError):
        if "code" in vars(kind) and kind not in (RuncastError, CallerError, BackendError):
            found.setdefault(kind.code, kind)
    return {
        **found,
        **{kind.code: kind for kind in (RuncastError, CallerError, BackendError)},
        "method_not_allowed": CallerError,
    }


_BY_CODE: Final[Mapping[str, type[RuncastError]]] = _by_code()
