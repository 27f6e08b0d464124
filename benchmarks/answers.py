"""What becomes of an answer that is delivered to a chat, and the table that says so.

The targets:

- the end is visible exactly once in every run, or the receipt says that nobody can know;
- the end is there one second after the wait that the server imposed, or sooner;
- a penalty costs one refused call, and no call is made while it lasts;
- the first text is there after 1.2 seconds.

A server imposes two kinds of waits. It names a time for which it takes no calls: in a refusal, or
in the answer to the last call that it takes for now. Or it is silent, and the request ends after
the client's time-out. A connection that breaks and a failure of the server (500) are no such waits.
"""

import dataclasses
from collections.abc import Sequence
from statistics import median
from typing import Final

__all__ = ("END", "HEAD", "RATE", "Seen", "Waits", "line", "tokens")

RATE: Final = 10.0  # tokens in a second
END: Final = "THE-END."


def tokens(count: int) -> list[str]:
    """Return the tokens of an answer; the last one is `END`."""
    return [*(f"w{number} " for number in range(count - 1)), END]


class Waits:
    """The waits that a server imposed, as spans of time."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []

    def add(self, start: float, end: float) -> None:
        """Note one of them."""
        self._spans.append((start, end))

    def between(self, start: float, end: float) -> float:
        """Return how long at least one of them lasts within a time, seconds."""
        total, at = 0.0, float("-inf")
        for first, last in sorted((max(a, start), min(b, end)) for a, b in self._spans):
            total += max(0.0, last - max(first, at))
            at = max(at, last)
        return total

    @property
    def until(self) -> float:
        """When the last one ends."""
        return max((end for _, end in self._spans), default=float("-inf"))


@dataclasses.dataclass
class Seen:
    """What became of one run, and what it cost."""

    ends: int
    """How often the end is visible."""
    is_clean: bool
    """Whether the whole text is visible once, and nothing else is."""
    lag_s: float | None
    """From the end of the run until the end is visible, without the waits that were imposed."""
    imposed_s: float
    """These waits."""
    first_s: float | None
    """From the beginning until a text is visible, without the waits that were imposed."""
    refused: int
    windows: int
    """Refusals that began a penalty."""
    blocked: int
    calls: int
    call_s: float = 0.0
    slowest_s: float = 0.0
    """How long a call took: the median, and the longest."""
    said: str = ""
    """The receipt's status; "" for a way that has none."""

    @property
    def outcome(self) -> str:
        """`once`, `uncertain`, or `wrong`: the end is not there once, and no receipt says so."""
        if self.ends == 1:
            return "once"
        return "uncertain" if self.said in ("uncertain", "failed") else "wrong"


HEAD: Final = (
    "| chat, faults | way | end once | uncertain | wrong | nothing else | lag p50, max (s) "
    "| imposed max (s) | 429 per penalty | while blocked | first text p50, max (s) | calls |\n"
    + "|---" * 12
    + "|"
)


def line(name: str, way: str, all_seen: Sequence[Seen]) -> str:
    """Return a line of the table."""
    count = len(all_seen)
    outcomes = [each.outcome for each in all_seen]
    windows = sum(each.windows for each in all_seen)
    cells = [
        name,
        way,
        f"{outcomes.count('once')} of {count}",
        str(outcomes.count("uncertain")),
        str(outcomes.count("wrong")),
        str(sum(each.ends == 1 and each.is_clean for each in all_seen)),
        _spread([each.lag_s for each in all_seen]),
        f"{max(each.imposed_s for each in all_seen):.0f}",
        f"{sum(each.refused for each in all_seen) / windows:.2f}" if windows else "-",
        str(sum(each.blocked for each in all_seen)),
        _spread([each.first_s for each in all_seen]),
        f"{sum(each.calls for each in all_seen) / count:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _spread(values: Sequence[float | None]) -> str:
    known = [each for each in values if each is not None]
    return f"{median(known):.2f}, {max(known):.2f}" if known else "-"
