"""The dialects: shared vectors, and hostile events that must stay one event."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from runcast._wire.dialects import DIALECTS, Dialect, LogRef, get
from runcast._wire.sse import Decoder, SSEvent
from runcast.errors import InvalidValue
from runcast.events.model import Event, decode_event, encode_record
from runcast.events.position import frame_record
from runcast.events.vocabulary import TERMINAL
from tests.events.strategies import canonical, events, json_values, logs, texts
from tests.wire.reference import PLACES, cut, decoded, load

STREAM = LogRef("run-1", "01hq3v5k2m")
BEFORE, AFTER = b"id: before\ndata: before\n\n", b"data: after\n\n"


def each_dialect() -> Iterator[Dialect]:
    """Yield all dialects. The one in which an example fails is shown with the example.

    Drawing an example takes longer than encoding it, so one example is tried in all of them.
    """
    for dialect in DIALECTS.values():
        note(f"dialect: {dialect.name}")
        yield dialect


def encoded(dialect: Dialect, log: list[Event], stream: LogRef = STREAM) -> bytes:
    """Return all frames of a log, with what follows its terminal event."""
    frames: list[bytes] = []
    encoder = dialect.start(stream)
    for event in log:
        frames.append(encoder.group([event]))
        if event.type in TERMINAL:
            frames.append(encoder.end(event))
    return b"".join(frames)


def frame_of(dialect: str, event: Event) -> bytes:
    """Return the frames of one event."""
    return get(dialect).start(STREAM).group([event])


def payload_of(frame: bytes) -> Any:
    (event,) = decoded(frame).events
    return json.loads(event.data)


NOT_SHOWN = {
    "prefab": "started",
    "task": "tool_call_delta",
    "flat": "tool_call_delta",
    "flat3": "tool_call_delta",
}
"""The type of event that a dialect leaves out."""


def frames_of(log: list[Event], dialect: Dialect) -> int:
    return sum(event.type != NOT_SHOWN.get(dialect.name) for event in log)


shown_events = events(7).filter(lambda event: event.type != "tool_call_delta")
"""Events that `task` and `flat` show."""


# --- the vectors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", load("dialects.json"))
def test_a_vector_encodes_to_the_exact_bytes(vector: dict[str, Any]) -> None:
    dialect, stream = get(vector["dialect"]), LogRef(vector["run_id"], vector["epoch"])

    frames = encoded(dialect, [canonical(event) for event in vector["events"]], stream)
    if "gap" in vector:
        frames += dialect.gap(stream, vector["gap"])

    assert frames.decode() == "".join(vector["expected"])


@pytest.mark.parametrize("vector", load("dialects.json"))
def test_a_vector_is_decoded_to_its_frames(vector: dict[str, Any]) -> None:
    expected, event, last_id = [], "message", ""
    for line in vector["expected"]:
        name, _, value = line.removesuffix("\n").partition(": ")
        event = value if name == "event" else event
        last_id = value if name == "id" else last_id
        if name == "data":
            expected.append(SSEvent(event, value, last_id))
            event = "message"

    outcome = decoded("".join(vector["expected"]).encode())

    assert outcome.events == expected
    positions = [f"{vector['epoch']}-{event['seq']}" for event in vector["events"]]
    assert outcome.last_event_id in ("", *positions[-1:])


def test_the_vectors_show_every_ending_and_a_gap_in_every_dialect() -> None:
    vectors: list[Any] = [parameter.values[0] for parameter in load("dialects.json")]
    shown = {(vector["dialect"], event["type"]) for vector in vectors for event in vector["events"]}
    shown |= {(vector["dialect"], "gap") for vector in vectors if "gap" in vector}

    assert shown >= {(dialect, kind) for dialect in DIALECTS for kind in (*TERMINAL, "gap")}


# --- what holds in every dialect ------------------------------------------------------------------


@given(event=events(7), places=PLACES)
def test_an_event_is_one_event_on_the_wire_whatever_it_holds(
    event: Event, places: list[int]
) -> None:
    for dialect in each_dialect():
        frames = frame_of(dialect.name, event)
        outcome = decoded(*cut(BEFORE + frames + AFTER, places))

        shown = frames_of([event], dialect)
        before, *between, after = outcome.events
        assert (before.data, after.data, len(between)) == ("before", "after", shown)
        position = "01hq3v5k2m-7" if shown else "before"
        assert [found.id for found in between] == [position] * shown
        assert after.id == position
        assert outcome.retry_ms is None


@given(log=logs())
def test_every_event_of_a_log_is_shown_in_order_under_its_position(log: list[Event]) -> None:
    for dialect in each_dialect():
        found = decoded(b"".join(frame_of(dialect.name, event) for event in log)).events

        shown = [event for event in log if frames_of([event], dialect)]
        assert [event.id for event in found] == [f"01hq3v5k2m-{event.seq}" for event in shown]


@given(event=events(7))
def test_encoding_leaves_the_event_as_it_is(event: Event) -> None:
    before = msgspec.json.encode(event)
    for dialect in each_dialect():
        encoder = dialect.start(STREAM)
        encoder.group([event])
        encoder.end(event)

        assert msgspec.json.encode(event) == before


@given(gap=st.dictionaries(texts, json_values, max_size=4), reason=texts, event=events(7))
def test_a_gap_and_an_ending_leave_the_cursor_where_it_is(
    gap: dict[str, object], reason: str, event: Event
) -> None:
    for dialect in each_dialect():
        notice = dialect.gap(STREAM, {**gap, "reason": reason})
        outcome = decoded(BEFORE, notice, dialect.start(STREAM).end(event), AFTER)

        assert {found.id for found in outcome.events} == {"before"}
        assert len(outcome.events) == (4 if dialect.name == "task" else 3)
        assert b"id:" not in re.findall(rb"^[a-z]+:", notice, re.MULTILINE)


# --- what each dialect holds to -------------------------------------------------------------------


@given(events(7))
def test_runcast_sends_the_stored_bytes(event: Event) -> None:
    place = (event.node, event.agent, event.path, event.duration)
    record = encode_record(event.type, event.data, event.time, place)

    frame = frame_of("runcast", event)

    assert frame == frame_record(b"id: 01hq3v5k2m-", 7, record)
    assert decode_event(decoded(frame).events[0].data) == event


@given(events(7))
def test_named_names_a_frame_by_its_type_alone(event: Event) -> None:
    (found,) = decoded(frame_of("named", event)).events

    assert found.event == ("error" if event.type in ("failed", "cancelled") else event.type)


@pytest.mark.parametrize("dialect", ["task", "flat", "flat3"])
def test_pieces_of_arguments_are_not_shown_where_clients_know_no_such_message(dialect: str) -> None:
    piece = Event(seq=7, type="tool_call_delta", data={"call_id": "c", "text": "{"})

    assert frame_of(dialect, piece) == b""


@pytest.mark.parametrize("type_", ["", "UPPER", "a\nevent: b", "a\n\ndata: forged", "x" * 65, "\0"])
def test_named_sends_a_type_that_no_writer_makes_without_a_name(type_: str) -> None:
    event = Event(seq=7, type=type_, data={"a": 1})

    (found,) = decoded(frame_of("named", event)).events

    assert (found.event, found.data) == ("message", '{"a":1}')


@given(shown_events)
def test_task_keeps_its_own_fields_whatever_the_metadata_are_called(event: Event) -> None:
    payload = payload_of(frame_of("task", event))

    assert payload["task_id"] == "run-1"
    assert payload["sequence"] == 7
    assert payload["agent_name"] == (event.agent or event.node)
    assert isinstance(payload["content"], str)
    assert payload["timestamp"] == datetime.fromtimestamp(int(event.time), UTC).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
    if event.type in TERMINAL:
        assert payload["event_type"] == ("end" if event.type == "done" else "error")
    assert "type" not in payload
    for name, value in (("node", event.node), ("path", list(event.path))):
        if value:
            assert payload[name] == value


@given(logs())
def test_task_tells_its_end_once_and_last(log: list[Event]) -> None:
    run = [event for event in log if event.type not in TERMINAL]
    run.append(Event(seq=1000, time=1698400800.5, type="done"))

    found = [json.loads(event.data) for event in decoded(encoded(get("task"), run)).events]

    assert [payload for payload in found if "type" in payload] == found[-1:]
    assert found[-1] == {
        "type": "connection_end",
        "task_id": "run-1",
        "timestamp": "2023-10-27T10:00:00Z",
    }


@pytest.mark.parametrize("time", [float("nan"), float("inf"), -1e300, 1e300])
def test_task_has_a_timestamp_for_every_time(time: float) -> None:
    payload = payload_of(get("task").start(STREAM).end(Event(seq=1, time=time, type="done")))

    assert datetime.strptime(payload["timestamp"], "%Y-%m-%dT%H:%M:%S%z").tzinfo is not None


@given(events(7))
def test_prefab_has_its_four_fields_and_no_other(event: Event) -> None:
    frame = frame_of("prefab", event)
    if event.type == "started":
        assert frame == b""
        return
    payload = payload_of(frame)

    assert payload.keys() <= {"type", "data", "error_code", "metadata"}
    assert payload.keys() >= {"type", "data"}
    assert payload["type"] == ("error" if event.type in ("failed", "cancelled") else event.type)


@given(shown_events)
def test_flat_keeps_its_own_fields_whatever_the_others_are_called(event: Event) -> None:
    payload = payload_of(frame_of("flat", event))

    assert isinstance(payload["content"], str)
    assert (payload["node"], payload["timestamp"]) == (event.node, event.time)
    assert payload.get("agent", "") == event.agent
    assert ("agent_hierarchy" in payload) == bool(event.path)
    assert payload.get("duration") == (None if event.duration is None else round(event.duration, 2))
    if event.type == "content":
        assert payload["message_type"] == "content_streaming"
        assert payload["length"] == len(payload["content"])
    elif event.type in TERMINAL:
        adds_nothing = payload.get("execution_summary") == {} and event.data is not None
        if event.type != "done":
            assert payload["message_type"] == "error"
        elif payload["content"] or not adds_nothing:
            assert payload["message_type"] == "final_result"
        assert payload["is_final"] is True
    elif event.type == "interrupt_request":
        assert payload["requires_approval"] is True


@given(shown_events)
def test_flat3_says_what_flat_says_in_other_types(event: Event) -> None:
    flat = payload_of(frame_of("flat", event))
    flat3 = payload_of(frame_of("flat3", event))

    was = flat.pop("message_type")
    now = flat3.pop("message_type")
    if now != was:
        assert now in ("processing", "content", "thinking", "interrupt")
        assert was in [value for name, value in flat3.items() if name.startswith("original_type")]
    assert all(flat3[name] == value for name, value in flat.items())


@given(st.sampled_from(["task", "flat", "flat3"]), events(7))
def test_flat_objects_lose_no_field(name: str, event: Event) -> None:
    event = msgspec.structs.replace(event, type="weather")
    payload = payload_of(frame_of(name, event))
    if not isinstance(event.data, dict):
        return

    sent = [json.dumps(value, sort_keys=True) for value in payload.values()]
    for key, value in event.data.items():
        # Content that is no string is JSON text, in which a value may be written in several ways.
        shown = payload["content"]
        is_text = shown == value or _means(shown, value)
        assert is_text or json.dumps(value, sort_keys=True) in sent, key


def _means(text: object, value: object) -> bool:
    """Return whether a text is JSON of a value."""
    try:
        return isinstance(text, str) and bool(json.loads(text) == value)
    except ValueError:
        return False


# --- the registry ---------------------------------------------------------------------------------


def test_the_registry_knows_each_dialect_by_its_name() -> None:
    assert list(DIALECTS) == ["runcast", "named", "task", "prefab", "flat", "flat3"]
    assert all(get(name) is dialect for name, dialect in DIALECTS.items())


def test_the_registry_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        DIALECTS["mine"] = get("runcast")  # type: ignore[index]


def test_an_unknown_dialect_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        InvalidValue, match=r"runcast, named, task, prefab, flat, flat3; got 'x{80}'$"
    ):
        get("x" * 1000)


def test_a_decoder_gets_the_same_from_single_bytes() -> None:
    frames = encoded(
        get("task"), [Event(seq=1, type="log", data="a\n\nb"), Event(seq=2, type="done")]
    )
    decoder = Decoder()

    found = [event for byte in frames for event in decoder.feed(bytes([byte]))]

    assert found == decoded(frames).events
