"""The only reader of time."""

from time import monotonic, time
from typing import Protocol

__all__ = ("Clock", "SystemClock")


class Clock(Protocol):
    """What tells the time; tests hand in one they move by hand (`runcast.testing.FakeClock`)."""

    def time(self) -> float:
        """Wall clock: Unix seconds. May jump when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds since some point; never goes back; for deadlines and durations."""
        ...


class SystemClock:
    """The machine's own clocks."""

    # Bound once: `emit()` reads the time for every event. `time` comes last, as it hides the
    # module.
    monotonic = staticmethod(monotonic)
    time = staticmethod(time)
