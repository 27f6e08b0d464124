"""The outcome of a run: how it ended, from its terminal event."""

from typing import Any, Final, NamedTuple

from runcast.errors import InvalidValue, RuncastError

__all__ = (
    "LOST",
    "MAX_CODE_CHARS",
    "MAX_MESSAGE_CHARS",
    "TAKEN_OVER",
    "Outcome",
    "cancelled",
    "checked_reason",
    "done",
    "failed",
    "failed_with",
    "is_clean_exit",
    "is_logged",
    "timed_out",
)

MAX_MESSAGE_CHARS: Final = 2000
"""Most characters of a message or a reason: as many as a snapshot keeps."""

MAX_CODE_CHARS: Final = 200
"""Most characters of the code of a failure, which functions may choose."""


class Outcome(NamedTuple):
    """How a run ended: the type and data of its terminal event."""

    type: str
    data: dict[str, Any]


def done(result: object = None, summary: object = None) -> Outcome:
    """Return the outcome of a run that returned."""
    known = {"result": result, "summary": summary}
    return Outcome("done", {name: value for name, value in known.items() if value is not None})


def failed(message: str, code: str, *, retryable: bool = False) -> Outcome:
    """Return the outcome of a run that failed."""
    shown = message[:MAX_MESSAGE_CHARS]
    fields = {"message": shown, "code": code[:MAX_CODE_CHARS], "retryable": retryable}
    return Outcome("failed", fields)


def failed_with(error: BaseException, what: str = "function") -> Outcome:
    """Return the outcome of a run whose function, or block of code, raised.

    Our own errors are written for the caller. Any other error may hold what a watcher must not
    see: paths, queries, secrets. Of such an error only the class is named; the server's log has the
    rest.
    """
    if isinstance(error, RuncastError):
        return failed(error.public, str(error.code), retryable=error.retryable)
    if isinstance(error, MemoryError):
        return failed(f"the {what} ran out of memory", "out_of_memory")
    return failed(f"the {what} raised {type(error).__name__}", "function_error")


def is_logged(message: str, code: str) -> bool:
    """Return whether the log of the server that ran the function has the traceback of a failure.

    `message` and `code` are those of `failed_with`, or of a failed import. A failure that the
    function reports itself, by `RunFailed`, is not logged.
    """
    said = {
        "function_error": "the function raised ",
        "out_of_memory": "the function ran out of memory",
        "import_failed": "it cannot be imported: ",
        "interrupted": "the run was interrupted",
    }
    return message.startswith(said.get(code, "\n"))


def is_clean_exit(error: BaseException) -> bool:
    """Return whether this is `sys.exit()` or `sys.exit(0)`, the way scripts end without an
    error."""
    return isinstance(error, SystemExit) and (
        error.code is None or (isinstance(error.code, int) and error.code == 0)
    )


def timed_out(run_time_s: float) -> Outcome:
    """Return the outcome of a run that worked for longer than `run_time_s`."""
    return failed(
        f"the run took longer than {run_time_s:g} s, as long as a run may take (run_time_s): give "
        "it less to do, or raise the setting",
        "timed_out",
    )


def checked_reason(reason: object) -> str:
    """Return the reason of a cancellation as it is stored. Raises `InvalidValue` if it is not a
    string."""
    if not isinstance(reason, str):
        raise InvalidValue(f"expected the reason to be a text, got {reason!r:.80}")
    return reason[:MAX_MESSAGE_CHARS]


def cancelled(reason: str) -> Outcome:
    """Return the outcome of a run that was cancelled."""
    return Outcome("cancelled", {"reason": reason[:MAX_MESSAGE_CHARS]})


LOST = failed("the process that ran it ended", "lost", retryable=True)
"""The outcome of a run whose owner died."""

TAKEN_OVER = failed("another process continued the run, or began it again", "lost")
"""The outcome of an attempt whose log another process writes now."""
