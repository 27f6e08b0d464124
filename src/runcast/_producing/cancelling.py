"""What to call when a run is cancelled: code that must interrupt what a thread waits for."""

from collections.abc import Callable
from typing import Final

from runcast._hub.forks import make_lock
from runcast._logs import get_logger

__all__ = ("Cancelling",)

_log: Final = get_logger("runcast.runs")


class Cancelling:
    """The functions to call when a run is cancelled. Use from any thread."""

    def __init__(self) -> None:
        self._lock = make_lock()
        self._calls: dict[object, Callable[[], None]] = {}

    def add(self, call: Callable[[], None]) -> Callable[[], None]:
        """Add a function; return what removes it again."""
        key = object()
        with self._lock:
            self._calls[key] = call

        def remove() -> None:
            with self._lock:
                self._calls.pop(key, None)

        return remove

    def run(self, run_id: str) -> None:
        """Call each function once, the latest first. One that raises is logged and skipped."""
        with self._lock:
            calls = [*reversed(self._calls.values())]
            self._calls.clear()
        for call in calls:
            try:
                call()
            except Exception:  # noqa: BLE001 - a user's code; the rest must be called
                _log.exception("run %s: %r failed at the cancellation", run_id, call)
