"""Markdown as text with spans: what platforms take that do not read Markdown themselves.

A span has a kind, a start and an end in the bare text, and an argument: a link's address, a code
block's language. Only what is complete becomes a span: half of a `**` stays as it is. So the text
of a preview can never be refused for its formatting.

Known: headings, bold, italic, struck, code, code blocks, links, quotes. Lists and tables stay as
text.
"""

import html
import re
from typing import Final, Literal, NamedTuple

__all__ = ("Span", "SpanKind", "parse", "to_html", "to_plain")

SpanKind = Literal["bold", "italic", "strike", "code", "pre", "link", "quote"]

_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)")
_HEADING: Final = re.compile(r" {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*[ \t]*$")
_INLINE: Final = re.compile(
    r"\\(?P<escaped>[!-/:-@\[-`{-~])"
    r"|(?P<ticks>`+)(?P<code>.+?)(?<!`)(?P=ticks)(?!`)"
    r"|\[(?P<label>[^\[\]\n]{1,300})\]\((?P<url>(?:https?|mailto|tg):[^()\s]{1,1000})\)"
    r"|(?P<mark>\*\*|__|~~|\*|_)"
)
_KINDS: Final[dict[str, SpanKind]] = {
    "**": "bold",
    "__": "bold",
    "~~": "strike",
    "*": "italic",
    "_": "italic",
}


class Span(NamedTuple):
    """A part of the bare text and how it is shown."""

    kind: SpanKind
    start: int
    end: int
    argument: str = ""


class _Writer:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self.spans: list[Span] = []
        self.at = 0

    def put(self, text: str) -> None:
        self.parts.append(text)
        self.at += len(text)


def parse(markdown: str) -> tuple[str, list[Span]]:
    """Return the bare text and its spans, by their start, outer spans first."""
    writer = _Writer()
    lines = markdown.split("\n")
    at = 0
    while at < len(lines):
        if at:
            writer.put("\n")
        fence = _FENCE.fullmatch(lines[at])
        end = _end_of_fence(lines, at, fence[1]) if fence else None
        if fence and end is not None and not ("`" in fence[2] and fence[1][0] == "`"):
            start = writer.at
            writer.put("\n".join(lines[at + 1 : end]))
            if writer.at > start:
                language = fence[2].strip().split(" ")[0]
                writer.spans.append(Span("pre", start, writer.at, language))
            at = end + 1
            continue
        _line(writer, lines[at])
        at += 1
    return "".join(writer.parts), sorted(writer.spans, key=lambda span: (span.start, -span.end))


def _end_of_fence(lines: list[str], begun: int, fence: str) -> int | None:
    for at in range(begun + 1, len(lines)):
        line = lines[at].strip()
        if line and set(line) == {fence[0]} and len(line) >= len(fence):
            return at
    return None


def _line(writer: _Writer, line: str) -> None:
    heading = _HEADING.match(line)
    if heading:
        start = writer.at
        _inline(writer, heading[1])
        if writer.at > start:
            writer.spans.append(Span("bold", start, writer.at))
        return
    if line.startswith((">", "> ")):
        start = writer.at
        _inline(writer, line[1:].removeprefix(" "))
        if writer.at > start:
            writer.spans.append(Span("quote", start, writer.at))
        return
    _inline(writer, line)


def _inline(writer: _Writer, text: str) -> None:
    pairs = _pairs(text)
    at, begun = 0, dict[int, int]()
    for match in _INLINE.finditer(text):
        writer.put(text[at : match.start()])
        at = match.end()
        if match["escaped"]:
            writer.put(match["escaped"])
        elif match["code"]:
            _put_span(writer, "code", match["code"].strip() or match["code"])
        elif match["label"]:
            _put_span(writer, "link", match["label"], match["url"])
        elif match.start() in pairs:
            if pairs[match.start()] > match.start():
                begun[pairs[match.start()]] = writer.at
            else:
                start = begun.pop(match.start())
                if writer.at > start:
                    writer.spans.append(Span(_KINDS[match["mark"]], start, writer.at))
        else:
            writer.put(match[0])
    writer.put(text[at:])


def _put_span(writer: _Writer, kind: SpanKind, text: str, argument: str = "") -> None:
    start = writer.at
    writer.put(text)
    writer.spans.append(Span(kind, start, writer.at, argument))


def _pairs(text: str) -> dict[int, int]:
    """Return where each mark of emphasis that has a partner has it, in both directions."""
    pairs: dict[int, int] = {}
    stack: list[tuple[str, int]] = []
    for match in _INLINE.finditer(text):
        mark = match["mark"]
        if not mark:
            continue
        start, end = match.span()
        before = text[start - 1] if start else " "
        after = text[end] if end < len(text) else " "
        found = next((n for n in range(len(stack) - 1, -1, -1) if stack[n][0] == mark), None)
        is_word = mark[0] == "_" and after.isalnum()
        if found is not None and not before.isspace() and not is_word:
            pairs[stack[found][1]], pairs[start] = start, stack[found][1]
            del stack[found:]
        elif not after.isspace() and not (mark[0] == "_" and before.isalnum()):
            stack.append((mark, start))
    return pairs


_TAGS: Final[dict[SpanKind, str]] = {
    "bold": "strong",
    "italic": "em",
    "strike": "del",
    "code": "code",
    "quote": "blockquote",
}


def to_html(markdown: str) -> str:
    """Return Markdown as HTML in which nothing of the text can be a tag."""
    text, spans = parse(markdown)
    opened: dict[int, list[str]] = {}
    closed: dict[int, list[str]] = {}
    blocks = [(span.start, span.end) for span in spans if span.kind == "pre"]
    for span in spans:
        begin, end = _tags(span)
        opened.setdefault(span.start, []).append(begin)
        closed.setdefault(span.end, []).insert(0, end)
    parts: list[str] = []
    places = sorted({0, len(text), *opened, *closed})
    for at, following in zip(places, [*places[1:], len(text)], strict=True):
        parts += closed.get(at, ())
        parts += opened.get(at, ())
        piece = html.escape(text[at:following], quote=False)
        is_block = any(start <= at < end for start, end in blocks)
        parts.append(piece if is_block else piece.replace("\n", "<br>"))
    return "".join(parts)


def _tags(span: Span) -> tuple[str, str]:
    if span.kind == "link":
        return f'<a href="{html.escape(span.argument)}">', "</a>"
    if span.kind == "pre":
        language = re.sub(r"[^\w+#.-]", "", span.argument)
        named = f' class="language-{language}"' if language else ""
        return f"<pre><code{named}>", "</code></pre>"
    tag = _TAGS[span.kind]
    return f"<{tag}>", f"</{tag}>"


def to_plain(markdown: str) -> str:
    """Return Markdown without its marks; the addresses of links stand behind their labels."""
    text, spans = parse(markdown)
    for span in sorted(spans, key=lambda span: -span.end):
        if span.kind == "link" and span.argument != text[span.start : span.end]:
            text = f"{text[: span.end]} ({span.argument}){text[span.end :]}"
    return text
