"""Open-loop pacing: what is due is published, whether or not the server keeps up."""

import time

TICK_S = 0.001  # the shortest wait; several events may be due after one


class Pace:
    """Says how many of `total` events are due by now, at `rate` a second, and how long to wait."""

    def __init__(self, total: int, rate: float) -> None:
        self._total = total
        self._rate = rate
        self._began = time.monotonic()

    def due(self) -> int:
        """Return how many events should have been published by now."""
        return min(self._total, int((time.monotonic() - self._began) * self._rate) + 1)

    def wait_s(self, published: int) -> float:
        """Return the seconds until the next event is due, at least one tick."""
        return max(TICK_S, self._began + published / self._rate - time.monotonic())
