"""Every error runcast raises, in one tree split by who has to act.

    RuncastError
    ├── CallerError            the caller asked for something that cannot be done
    │   ├── InvalidValue           a value is not what was expected
    │   │   ├── InvalidInputs          a function's inputs break its schema
    │   │   └── MissingSecret          a secret that a function needs is nowhere to be found
    │   ├── KeyReused              an idempotency key came with another invocation before
    │   ├── EventTooLarge          an event is bigger than a log may hold
    │   ├── RunTooLarge            a run has emitted as much as a run may
    │   ├── RunClosed              the run has ended; nothing follows its ending
    │   ├── Stale                  the fence is old: another owner holds the log now
    │   ├── OutOfSequence          an append is not the next one of its producer
    │   ├── Conflict               something with that name is already there
    │   │   └── AlreadyAnswered        a question has another answer
    │   ├── NotFound               there is no such run, function or file
    │   ├── Unauthorized           the request does not say who makes it
    │   ├── Forbidden              the request may not do that
    │   ├── HeadTooLarge           a request's path and headers are more than the server takes
    │   ├── BodyTooLarge           a request's body is bigger than the server takes
    │   ├── FileTooLarge           a file, or files together, are bigger than the server takes
    │   ├── RangeNotSatisfiable    a part of a file is asked for that it does not have
    │   ├── RequestTooSlow         a request's body did not arrive in time
    │   └── Gone                   a position names events that cannot be read any more
    ├── RunFailed              a run ended without a result; functions raise it to say why
    ├── Overloaded             a bound is reached; waiting helps
    ├── PeerError              the other end of a wire sent something illegal
    └── BackendError           something runcast rests on failed
        ├── StoreUnavailable       the store could not be reached; retrying helps
        ├── StoreReadOnly          the store may be read, not written
        └── StoreUnusable          the store's files are not what this version can open

`Cancelled` stands beside the tree: it is a signal, not an error; so do `UncheckedInput`, a warning,
and `ProcessTraceback`, which is only ever the cause of a `RunFailed`.

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
    "Stale",
    "StoreReadOnly",
    "StoreUnavailable",
    "StoreUnusable",
    "Unauthorized",
    "UncheckedInput",
)


_MAX_PROBLEMS: Final = 20
"""Most problems with inputs that an error names."""

_MAX_PROBLEM_CHARS: Final = 300
"""Most characters of one of them."""


class RuncastError(Exception):
    """The root of all errors raised by runcast."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    @property
    def message(self) -> str:
        """What was expected, what came, and what to do."""
        return str(self.args[0]) if self.args else self.code

    @property
    def public(self) -> str:
        """`message` as clients and watchers may read it: it names no file of this machine."""
        return self.message

    def __str__(self) -> str:
        return self.message  # not the other arguments, which only make it one to copy or pickle


class CallerError(RuncastError):
    """The caller asked for something that cannot be done."""

    code = "bad_request"
    status = 400


class InvalidValue(CallerError, ValueError):
    """A value is not what was expected."""

    code = "invalid_value"
    status = 400


class InvalidInputs(InvalidValue):
    """A function's inputs break its schema; `problems` names what is wrong with them."""

    code = "invalid_inputs"
    status = 422

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, problems)
        self.problems = problems

    @classmethod
    def naming(cls, problems: Iterable[str], what: str, takes: Iterable[str]) -> Self:
        """Return the error that names problems: _MAX_PROBLEMS of them at most.

        The sender of inputs chooses how many problems there are, and what they repeat.

        Args:
            what: is wrong.
            takes: what could have been given.
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


class MissingSecret(InvalidValue):
    """A secret that a function needs was not given and is nowhere to be found."""

    code = "missing_secret"


class KeyReused(CallerError):
    """An idempotency key came with another invocation before."""

    code = "key_reused"
    status = 422


class EventTooLarge(CallerError):
    """An event is bigger than a log may hold."""

    code = "event_too_large"
    status = 413


class RunTooLarge(CallerError):
    """A run has emitted as much as a run may; it can still end."""

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

    `expected` is the number that is next: one below it was made before, one above it was not made.
    It is None if the log has forgotten the producer and nobody knows what it has done.
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
    """A question has another answer; `decision` is that: its type, args, by and approved."""

    def __init__(self, message: str, decision: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, decision)
        self.decision = decision or {}


class NotFound(CallerError):
    """There is no such run, function or file."""

    code = "not_found"
    status = 404


class Unauthorized(CallerError):
    """The request does not carry what proves that it may be made."""

    code = "unauthorized"
    status = 401


class HeadTooLarge(CallerError):
    """A request's path and headers are more than the server takes."""

    code = "head_too_large"
    status = 431


class BodyTooLarge(CallerError):
    """A request's body is bigger than the server takes."""

    code = "body_too_large"
    status = 413


class FileTooLarge(CallerError):
    """A file, or the files of one run together, are bigger than the server takes."""

    code = "file_too_large"
    status = 413


class RangeNotSatisfiable(CallerError):
    """A part of a file is asked for that it does not have."""

    code = "range_not_satisfiable"
    status = 416


class RequestTooSlow(CallerError):
    """A request's body did not arrive in the time the server gives it."""

    code = "request_too_slow"
    status = 408
    retryable = True


class Forbidden(CallerError):
    """The request may not do that."""

    code = "forbidden"
    status = 403


class Gone(CallerError):
    """A position names events that cannot be read any more.

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

    Raised by whoever waits for the result of a run that failed or was cancelled. Raise it inside a
    function to end its run with a message and a code that watchers may read: of other exceptions
    they learn only the class.
    """

    status = 500

    def __init__(self, message: str, code: str = "function_error") -> None:
        super().__init__(message, code)
        self.code = code  # type: ignore[misc]


class Overloaded(RuncastError):
    """A named bound is reached; the same call can succeed once others are done."""

    code = "overloaded"
    status = 503
    retryable = True


class PeerError(RuncastError):
    """The other end of a wire sent something illegal."""

    code = "peer_error"
    status = 502


class BackendError(RuncastError):
    """Something runcast rests on failed.

    Args:
        message: for the operator; may name files and folders.
        public: the same for clients; `message` if that names none.
    """

    code = "backend_error"
    status = 503

    def __init__(self, message: str = "", public: str = "") -> None:
        super().__init__(*filter(None, (message, public)))

    @property
    def public(self) -> str:
        """What clients and watchers may read."""
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
    """Raised once inside a function that runs in a thread, at its next emit, when it is cancelled.

    A signal, not an error: like `asyncio.CancelledError` it passes `except Exception`. Clean up and
    let it go; what is emitted while cleaning up is still taken.
    """


class ProcessTraceback(Exception):
    """What a function raised in a process of its own: the `__cause__` of its `RunFailed`.

    The exception itself stays in that process; `trace` is its traceback as text. Values of secrets
    and inputs are hidden in it.
    """

    def __init__(self, trace: str) -> None:
        super().__init__(trace)
        self.trace = trace

    def __str__(self) -> str:
        return f"in a process of its own:\n{self.trace}"


class UncheckedInput(UserWarning):
    """An input of a function is taken as it comes: nothing is known of its type.

    Warned of where the function is decorated. Either the annotation cannot be resolved, or no JSON
    can be converted to it.
    """
