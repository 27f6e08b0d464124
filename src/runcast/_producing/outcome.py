"""The outcome of code that raised."""

import asyncio

from runcast.errors import Cancelled
from runcast.events.outcome import Outcome, cancelled, done, failed_with, is_clean_exit

__all__ = ("outcome_of",)


def outcome_of(error: BaseException) -> Outcome:
    """Return the outcome of a run whose function raised something; it may have been cancelled."""
    if is_clean_exit(error):
        return done()
    if isinstance(error, Cancelled):
        return cancelled(str(error))
    if isinstance(error, asyncio.CancelledError):
        return cancelled("the function cancelled itself")
    return failed_with(error)
