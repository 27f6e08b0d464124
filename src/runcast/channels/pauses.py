"""How long a delivery waits after calls that failed. Pure.

Source: ours.
"""

from typing import Final

__all__ = ("Pauses",)

_BACKOFF_S: Final = 0.08
_REFUSED_S: Final = 0.25
_MAX_BACKOFF_S: Final = 60.0
_GROWTH: Final = 1.5
"""Pause after a call without an answer, pause after a refusal, their longest, and how they grow.
Four connections that break one after the other cost less than a second."""

_MAX_STEPS: Final = 30
"""Most failures that make a pause longer: the longest pause is reached before, and the power stays
small."""


class Pauses:
    """The failures of one delivery in a row, and the pause that follows them."""

    def __init__(self) -> None:
        self.failures = 0
        """Calls that failed, one after the other."""
        self.resume_at = 0.0
        """No call before this time."""

    def back_off(self, now: float, *, is_refused: bool = False) -> None:
        """Wait: the longer, the more calls have failed.

        Args:
            is_refused: whether the platform has answered, and refuses the message.
        """
        first_s = _REFUSED_S if is_refused else _BACKOFF_S
        pause_s = first_s * _GROWTH ** min(self.failures - 1, _MAX_STEPS)
        self.resume_at = now + min(pause_s, _MAX_BACKOFF_S)

    def end(self, now: float) -> None:
        """Forget the failures and the pause: the end of a run is tried at once."""
        self.failures, self.resume_at = 0, min(self.resume_at, now)
