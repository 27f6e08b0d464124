"""Encoders: what a dialect remembers, and what it makes of events from any checkpoint on."""

from hypothesis import given, note
from hypothesis import strategies as st

from runcast._wire.dialects import DIALECTS, Encoder, LogRef
from runcast._wire.ndjson import NDJSON
from runcast.events.model import Event
from tests.events.strategies import events, logs
from tests.wire.parts import PARTS
from tests.wire.reference import decoded

STREAM = LogRef("run-1", "01hq3v5k2m")

SSE = [*DIALECTS.values(), PARTS]


def fed(encoder: Encoder, log: list[Event]) -> list[bytes]:
    return [encoder.group([event]) for event in log]


@given(log=logs(), data=st.data())
def test_from_any_checkpoint_on_come_the_frames_of_the_encoder_that_went_on(
    log: list[Event], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(log)))
    for dialect in (PARTS, DIALECTS["task"], NDJSON):
        note(f"dialect: {dialect.name}")
        encoder = dialect.start(STREAM)
        before = fed(encoder, log[:cut])
        checkpoint = encoder.copy()
        rest = fed(encoder, log[cut:])

        assert fed(checkpoint.copy(), log[cut:]) == rest
        assert fed(checkpoint, log[cut:]) == rest  # and copies do not change what they are made of
        assert fed(dialect.start(STREAM), log) == before + rest


@given(event=events(7))
def test_only_the_last_frame_of_what_an_event_shows_moves_the_cursor(event: Event) -> None:
    for dialect in SSE:
        note(f"dialect: {dialect.name}")
        frames = dialect.start(STREAM).group([event, event])

        *others, last = ["", *(found.id for found in decoded(frames).events)]
        assert set(others) <= {""}
        assert last == (f"{STREAM.epoch}-7" if frames else "")


@given(log=logs())
def test_a_dialect_without_state_writes_each_event_by_itself(log: list[Event]) -> None:
    for dialect in DIALECTS.values():
        assert not dialect.has_state
        apart = [dialect.start(STREAM).group([event]) for event in log]

        assert fed(dialect.start(STREAM), log) == apart


def test_what_is_opened_is_closed() -> None:
    log = [
        Event(seq=1, type="started", data={}),
        Event(seq=2, type="content", data={"text": "a"}),
        Event(seq=3, type="content", data={"text": "b"}),
        Event(seq=4, type="tool_call", data={}),
        Event(seq=5, type="done"),
    ]
    encoder = PARTS.start(STREAM)
    whole = PARTS.prelude(STREAM) + b"".join(fed(encoder, log)) + encoder.end(log[-1])

    found = [event.data for event in decoded(whole).events]
    assert [data.partition(',"seen"')[0] for data in found] == [
        '{"n":0,"type":"begin","run":"run-1"}',
        '{"n":1,"type":"part_start","id":"content-2"}',
        '{"n":2,"type":"part_delta","id":"content-2","delta":"a"}',
        '{"n":3,"type":"part_delta","id":"content-2","delta":"b"}',
        '{"n":4,"type":"part_end","id":"content-2","text":"ab"}',
        '{"n":5,"type":"call_start","id":"call-4"}',
        '{"n":6,"type":"call_end","id":"call-4"}',
        '{"n":7,"type":"finish","outcome":"done"',
        "[DONE]",
    ]
