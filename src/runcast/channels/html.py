"""Markdown as HTML and as plain text, for platforms that take these.

Nothing of the text can become a tag, and each tag that is opened is closed: a preview cannot be
refused for its formatting.
"""

import html
from typing import Final

from runcast.channels.markdown import Kind, Span, render

__all__ = ("to_html", "to_plain")

_TAGS: Final[dict[Kind, str]] = {
    "bold": "strong",
    "italic": "em",
    "strike": "del",
    "code": "code",
    "quote": "blockquote",
}


def to_html(source: str) -> str:
    """Return a Markdown text as HTML."""
    text, spans = render(source)
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
        return f'<a href="{html.escape(span.value)}">', "</a>"
    if span.kind == "pre":
        named = f' class="language-{html.escape(span.value)}"' if span.value else ""
        return f"<pre><code{named}>", "</code></pre>"
    tag = _TAGS[span.kind]
    return f"<{tag}>", f"</{tag}>"


def to_plain(source: str) -> str:
    """Return a Markdown text without its marks; addresses of links stand behind their labels."""
    text, spans = render(source)
    for span in sorted(spans, key=lambda span: -span.end):
        if span.kind == "link" and span.value != text[span.start : span.end]:
            text = f"{text[: span.end]} ({span.value}){text[span.end :]}"
    return text
