"""What a program prints, as a terminal would show it: lines that stay, and bars that move.

| printed | becomes |
|---|---|
| text up to a line feed | a line |
| text that a carriage return or a cursor that goes up writes over | a bar, if it has a percentage |
| other control sequences | nothing; colors stay in the line |

PURE: no clock, no files.
"""

import codecs
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

__all__ = ("Bar", "Line", "Screen")

_SEQUENCE: Final = re.compile(
    r"\x1b\[([0-?]*)[ -/]*([@-~])"  # CSI
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC: titles, links
    r"|\x1b[PX^_][^\x1b]*\x1b\\"
    r"|\x1b[ -/]*[0-OQ-WYZ\\`-~]"
)
_COLOR: Final = re.compile(r"\x1b\[[0-9;:]*m")
_UNFINISHED: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*|[PX^_][^\x1b]*|[ -/]*)?$")
_MAX_SEQUENCE_CHARS: Final = 4096
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_PERCENT: Final = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d+)?) ?%")


class Line(NamedTuple):
    """A line that is finished."""

    text: str


class Bar(NamedTuple):
    """A line that was written over, and the percentage in it."""

    text: str
    percent: float


class Screen:
    """One stream of a program's output.

    Args:
        max_bytes: longest line; what is beyond is left out and counted in the line.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._rest = ""
        self._line = ""
        self._cut = 0
        self._above = 0
        """How many rows above the last one the cursor is."""
        self._is_over = False
        """Whether a carriage return was the last thing: what follows writes over the line."""
        self._is_bar = False
        """Whether the present row has shown a bar."""

    def feed(self, data: bytes, *, is_last: bool = False) -> Iterator[Line | Bar]:
        """Yield the lines that are finished and the bars that have moved."""
        text = self._rest + self._decode(data, is_last)
        self._rest = ""
        unfinished = (
            None if is_last else _UNFINISHED.search(text, max(0, len(text) - _MAX_SEQUENCE_CHARS))
        )
        if is_last:
            text = _UNFINISHED.sub("", text)
        if unfinished is not None:
            text, self._rest = text[: unfinished.start()], text[unfinished.start() :]
        start = 0
        for found in re.finditer(r"([\r\n])|" + _SEQUENCE.pattern, text):
            yield from self._add(text[start : found.start()])
            start = found.end()
            yield from self._obey(found)
        yield from self._add(text[start:])
        if is_last and self._line:
            yield from self._end_line()

    def _obey(self, found: re.Match[str]) -> Iterator[Line | Bar]:
        argument, command = found[2] or "", found[3]
        if found[1] == "\n":
            yield from self._end_line()
        elif found[1] == "\r":
            self._is_over = bool(self._line)
        elif command == "m":
            yield from self._add(found[0])
        elif command == "A":  # the cursor goes up
            yield from self._write_over()
            self._above += int(argument) if argument.isdecimal() else 1
        elif command == "K" and argument == "2":
            yield from self._write_over()

    def _add(self, text: str) -> Iterator[Line | Bar]:
        if not _COLOR.fullmatch(text):
            text = _CONTROL.sub("", text)
        if not text:
            return
        if self._is_over:
            yield from self._write_over()
        room = max(0, self._max - len(self._line))
        self._line += text[:room]
        self._cut += len(text[room:])

    def _write_over(self) -> Iterator[Line | Bar]:
        line, self._line, self._cut, self._is_over = self._line, "", 0, False
        for bar in _bar_of(line):
            self._is_bar = True
            yield bar

    def _end_line(self) -> Iterator[Line | Bar]:
        line, cut, is_bar = self._line, self._cut, self._is_bar or self._above > 0
        self._line, self._cut, self._is_over, self._is_bar = "", 0, False, False
        self._above = max(0, self._above - 1)
        bars = list(_bar_of(line)) if is_bar else []
        if bars:
            yield from bars
        elif _COLOR.sub("", line).strip():
            yield Line(f"{line}… ({cut} more characters)" if cut else line)


def _bar_of(line: str) -> Iterator[Bar]:
    plain = _COLOR.sub("", line).strip()
    found = list(_PERCENT.finditer(plain))
    if found and float(found[-1][1]) <= 100:
        yield Bar(plain, float(found[-1][1]))
