"""What a line at the prompt means: keys, answers in parts, choices, messages."""

from typing import Any

import pytest

from runcast._cli.dialog import Answered, Dialog, Editing, Said, Typed
from runcast._cli.keyboard import LineEditor

ASKED: dict[str, Any] = {"interrupt_id": "q", "message": "deploy?", "args": {"to": "b", "n": 1}}


def asked(dialog: Dialog, **question: Any) -> Dialog:
    dialog.ask({**ASKED, **question})
    return dialog


def response_to(schema: dict[str, Any], line: str) -> Any:
    dialog = asked(Dialog(), config={"response_schema": schema})
    dialog.take("r")
    return dialog.take(line)


@pytest.mark.parametrize(
    ("line", "kind"), [("y", "accept"), ("YES", "accept"), (" no ", "reject"), ("n", "reject")]
)
def test_a_key_or_its_word_answers(line: str, kind: str) -> None:
    dialog = asked(Dialog())

    assert dialog.prompt == "[y]es, [n]o, [e]dit args, [r]espond: "
    assert dialog.take(line) == Answered("q", {"type": kind})
    assert dialog.prompt == ""


@pytest.mark.parametrize("line", ["", "yesterday it failed", "x", "now", "yep"])
def test_no_other_line_approves_anything(line: str) -> None:
    dialog = asked(Dialog())

    assert isinstance(dialog.take(line), Said)
    assert dialog.question is not None


def test_arguments_are_edited_field_by_field() -> None:
    dialog = asked(Dialog())

    assert dialog.take("e") is None
    assert dialog.prompt == '  to ["b"]: '
    assert dialog.take("c") is None
    assert isinstance(dialog.take("{"), Said)
    assert dialog.prompt == "  n [1]: "
    assert dialog.take("") == Answered("q", {"type": "edit", "args": {"to": "c", "n": 1}})


def test_with_an_editor_all_arguments_are_given_to_it() -> None:
    dialog = asked(Dialog(has_editor=True))

    assert dialog.take("e") == Editing("q", {"to": "b", "n": 1})
    assert dialog.edited("q", 7) == Answered("q", {"type": "edit", "args": 7})


def test_arguments_that_are_cut_are_not_edited() -> None:
    dialog = asked(Dialog(), args="x", args_dropped=3)

    assert isinstance(dialog.take("e"), Said)


def test_only_what_the_question_allows_is_offered() -> None:
    config = {"allow_edit": False, "allow_accept": False, "allow_respond": True}
    dialog = asked(Dialog(), config=config)

    assert dialog.prompt == "[n]o, [r]espond: "
    assert isinstance(dialog.take("y"), Said)


@pytest.mark.parametrize(
    ("schema", "line", "value"),
    [
        ({}, " as it is ", " as it is "),
        ({"type": "string"}, "7", "7"),
        ({"enum": ["red", "blue"]}, "2", "blue"),
        ({"enum": ["red", "blue"]}, "Red", "red"),
        ({"enum": [10, 20]}, "10", 10),
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean"}, "2", False),
        ({"type": "integer"}, "7", 7),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
    ],
)
def test_a_response_has_the_form_that_its_schema_wants(
    schema: dict[str, Any], line: str, value: Any
) -> None:
    assert response_to(schema, line) == Answered("q", {"type": "response", "args": value})


@pytest.mark.parametrize(
    ("schema", "line"),
    [({"enum": ["red"]}, "2"), ({"enum": ["red"]}, ""), ({"type": "integer"}, "x")],
)
def test_a_response_of_another_form_is_asked_for_again(schema: dict[str, Any], line: str) -> None:
    assert isinstance(response_to(schema, line), Said)


def test_choices_are_numbered() -> None:
    dialog = asked(Dialog(), config={"response_schema": {"enum": ["red", "blue"]}})

    assert dialog.take("respond") == Said('  1) "red"\n  2) "blue"')


def test_a_line_without_a_question_is_a_message() -> None:
    dialog = Dialog(takes_messages=True)

    assert (dialog.prompt, dialog.take("hello"), dialog.take("  ")) == ("", Typed("hello"), None)
    assert Dialog().take("hello") is None
    asked(dialog)
    assert dialog.take("m") is None
    assert dialog.prompt == "message: "
    assert dialog.take("go on") == Typed("go on")
    assert dialog.prompt.startswith("[y]es")


def test_of_several_questions_the_first_is_asked_first() -> None:
    dialog = asked(asked(Dialog()), interrupt_id="p")

    assert dialog.prompt.startswith("(2 questions) ")
    assert dialog.take("y") == Answered("q", {"type": "accept"})
    assert dialog.take("n") == Answered("p", {"type": "reject"})
    dialog.refused("q")
    assert dialog.question is not None
    assert dialog.question["interrupt_id"] == "q"
    dialog.close("q")
    assert dialog.question is None


def test_a_question_that_is_closed_elsewhere_takes_its_half_given_answer_with_it() -> None:
    dialog = asked(Dialog(takes_messages=True))
    dialog.take("e")
    dialog.close("q")

    assert dialog.prompt == ""
    assert dialog.take("c") == Typed("c")


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "lines", "left"),
    [
        ("ab\n", ["ab"], ""),
        ("a\x7fb", [], "b"),
        ("\x7f", [], ""),
        ("one two\x17", [], "one "),
        ("one\x15two\r", ["two"], ""),
        ("a\x1b[Db\x1bOAc\x1b[1;5Cd", [], "abcd"),
        ("文\té", [], "文 é"),
        ("a\x00\x07\u202e", [], "a"),
        ("a\nb\nc", ["a", "b"], "c"),
    ],
)
def test_keys_become_lines(keys: str, lines: list[str], left: str) -> None:
    for pieces in ([keys], list(keys)):
        editor = LineEditor()
        found = [line for piece in pieces for line in editor.take(piece)]

        assert (found, editor.text) == (lines, left)


def test_a_line_does_not_grow_without_bound() -> None:
    editor = LineEditor()
    editor.take("x" * 100_000)

    assert len(editor.text) == 16_384
