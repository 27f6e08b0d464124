"""Text for terminals: without control characters, and measured in columns."""

import re
import shutil
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, TextIO

__all__ = (
    "cells",
    "colored",
    "cut",
    "fold",
    "plain",
    "plain_lines",
    "readable_bytes",
    "readable_s",
    "rows",
    "table",
    "tail",
    "without_codes",
)

_UNSAFE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Kinds of characters that control a terminal, reverse text, or break a line."""

_JOINERS: Final = frozenset("\u200c\u200d")
"""Invisible, but part of writing: Persian words and joined emoji need them."""

_ELLIPSIS: Final = "…"

_CODE: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]{0,256}[ -/]{0,16}[@-~]"  # colors, moves, erasing
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]{0,4096}(?:\x07|\x1b\\|\x9c)"  # titles, links, the clipboard
    r"|\x1b[ -/]{0,16}[0-OQ-WYZ\\`-~]"
)
"""A whole control code of a terminal. Source: ECMA-48 §5.4, §5.6; xterm ends `]` with BEL."""

_STYLE: Final = re.compile(r"\x1b\[([0-9;]{0,64})m")
_HIDING: Final = "8"
"""The style that makes text invisible."""

_LINE_END: Final = re.compile(r"\r\n?|\n")


def plain(text: str) -> str:
    """Return text on one line, without control characters, because anybody may have written it."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_harmless, text))


def without_codes(text: str) -> str:
    """Return text without the codes that programs write for a terminal: colors, moves, titles.

    What is not a whole code stays, for `plain` to make harmless.
    """
    return _CODE.sub("", text) if "\x1b" in text or "\x9b" in text else text


def colored(text: str) -> str:
    """Return text on one line with its colors and styles, and without anything else that a
    terminal would obey; the styles end with the line."""
    if "\x1b[" not in text:
        return plain(without_codes(text))
    shown, end, has_style = [], 0, False
    for found in _CODE.finditer(text):
        shown.append(plain(text[end : found.start()]))
        end = found.end()
        if (style := _style_of(found.group())) is not None:
            shown.append(style)
            has_style = True
    shown.append(plain(text[end:]))
    return "".join(shown) + ("\x1b[0m" if has_style else "")


def _style_of(code: str) -> str | None:
    """Return a code if it does nothing but style text that stays readable."""
    found = _STYLE.fullmatch(code)
    return None if found is None or _HIDING in found[1].split(";") else code


def plain_lines(text: str) -> str:
    """Return text of several lines, each made plain."""
    return "\n".join(plain(line) for line in _LINE_END.split(text))


def cells(text: str) -> int:
    """Return how many columns a line of plain text takes in a terminal."""
    return len(text) if text.isascii() else sum(map(_width, text))


def rows(text: str, columns: int) -> int:
    """Return how many rows a line of plain text takes in a terminal of this width."""
    if text.isascii():
        return max(1, -(-len(text) // columns))
    count, used = 1, 0
    for width in map(_width, text):
        used += width
        if used > columns:
            count, used = count + 1, width
    return count


def fold(text: str, columns: int) -> list[str]:
    """Return the rows of a line of plain text, broken at blanks if possible; together they are the
    line. A row may end with a blank beyond the last column."""
    folded = []
    while cells(text) > columns:
        used = end = blank = 0
        for end, char in enumerate(text):
            used += _width(char)
            if used > columns and char != " ":
                break
            if char == " ":
                blank = end + 1
        else:
            break
        at = blank or max(end, 1)
        folded.append(text[:at])
        text = text[at:]
    return [*folded, text]


def cut(text: str, columns: int) -> str:
    """Return a line cut to this many columns, with … at the end if it was longer."""
    if cells(text) <= columns:
        return text
    kept, used = [], 1
    for char in text:
        used += _width(char)
        if used > columns:
            break
        kept.append(char)
    return ("".join(kept) + _ELLIPSIS)[: max(columns, 0)]


def tail(text: str, columns: int) -> str:
    """Return the end of a line that fits into this many columns, after … if it was longer."""
    if cells(text) <= columns:
        return text
    start, used = len(text), 1
    while start and used + _width(text[start - 1]) <= columns:
        start -= 1
        used += _width(text[start])
    return (_ELLIPSIS + text[start:])[: max(columns, 0)]


def readable_bytes(count: float) -> str:
    """Return an amount of bytes for people: `1.5 MiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(count) < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"


def readable_s(seconds: float) -> str:
    """Return a time span for people: `0:07`, `12:30`, `3:00:00`, `2 d`."""
    whole = max(0, round(seconds))
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    if hour >= 48:
        return f"{hour // 24} d"
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


@lru_cache(maxsize=4096)
def _harmless(char: str) -> str:
    if char == "\t":
        return "    "
    if char in _JOINERS:
        return char
    return "�" if unicodedata.category(char) in _UNSAFE else char


@lru_cache(maxsize=4096)
def _width(char: str) -> int:
    if char in _JOINERS or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


_BETWEEN: Final = "  "
_MIN_LAST_CELLS: Final = 12
"""Least width of the last column, cells; in a narrower terminal the lines wrap."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]], out: TextIO) -> str:
    """Return rows below a header.

    All columns except the last are shown whole. In a terminal the last column is cut at the edge;
    in a file or a pipe nothing is cut.
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
