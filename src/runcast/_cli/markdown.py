"""Markdown in a terminal, block by block as it streams; drawn by rich, where that is installed.

Lines without markup are shown as they are, at once. A block with markup (a list, a table, a
listing, emphasis) is shown when it is complete.
"""

import io
import re
from importlib.util import find_spec
from typing import Final, NamedTuple

__all__ = ("Block", "Blocks", "can_render", "render")

_MOST_LINES: Final = 200
"""Most lines of a block; a longer one is shown in parts, so that what is held stays bounded."""

_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING: Final = re.compile(r" {0,3}#{1,6}\s")
_MARKUP: Final = re.compile(
    r"^ {0,3}(?:[-+*]\s|\d{1,9}[.)]\s|>|\||(?:-\s*){3,}$|(?:=\s*){3,}$)"  # of whole lines
    r"|\*\*?\S|`[^`]|\[[^\]]+\]\(|(?<!\w)_{1,2}\w"  # inside of lines
)
_PART: Final = re.compile(r"^ {0,3}(?:[-+*]\s|\d{1,9}[.)]\s|>|\|)")
"""A line of a list, a quotation or a table."""

_CODE_SPAN: Final = re.compile(r"(`[^`]+`)")
_PADDING: Final = re.compile(r"\s+(?=(?:\x1b\[[0-9;]*m|\s)*$)")


class Block(NamedTuple):
    """A piece of a text: lines that belong together, and whether they have markup."""

    text: str
    has_markup: bool


class Blocks:
    """Gathers the lines of one text into blocks."""

    def __init__(self) -> None:
        self._held: list[str] = []
        self._fence = ""
        self._is_listed = False
        """Whether the lines that are held are of a list, a table or a quotation."""

    @property
    def held(self) -> list[str]:
        """The lines of the block that is not complete."""
        return self._held

    def take(self, line: str) -> list[Block]:
        """Return the blocks that are complete with a line."""
        fence = _FENCE.match(line)
        if self._fence:
            self._held.append(line)
            is_end = fence is not None and fence[1].startswith(self._fence)
            return self.end() if is_end else self._if_long()
        if fence is not None:
            before = self.end()
            self._fence = fence[1]
            self._held.append(line)
            return before
        if not line.strip():
            return [*self.end(), Block("", has_markup=False)]
        if _HEADING.match(line):
            return [*self.end(), Block(line, has_markup=True)]
        is_part = _is_part(line, follows=bool(self._held) and self._is_listed)
        ended = [] if is_part == self._is_listed else self.end()
        if self._held or is_part or _MARKUP.search(line):
            self._held.append(line)
            self._is_listed = is_part
            return [*ended, *self._if_long()]
        return [*ended, Block(line, has_markup=False)]

    def end(self) -> list[Block]:
        """Return the block that was not complete."""
        lines, self._held, self._fence = self._held, [], ""
        self._is_listed = False
        return [Block("\n".join(lines), has_markup=True)] if lines else []

    def _if_long(self) -> list[Block]:
        if len(self._held) < _MOST_LINES:
            return []
        fence = self._fence
        blocks = self.end()
        if fence:  # the listing goes on
            self._fence, self._held = fence, [fence]
        return blocks


def can_render() -> bool:
    """Return whether rich is installed."""
    return find_spec("rich") is not None


def render(text: str, columns: int) -> list[str]:
    """Return a block's lines as a terminal shows them, styled by rich.

    Args:
        text: of plain lines, because it is not made harmless here.
    """
    # Imported late: it takes a while, and only commands that draw Markdown need it.
    from rich.console import Console
    from rich.markdown import Markdown

    if not _FENCE.match(text):
        text = _escaped(text)
    if _HEADING.match(text):
        title = text.strip().strip("#").strip()
        text = f"**{title}**" if title else "\\" + text.strip()
    elif not _FENCE.match(text) and not _is_part(text):
        text = text.replace("\n", "  \n")  # lines stay lines
    out = io.StringIO()
    console = Console(
        file=out,
        width=max(columns, 8),
        force_terminal=True,
        color_system="standard",
        highlight=False,
        legacy_windows=False,
        _environ={},
    )
    console.print(Markdown(text, hyperlinks=False, code_theme="ansi_dark"))
    lines = [_PADDING.sub("", line) for line in out.getvalue().split("\n")]
    while lines and not _visible(lines[-1]):
        lines.pop()
    while lines and not _visible(lines[0]):
        lines.pop(0)
    return lines


def _escaped(text: str) -> str:
    """Return Markdown in which HTML is text: rich would leave it out."""
    parts = _CODE_SPAN.split(text)
    parts[::2] = [re.sub(r"(?<!\\)[<&]", r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


def _is_part(line: str, *, follows: bool = False) -> bool:
    return _PART.match(line) is not None or (follows and line.startswith("  "))


def _visible(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", line).strip()
