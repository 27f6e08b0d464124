"""A long Markdown text as messages: where a page ends, and what it needs to stand alone.

A page is `opening + text[start:end] + closing`. If a code fence is open at the end of the page, the
closing ends it, and the opening of the next page begins it again. So a page never needs its
neighbours.

A page ends at the best place near its limit: between paragraphs, else between lines outside a code
fence, between lines inside one, after a sentence, at a space, or between two characters. Sentences
and words are not parted inside emphasis, code and links. What people see as one character is never
cut.

The end of a full page depends only on the text up to its limit. So it stays the same while the text
grows.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Final, NamedTuple

from runcast.channels.capability import Unit, measure

__all__ = (
    "Room",
    "boundary",
    "find_end",
    "is_blank",
    "opening_after",
    "page_text",
    "preview_end",
)

_FENCE: Final = re.compile(r"^ {0,3}(`{3,16}(?!`)|~{3,16}(?!~))([^\n]*)$", re.MULTILINE)
_MARK: Final = re.compile(r"\\.|`+|\*\*|~~|__|\n[ \t]*(?=\n)", re.DOTALL)
_LINK: Final = re.compile(r"\[[^\[\]\n]{0,300}(?:\]\([^()\s]{0,1000}(?:\)|\Z)|\]?\Z)")
"""A link, or the beginning of one at the end of a page."""
_SENTENCE: Final = re.compile(r"[.!?…]['\")\]]{0,3}\s|[。！？；]")
_INSIDE: Final = re.compile(r"[ \t]+\S|\|")
"""A line that belongs to the line before: of a list item, or of a table."""
_RULE_SIGNS: Final = frozenset(" \t:|-")
"""What the second row of a table is made of."""

_MAX_INFO_CHARS: Final = 24
"""Most characters of a fence's language that the next page repeats."""

_CLOSING: Final = 17
"""Room for a closing: a line end and the longest fence."""

_MAX_CLUSTER: Final = 32
"""Most characters that count as one when a page is cut. Text in which everything combines must end,
too."""

_MAX_FLAGS: Final = 4096
"""Most letters of flags in a row that are counted, which is an even number."""


class Room(NamedTuple):
    """How much one page may hold."""

    limit: int
    unit: Unit

    def holds(self, text: str) -> bool:
        """Return whether a page may have this text."""
        return measure(text, self.unit) <= self.limit

    def end_of(self, text: str, start: int, used: int) -> int:
        """Return the end of the longest part from `start` that fits beside `used` units."""
        left = max(self.limit - used, 4)  # the longest character, in bytes
        part = text[start : start + left]
        if self.unit == "codepoint" or part.isascii():
            return start + len(part)
        return start + max(1, bisect_right([*accumulate(_sizes(part, self.unit))], left))


def _sizes(text: str, unit: Unit) -> Iterator[int]:
    if unit == "utf16":
        return (2 if character > "\uffff" else 1 for character in text)
    return (measure(character, "utf8") for character in text)


def find_end(text: str, start: int, opening: str, room: Room) -> int | None:
    """Return where the page that begins at `start` ends; None if all that follows fits."""
    if len(text) - start <= room.limit and room.holds(page_text(text, start, len(text), opening)):
        return None
    most = room.end_of(text, start, measure(opening, room.unit) + _CLOSING)
    return boundary(text, start, most, opening)


def boundary(text: str, start: int, most: int, opening: str = "") -> int:
    """Return the best end of a page, after `start` and at most `most`."""
    body, span = text[start:most], most - start
    fences = _Fences(body, opening)
    for found in _places(body, "\n\n", span // 2):
        if not fences.is_open_at(found):
            return start + found
    lines = list(_places(body, "\n", span // 4))
    for found in lines:
        if not fences.is_open_at(found) and not _INSIDE.match(text, start + found):
            return start + found
    if lines:
        return start + lines[0]
    whole = _Marked(body)
    for found in reversed([match.end() for match in _SENTENCE.finditer(body, span // 4)]):
        if not whole.covers(found):
            return start + found
    for found in _places(body, " ", span // 4):
        if not whole.covers(found):
            return start + found
    return _whole_character(text, start, most)


def opening_after(text: str, start: int, end: int, opening: str) -> str:
    """Return what the page that begins at `end` must begin with."""
    fence, info = _Fences(text[start:end], opening).at_end
    return f"{fence}{info}\n" if fence else ""


def page_text(text: str, start: int, end: int, opening: str, *, is_preview: bool = False) -> str:
    """Return the text of a page.

    Args:
        is_preview: more text will come. Emphasis and code that are still open are closed, and the
            first row of a table is held back until the second one shows that it is a table.
    """
    if is_preview:
        end = preview_end(text, start, end)
    body = opening + text[start:end]
    fences = _Fences(text[start:end], opening)
    fence, _ = fences.at_end
    if fence:
        return body + ("" if body.endswith("\n") else "\n") + fence
    return _closed(body, len(opening) + fences.last_edge) if is_preview else body


def is_blank(text: str, start: int, end: int, opening: str) -> bool:
    """Return whether a page would show nothing: no text, or the end of a fence alone."""
    part = text[start:end]
    return not (_FENCE.sub("", part) if opening else part).strip()


class _Fences:
    """The code fences of a page."""

    def __init__(self, body: str, opening: str) -> None:
        self._edges: list[tuple[int, bool]] = []
        first = _FENCE.match(opening)
        fence, info = (first[1], first[2].strip()) if first else ("", "")
        self._is_open_first = bool(fence)
        for match in _FENCE.finditer(body):
            signs, rest = match[1], match[2].strip()
            if not fence:
                if signs[0] == "`" and "`" in rest:
                    continue  # code inside a line
                fence = signs
                info = rest if len(rest) <= _MAX_INFO_CHARS and rest.isascii() else ""
                self._edges.append((match.end(), True))
            elif signs[0] == fence[0] and len(signs) >= len(fence) and not rest:
                fence, info = "", ""
                self._edges.append((match.end(), False))
        self.at_end = fence, info
        self.last_edge = self._edges[-1][0] if self._edges else 0

    def is_open_at(self, place: int) -> bool:
        """Return whether a place is inside a fence."""
        found = bisect_right(self._edges, (place, False)) - 1
        return self._edges[found][1] if found >= 0 else self._is_open_first


class _Marked:
    """The parts of a page that stay whole if they can: emphasis, code, links."""

    def __init__(self, body: str) -> None:
        self._spans = [match.span() for match in _LINK.finditer(body)]
        since: dict[str, int] = {}
        for match in _MARK.finditer(body):
            mark = match[0]
            if mark[0] == "\n":
                since.clear()  # emphasis ends with its paragraph
            elif mark[0] == "\\" or (mark[0] != "`" and any(each[0] == "`" for each in since)):
                continue  # nothing else counts in code
            elif mark in since:
                self._spans.append((since.pop(mark), match.end()))
            elif mark[0] == "`" or _opens(body, match.start(), match.end()):
                since[mark] = match.start()
        self.open = since
        """The marks that are open at the end, and where they begin."""
        self._spans += [(begun, len(body)) for begun in since.values()]

    def covers(self, place: int) -> bool:
        """Return whether a cut at a place parts emphasis, code or a link."""
        return any(start < place < end for start, end in self._spans)


def _opens(text: str, start: int, end: int) -> bool:
    """Return whether a mark can open emphasis: text follows it, and no word ends before it."""
    follows = end < len(text) and not text[end].isspace()
    return follows and (text[start] != "_" or start == 0 or not text[start - 1].isalnum())


def _closed(body: str, since: int) -> str:
    """Close what is open at the end of a preview, for platforms that read Markdown themselves.

    Args:
        since: the end of the last code fence.
    """
    paragraph = max(body.rfind("\n\n"), since)
    marked = _Marked(body[paragraph:]).open
    if not marked:
        return body
    bare = body.rstrip()
    for mark in reversed(marked):  # the inmost first
        bare = bare[: -len(mark)].rstrip() if bare.endswith(mark) else bare + mark
    return bare


def _places(body: str, what: str, least: int) -> Iterator[int]:
    """Yield the places behind each occurrence, from the last one."""
    at = body.rfind(what)
    while at > 0 and at >= least:
        yield at + len(what)
        at = body.rfind(what, 0, at)


def _whole_character(text: str, start: int, end: int) -> int:
    """Return the last place at or before `end` that is between two characters as people see."""
    for at in range(end, max(start, end - _MAX_CLUSTER), -1):
        if not _joins(text, at):
            return at
    return end


def _joins(text: str, at: int) -> bool:
    """Return whether the characters before and after a place are one for people."""
    if not 0 < at < len(text):
        return False
    before, after = text[at - 1], text[at]
    if after.isascii():
        return before == "\r" and after == "\n"
    code = ord(after)
    if before == "\u200d" or after == "\u200d" or unicodedata.category(after) in ("Mn", "Me", "Mc"):
        return True
    if 0x1F3FB <= code <= 0x1F3FF or 0xE0020 <= code <= 0xE007F:  # skin tones, flags of regions
        return True
    return _is_flag_letter(before) and _is_flag_letter(after) and _flag_letters(text, at) % 2 == 1


def _is_flag_letter(character: str) -> bool:
    return 0x1F1E6 <= ord(character) <= 0x1F1FF


def _flag_letters(text: str, at: int) -> int:
    count = 0
    while count < min(at, _MAX_FLAGS) and _is_flag_letter(text[at - 1 - count]):
        count += 1
    return count


def preview_end(text: str, start: int, end: int) -> int:
    """Return where a preview ends: before a first row that may become a table."""
    last = text.rfind("\n", start, max(start, end - 1)) + 1 or start
    before = text.rfind("\n", start, max(start, last - 1)) + 1 or start
    if last > start and text.startswith("|", before) and before < last:
        # The last line is the second row, if the row before is the first one.
        earlier = text.rfind("\n", start, max(start, before - 1)) + 1 or start
        is_first = earlier == before or not text.startswith("|", earlier)
        line = text[last:end].removesuffix("\n")
        is_rule = _RULE_SIGNS.issuperset(line)
        may_become = is_rule and not ("-" in line and text.endswith("\n", last, end))
        return before if is_first and may_become else end
    return last if text.startswith("|", last) and last < end else end
