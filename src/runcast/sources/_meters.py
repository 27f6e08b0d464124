"""Bars as `progress` events: at most ten a second for each bar, and always its last value.

Each bar has a meter, which belongs to the run in which the bar was made, whatever thread moves the
bar. The thread `runcast-meters` reports the last value of a bar that moves and then rests. The
thread lives while a bar is open.
"""

import os
import threading
import weakref
from collections.abc import Callable
from typing import Final, NamedTuple

from runcast._producing.context import current_writer
from runcast._producing.writer import Writer
from runcast.errors import InvalidValue
from runcast.events.plain import checked_number, cut
from runcast.sources._telling import tell

__all__ = ("Meter", "Reading")

EVERY_S: Final = 0.1
"""A bar is reported at most this often, in seconds: faster than anybody reads."""

LOOK_S: Final = 0.25
"""How soon the last value of a bar that rests is reported, seconds."""

_MAX_NAME_CHARS: Final = 80
_MAX_MESSAGE_CHARS: Final = 500


class Reading(NamedTuple):
    """The values of a bar."""

    current: object
    total: object
    message: str


class Meter:
    """Reports one bar to the run in which it was made.

    Args:
        name: the bar's name; made unique among the run's open bars.
        read: returns the bar's present values, or None if the bar is gone; called from any thread.
    """

    def __init__(self, writer: Writer, name: str, read: Callable[[], Reading | None]) -> None:
        self._writer = writer
        self._read = read
        self._due = 0.0
        self._last: Reading | None = None
        self._is_open = True
        self.task = _OPEN.add(self, writer, cut(name.strip(" :\t\n"), _MAX_NAME_CHARS) or "bar")
        """The bar's name in all of its events."""

    def look(self) -> None:
        """Report the bar if a report is due. Raises only `Cancelled`, in the run's own code."""
        if self._is_open and self._writer.clock.monotonic() >= self._due:
            self._report()

    def close(self) -> None:
        """Report the bar's last value, unless it was already reported, and forget the bar."""
        if self._is_open:
            self._report()
            self.drop()

    def drop(self) -> None:
        """Forget the bar."""
        self._is_open = False
        _OPEN.remove(self, self._writer)

    def check_cancelled(self) -> None:
        """Raise `Cancelled` if the run was cancelled, in the run's own code."""
        if current_writer() is self._writer:
            self._writer.check_cancelled()

    def _report(self) -> None:
        reading = self._read()
        if reading is None:
            self.drop()
            return
        if reading == self._last:
            return
        self._due = self._writer.clock.monotonic() + EVERY_S
        self._last = reading
        current, total = _number(reading.current), _number(reading.total)
        message = cut(reading.message, _MAX_MESSAGE_CHARS)
        if not tell(
            self._writer,
            lambda: self._writer.progress(current, total, message, task=self.task),
        ):
            self.drop()


def _number(value: object) -> float | None:
    try:
        number = checked_number("a bar", value)
    except InvalidValue:
        return None
    return number if number is not None and abs(number) != float("inf") else None


class _OpenMeters:
    """The meters of open bars, and the thread that checks them."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all meters: in a forked process their runs belong to the parent."""
        self._lock = threading.RLock()
        self._meters: set[Meter] = set()
        self._names: weakref.WeakKeyDictionary[Writer, dict[str, Meter]]
        self._names = weakref.WeakKeyDictionary()
        self._thread: threading.Thread | None = None
        self._changed = threading.Event()

    def add(self, meter: Meter, writer: Writer, name: str) -> str:
        """Add a meter and return a name that is unique in its run."""
        with self._lock:
            names = self._names.setdefault(writer, {})
            number, free = 1, name
            while free in names:
                number += 1
                free = f"{name} {number}"
            names[free] = meter
            self._meters.add(meter)
            if self._thread is None:
                self._changed = threading.Event()
                self._thread = threading.Thread(
                    target=self._look, args=(self._changed,), name="runcast-meters", daemon=True
                )
                self._thread.start()
        return free

    def remove(self, meter: Meter, writer: Writer) -> None:
        with self._lock:
            self._meters.discard(meter)
            names = self._names.get(writer, {})
            if names.get(meter.task) is meter:
                del names[meter.task]
            if not self._meters:
                self._thread = None
                self._changed.set()

    def _look(self, ended: threading.Event) -> None:
        while not ended.wait(LOOK_S):
            with self._lock:
                meters = list(self._meters)
            for meter in meters:
                meter.look()


_OPEN: Final = _OpenMeters()

os.register_at_fork(after_in_child=_OPEN.reset)
