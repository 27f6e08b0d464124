"""Events as commands print them: JSON for programs and plain lines for files; `terminal` draws on
terminals."""

import json
import os
import re
import sys
from abc import ABC, abstractmethod
from typing import Final, TextIO

from runcast._cli.bars import Bar
from runcast._cli.lines import PROGRESS, QUIET, TextHeads, line_of
from runcast._cli.usage import UsageTotals
from runcast.client.watching import Received
from runcast.events.model import Event
from runcast.events.vocabulary import DELTA_TYPES, TERMINAL

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
    def show(self, received: Received) -> None:
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

    def show(self, received: Received) -> None:
        text = received.text
        if self._is_terminal:
            # The JSON's value is unchanged: control characters occur only inside strings.
            text = _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
        self._bytes.write(text.encode("utf-8", "replace") + b"\n")

    def flush(self) -> None:
        self._bytes.flush()


class PlainLines(Screen):
    """A line for each event; streamed text as it comes."""

    def __init__(self, out: TextIO, run: str) -> None:
        self._out = out
        self._run = run
        self._heads = TextHeads()
        self._in_text = False
        self._used = UsageTotals()

    def show(self, received: Received) -> None:
        event = received.event
        if event.type == "usage":
            self._used.take(event)
        if event.type in QUIET:
            return
        if event.type in TERMINAL:
            for line in self._used.lines():
                self._line(line)
        if event.type in DELTA_TYPES:
            self._show_text(event)
        elif event.type in PROGRESS:
            bar = Bar()
            bar.take(event)
            self._line(bar.plain_line())
        else:
            self._line(line_of(event, self._run))

    def flush(self) -> None:
        self._out.flush()

    def close(self) -> None:
        self._end_text()
        self.flush()

    def _show_text(self, event: Event) -> None:
        text, is_another = self._heads.take(event)
        if not text:
            return
        if is_another:
            self._end_text()
        self._out.write(text)
        self._in_text = not text.endswith("\n")

    def _line(self, text: str) -> None:
        self._end_text()
        self._out.write(f"{text}\n")

    def _end_text(self) -> None:
        if self._in_text:
            self._out.write("\n")
            self._in_text = False
