"""How often a function should report its progress."""

from typing import Final

from runcast._clock import Clock, SystemClock

__all__ = ("Reports",)

_EVERY_S: Final = 0.2
"""Five reports a second look continuous; more only fill the log."""


class Reports:
    """Decides when a report is due: at once, and then at most five times a second."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._now = (clock or SystemClock()).monotonic
        self._began = self._now()
        self._due = self._began

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start; never 0, so that it can be a divisor."""
        return max(self._now() - self._began, 1e-6)

    def is_due(self) -> bool:
        """Return whether a report is due; if so, schedule the next one."""
        now = self._now()
        if now < self._due:
            return False
        self._due = now + _EVERY_S
        return True
