"""Write to a run from a source without changing what the program does.

A source that cannot write raises nothing: the program continues as if there were no run. Events
that could not be written are counted, and the next written event reports their number. Only
`Cancelled` is raised, and only in the run's own code.
"""

import functools
import logging
import threading
import weakref
from collections.abc import Callable
from typing import Final

from runcast._producing.context import current_writer
from runcast._producing.writer import Writer
from runcast.errors import (
    Cancelled,
    EventTooLarge,
    InvalidValue,
    Overloaded,
    RuncastError,
    StoreUnavailable,
)

__all__ = ("tell", "warn_once")

_LEFT_OUT: Final = (EventTooLarge, InvalidValue, Overloaded, StoreUnavailable)
"""Errors after which the next event may still be written."""

_counts: Final[weakref.WeakKeyDictionary[Writer, int]] = weakref.WeakKeyDictionary()
"""For each run, the number of events dropped since the last written one."""

_lock: Final = threading.RLock()
_busy: Final = threading.local()


@functools.cache
def warn_once(text: str) -> None:
    """Log a warning for the developer, the first time that it is needed."""
    logging.getLogger("runcast.sources").warning(text)


def tell(
    writer: Writer,
    write: Callable[[], None],
    passed: tuple[type[RuncastError], ...] = (),
) -> bool:
    """Write something to a run; return False if the run accepts nothing more from here.

    Does nothing while this thread already writes for a source, because writing may log.

    Args:
        write: calls a method of the writer.
        passed: errors to raise all the same.

    Raises:
        `passed`: as it says.
        Cancelled: the run was cancelled, and this is the run's own code.
    """
    if not writer.home.is_here:
        return False  # a fork of the run's process
    if getattr(_busy, "is_set", False):
        return True
    _busy.is_set = True
    try:
        if writer in _counts:
            _report_left_out(writer)
        write()
    except _LEFT_OUT:
        _count(writer, 1)
    except RuncastError as error:
        if isinstance(error, passed):
            raise
        return False  # the run has ended, or is full
    except Cancelled:
        if current_writer() is writer:
            raise
    finally:
        _busy.is_set = False
    return True


def _report_left_out(writer: Writer) -> None:
    with _lock:
        count = _counts.pop(writer, 0)
    try:
        writer.log(f"events left out here: {count}", "warning", logger="runcast.sources")
    except BaseException:
        _count(writer, count)
        raise


def _count(writer: Writer, more: int) -> None:
    with _lock:
        _counts[writer] = _counts.get(writer, 0) + more
