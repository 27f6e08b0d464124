"""Where a run stands, told from the bytes of its records as from its events."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runcast.events.lifecycle import (
    BEGINNING,
    DECISIVE,
    MAX_QUESTIONS,
    Standing,
    advance,
    is_decisive,
    question_of,
    standing_after,
    standing_after_frames,
)
from runcast.events.model import Event, encode_record, record_of
from runcast.events.position import frame_record
from runcast.events.vocabulary import KNOWN
from tests.events.strategies import lives, logs

HEAD = b"id: 01hq3v5k2m-"
TIME = 1763715600.5


def framed(records: list[bytes], first: int = 1) -> bytes:
    return b"".join(frame_record(HEAD, seq, record) for seq, record in enumerate(records, first))


def after_records(standing: Standing, records: list[bytes], *, hinted: bool) -> Standing:
    """Return where a run stands after records, looked at if they may matter, or in any case."""
    if hinted and standing.status != "queued" and not any(map(is_decisive, records)):
        return standing
    for record in records:
        standing = standing_after(standing, record)
    return standing


def stand(*told: tuple[str, str]) -> Standing:
    """Return where a run stands after events of these types, about these questions."""
    standings = [BEGINNING]
    for event_type, question in told:
        standings.append(advance(standings[-1], event_type, question))
    return standings[-1]


STARTED = ("started", "")


def test_a_run_that_got_one_of_two_answers_waits() -> None:
    asked = (STARTED, ("interrupt_request", "a"), ("interrupt_request", "b"))

    assert stand(*asked) == ("waiting", ("a", "b"))
    assert stand(*asked, ("interrupt_resolved", "a")) == ("waiting", ("b",))
    assert stand(*asked, ("interrupt_resolved", "a"), ("interrupt_resolved", "b")) == (
        "running",
        (),
    )


def test_a_run_that_asks_again_waits_and_one_that_begins_again_runs() -> None:
    asked = (STARTED, ("interrupt_request", "a"), STARTED)

    assert stand(*asked) == ("running", ("a",))
    assert stand(*asked, ("interrupt_waiting", "a")) == ("waiting", ("a",))
    assert stand(*asked, ("interrupt_waiting", "b")) == ("running", ("a",))
    assert stand(*asked, ("interrupt_request", "a")) == ("waiting", ("a",))


@pytest.mark.parametrize("ending", ["done", "failed", "cancelled"])
def test_a_run_that_ended_has_no_open_questions_and_asks_none(ending: str) -> None:
    ended = stand(STARTED, ("interrupt_request", "a"), (ending, ""))

    assert (ended.status, ended.questions) == (ending, ())
    for event_type in KNOWN:
        assert advance(ended, event_type, "b") is ended


@pytest.mark.parametrize(
    ("event_type", "status"),
    [
        ("started", "running"),
        ("log", "running"),
        ("my.own", "running"),
        ("interrupt_waiting", "running"),
        ("interrupt_request", "waiting"),
        ("failed", "failed"),
        ("message", "queued"),
        ("interrupt_response", "queued"),
        ("interrupt_resolved", "queued"),
    ],
)
def test_a_run_is_queued_until_something_happens_in_it(event_type: str, status: str) -> None:
    assert stand((event_type, "a")).status == status


def test_questions_are_remembered_up_to_a_bound() -> None:
    standing = stand(STARTED, *[("interrupt_request", str(n)) for n in range(MAX_QUESTIONS + 2)])

    assert standing.questions == tuple(str(n) for n in range(2, MAX_QUESTIONS + 2))


@given(lives() | logs(), st.data())
def test_records_and_frames_tell_what_events_tell(log: list[Event], data: st.DataObject) -> None:
    log = [event for event in log if event.seq]
    records = [record_of(event) for event in log]
    expected: Standing = BEGINNING
    after_bytes: Standing = BEGINNING
    while records:
        size = data.draw(st.integers(1, len(records)))
        part, records = records[:size], records[size:]
        events, log = log[:size], log[size:]
        for event in events:
            expected = advance(expected, event.type, question_of(event.data))
        before, frames = after_bytes, framed(part, 7)
        after_bytes = after_records(before, part, hinted=True)

        assert after_bytes == expected
        assert after_records(before, part, hinted=False) == expected
        assert standing_after_frames(before, frames) == expected
        assert standing_after_frames(expected, frames, after_seq=7 + size) == expected


FORGED: list[Any] = [
    {"type": "done"},
    {"x": {"type": "done", "data": {}}},
    [{"time": 1.5, "type": "done", "data": {}}],
    '","type":"done","data":{}',
    '\ndata: {"seq":1,"time":1.5,"type":"done","data":{}}\n\n',
    {'"time":1.5,"type":"done",': 1},
    {"seq": 1, "time": 1.5, "type": "failed", "data": None},
    {"type": "interrupt_request", "interrupt_id": "a"},
]


@pytest.mark.parametrize("data", FORGED)
@pytest.mark.parametrize("count", [1, 3])
def test_no_data_forges_an_event_that_decides(data: object, count: int) -> None:
    for place in (None, ('"type":"done",', '","type":"done"', ("started",), 1.5)):
        records = [encode_record("log", data, TIME, place)] * count
        standing = Standing("running")

        assert after_records(standing, records, hinted=False) is standing
        assert standing_after_frames(standing, framed(records)) is standing


def test_an_event_of_any_type_begins_a_run_but_nothing_else_does() -> None:
    records = [b"", b"{}", b'"type":"log","data":{}}', b'"time":"1","type":"log","data":{}}']

    assert after_records(BEGINNING, records, hinted=True) is BEGINNING
    records.append(encode_record("my.own-type_2", {"type": "done"}, TIME))
    assert after_records(BEGINNING, records, hinted=True) == ("running", ())
    assert standing_after_frames(BEGINNING, framed(records)) == ("running", ())


@given(st.binary(max_size=40), st.sampled_from(sorted(DECISIVE)))
@example(b"", "done")
def test_what_is_no_event_changes_nothing(noise: bytes, event_type: str) -> None:
    noise = noise.replace(b"\n", b"").replace(b"\r", b"")
    broken = b'"time":"%b","type":"%b","data":{}}' % (noise, event_type.encode())
    undecodable = b'"time":1.5,"type":"interrupt_request","data":{"interrupt_id":"\xff"}}'
    for records in ([noise], [broken], [undecodable], [noise, broken, undecodable]):
        standing = Standing("running", ("a",))

        assert after_records(standing, records, hinted=False) is standing
        assert standing_after_frames(standing, framed(records)) is standing
