"""Events in a terminal: lasting text and lines, and below them what moves.

The moving part is an `Area`: the unfinished texts, the steps and tools at work, the bars, and what
a person types. `flush` draws it again below the lasting lines, all in one write. `meter` is a
single such line for a file transfer.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO

from runcast._cli.area import SPARE_COLUMNS, Area, Row, size_of, styled
from runcast._cli.bars import BLOCKS, SIGNS, Bar
from runcast._cli.lines import PROGRESS, QUIET, line_of
from runcast._cli.markdown import Block, Blocks, can_render, render
from runcast._cli.show import Screen, is_terminal
from runcast._cli.streams import Stream, TextStreams
from runcast._cli.texts import cells, cut, fold, plain, readable_bytes, tail
from runcast._cli.usage import UsageTotals
from runcast._cli.work import Work
from runcast._clock import SystemClock
from runcast.events.model import Event
from runcast.events.vocabulary import DELTA_TYPES, TERMINAL, as_text, pick

if TYPE_CHECKING:
    from runcast.client.watching import Received

__all__ = ("Terminal", "meter")

_MOST_BARS: Final = 8
_MOST_TEXT_ROWS: Final = 8
"""Most rows of the area for bars and work, and for unfinished texts."""

_MOST_CHARS: Final = 2000
_MOST_OF_TYPES: Final = {"tool_call": 500, "tool_result": 500}
"""Longest line shown; a result may be long."""

_MOST_DEPTH: Final = 8
"""Most agents above one another that are shown by indentation."""

_COLORS: Final = {
    **{"failed": 31, "error": 31, "cancelled": 33, "gap": 33, "done": 32, "files": 36},
    **{"step_complete": 32, "node_complete": 32, "tool_call": 36, "tool_result": 2},
    **{"interrupt_request": 35, "interrupt_response": 35, "message": 34},
}
_COLORS_OF_LEVELS: Final = {"warning": 33, "error": 31, "critical": 31, "debug": 2}
_DIM: Final = 2
_BOLD: Final = 1

_ENDS_OF_PLACES: Final = frozenset({"step_complete", "node_complete"})


class Terminal(Screen):
    """Draws on a terminal; in colour unless NO_COLOR is set, with Markdown if rich is installed."""

    def __init__(self, out: TextIO, run: str, *, is_answered_here: bool = False) -> None:
        self._out = out
        self._run = "" if is_answered_here else run
        self._area = Area(out)
        self._has_color = self._area.has_color
        self._style = BLOCKS if _can_write(out, BLOCKS) else SIGNS
        self._has_markdown = self._has_color and self._style == BLOCKS and can_render()
        self._staying: list[str] = []
        """Lasting lines that are not yet written."""
        self._texts = TextStreams()
        self._blocks: dict[Stream, Blocks] = {}
        self._last: Stream | None = None
        """The text of the last lasting line."""
        self._used = UsageTotals()
        self._bars: dict[tuple[str, str, str], Bar] = {}
        """By place, and step or task; the one that moved last is last."""
        self._work = Work(SystemClock(), is_plain=self._style == SIGNS)
        self._input: Row | None = None

    def show(self, received: "Received") -> None:
        event = received.event
        place = (event.node, event.agent, as_text(pick(event.data, "step_id", "task")))
        self._work.see(event)
        if event.type == "usage":
            self._used.take(event)
        if event.type == "content_complete":
            self._texts.see(event)
            self._keep_texts()
        if event.type in QUIET:
            return
        if event.type in DELTA_TYPES:
            self._texts.take(event)
            self._keep_texts()
        elif event.type in PROGRESS:
            bar = self._bars.pop(place, None) or Bar()
            bar.take(event)
            self._bars[place] = bar
        elif event.type in TERMINAL:
            self._keep_all()
            self._staying += (self._styled(line, _DIM) for line in self._used.lines())
            self._line(event)
        else:
            if event.type in _ENDS_OF_PLACES:
                self._bars.pop(place, None)
            self._texts.see(event)
            self._keep_texts()
            self._line(event)

    def notice(self, text: str) -> None:
        self._last = None
        self._staying += (self._styled(plain(line), _DIM) for line in text.split("\n"))
        self.flush()

    def say(self, text: str) -> None:
        """Show lines for the person at the keyboard."""
        self._last = None
        self._staying += (self._styled(plain(line), _BOLD) for line in text.split("\n"))
        self.flush()

    def prompt(self, text: str) -> None:
        """Show what is typed, below everything else; "" shows nothing."""
        self._input = Row(plain(text), _BOLD) if text else None
        self.flush()

    def tick(self) -> None:
        """Draw again what changes with time."""
        if self._work.is_running:
            self.flush()

    def close(self) -> None:
        self._keep_all()
        self._input = None
        self.flush()

    def flush(self) -> None:
        _, lines = size_of(self._out)
        room = self._room()
        below = self._moving(room, lines)
        area = [*self._text_rows(room, lines - len(below)), *below]
        kept = "".join(f"{line}\n" for line in self._staying)
        self._staying.clear()
        if kept or area != self._area.drawn:
            self._area.draw(kept, area)

    def _moving(self, room: int, lines: int) -> list[Row]:
        """Return the rows of what is at work, of the bars, and of what is typed."""
        most = max(1, min(_MOST_BARS, lines - 2 - (self._input is not None)))
        shown = self._work.rows(room, self._bars)
        shown += (Row(bar.line(room, self._style)) for bar in self._bars.values())
        typed = [] if self._input is None else [Row(tail(self._input.text, room), _BOLD)]
        return [*shown[-most:], *typed]

    def _text_rows(self, room: int, lines: int) -> list[Row]:
        """Return the rows of unfinished texts; what is too long of one alone is kept."""
        most = max(1, min(_MOST_TEXT_ROWS, lines - 2))
        texts = [(stream, self._unfinished(stream)) for stream in self._texts.all()]
        texts = [(stream, text) for stream, text in texts if any(text)]
        if len(texts) != 1:
            return [
                Row(_end_of(f"{stream.head}: " if stream.head else "", text, room), stream.style)
                for stream, text in texts[-most:]
            ]
        stream, text = texts[0]
        head = self._head_of(stream)
        folded = fold(" ".join(filter(None, (head, text[0]))), room)
        if len(text) == 1 and len(folded) > most:
            *long, stream.text = folded
            self._staying += (self._styled(row.rstrip(), stream.style) for row in long)
            self._last = stream
            folded = [stream.text]
        shown = [*folded, *(row for line in text[1:] for row in fold(line, room))]
        return [Row(row.rstrip(), stream.style) for row in shown[-most:]]

    def _unfinished(self, stream: Stream) -> list[str]:
        blocks = self._blocks.get(stream)
        held = blocks.held if blocks is not None else []
        return [*held, stream.text] if stream.text or not held else held

    def _head_of(self, stream: Stream) -> str:
        return "" if stream is self._last or not stream.head else f"{stream.head}:"

    def _keep_texts(self) -> None:
        """Turn finished lines, or the blocks that they complete, into lasting lines."""
        for line in self._texts.finished():
            stream, text, is_last = line
            if stream.kind != "content" or not self._has_markdown:
                if text or not is_last:
                    self._keep_block(stream, Block(text, has_markup=False))
                continue
            blocks = self._blocks.setdefault(stream, Blocks())
            complete = blocks.take(text) if text or not is_last else []
            complete += blocks.end() if is_last else []
            if not blocks.held:
                del self._blocks[stream]
            for block in complete:
                self._keep_block(stream, block)

    def _keep_block(self, stream: Stream, block: Block) -> None:
        head, room = self._head_of(stream), self._room()
        if not block.has_markup:
            if head and not block.text:
                return  # no text begins with an empty line
            shown = " ".join(filter(None, (head, block.text)))
            rows = fold(shown, room)
            self._staying += (self._styled(row.rstrip(), stream.style) for row in rows)
        else:
            self._staying += [head] if head else []
            self._staying += render(block.text, room)
        self._last = stream

    def _line(self, event: Event) -> None:
        color = _COLORS.get(event.type)
        if event.type == "log" and isinstance(event.data, dict):
            color = _COLORS_OF_LEVELS.get(str(event.data.get("level")))
        if event.type == "step_start":
            return  # it is shown while it is at work, and when it is complete
        if event.type == "interrupt_resolved" and pick(event.data, "outcome") == "answered":
            return  # the answer was shown
        shown = self._work.line_of(event) or self._text_of(event)
        most = _MOST_OF_TYPES.get(event.type, _MOST_CHARS)
        indent = "  " * min(len(event.path), _MOST_DEPTH)
        for line in shown.split("\n"):
            more = len(line) - most
            if more > 0:
                line = f"{line[:most]}… and {more} more characters, see --json"
            self._staying.append(self._styled(f"{indent}{line}", color))
        self._last = None

    def _text_of(self, event: Event) -> str:
        shown = line_of(event, self._run, has_color=self._has_color)
        # A cut must not leave half of a code.
        return shown if len(shown) <= _MOST_CHARS else line_of(event, self._run)

    def _keep_all(self) -> None:
        """Turn everything that moves into lasting lines."""
        self._texts.end()
        self._keep_texts()
        room = self._room()
        self._staying += (row.text for row in self._work.rows(room, self._bars))
        self._work.end()
        self._staying += [bar.line(room, self._style) for bar in self._bars.values()][-_MOST_BARS:]
        self._bars.clear()

    def _room(self) -> int:
        return max(size_of(self._out)[0] - SPARE_COLUMNS, 1)

    def _styled(self, line: str, style: int | None) -> str:
        return styled(line, style, self._has_color)


def _end_of(head: str, lines: list[str], columns: int) -> str:
    """Return the end of a text on one row, behind its head if there is room."""
    text = " ".join(lines)
    if cells(head) > columns // 2:
        return tail(f"{head}{text}", columns)
    return f"{head}{tail(text, columns - cells(head))}"


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
