"""Markdown as text with spans, for platforms that take formatting as data.

A platform that reads Markdown or HTML itself refuses a message whose marks are open or wrong. Here
every text is readable: a mark without a partner is an ordinary character. The rendered text is not
longer than its source, in characters and in UTF-16 units. So a page that fits before it is rendered
fits afterwards.

Read are headings, emphasis, code, code fences, links, lists, quotes, and tables, which stay as they
are, in a font of equal widths. Images are links. HTML is text.

Source: the common part of CommonMark 0.31 and GitHub's tables; what chats show differs more than
the finer rules do.
"""

import re
from typing import Final, Literal, NamedTuple

__all__ = ("Kind", "Rendered", "Span", "end_of_table", "render")

Kind = Literal["bold", "italic", "strike", "code", "pre", "link", "quote"]


class Span(NamedTuple):
    """A formatted part of a text: the places of its first character and behind its last one."""

    start: int
    end: int
    kind: Kind
    value: str = ""
    """A link's address, or the language of a code block."""


class Rendered(NamedTuple):
    """A text, and its spans: outer ones first. Two spans are apart, or one is inside the other."""

    text: str
    spans: tuple[Span, ...] = ()


_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*([^\n]*)")
_HEADING: Final = re.compile(r" {0,3}#{1,6}[ \t]+(?=[^ \t])")
_ITEM: Final = re.compile(r"([ \t]*)[-*+][ \t](?=[ \t]*\S)")
_QUOTE: Final = re.compile(r" {0,3}> ?")
_LINE: Final = re.compile(r" {0,3}(?:([-*_])[ \t]*)(?:\1[ \t]*){2,}")
_TOKEN: Final = re.compile(
    r"\\([!-/:-@\[-`{-~])"  # an escaped character
    r"|(`+)"
    r"|(\*+|_+|~~)"
    r"|(!?\[)"
    r"|\]\(<?([^()\s<>]{1,2000}(?:\([^()\s<>]*\)[^()\s<>]*)?)>?(?:[ \t]+\"[^\"\n]*\")?\)"
    r"|<(https?://[^\s<>]{1,2000})>"
    r"|(\])"
)
_ADDRESS: Final = re.compile(r"(?:https?://[^\s/?#@:]+\.?[^\s@]*|mailto:[^\s@]+@[^\s@]+)", re.I)


def render(source: str) -> Rendered:
    """Return a Markdown text as text and spans. Takes any text."""
    out = _Out()
    _blocks(out, source.split("\n"))
    text = "".join(out.pieces)
    kept = [span for span in out.spans if text[span.start : span.end].strip()]
    kept.sort(key=lambda span: (span.start, -span.end, span.kind not in ("quote", "link")))
    return Rendered(text, tuple(kept))


class _Out:
    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.size = 0
        self.spans: list[Span] = []
        self.has_line = False

    def add(self, text: str) -> None:
        self.pieces.append(text)
        self.size += len(text)

    def begin_line(self) -> None:
        if self.has_line:
            self.add("\n")
        self.has_line = True

    def span(self, start: int, kind: Kind, value: str = "") -> None:
        if start < self.size:
            self.spans.append(Span(start, self.size, kind, value))


def _blocks(out: _Out, lines: list[str], *, in_quote: bool = False) -> None:
    at = 0
    while at < len(lines):
        line = lines[at]
        fence = _FENCE.fullmatch(line)
        if fence is not None and not ("`" in fence[2] and fence[1][0] == "`"):
            at = _code(out, lines, at, fence[1], fence[2].strip())
        elif end_of_table(lines, at) > at:
            at = _table(out, lines, at)
        elif not in_quote and _QUOTE.match(line):
            at = _quote(out, lines, at)
        elif heading := _HEADING.match(line):
            out.begin_line()
            start = out.size
            _inline(out, _without_closing(line[heading.end() :]))
            out.span(start, "bold")
            at += 1
        elif _LINE.fullmatch(line):
            out.begin_line()
            out.add(line)
            at += 1
        else:
            at = _paragraph(out, lines, at, in_quote=in_quote)


def _without_closing(heading: str) -> str:
    """Return the text of a heading without the signs that may close it."""
    text = heading.rstrip(" \t")
    bare = text.rstrip("#")
    return bare.rstrip(" \t") if not bare or bare[-1] in " \t" else text


def _code(out: _Out, lines: list[str], at: int, fence: str, info: str) -> int:
    """Write a code block; return the line behind it. A block that nobody closes ends at the end."""
    closing = re.compile(rf" {{0,3}}{re.escape(fence[0])}{{{len(fence)},}}[ \t]*")
    end = at + 1
    while end < len(lines) and not closing.fullmatch(lines[end]):
        end += 1
    body = "\n".join(lines[at + 1 : end])
    if body.strip():
        out.begin_line()
        start = out.size
        out.add(body)
        language = info.split()[0] if info else ""
        out.span(start, "pre", language if re.fullmatch(r"[\w+#.-]{1,30}", language) else "")
    return end + 1


def end_of_table(lines: list[str], at: int) -> int:
    """Return the line behind the table that begins at a line; that line if none begins there."""
    if not lines[at].lstrip().startswith("|") or at + 1 == len(lines):
        return at
    rule = lines[at + 1]
    if not ("|" in rule and "-" in rule and set(rule) <= set(" \t:|-")):
        return at
    end = at + 2
    while end < len(lines) and lines[end].lstrip().startswith("|"):
        end += 1
    return end


def _table(out: _Out, lines: list[str], at: int) -> int:
    end = end_of_table(lines, at)
    out.begin_line()
    start = out.size
    out.add("\n".join(lines[at:end]))
    out.span(start, "pre")
    return end


def _quote(out: _Out, lines: list[str], at: int) -> int:
    end, inner = at, []
    while end < len(lines) and (mark := _QUOTE.match(lines[end])):
        inner.append(lines[end][mark.end() :])
        end += 1
    if not "".join(inner).strip():
        inner = lines[at:end]  # marks alone are text
    start = out.size + out.has_line
    _blocks(out, inner, in_quote=True)
    if not any(span.kind == "pre" and span.start >= start for span in out.spans):
        out.span(start, "quote")
    return end


def _paragraph(out: _Out, lines: list[str], at: int, *, in_quote: bool) -> int:
    """Write lines whose emphasis may go over line ends; return the line behind them."""
    end = at + 1
    while end < len(lines) and lines[end].strip() and lines[end - 1].strip():
        if _begins_block(lines, end, in_quote=in_quote):
            break
        end += 1
    out.begin_line()
    text = "\n".join(lines[at:end])
    if item := _ITEM.match(text):
        out.add(f"{item[1]}• ")
        text = text[item.end() :]
    _inline(out, text)
    return end


def _begins_block(lines: list[str], at: int, *, in_quote: bool) -> bool:
    line = lines[at]
    return bool(
        _FENCE.fullmatch(line)
        or _HEADING.match(line)
        or _ITEM.match(line)
        or _LINE.fullmatch(line)
        or (_QUOTE.match(line) and not in_quote)
        or end_of_table(lines, at) > at
    )


# Emphasis, code and links.


class _Mark:
    """A run of `*`, `_` or `~~`, or the bracket that begins a link."""

    __slots__ = ("can_close", "can_open", "count", "piece", "sign", "total")

    def __init__(self, sign: str, count: int, piece: int, can_open: bool, can_close: bool) -> None:
        self.sign = sign
        self.count = self.total = count
        self.piece = piece
        self.can_open = can_open
        self.can_close = can_close


class _Inline:
    """The pieces of one paragraph, and the spans between them as numbers of pieces."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.spans: list[tuple[int, int, Kind, str]] = []
        self.open: list[_Mark] = []

    def add(self, text: str) -> None:
        if text:
            self.pieces.append(text)

    def emphasise(self, mark: _Mark) -> None:
        """Close what a run of marks closes, the inmost first."""
        while mark.count:
            at = next(
                (n for n in reversed(range(len(self.open))) if _match(self.open[n], mark)), -1
            )
            if at < 0:
                return
            opener = self.open[at]
            del self.open[at + 1 :]
            size = 2 if mark.sign == "~" or min(opener.count, mark.count) >= 2 else 1
            kind: Kind = "strike" if mark.sign == "~" else "bold" if size == 2 else "italic"
            self.spans.append((opener.piece + 1, mark.piece, kind, ""))
            self._shorten(opener, size)
            self._shorten(mark, size)
            if not opener.count:
                self.open.pop()

    def _shorten(self, mark: _Mark, size: int) -> None:
        mark.count -= size
        self.pieces[mark.piece] = mark.sign * mark.count

    def end_bracket(self) -> None:
        """Forget the last bracket: it begins no link."""
        at = next((n for n in reversed(range(len(self.open))) if self.open[n].sign == "["), -1)
        if at >= 0:
            del self.open[at]

    def close_link(self, address: str) -> bool:
        """Make a link of what follows the last bracket; return whether there is one."""
        at = next((n for n in reversed(range(len(self.open))) if self.open[n].sign == "["), -1)
        if at < 0:
            return False
        bracket = self.open[at]
        label = "".join(self.pieces[bracket.piece + 1 :])
        if not label.strip() or any(
            kind == "link" for start, _, kind, _ in self.spans if start > bracket.piece
        ):
            return False
        del self.open[at:]
        self.pieces[bracket.piece] = ""
        if _ADDRESS.fullmatch(address):
            self.spans.append((bracket.piece + 1, len(self.pieces), "link", address))
        else:
            self.add(f" ({address})")
        return True


def _match(opener: _Mark, closer: _Mark) -> bool:
    if opener.sign != closer.sign or not opener.count:
        return False
    is_odd = (opener.can_close or closer.can_open) and (opener.total + closer.total) % 3 == 0
    return not is_odd or (opener.total % 3 == 0 and closer.total % 3 == 0)


_MAX_OPEN: Final = 100
"""Most marks that wait for their partners: text full of them must not take long."""


def _inline(out: _Out, text: str) -> None:
    found = _Inline()
    at = 0
    runs = _runs_of_code(text)
    while token := _TOKEN.search(text, at):
        found.add(text[at : token.start()])
        at = token.end()
        if token[1] is not None:
            found.add(token[1])
        elif token[2] is not None:
            at = _code_span(found, text, token.start(), token[2], runs)
        elif token[3] is not None:
            _emphasis(found, text, token.start(), token[3])
        elif token[4] is not None:
            found.add(token[4])
            found.open.append(_Mark("[", 0, len(found.pieces) - 1, False, False))
        elif token[5] is not None:
            if not found.close_link(token[5]):
                found.add(token[0])
        elif token[7] is not None:
            found.end_bracket()
            found.add(token[7])
        else:
            first = len(found.pieces)
            found.add(token[6])
            if _ADDRESS.fullmatch(token[6]):
                found.spans.append((first, first + 1, "link", token[6]))
        del found.open[:-_MAX_OPEN]
    found.add(text[at:])
    starts = [out.size]
    for piece in found.pieces:
        starts.append(starts[-1] + len(piece))
        out.add(piece)
    for first, behind, kind, value in found.spans:
        if starts[first] < starts[behind]:
            out.spans.append(Span(starts[first], starts[behind], kind, value))


def _runs_of_code(text: str) -> dict[int, list[int]]:
    """Return the places of runs of backticks by their length, the last one first."""
    runs: dict[int, list[int]] = {}
    for match in re.finditer("`+", text):
        runs.setdefault(len(match[0]), []).append(match.start())
    for places in runs.values():
        places.reverse()
    return runs


def _code_span(
    found: _Inline, text: str, start: int, ticks: str, runs: dict[int, list[int]]
) -> int:
    """Write code, or its marks if nothing closes them; return the place behind it."""
    places = runs.get(len(ticks), [])
    while places and places[-1] <= start:
        places.pop()
    if not places:
        found.add(ticks)
        return start + len(ticks)
    code = text[start + len(ticks) : places[-1]].replace("\n", " ")
    if code.strip() and code[0] == code[-1] == " ":
        code = code[1:-1]
    found.spans.append((len(found.pieces), len(found.pieces) + 1, "code", ""))
    found.add(code)
    return places[-1] + len(ticks)


def _emphasis(found: _Inline, text: str, start: int, run: str) -> None:
    before = text[start - 1] if start else " "
    after = text[start + len(run)] if start + len(run) < len(text) else " "
    is_left = not after.isspace() and (not _is_sign(after) or before.isspace() or _is_sign(before))
    is_right = not before.isspace() and (not _is_sign(before) or after.isspace() or _is_sign(after))
    if run[0] == "_":
        can_open = is_left and (not is_right or _is_sign(before))
        can_close = is_right and (not is_left or _is_sign(after))
    else:
        can_open, can_close = is_left, is_right
    found.add(run)
    mark = _Mark(run[0], len(run), len(found.pieces) - 1, can_open, can_close)
    if can_close:
        found.emphasise(mark)
    if can_open and mark.count:
        found.open.append(mark)


def _is_sign(character: str) -> bool:
    return not character.isalnum() and not character.isspace() and character.isascii()
