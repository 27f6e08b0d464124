"""Progress as a line of text: how much is done, how fast, and the remaining time."""

import re
from collections import deque
from typing import Final

from runcast._cli.texts import cells, cut, plain, readable_s
from runcast.events.model import Event
from runcast.events.vocabulary import as_number, percent_of, pick

__all__ = ("BLOCKS", "SIGNS", "Bar", "percent_beside")

BLOCKS: Final = "█·"
SIGNS: Final = "#."
"""Characters of bars: done and to do; the second pair for terminals without the first."""

_BAR_COLUMNS: Final = 24
_LEAST_BAR_COLUMNS: Final = 4
_LEAST_MESSAGE_COLUMNS: Final = 6

_PERCENT_COLUMNS: Final = len("100.0 %")

_WINDOW_S: Final = 30.0
_MOST_POINTS: Final = 64
"""The rate covers the last half minute: functions begin slowly, and change their pace."""

_LEAST_S: Final = 0.2
"""A rate over less time is meaningless."""


def percent_beside(message: str, percent: float | None) -> str:
    """Return a percentage to be shown beside a message; "" if the message itself says it."""
    if percent is None or re.search(rf"(?<![\d.]){percent:g}(\.0)? ?%", message):
        return ""
    return f"{percent:.1f} %"


class Bar:
    """The progress of one place in a run.

    Times are those of the events, not of their arrival, so a replayed run shows its real speed.
    """

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque(maxlen=_MOST_POINTS)
        """(time, amount): the amount is `current`, or else the percentage."""
        self._label = ""
        self._message = ""
        self._percent: float | None = None
        self._current: float | None = None
        self._total: float | None = None
        self._rate: float | None = None
        """Amount per second."""

    def take(self, event: Event) -> None:
        """Add a progress event."""
        percent = percent_of(event.data)
        current, total = (as_number(pick(event.data, name)) for name in ("current", "total"))
        self._label = plain(" ".join(filter(None, (event.node, event.agent))))
        message = pick(event.data, "message", "content")
        if isinstance(message, str):
            self._message = plain(message)
        self._percent, self._current, self._total = percent, current, total
        amount = percent if current is None else current
        if amount is None:
            return
        points = self._points
        if points and (amount < points[-1][1] or event.time < points[-1][0]):
            points.clear()  # the run has begun something else
        if not points or event.time - points[-1][0] >= _WINDOW_S / _MOST_POINTS:
            points.append((event.time, amount))
        while points[0][0] < event.time - _WINDOW_S and len(points) > 2:
            points.popleft()
        self._rate = self._rate_at(event.time, amount)

    @property
    def is_full(self) -> bool:
        """Whether the progress is complete."""
        return self._percent is not None and self._percent >= 100

    def line(self, columns: int, style: str = BLOCKS) -> str:
        """Return the bar as a line of at most `columns` columns."""
        facts = " ".join(filter(None, (self._amount(), self._pace())))
        head = f"{cut(self._label, columns // 4)} " if self._label else ""
        room = min(_BAR_COLUMNS, columns - cells(head) - cells(facts) - 3)
        bar = f"[{self._drawn(room, style)}] " if room >= _LEAST_BAR_COLUMNS else ""
        shown = f"{head}{bar}{facts}"
        needed = min(cells(self._message), _LEAST_MESSAGE_COLUMNS) + bool(shown)
        message = self._message if columns - cells(shown) >= needed else ""
        return cut(" ".join(filter(None, (shown, message))), columns)

    def plain_line(self) -> str:
        """Return the progress as a line for a file."""
        amount = self._amount()
        count = "" if amount or self._current is None else f"{_number(self._current)}"
        head = f"{self._label}:" if self._label else ""
        return " ".join(filter(None, (head, amount or count, self._message))) or "…"

    def _amount(self) -> str:
        amount = percent_beside(self._message, self._percent)
        return amount.rjust(_PERCENT_COLUMNS) if amount else ""

    def _drawn(self, columns: int, style: str) -> str:
        done, todo = style[0], style[1]
        share = (self._percent or 0.0) / 100
        filled = int(columns * share)  # full only at 100 %
        return done * filled + todo * (columns - filled)

    def _pace(self) -> str:
        said = []
        if self._current is not None:
            of = f"/{_number(self._total)}" if self._total is not None else ""
            said.append(f"{_number(self._current)}{of}")
        if self._rate and self._current is not None:
            said.append(f"{_number(self._rate)}/s")
        left_s = self._left_s()
        if left_s is not None:
            said.append(f"{readable_s(left_s)} left")
        return " ".join(said)

    def _left_s(self) -> float | None:
        if not self._rate or self.is_full:
            return None
        if self._current is not None and self._total is not None:
            return (self._total - self._current) / self._rate
        return None if self._percent is None else (100 - self._percent) / self._rate

    def _rate_at(self, time: float, amount: float) -> float | None:
        then, before = self._points[0]
        return (amount - before) / (time - then) if time - then >= _LEAST_S else None


def _number(value: float) -> str:
    """Return a number in at most about five characters."""
    for unit in ("", "k", "M", "G"):
        if abs(value) < (10_000 if not unit else 1000) or unit == "G":
            break
        value /= 1000
    if value == int(value) and (not unit or abs(value) >= 100):
        return f"{int(value)}{unit}"
    return f"{value:.{0 if abs(value) >= 100 else 1}f}{unit}"
