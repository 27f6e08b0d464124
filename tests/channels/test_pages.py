"""Where pages end, and what they need to stand alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runcast.channels.capability import Unit, measure
from runcast.channels.pages import Room, find_end, opening_after, page_text
from tests.channels import strategies
from tests.channels.simulated import essence

_units: st.SearchStrategy[Unit] = st.sampled_from(["utf16", "codepoint", "utf8"])


def paginate(text: str, room: Room) -> list[str]:
    pages, start, opening = [], 0, ""
    while (end := find_end(text, start, opening, room)) is not None:
        assert end > start
        pages.append(page_text(text, start, end, opening))
        start, opening = end, opening_after(text, start, end, opening)
    return [*pages, page_text(text, start, len(text), opening)]


@given(
    st.lists(strategies.tokens, max_size=40).map("".join), st.sampled_from([64, 100, 700]), _units
)
def test_pages_fit_and_together_are_the_text(text: str, limit: int, unit: Unit) -> None:
    pages = paginate(text, Room(limit, unit))
    assert all(measure(page, unit) <= limit for page in pages)
    assert essence("\n".join(pages)) == essence(text)


@settings(max_examples=40)
@given(st.text(), st.sampled_from([64, 100]), _units)
def test_any_text_fits_into_pages(text: str, limit: int, unit: Unit) -> None:
    pages = paginate(text, Room(limit, unit))
    assert all(measure(page, unit) <= limit for page in pages)


@given(st.lists(strategies.tokens, min_size=5, max_size=40), st.sampled_from([64, 100]), _units)
def test_a_full_page_stays_the_same_while_the_text_grows(
    tokens: list[str], limit: int, unit: Unit
) -> None:
    room, text = Room(limit, unit), ""
    known: list[str] = []
    for token in tokens:
        text += token
        pages = paginate(text, room)
        assert pages[: len(known)] == known
        known = pages[:-1]


def test_a_page_ends_between_paragraphs_if_it_can() -> None:
    text = "a" * 40 + "\n\n" + "b " * 20
    assert paginate(text, Room(64, "codepoint")) == ["a" * 40 + "\n\n", "b " * 20]


def test_a_page_does_not_part_emphasis_or_a_link() -> None:
    text = "Read it now, please: **very very bold words here, really** and [a link](http://example.org)."
    pages = paginate(text, Room(64, "codepoint"))
    assert pages[0] == "Read it now, please: "
    assert all(page.count("**") % 2 == 0 for page in pages)
    assert any("[a link](http://example.org)" in page for page in pages)


def test_a_code_fence_is_closed_and_opened_again_with_its_language() -> None:
    text = "```python\n" + "x = 1\n" * 20 + "```\nend"
    pages = paginate(text, Room(64, "utf16"))
    assert len(pages) > 2
    assert all(page.startswith("```python\n") for page in pages)
    assert all(page.rstrip().endswith("```") for page in pages[:-1])
    assert pages[-1].endswith("```\nend")


@pytest.mark.parametrize("character", ["👩‍👩‍👧", "e\u0301", "🇩🇪", "👍🏽", "漢"])
def test_a_character_is_not_cut(character: str) -> None:
    for page in paginate("x" + character * 60, Room(64, "utf16")):
        assert page.lstrip("x") == character * (len(page.lstrip("x")) // len(character))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("so **bo", "so **bo**"),
        ("so `co", "so `co`"),
        ("~~gone", "~~gone~~"),
        ("2 ** 3", "2 ** 3"),
        ("done **bold** x", "done **bold** x"),
        ("```py\nprint(", "```py\nprint(\n```"),
        ("x\n\n```py\n**a\n```\n", "x\n\n```py\n**a\n```\n"),
        ("text\n| a | b |", "text\n"),
        ("text\n| a | b |\n|--", "text\n"),
        ("| a | b |\n|---|---|\n", "| a | b |\n|---|---|\n"),
        ("| a | b |\nno table", "| a | b |\nno table"),
    ],
)
def test_a_preview_closes_what_is_open_and_holds_back_half_a_table(text: str, shown: str) -> None:
    assert page_text(text, 0, len(text), "", is_preview=True) == shown


def test_the_end_shows_the_text_as_it_is() -> None:
    assert page_text("so **bo", 0, 7, "") == "so **bo"
