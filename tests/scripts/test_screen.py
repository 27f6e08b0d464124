"""What a program prints, as lines and bars."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast._scripts.screen import Bar, Line, Screen

CASES = {
    "lines": (b"one\ntwo\n", [Line("one"), Line("two")]),
    "windows line ends": (b"one\r\ntwo\r\n", [Line("one"), Line("two")]),
    "no end": (b"one\ntwo", [Line("one"), Line("two")]),
    "blank lines": (b"\n  \none\n", [Line("one")]),
    "written over": (b"wait...\rdone\n", [Line("done")]),
    "a bar": (b"\r 10%|#\r 20%|##\n", [Bar("10%|#", 10.0), Bar("20%|##", 20.0)]),
    "a bar and a line": (b" 5%\rfailed\n", [Bar("5%", 5.0), Line("failed")]),
    "a percentage alone is a line": (b"100% of it\n", [Line("100% of it")]),
    "colors stay": (b"\x1b[31mred\x1b[0m\n", [Line("\x1b[31mred\x1b[0m")]),
    "other sequences go": (b"\x1b[?25l\x1b]0;title\x07a\x1b[5Gb\n", [Line("ab")]),
    "a cursor that goes up": (
        b"a 1%\nb 2%\n\x1b[2A\x1b[2Ka 50%\n\x1b[2Kb 60%\nend\n",
        [Line("a 1%"), Line("b 2%"), Bar("a 50%", 50.0), Bar("b 60%", 60.0), Line("end")],
    ),
    "text where a bar stood is not lost": (
        b"a 1%\n\x1b[1A\x1b[2Khello\nb\n",
        [Line("a 1%"), Line("hello"), Line("b")],
    ),
    "unicode": ("☃ 😀\n".encode(), [Line("☃ 😀")]),
    "no unicode": (b"\xff\n", [Line("�")]),
    "unfinished sequence": (b"a\x1b[3", [Line("a")]),
    "a broken sequence": (b"a\x1b[3\nb\n", [Line("a[3"), Line("b")]),
    "control characters": (b"a\x00\x07b\n", [Line("ab")]),
}


def shown(data: bytes, cuts: list[int], max_chars: int = 1000) -> list[Line | Bar]:
    screen = Screen(max_chars)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    found = [each for start, end in pairwise(places) for each in screen.feed(data[start:end])]
    return [*found, *screen.feed(b"", is_last=True)]


@pytest.mark.parametrize("name", CASES)
def test_text_is_shown_as_a_terminal_would_at_every_cut(name: str) -> None:
    data, expected = CASES[name]

    for cut in range(len(data) + 1):
        assert shown(data, [cut]) == expected, cut


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_where_the_bytes_are_cut_makes_no_difference(data: bytes, cuts: list[int]) -> None:
    assert shown(data, cuts) == shown(data, [])


@given(st.lists(st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1)))
def test_no_line_is_lost(lines: list[str]) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()

    assert [each.text for each in shown(data, [])] == lines


def test_what_a_long_line_leaves_out_is_counted() -> None:
    assert shown(b"x" * 30 + b"\n", [], 10) == [Line("x" * 10 + "… (20 more characters)")]
