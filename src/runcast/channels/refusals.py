"""Log lines about requests that no platform signed. Anybody can send such requests, so their lines
are few: one a minute for each channel of the file, and one for all other names together.

Source: ours.
"""

from typing import Final

from runcast._clock import Clock
from runcast._logs import get_logger

__all__ = ("Refusals",)

_EVERY_S: Final = 60.0
"""Shortest time between two lines about one channel."""

_log: Final = get_logger("runcast.channels")


class Refusals:
    """Counts refused requests, and logs some of them.

    Args:
        every_s: shortest time between two lines about one channel.
    """

    def __init__(self, clock: Clock, every_s: float = _EVERY_S) -> None:
        self._clock = clock
        self._every_s = every_s
        self._silent: dict[str, tuple[float, int]] = {}
        """By channel: until when nothing is logged, and how many requests were not logged."""

    def note(self, name: str, why: str, *, is_known: bool) -> None:
        """Log that a request was refused, or only count it.

        Args:
            name: from the request's path: anything, unless it `is_known`.
            why: without a secret.
            is_known: whether the channels file has the name. All others count together, so that
                the names of strangers take no memory.
        """
        key, now = name if is_known else "", self._clock.monotonic()
        until, count = self._silent.get(key, (now, 0))
        if now < until:
            self._silent[key] = until, count + 1
            return
        self._silent[key] = now + self._every_s, 0
        more = f" ({count} more since the last such line)" if count else ""
        _log.warning("a request to /channels/%.80s was refused%s: %s", name, more, why)
