"""What buttons send back."""

import pytest

from runcast.channels.callbacks import callback_of, read_callback


@pytest.mark.parametrize("question_id", ["q", "q" * 500, "frage-é", "\ud800"])
def test_a_button_names_its_question_and_answer_in_few_bytes(question_id: str) -> None:
    sent = callback_of(question_id, "accept")
    assert len(sent.encode()) <= 64
    assert read_callback(sent, question_id) == "accept"
    assert read_callback(sent, question_id + "x") is None


def test_a_button_of_another_epoch_is_another_question() -> None:
    sent = callback_of("q", "accept", "epoch1")
    assert read_callback(sent, "q", "epoch1") == "accept"
    assert read_callback(sent, "q", "epoch2") is None
    assert read_callback(sent, "q") is None


@pytest.mark.parametrize("sent", ["", ":", "accept", "x:accept", "é:accept", ":" * 99])
def test_what_no_button_has_sent_is_no_answer(sent: str) -> None:
    assert read_callback(sent, "q") is None
    assert read_callback(callback_of("q", ""), "q") is None
    assert read_callback(callback_of("q", "") + "y" * 33, "q") is None
