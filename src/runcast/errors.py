"""Every error that runcast raises, in one tree that shows who has to act.

    RuncastError
    ├── CallerError            the caller asked for something that cannot be done
    │   ├── InvalidValue           a value is not what was expected
    │   │   ├── InvalidInputs          a function's inputs break its schema
    │   │   ├── InvalidEvent           one event of a batch cannot be written
    │   │   └── MissingSecret          a secret that a function needs is missing
    │   ├── KeyReused              an idempotency key came with another invocation before
    │   ├── EventTooLarge          an event is larger than a log may hold
    │   ├── RunTooLarge            a run has reached its limit of events
    │   ├── RunClosed              the run has ended; nothing follows its ending
    │   ├── Stale                  the fence is old: the log has another owner now
    │   ├── OutOfSequence          an append is not the next one of its producer
    │   ├── Conflict               something with that name is already there
    │   │   └── AlreadyAnswered        a question has another answer
    │   ├── NotFound               the run, function or file does not exist
    │   ├── Unauthorized           the request has no valid credentials
    │   ├── Forbidden              the request may not do that
    │   ├── HeadTooLarge           a request's path and headers are larger than the server allows
    │   ├── BodyTooLarge           a request's body is larger than the server allows
    │   ├── FileTooLarge           a file, or files together, are larger than the server allows
    │   ├── RangeNotSatisfiable    the requested part of a file does not exist
    │   ├── RequestTooSlow         a request's body did not arrive in time
    │   └── Gone                   a position names events that can no longer be read
    ├── RunFailed              a run ended without a result; functions raise it to say why
    ├── Overloaded             a bound is reached; waiting helps
    ├── ServerUnavailable      a server cannot be reached, or cannot do it now; waiting helps
    ├── PeerError              the other end of a connection sent something invalid
    └── BackendError           something that runcast depends on failed
        ├── StoreUnavailable       the store could not be reached; retrying helps
        ├── StoreReadOnly          the store may be read, not written
        └── StoreUnusable          the store's files are not what this version can open

`Cancelled` is outside the tree, because it is a signal and not an error. So are `UncheckedInput`, a
warning, and `ProcessTraceback`, which is only the cause of a `RunFailed`.

Long because it is one tree.

Each class has a stable `code` (on the wire, in problem documents and `failed` events), the HTTP
`status` it maps to, and `retryable`: whether the same call can succeed later.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, Self

__all__ = (
    "AlreadyAnswered",
    "BackendError",
    "BodyTooLarge",
    "CallerError",
    "Cancelled",
    "Conflict",
    "EventTooLarge",
    "FileTooLarge",
    "Forbidden",
    "Gone",
    "HeadTooLarge",
    "InvalidEvent",
    "InvalidInputs",
    "InvalidValue",
    "KeyReused",
    "MissingSecret",
    "NotFound",
    "OutOfSequence",
    "Overloaded",
    "PeerError",
    "ProcessTraceback",
    "RangeNotSatisfiable",
    "RequestTooSlow",
    "RunClosed",
    "RunFailed",
    "RunTooLarge",
    "RuncastError",
    "ServerUnavailable",
    "Stale",
    "StoreReadOnly",
    "StoreUnavailable",
    "StoreUnusable",
    "Unauthorized",
    "UncheckedInput",
)


_MAX_PROBLEMS: Final = 20
"""Most problems with inputs in one error."""

_MAX_PROBLEM_CHARS: Final = 300
"""Most characters of one problem."""


class RuncastError(Exception):
    """The root of all errors raised by runcast."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    retry_after_s: float | None = None
    """How long to wait before the same call, as a server asked for; None if it did not say."""

    @property
    def message(self) -> str:
        """The text: what was expected, what came, and what to do."""
        return str(self.args[0]) if self.args else self.code

    @property
    def public(self) -> str:
        """`message` for clients and watchers: it names no file of this machine."""
        return self.message

    def __str__(self) -> str:
        return self.message  # not the other arguments, which exist only for copying and pickling


class CallerError(RuncastError):
    """The caller asked for something that cannot be done."""

    code = "bad_request"
    status = 400


class InvalidValue(CallerError, ValueError):
    """A value is not what was expected."""

    code = "invalid_value"
    status = 400


class InvalidInputs(InvalidValue):
    """A function's inputs break its schema; `problems` lists what is wrong."""

    code = "invalid_inputs"
    status = 422

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, problems)
        self.problems = problems

    @classmethod
    def naming(cls, problems: Iterable[str], what: str, takes: Iterable[str]) -> Self:
        """Return an error that lists at most _MAX_PROBLEMS problems.

        Bounded, because the sender of the inputs chooses the number of problems and their text.

        Args:
            what: the thing that is wrong.
            takes: the names that are accepted.
        """
        found = sorted(problems)
        shown = [
            text if len(text) <= _MAX_PROBLEM_CHARS else f"{text[:_MAX_PROBLEM_CHARS]}…"
            for text in found[:_MAX_PROBLEMS]
        ]
        if len(found) > len(shown):
            shown.append(f"and {len(found) - len(shown)} more")
        names = ", ".join(takes) or "none"
        return cls(f"{what} are wrong: {'; '.join(shown)} (it takes: {names})", tuple(shown))


class InvalidEvent(InvalidValue):
    """One event of a batch cannot be written, so none was. `index` is its place, from 0."""

    code = "invalid_event"
    status = 422

    def __init__(self, message: str, index: int = 0) -> None:
        super().__init__(message, index)
        self.index = index


class MissingSecret(InvalidValue):
    """A secret that a function needs is missing."""

    code = "missing_secret"


class KeyReused(CallerError):
    """An idempotency key came with another invocation before."""

    code = "key_reused"
    status = 422


class EventTooLarge(CallerError):
    """An event is larger than a log may hold."""

    code = "event_too_large"
    status = 413


class RunTooLarge(CallerError):
    """A run has reached its limit of events; it can still end."""

    code = "run_too_large"
    status = 413


class RunClosed(CallerError):
    """The run has ended; nothing can follow its terminal event."""

    code = "run_closed"
    status = 409


class Stale(CallerError):
    """The fence is old: another owner has taken the log over, or it began a new epoch."""

    code = "stale"
    status = 409


class OutOfSequence(CallerError):
    """An append is not the next one of its producer.

    `expected` is the next number. A lower number was used before; a higher one leaves a gap. None
    means that the log has forgotten the producer.
    """

    code = "out_of_sequence"
    status = 409

    def __init__(self, message: str, expected: int | None) -> None:
        super().__init__(message, expected)
        self.expected = expected


class Conflict(CallerError):
    """Something with that name is already there, or the same key came with other content."""

    code = "conflict"
    status = 409


class AlreadyAnswered(Conflict):
    """A question has another answer: `decision`, with its type, args, by and approved."""

    def __init__(self, message: str, decision: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, decision)
        self.decision = decision or {}


class NotFound(CallerError):
    """The run, function or file does not exist."""

    code = "not_found"
    status = 404


class Unauthorized(CallerError):
    """The request has no valid credentials."""

    code = "unauthorized"
    status = 401


class HeadTooLarge(CallerError):
    """A request's path and headers are larger than the server allows."""

    code = "head_too_large"
    status = 431


class BodyTooLarge(CallerError):
    """A request's body is larger than the server allows."""

    code = "body_too_large"
    status = 413


class FileTooLarge(CallerError):
    """A file, or the files of one run together, are larger than the server allows."""

    code = "file_too_large"
    status = 413


class RangeNotSatisfiable(CallerError):
    """The requested part of a file does not exist."""

    code = "range_not_satisfiable"
    status = 416


class RequestTooSlow(CallerError):
    """A request's body did not arrive in time."""

    code = "request_too_slow"
    status = 408
    retryable = True


class Forbidden(CallerError):
    """The request may not do that."""

    code = "forbidden"
    status = 403


class Gone(CallerError):
    """A position names events that can no longer be read.

    `reason` is one of `trimmed` (retention removed them), `replaced` (the log began a new epoch)
    and `rewound` (the position lies beyond the head: the log was cut by a power loss).
    """

    code = "gone"
    status = 410

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message, reason)
        self.reason = reason


class RunFailed(RuncastError):
    """A run ended without a result.

    Raised when waiting for the result of a run that failed or was cancelled. Raise it inside a
    function to end its run with a message and a code that watchers may read. For any other
    exception, watchers see only the class.
    """

    status = 500

    def __init__(self, message: str, code: str = "function_error") -> None:
        super().__init__(message, code)
        self.code = code  # type: ignore[misc]


class Overloaded(RuncastError):
    """A named bound is reached; the same call can succeed later."""

    code = "overloaded"
    status = 503
    retryable = True


class ServerUnavailable(RuncastError):
    """A server cannot be reached, or cannot do it now; the same call can succeed later.

    It is unknown whether the server did what it was asked for.
    """

    code = "server_unavailable"
    status = 503
    retryable = True


class PeerError(RuncastError):
    """The other end of a connection sent something invalid."""

    code = "peer_error"
    status = 502


class BackendError(RuncastError):
    """Something that runcast depends on failed.

    Args:
        message: for the operator; may name files and folders.
        public: the same for clients; by default `message`.
    """

    code = "backend_error"
    status = 503

    def __init__(self, message: str = "", public: str = "") -> None:
        super().__init__(*filter(None, (message, public)))

    @property
    def public(self) -> str:
        """The text that clients and watchers may read."""
        return str(self.args[1]) if len(self.args) > 1 else self.message


class StoreUnavailable(BackendError):
    """The store could not be reached or could not write; nothing was appended; retrying helps."""

    code = "store_unavailable"
    retryable = True


class StoreReadOnly(BackendError):
    """The store can be read but not written: its file or file system is read-only."""

    code = "store_read_only"


class StoreUnusable(BackendError):
    """The store's files are not what this version can open."""

    code = "store_unusable"


class Cancelled(BaseException):
    """Raised once in a cancelled function that runs in a thread, at its next emit.

    It is a signal, not an error: like `asyncio.CancelledError` it passes `except Exception`. Clean
    up and let it pass; events emitted during the clean-up are still accepted.
    """


class ProcessTraceback(Exception):
    """The exception of a function in its own process: the `__cause__` of its `RunFailed`.

    The exception itself stays in that process; `trace` is its traceback as text. Values of secrets
    and inputs are hidden in it.
    """

    def __init__(self, trace: str) -> None:
        super().__init__(trace)
        self.trace = trace

    def __str__(self) -> str:
        return f"in a process of its own:\n{self.trace}"


class UncheckedInput(UserWarning):
    """An input of a function is passed on unchecked, because its type is unknown.

    The warning points to the function's decorator. Either the annotation cannot be resolved, or no
    JSON can be converted to it.
    """
