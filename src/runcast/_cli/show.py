"""Events as commands print them: JSON for programs and plain lines for files; `terminal` draws on
terminals."""

import json
import os
import re
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, TextIO

from runcast._cli.bars import Bar
from runcast._cli.lines import PROGRESS, QUIET, line_of
from runcast._cli.streams import Stream, TextStreams
from runcast._cli.usage import UsageTotals
from runcast.events.vocabulary import DELTA_TYPES, TERMINAL

if TYPE_CHECKING:
    from runcast.client.watching import Received

__all__ = ("JsonLines", "PlainLines", "Screen", "is_terminal", "print_json")

_UNSAFE: Final = re.compile(r"[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def is_terminal(out: TextIO) -> bool:
    """Return whether output goes to a terminal that can be drawn on."""
    return out.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def print_json(value: object) -> None:
    """Print a value as a line of JSON; for a terminal, without control characters."""
    print(json.dumps(value, ensure_ascii=sys.stdout.isatty()))


class Screen(ABC):
    """A place to show events."""

    @abstractmethod
    def show(self, received: "Received") -> None:
        """Add one event. It may stay invisible until `flush`."""

    @abstractmethod
    def flush(self) -> None:
        """Make all added events visible."""

    def notice(self, text: str) -> None:
        """Show a text that is not an event."""
        print(text, file=sys.stderr)

    def close(self) -> None:
        """Leave the cursor on a new line. Idempotent."""
        self.flush()


class JsonLines(Screen):
    """One canonical event per line, as stored."""

    def __init__(self, out: TextIO) -> None:
        self._bytes = out.buffer
        self._is_terminal = out.isatty()

    def show(self, received: "Received") -> None:
        text = received.text
        if self._is_terminal:
            # The JSON's value is unchanged: control characters occur only inside strings.
            text = _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
        self._bytes.write(text.encode("utf-8", "replace") + b"\n")

    def flush(self) -> None:
        self._bytes.flush()


class PlainLines(Screen):
    """A line for each event, and streamed text: word by word while one agent writes, and line by
    line while several do."""

    def __init__(self, out: TextIO, run: str) -> None:
        self._out = out
        self._run = run
        self._texts = TextStreams()
        self._last: Stream | None = None
        """The text of the last line."""
        self._partial: Stream | None = None
        """The text whose unfinished line is the last one of the output."""
        self._used = UsageTotals()

    def show(self, received: "Received") -> None:
        event = received.event
        if event.type == "usage":
            self._used.take(event)
        if event.type == "content_complete":
            self._texts.see(event)
            self._write_texts()
        if event.type in QUIET:
            return
        if event.type in DELTA_TYPES:
            self._texts.take(event)
            self._write_texts()
        elif event.type in PROGRESS:
            bar = Bar()
            bar.take(event)
            self._line(bar.plain_line())
        else:
            self._texts.see(event)
            if event.type in TERMINAL:
                self._texts.end()
            self._write_texts()
            if event.type in TERMINAL:
                for line in self._used.lines():
                    self._line(line)
            self._line(line_of(event, self._run))

    def flush(self) -> None:
        self._out.flush()

    def close(self) -> None:
        self._texts.end()
        self._write_texts()
        self._end_partial()
        self.flush()

    def _write_texts(self) -> None:
        for line in self._texts.finished():
            stream, text, is_last = line
            rest, was_begun = text[stream.written :], stream.written > 0
            has_head = bool(stream.head) and stream is not self._last
            # No text begins with an empty line.
            if rest or not (was_begun or is_last or has_head):
                self._write(stream, rest)
                self._out.write("\n")
                self._partial = None
            elif self._partial is stream:
                self._end_partial()
            stream.written = 0
        if (alone := self._texts.alone) is not None:
            if rest := alone.text[alone.written :]:
                self._write(alone, rest)
                alone.written = len(alone.text)
                self._partial = alone
        elif self._texts.unfinished and self._partial is not None:
            self._end_partial()
            self._last = None  # the rest of the line begins with its head again

    def _write(self, stream: Stream, text: str) -> None:
        """Write a piece of a text: at the end of its unfinished line, or on a line of its own."""
        if self._partial is not stream:
            self._end_partial()
            if stream.head and stream is not self._last:
                self._out.write(f"{stream.head}: ")
            text = text.lstrip(" ") if stream.written else text
        self._last = stream
        self._out.write(text)

    def _line(self, text: str) -> None:
        self._end_partial()
        self._out.write(f"{text}\n")
        self._last = None

    def _end_partial(self) -> None:
        if self._partial is not None:
            self._out.write("\n")
            self._partial = None
