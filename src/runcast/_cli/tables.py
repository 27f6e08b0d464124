"""Rows under a header, in columns as wide as they must be and a terminal as wide as it is."""

import shutil
from collections.abc import Sequence
from typing import Final, TextIO

from runcast._cli.texts import cells, cut

__all__ = ("table",)

_BETWEEN: Final = "  "
_MIN_LAST_CELLS: Final = 12
"""Least width of the last column, cells: in a narrower terminal lines wrap instead."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]], out: TextIO) -> str:
    """Return rows below a header.

    Every cell but those of the last column is shown whole. The last column is cut at the edge of a
    terminal; in a file or a pipe nothing is cut.
    """
    widths = [max(cells(row[at]) for row in (header, *rows)) for at in range(len(header) - 1)]
    room = None
    if out.isatty():
        used = sum(widths) + len(_BETWEEN) * len(widths)
        room = max(shutil.get_terminal_size().columns - used, _MIN_LAST_CELLS)
    lines = []
    for row in (header, *rows):
        *first, last = row
        sized = zip(first, widths, strict=True)
        padded = [text + " " * (width - cells(text)) for text, width in sized]
        shown = last if room is None else cut(last, room)
        lines.append(_BETWEEN.join((*padded, shown)).rstrip())
    return "\n".join(lines)
