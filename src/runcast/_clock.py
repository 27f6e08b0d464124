"""The only module that reads the time."""

from time import monotonic, time
from typing import Final, Protocol

from runcast._logs import get_logger

__all__ = ("Clock", "ClockSteps", "SystemClock")

_STEP_S: Final = 60.0
"""Smaller steps forward are ignored."""

_HOLD_S: Final = 3600.0
"""How long the time after a step is not trusted: long enough for a person or a daemon to set the
clock back."""

_log: Final = get_logger("runcast.clock")


class Clock(Protocol):
    """A clock. Tests pass in a clock that they move by hand (`runcast.testing.FakeClock`)."""

    def time(self) -> float:
        """Wall clock: Unix seconds. May jump when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds since some point; never goes back; for deadlines and durations. It stands still
        while the machine sleeps. Processes that share a store share this clock."""
        ...


class SystemClock:
    """The machine's own clocks."""

    # Bound once, because `emit()` reads the time for every event. `time` comes last because it
    # hides the module.
    monotonic = staticmethod(monotonic)
    time = staticmethod(time)


class ClockSteps:
    """Notices when the wall clock was set forward, which makes everything look old.

    Code that deletes by age takes its time from here: a wrongly set clock would delete everything.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = clock.time() - clock.monotonic()
        self._trusted_from = clock.monotonic()

    def trusted_time(self) -> float | None:
        """Return the wall clock's time if ages by it can be trusted, else None.

        They cannot for an hour after a step forward, or after the machine slept. They can again
        once the clock was set back. Delete by the returned time: the clock may be set right after.
        """
        time, now = self._clock.time(), self._clock.monotonic()
        before, self._offset = self._offset, time - now
        step_s = self._offset - before
        if step_s > _STEP_S:
            self._trusted_from = now + _HOLD_S
            _log.info("the clock went forward by %.0f s: nothing is deleted for an hour", step_s)
        elif step_s < -_STEP_S:
            self._trusted_from = now
        return time if now >= self._trusted_from else None
