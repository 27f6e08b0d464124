"""Texts that several agents stream at once: whole lines of each, never word between words."""

import io
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast._cli.markdown import Blocks, render
from runcast._cli.show import PlainLines
from runcast._cli.texts import cells, fold
from runcast.client.watching import Received
from runcast.events.model import Event


def printed(*events: tuple[Any, ...]) -> str:
    out = io.StringIO()
    lines = PlainLines(out, "r")
    for kind, data, *where in events:
        agent = where[0] if where else ""
        lines.show(Received(Event(type=kind, data=data, time=0.0, agent=agent), "", ""))
    lines.close()
    return out.getvalue()


def word(text: str, agent: str = "", **more: str) -> tuple[str, dict[str, str], str]:
    return "content", {"text": text, **more}, agent


def test_one_agent_is_printed_word_by_word() -> None:
    out = io.StringIO()
    lines = PlainLines(out, "r")
    seen = []
    for text in ("one ", "two\n", "three"):
        lines.show(Received(Event(type="content", data={"text": text}, time=0.0), "", ""))
        seen.append(out.getvalue())

    assert seen == ["one ", "one two\n", "one two\nthree"]


def test_words_of_several_agents_do_not_mix() -> None:
    shown = printed(
        word("The ", "ann"),
        word("A ", "bob"),
        word("sky ", "ann"),
        word("cat ", "bob"),
        word("is blue.\n", "ann"),
        word("sleeps.\n", "bob"),
        word("End.", "ann"),
    )

    assert shown == "ann: The \nann: sky is blue.\nbob: A cat sleeps.\nann: End.\n"


def test_texts_of_one_agent_under_several_ids_do_not_mix_either() -> None:
    pieces = [word(f"{n} ", "ann", message_id=each) for n in range(3) for each in "ab"]
    shown = printed(
        *pieces,
        ("content_complete", {"message_id": "b"}, "ann"),
        ("done", {}),
    )

    assert shown == "ann: 0 \nann: 0 1 2 \nann: 1 2 \ndone\n"


def test_an_answer_after_thoughts_is_printed_word_by_word() -> None:
    shown = printed(
        ("thinking", {"text": "hm"}, "ann"),
        word("Yes", "ann", message_id="m"),
        word(", it is.", "ann", message_id="m"),
    )

    assert shown == "ann thinking: hm\nann: Yes, it is.\n"


def test_the_last_step_of_an_agent_ends_its_texts() -> None:
    shown = printed(
        ("step_start", {"step_id": "1"}, "ann"),
        word("one", "ann", message_id="a"),
        word("two", "bob"),
        ("step_complete", {"step_id": "1"}, "ann"),
        word(" more", "bob"),
    )

    assert shown.splitlines() == [
        "ann: step_start",
        "ann: one",
        "bob: two",
        "ann: step_complete",
        "bob: more",
    ]


def test_an_agent_at_work_on_several_steps_is_printed_by_lines_from_the_beginning() -> None:
    shown = printed(
        *(("step_start", {"step_id": each}, "ann") for each in "12"),
        *(word(f"{n} ", "ann", message_id=each) for n in range(2) for each in "ab"),
        *(("step_complete", {"step_id": each}, "ann") for each in "12"),
    )

    lines = [line for line in shown.splitlines() if "step" not in line]
    assert sorted(lines) == ["ann: 0 1 ", "ann: 0 1 "]


_PIECES = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y ", "\n", "zz\n"])))


@given(_PIECES)
def test_no_word_of_any_agent_is_lost_or_in_anothers_line(pieces: list[tuple[str, str]]) -> None:
    shown = printed(*(word(text, agent) for agent, text in pieces))
    found = dict.fromkeys("abc", "")
    agent = ""
    for line in shown.splitlines():
        if line[1:3] == ": ":
            agent, line = line[0], line[3:]
        elif line[1:] == ":":
            agent, line = line[0], ""
        if agent:
            found[agent] += line
        else:
            assert not line

    for each in "abc":
        text = "".join(piece for name, piece in pieces if name == each)
        assert "".join(found[each].split()) == "".join(text.split())


# --- Markdown -------------------------------------------------------------------------------------


def blocks_of(text: str) -> list[tuple[str, bool]]:
    blocks = Blocks()
    found = [block for line in text.split("\n") for block in blocks.take(line)]
    return [tuple(block) for block in [*found, *blocks.end()]]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("plain\nlines", [("plain", False), ("lines", False)]),
        ("a\n\nb", [("a", False), ("", False), ("b", False)]),
        ("# Head\ntext", [("# Head", True), ("text", False)]),
        ("- a\n- b\ntext", [("- a\n- b", True), ("text", False)]),
        ("so **bold**\nmore\n", [("so **bold**\nmore", True), ("", False)]),
        ("```py\nx\n\ny\n```\nz", [("```py\nx\n\ny\n```", True), ("z", False)]),
        ("|a|b|\n|-|-|\n|1|2|", [("|a|b|\n|-|-|\n|1|2|", True)]),
        ("2 * 3 * 4\na_b_c\nf(x)[1]", [("2 * 3 * 4", False), ("a_b_c", False), ("f(x)[1]", False)]),
        ("```\nnever closed", [("```\nnever closed", True)]),
    ],
)
def test_markdown_is_divided_into_blocks(text: str, blocks: list[tuple[str, bool]]) -> None:
    assert blocks_of(text) == blocks


def test_a_listing_that_does_not_end_is_shown_in_parts() -> None:
    found = blocks_of("```\n" + "x\n" * 1000)

    assert 4 <= len(found) <= 10
    assert sum(text.count("x") for text, _ in found) == 1000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("**bold** and `code`\nnext", "bold and code next"),
        ("# Head", "Head"),
        ("# ", "#"),
        ("- a\n- b", "• a • b"),
        ("```\na  b\n```", "a b"),
        ("[text](http://x)", "text (http://x)"),
        ("`<b>` & Vec<T> &lt; **x**", "<b> & Vec<T> &lt; x"),
        ("<b>x</b> [red]y[/red]", "<b>x</b> [red]y[/red]"),
    ],
)
def test_blocks_are_drawn_with_styles_alone(text: str, words: str) -> None:
    lines = render(text, 40)
    shown = "\n".join(lines)
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown)

    assert "\x1b" not in plain
    assert plain.split() == words.split()


@given(st.text(alphabet="ab 文", max_size=60), st.integers(2, 20))
def test_a_folded_line_is_whole_and_fits(text: str, columns: int) -> None:
    folded = fold(text, columns)

    assert "".join(folded) == text
    assert all(cells(row.rstrip(" ")) <= columns for row in folded)
