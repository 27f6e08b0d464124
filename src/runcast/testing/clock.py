"""A clock that moves only by hand."""

from typing import Final

__all__ = ("FakeClock",)

_START: Final = 1_763_715_600.0  # an arbitrary day; its number leaves room for sub-second digits


class FakeClock:
    """A `Clock` for tests: time stands still between calls of `advance` and `jump`.

    Args:
        time: the wall clock's first reading, Unix seconds.
    """

    def __init__(self, time: float = _START) -> None:
        self._time = time
        self._monotonic = 1000.0  # not 0: code that mistakes 0.0 for "never" must fail

    def time(self) -> float:
        """Unix seconds."""
        return self._time

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass for both clocks. Raises `ValueError` if `seconds` is negative."""
        if seconds < 0:
            raise ValueError(f"expected seconds >= 0, got {seconds!r}; use jump() to go back")
        self._time += seconds
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator or NTP does; no time passes."""
        self._time += seconds
