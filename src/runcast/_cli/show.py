"""Events as commands print them: JSON for programs, plain lines for files, and for a terminal what
`terminal` draws."""

import json
import os
import re
import sys
from abc import ABC, abstractmethod
from typing import Final, TextIO

from runcast._cli.bars import Bar
from runcast._cli.follow import Received
from runcast._cli.lines import PROGRESS, QUIET, TextHeads, line_of
from runcast.events.model import Event
from runcast.events.vocabulary import DELTA_TYPES

__all__ = ("JsonLines", "PlainLines", "Screen", "is_terminal", "print_json")

_UNSAFE: Final = re.compile(r"[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def is_terminal(out: TextIO) -> bool:
    """Tell whether a terminal can be drawn on."""
    return out.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def print_json(value: object) -> None:
    """Print a value as a line of JSON; in a terminal without anything that it might obey."""
    print(json.dumps(value, ensure_ascii=sys.stdout.isatty()))


class Screen(ABC):
    """Where events are shown."""

    @abstractmethod
    def show(self, received: Received) -> None:
        """Take one event. It need not be seen before `flush`."""

    @abstractmethod
    def flush(self) -> None:
        """Have all seen that was taken."""

    def notice(self, text: str) -> None:
        """Say something that is no event."""
        print(text, file=sys.stderr)

    def close(self) -> None:
        """Leave the cursor on a line of its own. Idempotent."""
        self.flush()


class JsonLines(Screen):
    """One canonical event a line, as it was stored."""

    def __init__(self, out: TextIO) -> None:
        self._bytes = out.buffer
        self._is_terminal = out.isatty()

    def show(self, received: Received) -> None:
        text = received.text
        if self._is_terminal:
            # The same JSON: what a terminal might obey is only found inside of strings.
            text = _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
        self._bytes.write(text.encode("utf-8", "replace") + b"\n")

    def flush(self) -> None:
        self._bytes.flush()


class PlainLines(Screen):
    """A line for each event; text as it comes."""

    def __init__(self, out: TextIO, run: str) -> None:
        self._out = out
        self._run = run
        self._heads = TextHeads()
        self._in_text = False

    def show(self, received: Received) -> None:
        event = received.event
        if event.type in QUIET:
            return
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
