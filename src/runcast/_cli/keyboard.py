"""Lines typed while something else is drawn: the terminal's own editing is off, so we do it."""

import asyncio
import codecs
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable
from typing import Any, Final, Self

__all__ = ("Keyboard", "LineEditor", "is_foreground")

_MOST_CHARS: Final = 16_384
"""Longest line; what is typed beyond is ignored."""

_READ_BYTES: Final = 4096

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end the process, which would leave the terminal without echo."""


def is_foreground(descriptor: int) -> bool:
    """Return whether a descriptor is a terminal in whose foreground this process is."""
    try:
        return os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False


class LineEditor:
    """A line that is typed, key by key. Pure."""

    def __init__(self) -> None:
        self.text = ""
        self._escape = ""
        """The beginning of a key's code that is not complete."""

    def take(self, keys: str) -> list[str]:
        """Add keys; return the lines that they finish."""
        lines = []
        for char in keys:
            if self._escape:
                self._escape += char
                if self._is_escape_over(char):
                    self._escape = ""
            elif char == "\x1b":
                self._escape = char
            elif char in "\r\n":
                lines.append(self.text)
                self.text = ""
            elif char in "\x7f\x08":
                self.text = self.text[:-1]
            elif char == "\x15":  # ^U
                self.text = ""
            elif char == "\x17":  # ^W
                self.text = self.text.rstrip().rpartition(" ")[0]
                self.text += " " if self.text else ""
            elif char == "\t":
                self.text += " "
            elif char.isprintable() and len(self.text) < _MOST_CHARS:
                self.text += char
        return lines

    def _is_escape_over(self, char: str) -> bool:
        if len(self._escape) == 2:
            return char not in "[O"
        return "@" <= char <= "~" or len(self._escape) > 32


class Keyboard:
    """Reads the terminal on the running loop. Use `with`; it leaves the terminal as it was.

    Args:
        on_line: called with each finished line.
        on_change: called when what is typed has changed, or must be drawn again.
    """

    def __init__(self, on_line: Callable[[str], None], on_change: Callable[[], None]) -> None:
        self._on_line = on_line
        self._on_change = on_change
        self._fd = sys.stdin.fileno()
        self._editor = LineEditor()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._before: list[Any] | None = None
        self._is_reading = False

    @property
    def text(self) -> str:
        """What is typed so far."""
        return self._editor.text

    def clear(self) -> str:
        """Drop what is typed so far, and return it."""
        text, self._editor = self._editor.text, LineEditor()
        return text

    def __enter__(self) -> Self:
        self.resume()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCONT, self._on_continued)
        for number in _ENDING:
            loop.add_signal_handler(number, self._on_ending, number)
        return self

    def __exit__(self, *exc: object) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGCONT, *_ENDING):
            loop.remove_signal_handler(number)
        self.pause()

    def _on_ending(self, number: signal.Signals) -> None:
        """Set the terminal as it was, and let the signal end this process."""
        self.pause()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def resume(self) -> None:
        """Begin to read. Idempotent."""
        if self._before is None:
            self._before = termios.tcgetattr(self._fd)
            self._start_reading()

    def pause(self) -> None:
        """Leave the terminal to another program, or to the shell. Idempotent."""
        if self._before is not None:
            self._stop_reading()
            if is_foreground(self._fd):
                # Not TCSAFLUSH: what was typed meanwhile is for whoever reads next.
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
            self._before = None

    def look(self) -> None:
        """Begin to read again if the shell has given the terminal back; stop if it took it.

        Call it now and then: not every shell reports it with a signal.
        """
        if self._before is None:
            return
        if not is_foreground(self._fd):  # reading or setting the terminal would stop us
            self._stop_reading()
        elif not self._is_reading:
            self._on_continued()

    def _on_continued(self) -> None:
        """The shell has set the terminal its own way while we were stopped."""
        if self._before is not None and is_foreground(self._fd):
            self._start_reading()
            self._on_change()

    def _start_reading(self) -> None:
        tty.setcbreak(self._fd, termios.TCSANOW)
        asyncio.get_running_loop().add_reader(self._fd, self._read)
        self._is_reading = True

    def _stop_reading(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        self._is_reading = False

    def _read(self) -> None:
        if not is_foreground(self._fd):
            self._stop_reading()
            return
        try:
            data = os.read(self._fd, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # the terminal is gone
            data = b""
        if not data:
            self.pause()
            return
        for line in self._editor.take(self._decoder.decode(data)):
            self._on_line(line)
        self._on_change()
