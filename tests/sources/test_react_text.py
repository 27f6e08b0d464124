"""The text of a model that thinks, acts and answers in one text."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runcast.sources._react_text import Part, ReactText

ACT = 'Thought: I should look it up\nAction: weather\nAction Input: {"city": "Paris"}\n'
ANSWER = "Thought: I now know the final answer\nFinal Answer: It is sunny.\n\nBye\n"


def split(pieces: Sequence[str]) -> list[Part]:
    """Return the parts of a text, those of one kind joined."""
    text, joined = ReactText(), list[Part]()
    for part in [part for piece in pieces for part in text.feed(piece)] + text.end():
        if joined and joined[-1].kind == part.kind != "tool":
            joined[-1] = Part(part.kind, joined[-1].text + part.text)
        else:
            joined.append(part)
    return joined


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            ACT,
            [
                *(("thought", "I should look it up"), ("tool", "weather")),
                ("args", '{"city": "Paris"}'),
            ],
        ),
        (
            ANSWER,
            [("thought", "I now know the final answer"), ("answer", "It is sunny.\n\nBye\n")],
        ),
        ("Paris is sunny.\nActually. ", [("answer", "Paris is sunny.\nActually. ")]),
        ("I know. Final Answer: 4", [("answer", "I know.4")]),
        ("```\nThought: a. Final Answer: b", [("thought", "a."), ("answer", "b")]),
        (
            "**Thought:** so\n**Action:** add\n**Action Input:** {}",
            [("thought", "so"), ("tool", "add"), ("args", "{}")],
        ),
        (
            "Action 1: add\nAction 1 Input: {}\nObservation: 5\nFinal Answer: 5",
            [("tool", "add"), ("args", "{}"), ("thought", "5"), ("answer", "5")],
        ),
        ("Thought: t\nAction: add", [("thought", "t\nAction: add")]),
        ("Minutes\nAction Input: none", [("answer", "Minutes\nAction Input: none")]),
    ],
)
def test_a_text_is_split_at_its_markers(text: str, parts: list[tuple[str, str]]) -> None:
    found = split([text])
    assert [tuple(part) for part in found] == parts


WORDS = st.sampled_from(
    [
        *("Thought:", "Action:", "Action Input:", "Final Answer:", "Observation:", "Action 2:"),
        *("Thought", "Action", "Input", "Final", "**", "```", "\n", "\n\n", " ", "{", '"a": 1}'),
        *("sunny", "Actions", ":", "é", "\t"),
    ]
)


@given(st.lists(WORDS, max_size=14).map("".join), st.data())
@example(ACT, None)
@example(ANSWER, None)
@example("Final Answer:**Thought:", None)
@example("*```\n\nObservation:", None)
def test_where_a_text_is_cut_changes_nothing(text: str, data: st.DataObject | None) -> None:
    whole = split([text])

    assert split([*text]) == whole
    if data is not None:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
        bounds = [0, *cuts, len(text)]
        assert split([text[a:b] for a, b in pairwise(bounds)]) == whole


@given(st.text(alphabet=st.characters(exclude_characters="`*"), max_size=60))
def test_nothing_but_markers_and_white_space_is_dropped(text: str) -> None:
    shown = "".join(part.text for part in split([f"Thought: {text}"]))
    for marker in ("Thought:", "Action:", "Final Answer:", "Observation:", "Action Input:"):
        if marker in text:
            return
    assert "".join(shown.split()) == "".join(text.split())


def test_an_answer_is_passed_on_as_soon_as_it_comes() -> None:
    text = ReactText()
    text.feed("Thought: x\nFinal Answer: ")

    assert text.feed("It ") == [Part("answer", "It ")]
    assert text.feed("is") == [Part("answer", "is")]
