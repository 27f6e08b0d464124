"""A terminal as a value: what is on it after what was written, and the programs that draw on it."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.environment import environment
from tests.waiting import WAIT_S

ALLOWED: Final = re.compile(r"\x1b\[(?:(\d*)([AJK])|[\d;]*m)")
"""All that we ever tell a terminal, besides text, \\r and \\n."""


class Emulator:
    """Rows of cells that grow downwards: nothing scrolls away. Like xterm it wraps late."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.cells: list[list[str]] = [[]]
        self.row = self.column = 0

    @property
    def rows(self) -> list[str]:
        """The rows, without what is blank at their ends."""
        return ["".join(row).rstrip() for row in self.cells]

    def feed(self, text: str) -> None:
        at = 0
        while at < len(text):
            if found := ALLOWED.match(text, at):
                if found[2]:  # else a style
                    self._obey(found[2], int(found[1] or 0))
                at = found.end()
                continue
            self._put(text[at])
            at += 1

    def _obey(self, command: str, number: int) -> None:
        if command == "A":
            assert number <= self.row, "above the first row"
            self.row -= number
        elif command in "JK":
            assert number == 0
            self._current()[self.column :] = []
            if command == "J":
                self.cells[self.row + 1 :] = []

    def _put(self, char: str) -> None:
        if char == "\r":
            self.column = 0
        elif char == "\n":
            self.row += 1
            self._current()
        else:
            assert char.isprintable() or char in "\u3000\u200d\u200c", repr(char)
            width = 2 if unicodedata.east_asian_width(char) in "WF" else 1
            if self.column + width > self.columns:
                self.row, self.column = self.row + 1, 0
            row = self._current()
            row += [" "] * (self.column + width - len(row))
            row[self.column : self.column + width] = [char, ""][:width]
            self.column += width

    def _current(self) -> list[str]:
        while len(self.cells) <= self.row:
            self.cells.append([])
        return self.cells[self.row]


def open_terminal(columns: int, lines: int = 24) -> tuple[int, int]:
    """Return both ends of a new terminal: ours, and the program's."""
    ours, theirs = pty.openpty()
    resize(theirs, columns, lines)
    return ours, theirs


def resize(descriptor: int, columns: int, lines: int = 24) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


class InTerminal:
    """A command that runs in a terminal. `with` it."""

    def __init__(
        self, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, columns: int = 80
    ) -> None:
        self._ours, theirs = open_terminal(columns)
        self.raw = b""
        """All that it wrote."""
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "runcast", *arguments],
                cwd=cwd,
                env=environment({"TERM": "xterm", "LANG": "C.UTF-8", **(env or {})}),
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # for ^C
            )
        finally:
            os.close(theirs)
        self._columns = columns

    def __enter__(self) -> "InTerminal":
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait(WAIT_S)
        os.close(self._ours)

    @property
    def rows(self) -> list[str]:
        emulator = Emulator(self._columns)
        emulator.feed(self.raw.decode(errors="replace"))
        return emulator.rows

    @property
    def echoes(self) -> bool:
        """Whether the terminal itself shows what is typed."""
        return bool(termios.tcgetattr(self._ours)[3] & termios.ECHO)

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def resize(self, columns: int) -> None:
        resize(self._ours, columns)

    def read_until(self, is_seen: Callable[[list[str]], bool]) -> None:
        """Read until the rows are as wanted."""
        while not is_seen(self.rows):
            assert self._read(), self.rows

    def end(self) -> int:
        """Read all that comes, and return the exit code."""
        while self._read():
            pass
        return self.process.wait(WAIT_S)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], WAIT_S)
        assert ready, f"nothing more comes: {self.rows}"
        try:
            piece = os.read(self._ours, 65536)
        except OSError:  # the other end is closed
            return False
        self.raw += piece
        return bool(piece)
