"""How sources write to a run without changing what the program around them does.

A source that cannot write raises nothing: the program goes on as if there were no run. What could
not be written is counted, and the next event that can be written says how much is missing.
`Cancelled` alone is raised, and only in the code of the run itself.
"""

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

__all__ = ("tell",)

_LEFT_OUT: Final = (EventTooLarge, InvalidValue, Overloaded, StoreUnavailable)
"""One event cannot be written; the next one may be."""

_counts: Final[weakref.WeakKeyDictionary[Writer, int]] = weakref.WeakKeyDictionary()
"""How many events of each run were left out since the last one that was written."""

_lock: Final = threading.RLock()
_busy: Final = threading.local()


def tell(writer: Writer, write: Callable[[], None]) -> bool:
    """Have something written to a run; return False if the run takes nothing more from here.

    Nothing is written while this thread already writes for a source: writing may log.

    Args:
        write: calls a method of the writer.

    Raises:
        Cancelled: the run was cancelled, and this is code of the run.
    """
    if not writer.home.is_here:
        return False  # a process that was forked from the run's
    if getattr(_busy, "is_set", False):
        return True
    _busy.is_set = True
    try:
        if writer in _counts:
            _report_left_out(writer)
        write()
    except _LEFT_OUT:
        _count(writer, 1)
    except RuncastError:
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
