"""Positions, epochs, frames of a log, and the law of a run's life."""

import itertools
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runcast.errors import InvalidValue
from runcast.events.lifecycle import STATUSES, next_status
from runcast.events.model import decode_event, encode_record
from runcast.events.position import (
    EPOCH_LENGTH,
    MAX_SEQ,
    Position,
    describe_log,
    frame_record,
    is_log_id,
    is_run_id,
    kind_of,
    make_epoch,
    make_log_id,
    split_frames,
)
from runcast.events.vocabulary import DELTA_TYPES, KNOWN, TERMINAL, is_event_type
from tests.events.strategies import json_values

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

epochs = st.text(ALPHABET, min_size=EPOCH_LENGTH, max_size=EPOCH_LENGTH)
times = st.floats(1_577_836_800, 3_700_000_000)  # 2020 to 2087: what 41 bits of milliseconds hold


# --- positions ------------------------------------------------------------------------------------


@given(epochs, st.integers(0, MAX_SEQ))
def test_a_position_comes_back_from_its_token(epoch: str, seq: int) -> None:
    position = Position(epoch, seq)

    assert Position.parse(str(position)) == position


@given(epochs, st.integers(0, MAX_SEQ - 1))
def test_positions_of_a_log_are_in_order(epoch: str, seq: int) -> None:
    assert Position(epoch, seq) < Position(epoch, seq + 1)


@pytest.mark.parametrize(
    "token",
    [
        *("", "7", "-", "01hq3v5k2m", "01hq3v5k2m-", "-7", "01hq3v5k2m-7-8", "01hq3v5k2-7"),
        *("01hq3v5k2m-07", "01hq3v5k2m--7", "01hq3v5k2m-+7", "01hq3v5k2m-7.0", "01hq3v5k2m- 7"),
        *("01hq3v5k2m-7\n", "\n01hq3v5k2m-7", "01hq3v5k2m-7\0", "01HQ3V5K2M-7", "01hq3v5k2i-7"),
        *("01hq3v5k2l-7", "01hq3v5k2o-7", "01hq3v5k2u-7", "01hq3v5k2m-٣", "０1hq3v5k2m-7"),
        *(f"01hq3v5k2m-{MAX_SEQ + 1}", "01hq3v5k2m-" + "9" * 17, "01hq3v5k2m-" + "9" * 10_000),
    ],
)
def test_what_is_no_token_is_refused_and_shown(token: str) -> None:
    with pytest.raises(InvalidValue, match="expected a position like") as caught:
        Position.parse(token)

    assert repr(token[:40])[:-1] in str(caught.value)
    assert len(str(caught.value)) < 250


@given(st.text())
def test_no_other_text_is_a_position(token: str) -> None:
    try:
        position = Position.parse(token)
    except InvalidValue:
        return

    assert str(position) == token


# --- epochs ---------------------------------------------------------------------------------------


@given(times, st.integers(-(2**70), 2**70))
def test_an_epoch_is_ten_characters_a_token_may_hold(time: float, entropy: int) -> None:
    epoch = make_epoch(time, entropy)

    assert re.fullmatch(f"[{ALPHABET}]{{{EPOCH_LENGTH}}}", epoch)
    assert Position.parse(f"{epoch}-1").epoch == epoch


@given(times, times, st.integers(0, 511), st.integers(0, 511))
def test_epochs_sort_by_time(first: float, second: float, one: int, other: int) -> None:
    if int(first * 1000) < int(second * 1000):
        assert make_epoch(first, one) < make_epoch(second, other)


@given(times, times, st.integers(), st.integers())
def test_a_new_epoch_sorts_after_the_last_whatever_the_clock_says(
    then: float, now: float, one: int, other: int
) -> None:
    last = make_epoch(then, one)

    assert make_epoch(now, other, last) > last


def test_entropy_tells_apart_epochs_of_one_millisecond() -> None:
    assert len({make_epoch(1.7e9, entropy) for entropy in range(512)}) == 512


def test_a_time_before_the_origin_is_the_origin() -> None:
    assert make_epoch(0.0, 0) == make_epoch(-1e9, 0) == "0" * EPOCH_LENGTH


# --- run ids --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((good, True) for good in ("a", "7", "A.b_c:d-e", "550e8400-e29b...", "x" * 128)),
        *((bad, False) for bad in ("", ".", "-a", "_a", ":a", "a b", "a\n", "a/b", "é", "x" * 129)),
    ],
)
def test_run_ids(text: str, expected: bool) -> None:
    assert is_run_id(text) is expected


@pytest.mark.parametrize(
    ("kind", "name", "log_id"),
    [
        ("run", "a", "a"),
        ("run", "delivery", "delivery"),
        ("delivery", "A.b_c:d-e", "delivery/A.b_c:d-e"),
        ("x" * 16, "y" * 128, "x" * 16 + "/" + "y" * 128),
    ],
)
def test_a_log_id_holds_its_kind_unless_it_is_a_runs(kind: str, name: str, log_id: str) -> None:
    assert make_log_id(kind, name) == log_id
    assert is_log_id(log_id)
    assert kind_of(log_id) == kind
    assert describe_log(log_id) == f"{kind} {name!r}"


@pytest.mark.parametrize(
    "text", ["", "/", "run/a", "a/", "/a", "a/b/c", "A/b", "x" * 17 + "/a", "a/é"]
)
def test_what_is_no_log_id(text: str) -> None:
    assert not is_log_id(text)
    assert describe_log(text) == f"run {text!r}"


@pytest.mark.parametrize("given", [None, 7, b"a", ["a"]])
def test_what_is_no_text_is_no_log_id(given: Any) -> None:
    assert not is_log_id(given)
    assert describe_log(given) == f"run {given!r}"


@pytest.mark.parametrize(("kind", "name"), [("", "a"), ("Run", "a"), ("run", "x/a"), ("x", "")])
def test_a_log_id_is_made_of_a_kind_and_a_name(kind: str, name: str) -> None:
    with pytest.raises(InvalidValue, match="expected a"):
        make_log_id(kind, name)


# --- frames ---------------------------------------------------------------------------------------


@given(st.lists(json_values, max_size=8), st.integers(1, MAX_SEQ - 8))
@example(["\n\ndata: forged\n\n"], 1)
def test_joined_frames_come_apart_into_their_events(values: list[object], first: int) -> None:
    head = b"id: 01hq3v5k2m-"
    records = [encode_record("x", value, 1.5) for value in values]
    frames = b"".join(frame_record(head, seq, record) for seq, record in enumerate(records, first))

    events = [decode_event(canonical) for canonical in split_frames(frames)]

    assert [event.seq for event in events] == list(range(first, first + len(values)))
    assert [event.data for event in events] == values


def test_a_frame_is_id_data_and_an_empty_line() -> None:
    record = encode_record("log", {}, 1.5)

    assert frame_record(b"id: 01hq3v5k2m-", 7, record) == (
        b'id: 01hq3v5k2m-7\ndata: {"seq":7,"time":1.5,"type":"log","data":{}}\n\n'
    )


# --- the vocabulary and the law -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((good, True) for good in ("a", "step_start", "a.b-c_9", "x" * 64)),
        *((bad, False) for bad in ("", "A", "9a", "_a", "a b", "a\n", "\na", "é", "x" * 65, "a\0")),
    ],
)
def test_event_types(text: str, expected: bool) -> None:
    assert is_event_type(text) is expected


def test_every_known_type_is_a_type_and_every_special_one_is_known() -> None:
    assert all(map(is_event_type, KNOWN))
    assert KNOWN.keys() >= TERMINAL | DELTA_TYPES
    assert set(STATUSES) > TERMINAL


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_that_is_no_ending_can_end_in_every_way(status: str) -> None:
    endings = {next_status(status, ending) for ending in TERMINAL}  # type: ignore[arg-type]

    assert endings == ({status} if status in TERMINAL else TERMINAL)


@given(st.lists(st.sampled_from([*KNOWN, "start", "mine"])))
def test_a_life_has_one_ending_and_nothing_after_it(types: list[str]) -> None:
    life = list(itertools.accumulate(types, next_status, initial="queued"))  # type: ignore[arg-type]

    ended = [status for status in life if status in TERMINAL]
    assert len(set(ended)) <= 1
    assert life[len(life) - len(ended) :] == ended


def test_a_run_waits_from_a_question_to_its_resolution() -> None:
    types = ["started", "interrupt_request", "interrupt_response", "interrupt_resolved", "done"]
    life = list(itertools.accumulate(types, next_status, initial="queued"))  # type: ignore[arg-type]

    assert life == ["queued", "running", "waiting", "waiting", "running", "done"]


def test_a_waiting_run_that_is_resumed_runs() -> None:
    assert next_status("waiting", "started") == "running"
