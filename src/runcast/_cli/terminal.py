"""Events in a terminal: lasting text and lines, and below them moving bars.

The moving part is an area at the bottom: the unfinished line of text, then the bars. `flush` erases
the area, writes the lasting lines, and draws the area again, all in one write. `meter` is
a single such line for a file transfer.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from runcast._cli.bars import BLOCKS, SIGNS, Bar
from runcast._cli.lines import PROGRESS, QUIET, TextHeads, line_of
from runcast._cli.show import Screen, is_terminal
from runcast._cli.texts import cut, plain, readable_bytes, rows, tail
from runcast._cli.usage import UsageTotals
from runcast._clock import SystemClock
from runcast.client.watching import Received
from runcast.events.model import Event
from runcast.events.vocabulary import DELTA_TYPES, TERMINAL, as_text, pick

__all__ = (
    "Terminal",
    "meter",
    "size_of",
)

_MOST_BARS: Final = 4
_MOST_ROWS: Final = 3
"""Most rows of unfinished text that are redrawn to make room for a bar."""

_MOST_CHARS: Final = 2000
"""Longest line shown; a result may be long."""

_SPARE_COLUMNS: Final = 3
"""Columns left free at the right, so that a terminal's ^C does not wrap the row."""

_COLORS: Final = {"failed": 31, "error": 31, "cancelled": 33, "gap": 33, "done": 32, "files": 36}
_COLORS_OF_LEVELS: Final = {"warning": 33, "error": 31, "critical": 31, "debug": 2}
_DIM: Final = 2

_ENDS_OF_PLACES: Final = frozenset({"step_complete", "node_complete"})


class Terminal(Screen):
    """Draws on a terminal; in colour unless NO_COLOR is set."""

    def __init__(self, out: TextIO, run: str) -> None:
        self._out = out
        self._run = run
        self._has_color = not os.environ.get("NO_COLOR")
        self._style = BLOCKS if _can_write(out, BLOCKS) else SIGNS
        self._staying: list[str] = []
        """Lasting lines that are not yet written."""
        self._text = ""
        """The unfinished line of text."""
        self._heads = TextHeads()
        self._used = UsageTotals()
        self._bars: dict[tuple[str, str, str], Bar] = {}
        """By place, and step or task; the one that moved last is last."""
        self._drawn: list[str] = []
        """The rows of the area, as on the screen."""
        self._drawn_columns = 0
        self._is_open = False
        """Whether the area is only the whole unfinished line, which can be continued."""

    def show(self, received: Received) -> None:
        event = received.event
        place = (event.node, event.agent, as_text(pick(event.data, "step_id", "task")))
        if event.type == "usage":
            self._used.take(event)
        if event.type in QUIET:
            return
        if event.type in DELTA_TYPES:
            self._take_text(event)
        elif event.type in PROGRESS:
            bar = self._bars.pop(place, None) or Bar()
            bar.take(event)
            self._bars[place] = bar
        elif event.type in TERMINAL:
            self._keep_bars()
            self._staying += (self._colored(line, _DIM) for line in self._used.lines())
            self._line(event)
        else:
            if event.type in _ENDS_OF_PLACES:
                self._bars.pop(place, None)
            self._line(event)

    def notice(self, text: str) -> None:
        self._end_text()
        self._staying += (self._colored(plain(line), _DIM) for line in text.split("\n"))
        self.flush()

    def close(self) -> None:
        self._keep_bars()
        self.flush()

    def flush(self) -> None:
        columns, lines = size_of(self._out)
        bars = list(self._bars.values())[-max(1, min(_MOST_BARS, lines - 2)) :]
        kept = "".join(f"{line}\n" for line in self._staying)
        self._staying.clear()
        if self._is_open:
            # The screen shows the beginning of this text already: the unfinished line.
            more = (kept + self._text)[len(self._drawn[0]) :]
            if not bars:
                self._draw(more, [self._text] if self._text else [], columns, is_drawn=True)
                return
            if rows(self._drawn[0], columns) > _MOST_ROWS:
                # Too long to be redrawn: it stays, and its line ends here.
                kept = more + ("\n" if self._text else "")
                self._text, self._drawn = "", []
        room = columns - _SPARE_COLUMNS
        area = [bar.line(room, self._style) for bar in bars]
        if self._text:
            area.insert(0, tail(self._text, room) if bars else self._text)
        if kept or area != self._drawn:
            self._draw(self._erased(columns) + kept, area, columns)
            self._is_open = bool(area) and not bars

    def _draw(self, head: str, area: list[str], columns: int, *, is_drawn: bool = False) -> None:
        self._out.write(head if is_drawn else head + "\n".join(area))
        self._out.flush()
        self._drawn, self._drawn_columns = area, columns
        self._is_open = bool(area) and is_drawn

    def _take_text(self, event: Event) -> None:
        text, is_another = self._heads.take(event)
        if is_another:
            self._end_text()
        *finished, self._text = (self._text + text).split("\n")
        self._staying += finished

    def _line(self, event: Event) -> None:
        self._end_text()
        color = _COLORS.get(event.type)
        if event.type == "log" and isinstance(event.data, dict):
            color = _COLORS_OF_LEVELS.get(str(event.data.get("level")))
        shown = line_of(event, self._run, has_color=self._has_color)
        if len(shown) > _MOST_CHARS:  # a cut must not leave half of a code
            shown = line_of(event, self._run)
        for line in shown.split("\n"):
            more = len(line) - _MOST_CHARS
            if more > 0:
                line = f"{line[:_MOST_CHARS]}… and {more} more characters, see --json"
            self._staying.append(self._colored(line, color))

    def _keep_bars(self) -> None:
        """Turn the bars into lasting lines."""
        self._end_text()
        room = size_of(self._out)[0] - _SPARE_COLUMNS
        self._staying += [bar.line(room, self._style) for bar in self._bars.values()][-_MOST_BARS:]
        self._bars.clear()

    def _end_text(self) -> None:
        if self._text:
            self._staying.append(self._text)
            self._text = ""

    def _colored(self, line: str, color: int | None) -> str:
        return f"\x1b[{color}m{line}\x1b[0m" if color and self._has_color else line

    def _erased(self, columns: int) -> str:
        """Return the codes that erase the area.

        If the window's width has changed since, some terminals have wrapped the area's rows and
        others have not. Then rather leave a piece of a bar than erase text.
        """
        if not self._drawn:
            return ""
        widths = (columns, self._drawn_columns)
        up = min(sum(rows(line, width) for line in self._drawn) for width in widths) - 1
        return "\r" + (f"\x1b[{up}A" if up else "") + "\x1b[J"


def size_of(out: TextIO) -> tuple[int, int]:
    """Return a terminal's columns and lines, as they are now; 80 and 24 if unknown."""
    try:
        columns, lines = os.get_terminal_size(out.fileno())
    except OSError:
        columns, lines = 0, 0
    return columns or 80, lines or 24


def _can_write(out: TextIO, text: str) -> bool:
    try:
        text.encode(out.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


_REDRAW_S: Final = 0.1


@contextmanager
def meter(verb: str, name: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with each piece's bytes; it shows the amount transferred."""
    out, clock = sys.stderr, SystemClock()
    began = drawn = clock.monotonic()
    done, is_drawn = 0, False

    def passed(count: int) -> None:
        nonlocal done, drawn, is_drawn
        done += count
        now = clock.monotonic()
        if now - drawn < _REDRAW_S or not is_terminal(out):
            return
        rate = readable_bytes(done / (now - began))
        amount = f"{readable_bytes(done)} of {readable_bytes(total)} {rate}/s"
        line = cut(f"{verb} {amount} {plain(name)}", size_of(out)[0] - 1)
        drawn, is_drawn = now, True
        out.write(f"\r\x1b[K{line}")
        out.flush()

    try:
        yield passed
    finally:
        if is_drawn:
            out.write("\r\x1b[K")
            out.flush()
