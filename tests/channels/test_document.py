"""What a run says, as text."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from runcast.channels.capability import Capability
from runcast.channels.document import MAX_MESSAGES, Document, Shows
from runcast.channels.question_texts import buttons_of, choice_of, how_to_answer
from runcast.events.model import Event

BUTTONS = Capability(limit=1000, has_buttons=True)
NUMBERS = Capability(limit=1000)


def told(
    *events: tuple[str, object], capability: Capability = BUTTONS, shows: Shows = "tools"
) -> Document:
    document = Document(capability, shows)
    for seq, (kind, data) in enumerate(events, 1):
        document.feed(Event(seq=seq, type=kind, data=data))
    return document


def text_of(document: Document) -> list[str]:
    return [segment.text for segment in document.segments]


def test_text_and_tools_are_in_the_order_of_the_events() -> None:
    document = told(
        ("content", {"text": "Let me "}),
        ("content", {"text": "look."}),
        ("tool_call", {"call_id": "1", "tool": "find", "args": {"q": "a `b`"}}),
        ("tool_call", {"call_id": "2", "tool": "read"}),
        ("tool_result", {"call_id": "1", "result": "x"}),
        ("tool_result", {"call_id": "2", "ok": False}),
        ("content", {"text": "Found."}),
        ("done", {"result": None}),
    )
    assert text_of(document) == ["Let me look.\n\n✓ `find(q=a 'b')`\n✗ `read()`\n\nFound."]


def test_a_result_that_was_not_said_is_shown() -> None:
    assert text_of(told(("done", {"result": "42 it is"}))) == ["42 it is"]
    said = told(("content", {"text": "42 it is"}), ("done", {"result": "42  it is"}))
    assert text_of(said) == ["42 it is"]
    assert text_of(told(("done", {"result": {"a": 1}}))) == ['```json\n{"a":1}\n```']
    assert text_of(told(("done", {"result": None}))) == ["✓ Done"]


def test_a_failure_and_a_cancellation_say_why() -> None:
    assert text_of(told(("failed", {"message": "no\ndisk"}))) == ["✗ **Failed:** no disk"]
    assert text_of(told(("cancelled", {"reason": "enough"}))) == ["■ Cancelled: enough"]


def test_another_attempt_replaces_the_text() -> None:
    document = told(
        ("content", {"text": "Wrong", "message_id": "m", "attempt": 1}),
        ("content", {"text": "Right", "message_id": "m", "attempt": 2}),
    )
    assert text_of(document) == ["Right"]
    assert document.segments[0].take_change() == 0


def test_a_question_has_a_message_of_its_own_and_shows_the_decision() -> None:
    document = told(
        ("content", {"text": "Before."}),
        ("interrupt_request", {"interrupt_id": "q", "message": "Send it?", "args": {"to": "a@b"}}),
        ("content", {"text": "After."}),
    )
    assert text_of(document) == ["Before.", '❓ Send it?\n\n```json\n{"to":"a@b"}\n```', "After."]
    assert [button.answer for button in document.segments[1].buttons] == ["accept", "reject"]
    assert document.is_waiting
    document.feed(Event(type="interrupt_resolved", data={"interrupt_id": "q", "outcome": "accept"}))
    assert text_of(document)[1].endswith("→ **accept**")
    assert not document.segments[1].buttons
    assert not document.is_waiting


def test_without_buttons_the_text_says_where_to_answer() -> None:
    document = told(
        ("interrupt_request", {"interrupt_id": "q", "message": "Go?"}), capability=NUMBERS
    )
    assert "Answer it (approve or reject)" in text_of(document)[0]
    no = {"allow_accept": False, "allow_respond": False}
    document = told(("interrupt_request", {"interrupt_id": "q", "config": no}), capability=NUMBERS)
    assert "Answer it (reject)" in text_of(document)[0]


def test_the_end_takes_the_buttons_of_open_questions_away() -> None:
    document = told(("interrupt_request", {"interrupt_id": "q"}), ("cancelled", {"reason": "x"}))
    assert not document.segments[0].buttons
    assert not document.is_waiting


def test_what_is_too_long_is_cut_and_a_note_says_so() -> None:
    document = told(("content", {"text": "x" * 1000 * MAX_MESSAGES}), ("content", {"text": "y"}))
    assert "read the rest in the run" in text_of(document)[0]
    document.feed(Event(type="content", data={"text": "z"}))
    assert "z" not in text_of(document)[0]


def test_odd_data_is_text_or_nothing() -> None:
    given: tuple[object, ...] = (
        None,
        [],
        5,
        "word",
        {"text": None},
        {"text": ["a"]},
        {"call_id": [1]},
        {"args": 1},
    )
    for data in given:
        document = told(
            *(
                (kind, data)
                for kind in (
                    "content",
                    "content_complete",
                    "tool_call",
                    "tool_result",
                    "error",
                    "log",
                    "gap",
                    "interrupt_request",
                    "interrupt_resolved",
                    "progress",
                    "step_start",
                    "failed",
                )
            ),
            shows="steps",
        )
        assert document.has_ended


def test_a_log_that_is_sent_again_is_laid_out_again() -> None:
    document = told(("content", {"text": "One."}), ("interrupt_request", {"interrupt_id": "q"}))
    document.restart()
    assert not any(text_of(document))
    document.feed(Event(seq=1, type="content", data={"text": "Two."}))
    assert text_of(document)[0] == "Two."


CHOICE = {"response_schema": {"enum": ["staging", "production", 3]}, "allow_accept": False}
TEXT = {"allow_accept": False}


@pytest.mark.parametrize(
    ("config", "able", "link", "expected"),
    [
        (None, {"has_buttons": True}, "", ""),
        (None, {"has_buttons": True}, "https://x.example/a", "[Write an answer]"),
        (CHOICE, {"has_buttons": True}, "https://x.example/a", ""),
        (
            CHOICE,
            {"takes_replies": True},
            "",
            "with 1 (staging), 2 (production), 3 (3) or 4 (reject).",
        ),
        (
            CHOICE,
            {},
            "https://x.example/a",
            "(https://x.example/a): staging, production, 3 or reject.",
        ),
        (
            TEXT,
            {"has_buttons": True, "takes_replies": True},
            "",
            "with your answer, or the word",
        ),
        (TEXT, {"takes_replies": True}, "", "Reply to this message with your answer, or"),
        (TEXT, {}, "", "Answer it (a text or reject) on the page of runcast"),
        ({"allow_respond": False}, {"has_buttons": True}, "https://x.example/a", ""),
    ],
)
def test_a_question_says_how_it_is_answered_where_no_button_does(
    config: object, able: Mapping[str, Any], link: str, expected: str
) -> None:
    capability = replace(NUMBERS, **able)
    said = how_to_answer(config, capability, link)
    assert expected in said
    assert bool(said) == bool(expected)


def test_choices_are_buttons_before_the_decisions() -> None:
    labels = [(each.answer, each.label) for each in buttons_of(CHOICE)]
    assert labels == [
        ("choice:0", "staging"),
        ("choice:1", "production"),
        ("choice:2", "3"),
        ("reject", "Reject"),
    ]
    assert choice_of(CHOICE, "choice:2") == (3,)
    for forged in ("choice:3", "choice:-1", "choice:", "choice:²", "choice:00009", "accept", ""):
        assert choice_of(CHOICE, forged) == ()
    assert [each.label for each in buttons_of({"response_schema": {"type": "boolean"}})] == [
        *("true", "false", "Approve", "Reject")
    ]
    many: dict[str, object] = {"choices": [*range(21)]}
    assert [each.label for each in buttons_of(many)] == ["Approve", "Reject"]
    long = {"choices": ["a", "b"], "note": "x" * 9000}  # the run's state does not keep it
    assert [each.label for each in buttons_of(long)] == ["Approve", "Reject"]
    assert buttons_of({"choices": ["x" * 100]})[0].label == "x" * 59 + "…"
