"""Markdown as text with spans, as HTML, and as plain text."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast.channels.capability import measure
from runcast.channels.html import to_html, to_plain
from runcast.channels.markdown import Span, render
from runcast.channels.pages import preview_end
from tests.channels.strategies import tokens

_SIGNS = st.text(st.sampled_from("*_~`[]()<>!#|>-\\ \n.ab1é👩https://x.y"), max_size=60)
sources = st.lists(tokens | _SIGNS, max_size=12).map("".join)


def parts(source: str) -> list[tuple[str, str, str]]:
    text, spans = render(source)
    return [(span.kind, text[span.start : span.end], span.value) for span in spans]


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        ("plain", "plain", []),
        ("**b** and *i*", "b and i", [("bold", "b", ""), ("italic", "i", "")]),
        ("***x***", "x", [("bold", "x", ""), ("italic", "x", "")]),
        ("**a *b* c**", "a b c", [("bold", "a b c", ""), ("italic", "b", "")]),
        ("snake_case_name 2*3*4", "snake_case_name 234", [("italic", "3", "")]),
        ("__init__", "init", [("bold", "init", "")]),
        ("~~no~~", "no", [("strike", "no", "")]),
        ("`a*b*`", "a*b*", [("code", "a*b*", "")]),
        ("`` a`b ``", "a`b", [("code", "a`b", "")]),
        ("# Title #", "Title", [("bold", "Title", "")]),
        ("## C#", "C#", [("bold", "C#", "")]),
        ("# ", "# ", []),
        ("[x](https://a.b/c_d_e)", "x", [("link", "x", "https://a.b/c_d_e")]),
        ("**Note [1]:** y", "Note [1]: y", [("bold", "Note [1]:", "")]),
        ("[x](javascript:alert)", "x (javascript:alert)", []),
        ("![pic](https://a.b/p.png)", "pic", [("link", "pic", "https://a.b/p.png")]),
        ("<https://a.b>", "https://a.b", [("link", "https://a.b", "https://a.b")]),
        ("- one\n  - two", "• one\n  • two", []),
        ("> q\n> r\n\ns", "q\nr\n\ns", [("quote", "q\nr", "")]),
        ("```py\na = '*'\n```\nb", "a = '*'\nb", [("pre", "a = '*'", "py")]),
        ("|a|b|\n|-|-|\n|1|2|", "|a|b|\n|-|-|\n|1|2|", [("pre", "|a|b|\n|-|-|\n|1|2|", "")]),
        ("\\*a\\*", "*a*", []),
        ("**a\nb**", "a\nb", [("bold", "a\nb", "")]),
        ("<b>&amp;", "<b>&amp;", []),
    ],
)
def test_formatting_becomes_spans(
    source: str, text: str, expected: list[tuple[str, str, str]]
) -> None:
    assert render(source).text == text
    assert parts(source) == expected


@pytest.mark.parametrize(
    "source", ["**a", "a**", "`a", "[a", "[a](", "[a](http://b", "~~a", "** a **", "_a*", "|a|b|"]
)
def test_marks_without_partners_stay_as_they_are(source: str) -> None:
    assert render(source) == (source, ())


def test_a_code_block_that_is_still_open_is_one() -> None:
    assert render("a\n```js\nf(") == ("a\nf(", (Span(2, 4, "pre", "js"),))


@given(sources, st.data())
def test_any_part_of_a_text_renders_to_nested_spans_and_not_more_text(
    source: str, data: st.DataObject
) -> None:
    cut = source[: data.draw(st.integers(0, len(source)), label="cut")]
    text, spans = render(cut)
    assert len(text) <= len(cut)
    assert measure(text, "utf16") <= measure(cut, "utf16")
    for span in spans:
        assert 0 <= span.start < span.end <= len(text)
        assert text[span.start : span.end].strip()
    for at, one in enumerate(spans):
        for two in spans[at + 1 :]:
            assert two.start >= one.end or two.end <= one.end


@pytest.mark.parametrize(
    "source",
    [
        "| a |\n" + " " * 5000 + "-" * 5000 + "x\n",
        "# " + "a " + " " * 20_000 + "x",
        "#" + " \t" * 20_000,
        "- " * 20_000 + "x",
        "[a](" + "x" * 2000 + "[b](" * 2000,
        "*a**b_c_" * 2000,
        "`" * 3000 + " ``" * 3000,
        "![" * 5000,
    ],
    ids=lambda source: source[:12].strip(),
)
def test_hostile_text_is_rendered_in_time(source: str) -> None:
    assert render(source).text  # patterns that try every way would take hours
    assert 0 <= preview_end(source, 0, len(source)) <= len(source)


@pytest.mark.parametrize(
    ("source", "expected", "plain"),
    [
        ("***x*** & <b>", "<strong><em>x</em></strong> &amp; &lt;b&gt;", "x & <b>"),
        ("> q\n> r", "<blockquote>q<br>r</blockquote>", "q\nr"),
        ("- a\n- `b`", "• a<br>• <code>b</code>", "• a\n• b"),
        ("```py\na\nb<c\n```", '<pre><code class="language-py">a\nb&lt;c</code></pre>', "a\nb<c"),
        ("|a|\n|-|", "<pre><code>|a|\n|-|</code></pre>", "|a|\n|-|"),
        ('[x](https://a.b/"c)', '<a href="https://a.b/&quot;c">x</a>', 'x (https://a.b/"c)'),
        ("<https://a.b>", '<a href="https://a.b">https://a.b</a>', "https://a.b"),
        ("[x](javascript:alert)", "x (javascript:alert)", "x (javascript:alert)"),
    ],
)
def test_formatting_becomes_html_and_plain_text(source: str, expected: str, plain: str) -> None:
    assert to_html(source) == expected
    assert to_plain(source) == plain


class _Nested(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            self.text += "\n"
        else:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@given(sources)
def test_any_text_is_html_with_closed_tags_and_the_same_text(source: str) -> None:
    reader = _Nested()
    reader.feed(to_html(source))
    reader.close()
    assert not reader.open
    assert reader.text == render(source).text
    assert not re.search(r"<(?!/?(?:a|br|em|strong|del|code|pre|blockquote)\b)", to_html(source))
