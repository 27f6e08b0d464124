"""How often a function should tell how far it is."""

from typing import Final

from runcast._clock import Clock, SystemClock

__all__ = ("Reports",)

_EVERY_S: Final = 0.2
"""Five reports a second look continuous; more only fill the log."""


class Reports:
    """Says when the next report is due: now, and then at most five times a second."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._now = (clock or SystemClock()).monotonic
        self._began = self._now()
        self._due = self._began

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start; never 0, so that one may divide by it."""
        return max(self._now() - self._began, 1e-6)

    def is_due(self) -> bool:
        """Tell whether it is time for a report; if so, the next is due later."""
        now = self._now()
        if now < self._due:
            return False
        self._due = now + _EVERY_S
        return True
