"""Tracebacks of the functions of this process, kept in memory for their developers."""

from collections import OrderedDict
from typing import Final

from runcast._logs import format_error
from runcast.errors import ProcessTraceback

__all__ = ("MAX_TRACEBACKS", "Tracebacks")

MAX_TRACEBACKS: Final = 100
"""Most tracebacks kept, of the latest failed runs; `_logs` limits the length of each."""


class Tracebacks:
    """The latest tracebacks, by run and epoch. Keeps nothing until `keep` is called.

    They are never logged, stored or emitted. Only the server's debug mode shows them.
    """

    def __init__(self) -> None:
        self._is_keeping = False
        self._texts: OrderedDict[tuple[str, str], str] = OrderedDict()

    def keep(self) -> None:
        """Keep tracebacks of runs that fail from now on."""
        self._is_keeping = True

    def add(self, run_id: str, epoch: str, error: BaseException) -> None:
        """Keep the exception of a run's function."""
        if not self._is_keeping:
            return
        shown = error.trace if isinstance(error, ProcessTraceback) else format_error(error)
        self._texts[run_id, epoch] = shown.rstrip("\n")
        if len(self._texts) > MAX_TRACEBACKS:
            self._texts.popitem(last=False)

    def of(self, run_id: str, epoch: str) -> str:
        """Return the exception of a run's function with its traceback, or ""."""
        return self._texts.get((run_id, epoch), "")
