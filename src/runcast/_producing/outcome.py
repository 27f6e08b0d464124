"""How a run ended, and the terminal event that says so."""

import asyncio
from typing import Any, Final, NamedTuple

from runcast.errors import Cancelled, InvalidValue, RuncastError

__all__ = (
    "LOST",
    "TAKEN_OVER",
    "Ending",
    "cancelled",
    "check_reason",
    "done",
    "ending_of",
    "failed",
    "failed_with",
    "timed_out",
)

_MAX_MESSAGE_CHARS: Final = 2000
"""Most characters of a message or a reason: as many as a run's present state keeps of it."""


class Ending(NamedTuple):
    """How a run ended: the type and data of its terminal event."""

    type: str
    data: dict[str, Any]


def done(result: object = None, summary: object = None) -> Ending:
    """Return the ending of a run that returned."""
    known = {"result": result, "summary": summary}
    return Ending("done", {name: value for name, value in known.items() if value is not None})


def failed(message: str, code: str, *, retryable: bool = False) -> Ending:
    """Return the ending of a run that failed."""
    shown = message[:_MAX_MESSAGE_CHARS]
    return Ending("failed", {"message": shown, "code": code, "retryable": retryable})


def failed_with(error: BaseException) -> Ending:
    """Return the ending of a run whose function raised.

    Our own errors are meant to be read by whoever called. Anybody else's may hold what a watcher
    must not see: paths, queries, secrets. Of those only the class is told; the log has the rest.
    """
    if isinstance(error, RuncastError):
        return failed(error.message, str(error.code), retryable=error.retryable)
    if isinstance(error, MemoryError):
        return failed("the function ran out of memory", "out_of_memory")
    return failed(f"the function raised {type(error).__name__}", "function_error")


def ending_of(error: BaseException) -> Ending:
    """Return the ending of a run whose function raised something, be it that it was cancelled."""
    if isinstance(error, Cancelled):
        return cancelled(str(error))
    if isinstance(error, asyncio.CancelledError):
        return cancelled("the function cancelled itself")
    return failed_with(error)


def timed_out(run_time_s: float) -> Ending:
    """Return the ending of a run that was at work for longer than `run_time_s`."""
    return failed(
        f"the run took longer than {run_time_s:g} s, as long as a run may take (run_time_s): give "
        "it less to do, or raise the setting",
        "timed_out",
    )


def check_reason(reason: object) -> None:
    """Raise `InvalidValue` if a run cannot be cancelled for this reason."""
    if not isinstance(reason, str):
        raise InvalidValue(f"expected the reason to be a text, got {reason!r:.80}")


def cancelled(reason: str) -> Ending:
    """Return the ending of a run that was cancelled."""
    return Ending("cancelled", {"reason": reason[:_MAX_MESSAGE_CHARS]})


LOST = failed("the process that ran it ended", "lost", retryable=True)
"""The ending of a run whose owner died."""

TAKEN_OVER = failed("another process went on with it, or began it anew", "lost")
"""What an attempt is told whose log others write to now."""
