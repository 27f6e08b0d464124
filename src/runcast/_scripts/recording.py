"""What a script prints and emits, as events of its run."""

from collections.abc import Callable
from functools import partial
from typing import Final

from runcast._clock import Clock
from runcast._producing.writer import Writer
from runcast._scripts.screen import Bar, Line, Screen
from runcast.errors import Cancelled, EventTooLarge, RuncastError, RunClosed, RunTooLarge
from runcast.events.model import decode_event

__all__ = ("Recording",)

_BAR_EVERY_S: Final = 0.1
"""A bar that is printed is reported at most this often, in seconds."""

_MAX_BAR_CHARS: Final = 200

_LEVELS: Final = ("info", "warning")
_NAMES: Final = ("stdout", "stderr")
"""By stream, as in marks.py."""


class Recording:
    """Writes to the run. What cannot be written is counted, and the count is logged at the end.

    Args:
        on_cancel: called with the reason when the run turns out to be cancelled.
        max_line_bytes: longest line.
    """

    def __init__(
        self, run: Writer, clock: Clock, max_line_bytes: int, on_cancel: Callable[[str], None]
    ) -> None:
        self._run = run
        self._clock = clock
        self._on_cancel = on_cancel
        self._screens = [Screen(max_line_bytes) for _ in _NAMES]
        self._bars = [_HeldBar() for _ in _NAMES]
        self._left_out = 0
        self._is_full = False

    def text(self, stream: int, data: bytes, *, is_last: bool = False) -> None:
        """Record what was printed."""
        for shown in self._screens[stream].feed(data, is_last=is_last):
            self._show(stream, shown)

    def event(self, record: bytes) -> None:
        """Record an event that the script's process has encoded."""
        event = decode_event(b"{" + record)
        if not self._write(lambda: self._run.emit_event(event)):
            self._left_out += 1

    def look_at_bars(self) -> None:
        """Record bars whose time has come."""
        for stream in range(len(_NAMES)):
            self._show_bar(stream, self._clock.monotonic())

    def look_at_cancel(self) -> None:
        """Call `on_cancel` if the run was cancelled."""
        try:
            self._run.check_cancelled()
        except Cancelled as cancelled:
            self._on_cancel(str(cancelled))

    def end(self) -> None:
        """Record what is unfinished, and how much is missing."""
        for stream in range(len(_NAMES)):
            self.text(stream, b"", is_last=True)
            self._show_bar(stream, float("inf"))
        if self._left_out:
            missing = f"events left out of this log: {self._left_out}"
            self._is_full = False
            self._write(lambda: self._run.log(missing, "warning", logger="runcast"))

    def _show(self, stream: int, shown: Line | Bar) -> None:
        if isinstance(shown, Bar):
            self._bars[stream].hold(shown)
            self._show_bar(stream, self._clock.monotonic())
            return
        self._show_bar(stream, float("inf"))
        text = shown.text
        while not self._write(partial(self._log, stream, text)):
            text = f"{text[: len(text) // 2]}…"

    def _log(self, stream: int, text: str) -> None:
        self._run.log(text, _LEVELS[stream], logger=_NAMES[stream])

    def _show_bar(self, stream: int, now: float) -> None:
        bar = self._bars[stream].take(now)
        if bar is not None:
            self._write(partial(self._report, stream, bar))

    def _report(self, stream: int, bar: Bar) -> None:
        message = bar.text[:_MAX_BAR_CHARS]
        self._run.progress(percent=bar.percent, message=message, task=_NAMES[stream])

    def _write(self, write: Callable[[], None]) -> bool:
        """Write to the run; return False if what is written is too large."""
        if self._is_full:
            self._left_out += 1
            return True
        try:
            try:
                write()
            except Cancelled as cancelled:
                self._on_cancel(str(cancelled))
                write()
        except EventTooLarge:
            return False
        except (RunTooLarge, RunClosed):
            self._is_full = True
            self._left_out += 1
        except RuncastError:
            self._left_out += 1
        return True


class _HeldBar:
    """The last state of a bar that is printed, until it is time to report it."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._due = 0.0

    def hold(self, bar: Bar) -> None:
        self._bar = bar

    def take(self, now: float) -> Bar | None:
        if self._bar is None or now < self._due:
            return None
        bar, self._bar = self._bar, None
        if now != float("inf"):
            self._due = now + _BAR_EVERY_S
        return bar
