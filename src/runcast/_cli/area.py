"""The moving part at the bottom of a terminal: rows that are erased and drawn again at once."""

import os
from collections.abc import Sequence
from typing import Final, NamedTuple, TextIO

from runcast._cli.texts import rows

__all__ = ("SPARE_COLUMNS", "Area", "Row", "size_of", "styled")

SPARE_COLUMNS: Final = 3
"""Columns left free at the right, so that a terminal's ^C does not wrap the row."""


class Row(NamedTuple):
    """A line of plain text, and its style: the number of a terminal's code, or None."""

    text: str
    style: int | None = None


class Area:
    """Rows below what lasts.

    Only their plain text is measured: codes take no columns.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._drawn: list[Row] = []
        self._columns = 0
        self.has_color = not os.environ.get("NO_COLOR")

    @property
    def drawn(self) -> list[Row]:
        """The rows as on the screen."""
        return self._drawn

    def draw(self, lasting: str, area: Sequence[Row]) -> None:
        """Erase the rows, write what lasts (whole lines), and draw other rows below it."""
        columns, _ = size_of(self._out)
        shown = "\n".join(styled(row.text, row.style, self.has_color) for row in area)
        self._out.write(self._erased(columns) + lasting + shown)
        self._out.flush()
        self._drawn, self._columns = list(area), columns

    def extend(self, more: str, area: Sequence[Row]) -> None:
        """Write text behind the last row; then the screen shows these rows."""
        self._out.write(more)
        self._out.flush()
        self._drawn, self._columns = list(area), size_of(self._out)[0]

    def keep(self) -> None:
        """Leave the rows where they are; what is drawn next comes below them."""
        self._drawn = []

    def _erased(self, columns: int) -> str:
        """Return the codes that erase the rows.

        If the window's width has changed since, some terminals have wrapped the rows and others
        have not. Then rather leave a piece of a bar than erase text.
        """
        if not self._drawn:
            return ""
        widths = (columns, self._columns)
        up = min(sum(rows(row.text, width) for row in self._drawn) for width in widths) - 1
        return "\r" + (f"\x1b[{up}A" if up else "") + "\x1b[J"


def styled(text: str, style: int | None, has_color: bool = True) -> str:
    """Return text with a terminal's style."""
    return f"\x1b[{style}m{text}\x1b[0m" if style and has_color else text


def size_of(out: TextIO) -> tuple[int, int]:
    """Return a terminal's columns and lines, as they are now; 80 and 24 if unknown."""
    try:
        columns, lines = os.get_terminal_size(out.fileno())
    except OSError:
        columns, lines = 0, 0
    return columns or 80, lines or 24
