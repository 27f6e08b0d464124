"""What programs write for a terminal: colors stay where they may, and nothing else is obeyed."""

import re

import pytest

from runcast._cli.lines import line_of
from runcast._cli.texts import colored, plain, without_codes
from runcast.events.model import Event

RED = "\x1b[31mred\x1b[0m"
DANGEROUS = [
    "\x1b]0;title\x07",
    "\x1b]52;c;b3duZWQ=\x1b\\",
    "\x1b]8;;https://example.org\x07",
    "\x1b[2J",
    "\x1b[10A",
    "\x1b[?1049h",
    "\x9b2J",
    "\x1bc",
    "\x1b(0",
    "\x1bP1$r\x1b\\",
    "\x1b[8m",
    "\x1b[31;8m",
]


def test_colors_of_a_log_line_are_shown_or_taken_out() -> None:
    event = Event(seq=1, type="log", data={"level": "info", "message": f"a {RED} light"})

    assert line_of(event, "r", has_color=True) == "info: a \x1b[31mred\x1b[0m light\x1b[0m"
    assert line_of(event, "r") == "info: a red light"


def test_the_id_of_a_step_is_for_programs_and_not_shown() -> None:
    data = {"message": "", "step_id": "24e91b21-4f2f"}
    event = Event(seq=1, type="step_complete", node="write", data=data)

    assert line_of(event, "r") == "write: step_complete"


@pytest.mark.parametrize("code", DANGEROUS)
def test_nothing_else_reaches_the_terminal(code: str) -> None:
    for text in (code, f"a{code}b", f"{RED}{code}{RED}", code[:-1], code * 3):
        shown = colored(text)
        assert re.sub(r"\x1b\[[0-9;]*m", "", shown).isprintable(), shown
        assert "\x1b[8m" not in shown
        assert "8m" not in re.findall(r"\x1b\[[0-9;]*m", shown)
    event = Event(seq=1, type="log", data={"message": f"a{code}b"})
    assert line_of(event, "r") == "info: ab"
    assert line_of(event, "r", has_color=True) == "info: ab"


@pytest.mark.parametrize("kind", ["error", "failed", "cancelled", "interrupt_request", "made_up"])
def test_texts_that_are_no_log_lines_show_that_there_was_a_code(kind: str) -> None:
    event = Event(seq=1, type=kind, node=RED, data={"message": RED, "reason": RED, "code": RED})

    shown = line_of(event, "r", has_color=True)

    assert shown.isprintable()
    assert "�[31mred" in shown


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (
            {"message": "May I?", "action": "deploy", "args": {"to": "x"}},
            'May I? deploy({"to": "x"})',
        ),
        ({"message": "Deploy?", "args": {"to": "x"}}, 'Deploy? {"to": "x"}'),
        ({"message": "Deploy?", "action": RED}, "Deploy? �[31mred�[0m()"),
        ({"message": "Why?"}, "Why?"),
        ({"message": "Why?", "args": {}}, "Why?"),
        ({"action": "deploy", "args": [1]}, "deploy([1])"),
    ],
)
def test_a_question_shows_what_a_yes_will_do(data: dict[str, object], shown: str) -> None:
    event = Event(seq=1, type="interrupt_request", data={"interrupt_id": "q", **data})

    assert line_of(event, "r") == f"asks: {shown} (answer with: runcast answer r q)"


def test_half_a_code_is_harmless() -> None:
    assert without_codes("\x1b[3") == "\x1b[3"
    assert plain("\x1b[3") == colored("\x1b[3") == "�[3"
    assert without_codes("\x1b]52;c;" + "x" * 5000 + "\x07") != ""
    assert colored("\x1b]52;c;" + "x" * 5000 + "\x07").isprintable()


def test_long_nonsense_is_read_once() -> None:
    for text in ("\x1b[" * 50_000, "\x1b]" * 50_000, "\x1b[0;" * 50_000, "\x1bP" + "x" * 100_000):
        assert colored(text).isprintable()
