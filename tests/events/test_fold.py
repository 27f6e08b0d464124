"""Folding events into the present state of a run."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast.events import snapshot as caps
from runcast.events.fold import apply, fold
from runcast.events.lifecycle import BEGINNING, Standing, advance, question_of
from runcast.events.model import Event
from runcast.events.snapshot import (
    Dropped,
    ErrorNote,
    Failure,
    Interrupt,
    LogLine,
    Progress,
    Snapshot,
    Step,
    Text,
    Tool,
)
from tests.events.strategies import TYPES, broken_texts, canonical, events, lives, logs


def told(*events: tuple[str, object], node: str = "", agent: str = "") -> Snapshot:
    """Fold events given as type and data; the n-th has `seq` n and `time` n."""
    return fold(
        Event(seq=seq, time=float(seq), type=type_, data=data, node=node, agent=agent)
        for seq, (type_, data) in enumerate(events, 1)
    )


def again(snapshot: Snapshot) -> Snapshot:
    return msgspec.json.decode(msgspec.json.encode(snapshot), type=Snapshot)


# --- the law of the fold --------------------------------------------------------------------------


@given(logs(), st.data())
def test_folding_the_rest_onto_a_stored_snapshot_gives_what_folding_everything_gives(
    log: list[Event], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(log)))

    assert fold(log[cut:], again(fold(log[:cut]))) == fold(log)


@given(logs(), st.data())
def test_events_already_seen_change_nothing(log: list[Event], data: st.DataObject) -> None:
    seen = data.draw(st.lists(st.sampled_from(log), max_size=5)) if log else []

    assert fold([*log, *seen]) == fold(log)


def test_events_that_are_not_committed_change_nothing() -> None:
    assert fold([Event(type="log", data="x")]) == Snapshot()


@given(logs(), events(seq=1000))
def test_the_snapshot_a_fold_starts_from_stays_as_it_is(log: list[Event], event: Event) -> None:
    start = fold(log)
    before = msgspec.json.encode(start)

    fold([event], start)

    assert msgspec.json.encode(start) == before


@given(logs())
def test_a_snapshot_does_not_change_with_the_data_of_its_events(log: list[Event]) -> None:
    snapshot = fold(log)
    before = msgspec.json.encode(snapshot)
    for event in log:
        if isinstance(event.data, dict | list):
            event.data.clear()

    assert msgspec.json.encode(snapshot) == before


@given(logs() | lives())
def test_status_and_questions_follow_the_law_of_a_run(log: list[Event]) -> None:
    snapshot, standing = Snapshot(), BEGINNING
    for event in log:
        apply(snapshot, event)
        standing = advance(standing, event.type, question_of(event.data))

        questions = tuple(interrupt.interrupt_id for interrupt in snapshot.interrupts)
        assert Standing(snapshot.status, questions) == standing


def test_an_answer_makes_no_run_wait_that_did_not() -> None:
    log = [
        canonical({"seq": 1, "type": "interrupt_request", "data": {"interrupt_id": "a"}}),
        canonical({"seq": 2, "type": "started"}),
        canonical({"seq": 3, "type": "interrupt_resolved", "data": {"interrupt_id": "b"}}),
    ]

    assert fold(log).status == "running"


@given(logs())
def test_every_event_is_counted_and_every_missing_one_too(log: list[Event]) -> None:
    snapshot = fold(log)

    assert sum(snapshot.counts.values()) + snapshot.dropped.types == len(log)
    assert snapshot.missed + len(log) == snapshot.seq


def test_a_snapshot_of_another_version_is_read() -> None:
    stored = b'{"seq":3,"status":"running","new_field":[1],"texts":[{"kind":"content","first_seq":1'
    stored += b',"last_seq":3,"text":"ab","new_field":{}}]}'

    snapshot = fold(
        [Event(seq=4, type="content", data="c")], msgspec.json.decode(stored, type=Snapshot)
    )

    assert [text.text for text in snapshot.texts] == ["abc"]


# --- hostile data ---------------------------------------------------------------------------------


class _Rude:
    def __repr__(self) -> str:
        raise RuntimeError

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __hash__(self) -> int:
        return 1


def _cycle() -> dict[str, Any]:
    cycle: dict[str, Any] = {"text": "x"}
    cycle["args"] = cycle["result"] = cycle["value"] = cycle["message"] = cycle
    return cycle


def _deep(levels: int) -> object:
    deep: object = "x"
    for _ in range(levels):
        deep = [deep]
    return deep


_FIELDS = (
    *("text", "content", "message", "message_id", "percent", "current", "total", "level", "code"),
    *("function", "labels", "call_id", "tool", "args", "result", "summary", "value", "ok"),
    *("interrupt_id", "action", "config", "expires_at", "reason", "retryable"),
)
_OBJECTS: dict[str, Callable[[], object]] = {
    "rude": _Rude,
    "cycle": _cycle,
    "deep": lambda: _deep(500),
    "bottomless": lambda: _deep(12_000),  # C code of Python 3.12 and later goes 10,000 deep
    "odd keys": lambda: {1: 2, None: 3, (4,): 5},
    "not a number": lambda: float("nan"),
    "infinite": lambda: [float("-inf")],
    "huge": lambda: 10**400,
    "unprintable": lambda: -(10**5000),
    "surrogates": lambda: {"\ud800": "\udfff", "text": "\ud800"},
    "set": lambda: {1, 2},
    "bytes": lambda: b"\xff",
    "a million characters": lambda: "\x01" * 1_000_000,
    "a list": lambda: [None, True, 1.5, "x", {}],
}


@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("make", _OBJECTS.values(), ids=_OBJECTS)
def test_no_object_makes_a_fold_fail_or_a_snapshot_unfit_for_json(
    type_: str, make: Callable[[], object]
) -> None:
    data = {**dict.fromkeys(_FIELDS, make()), "files": [make()], "labels": {"a": make()}}
    for hostile in (make(), [make()], data, dict.fromkeys(_FIELDS, make())):
        snapshot = told((type_, {"interrupt_id": "i"}), (type_, hostile), (type_, hostile))

        assert again(snapshot) == snapshot
        assert snapshot.counts[type_] == 3


@given(broken_texts, broken_texts, st.floats(), st.sampled_from(TYPES))
def test_no_name_or_time_makes_a_fold_fail(name: str, text: str, time: float, type_: str) -> None:
    event = Event(seq=1, time=time, type=type_, data=text, node=name, agent=name * 1000)
    snapshot = fold([event, Event(seq=2, time=time, type=name, data={"text": text})])

    assert again(snapshot) == snapshot


_ROUNDS: Final = caps.MAX_MESSAGES + 2
"""So many events of each type pass every cap."""


def _flood(rounds: int, long: str) -> Iterator[Event]:
    """Give events of every type that does not end a run, of rising `seq`, with ever new names."""
    kinds = sorted(set(TYPES) - {"done", "failed", "cancelled", "interrupt_resolved"})
    for seq in range(1, rounds * len(kinds)):
        turn = f"{seq}{long[:300]}"
        data = {
            **dict.fromkeys(_FIELDS, long),
            **{"message_id": turn, "call_id": turn, "interrupt_id": turn, "model": turn},
            "task": turn,
            "input_tokens": seq,
            "labels": {f"{index}{turn}": long for index in range(5)},
            "files": [{"name": f"{index}{seq}", "about": long[:900]} for index in range(5)],
        }
        if kinds[seq % len(kinds)] == "interrupt_response":  # it answers the question right before
            data["interrupt_id"] = f"{seq - 1}{long[:300]}"
        for step, type_ in enumerate((kinds[seq % len(kinds)], f"type{seq}")):
            yield Event(seq=2 * seq + step, type=type_, data=data, node=turn, agent=long)


def test_the_law_holds_where_every_cap_is_reached() -> None:
    log = list(_flood(_ROUNDS, "long " * 2000))
    whole = fold(log)

    assert all(value > 0 for value in msgspec.structs.asdict(whole.dropped).values())
    for cut in range(0, len(log), len(log) // 10):
        assert fold(log[cut:], again(fold(log[:cut]))) == whole


def test_a_snapshot_is_bounded_whatever_the_log_holds() -> None:
    snapshot = fold(_flood(_ROUNDS, "\U0001f600" * 40_000))

    assert len(snapshot.texts) <= caps.MAX_TEXTS
    assert len(snapshot.tools) == caps.MAX_TOOLS
    assert len(snapshot.interrupts) == caps.MAX_INTERRUPTS
    assert len(snapshot.errors) == caps.MAX_ERRORS
    assert len(snapshot.logs) == caps.MAX_LOGS
    assert len(snapshot.files) == caps.MAX_FILES
    assert len(snapshot.labels) == caps.MAX_LABELS
    assert len(snapshot.messages) == caps.MAX_MESSAGES
    assert len(snapshot.completed_steps) == caps.MAX_COMPLETED_STEPS
    assert len(snapshot.answered) == caps.MAX_ANSWERED
    assert len(snapshot.bars) == caps.MAX_BARS
    assert len(snapshot.counts) == caps.MAX_TYPES
    assert len(msgspec.json.encode(snapshot).decode()) < 3_000_000
    assert again(snapshot) == snapshot


# --- life -----------------------------------------------------------------------------------------


def test_a_run_before_its_first_event_is_queued() -> None:
    assert msgspec.json.decode(msgspec.json.encode(Snapshot())) == {
        "seq": 0,
        "missed": 0,
        "status": "queued",
        "function": "",
        "labels": {},
        "started_at": None,
        "attempt": 1,
        "recovered_seq": 0,
        "ended_at": None,
        "updated_at": None,
        "steps": [],
        "progress": None,
        "texts": [],
        "tools": [],
        "usage": [],
        "messages": [],
        "messages_read": 0,
        "interrupts": [],
        "interrupts_resolved": 0,
        "interrupts_lapsed": 0,
        "errors": [],
        "logs": [],
        "files": [],
        "result": None,
        "result_dropped": 0,
        "summary": None,
        "summary_dropped": 0,
        "failure": None,
        "cancel_reason": "",
        "counts": {},
        "completed_steps": [],
        "answered": [],
        "bars": [],
        "dropped": dict.fromkeys(Dropped.__struct_fields__, 0),
    }


def test_a_started_run_has_its_function_labels_and_times() -> None:
    started = {"function": "report", "labels": {"user": "ann", "n": 3}}
    snapshot = told(("started", started), ("start", {"total": 3}))

    assert (snapshot.status, snapshot.function) == ("running", "report")
    assert snapshot.labels == {"user": "ann", "n": "3"}
    assert (snapshot.started_at, snapshot.updated_at, snapshot.ended_at) == (1.0, 2.0, None)


def test_a_resumed_run_keeps_its_first_start() -> None:
    snapshot = told(
        ("started", {"function": "report", "labels": {"a": "1"}}),
        ("interrupt_request", {"interrupt_id": "i"}),
        ("started", {"function": "other", "labels": {"a": "2", "b": "3"}}),
    )

    assert (snapshot.status, snapshot.started_at, snapshot.function) == ("running", 1.0, "report")
    assert snapshot.labels == {"a": "2", "b": "3"}


@pytest.mark.parametrize(
    ("data", "result", "summary"),
    [
        ({"result": {"n": 1}, "summary": "one"}, {"n": 1}, "one"),
        ({"summary": {"n": 1}}, "early", {"n": 1}),
        ({"result": 0}, 0, None),
        ({"total": 3, "message": "done"}, {"total": 3, "message": "done"}, None),
        ({"result": "ok", "output": "x"}, {"result": "ok", "output": "x"}, None),
        ("text", "text", None),
        ({}, "early", None),
        (None, "early", None),
    ],
)
def test_done_gives_the_result_and_the_summary(
    data: object, result: object, summary: object
) -> None:
    snapshot = told(("result", {"value": "early"}), ("done", data))

    assert (snapshot.status, snapshot.ended_at) == ("done", 2.0)
    assert (snapshot.result, snapshot.summary) == (result, summary)


def test_the_last_result_counts_and_may_be_null() -> None:
    assert told(("result", {"value": 1}), ("result", {"value": None})).result is None
    assert told(("result", {"value": 1}), ("result", [2])).result == [2]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"message": "boom", "code": "lost", "retryable": True}, Failure("boom", "lost", True)),
        ({"error": "boom", "error_code": "E"}, Failure("boom", "E", False)),
        ("boom", Failure("boom")),
        ({"message": {"a": 1}, "code": 5, "retryable": "yes"}, Failure('{"a":1}', "5", False)),
        (None, Failure()),
    ],
)
def test_failed_says_why(data: object, expected: Failure) -> None:
    snapshot = told(("failed", data))

    assert (snapshot.status, snapshot.failure) == ("failed", expected)


@pytest.mark.parametrize("data", [{"reason": "asked to"}, "asked to", {"message": "asked to"}])
def test_cancelled_says_why(data: object) -> None:
    snapshot = told(("cancelled", data))

    assert (snapshot.status, snapshot.cancel_reason) == ("cancelled", "asked to")


def test_nothing_but_the_counts_changes_after_the_end() -> None:
    ended = told(("started", {}), ("done", {"result": 1}))
    after = fold(
        [
            Event(seq=3, time=9.0, type="failed", data="boom"),
            Event(seq=4, time=9.0, type="content", data="x"),
        ],
        ended,
    )

    assert after.counts == {"started": 1, "done": 1, "failed": 1, "content": 1}
    assert (after.status, after.result, after.ended_at) == ("done", 1, 2.0)
    assert (after.failure, after.texts) == (None, [])


# --- steps, progress and log ----------------------------------------------------------------------


def test_a_step_tells_how_it_goes() -> None:
    place = {"node": "research", "agent": "ann"}
    begun = told(("step_start", {"message": "searching"}), **place)
    on_its_way = told(
        ("step_start", {"message": "searching"}),
        ("step_progress", {"percent": 25, "message": "found 3"}),
        **place,
    )

    assert begun.steps == [Step(1.0, "research", "ann", "searching")]
    assert on_its_way.steps == [Step(1.0, "research", "ann", "searching", "found 3", 25)]


def test_steps_of_several_places_are_open_at_once_and_the_current_one_comes_last() -> None:
    events = [
        Event(seq=1, type="step_start", data="one", node="a"),
        Event(seq=2, type="step_start", data="two", node="a", agent="bob"),
        Event(seq=3, type="step_start", data="three", node="b"),
    ]
    after = [*events, Event(seq=4, type="step_progress", data={"percent": 5}, node="a")]
    anew = [*events, Event(seq=4, type="step_start", data="again", node="a")]

    assert [step.message for step in fold(events).steps] == ["one", "two", "three"]
    assert [step.message for step in fold(after).steps] == ["two", "three", "one"]
    assert [step.message for step in fold(anew).steps] == ["two", "three", "again"]


def test_a_step_ends_where_it_began() -> None:
    start = Event(seq=1, type="step_start", data="a", node="n")
    elsewhere = Event(seq=2, type="step_complete", node="other")
    here = Event(seq=3, type="node_complete", node="n")

    assert fold([start, elsewhere]).steps == [Step(0.0, "n", "", "a")]
    assert fold([start, elsewhere, here]).steps == []


def test_progress_of_a_step_nobody_began_begins_it() -> None:
    assert told(("step_progress", {"progress": 5})).steps == [Step(1.0, percent=5)]


def test_only_the_steps_last_told_of_are_kept() -> None:
    most = caps.MAX_STEPS
    events = [Event(seq=n, type="step_start", node=str(n)) for n in range(1, most + 1)]
    events.append(Event(seq=most + 1, type="step_progress", data="on", node="1"))
    events.append(Event(seq=most + 2, type="step_start", node="new"))

    snapshot = fold(events)

    expected = [str(n) for n in range(3, most + 1)] + ["1", "new"]
    assert [step.node for step in snapshot.steps] == expected
    assert snapshot.dropped.steps == 1


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {"current": 3, "total": 10, "percent": 30.0, "message": "m"},
            Progress(3, 10, 30.0, "m"),
        ),
        ({"progress": 50, "status": "half"}, Progress(percent=50, message="half")),
        ({"current": 50, "total": 100, "percentage": 50}, Progress(50, 100, 50)),
        ({"processed": 100, "total": 1000, "percentage": 10}, Progress(100, 1000, 10)),
        ({"current": 1, "total": 3}, Progress(1, 3, 33.33)),
        ({"current": 5, "total": 0}, Progress(5, 0)),
        ({"current": 1e308, "total": 1e-308}, Progress(1e308, 1e-308, 100.0)),
        ({"percent": 250}, Progress(percent=100)),
        ({"percent": -5}, Progress(percent=0)),
        ({"percent": "50", "percentage": 40}, Progress(percent=40)),
        ({"percent": True, "current": False}, Progress()),
        ({"current": 2**80}, Progress(float(2**80))),
        ("working", Progress(message="working")),
        (50, Progress()),
        (None, Progress()),
    ],
)
def test_progress_is_read_in_every_known_shape(data: object, expected: Progress) -> None:
    assert told(("progress", data)).progress == expected


def test_progress_replaces_progress() -> None:
    snapshot = told(("progress", {"current": 1, "message": "a"}), ("progress", {"percent": 2}))

    assert snapshot.progress == Progress(percent=2)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {"level": "info", "message": "m", "logger": "app"},
            LogLine(1, 1.0, "info", "m", "app", "n", "a"),
        ),
        (
            {"type": "warn", "message": "m", "tool_name": "t"},
            LogLine(1, 1.0, "warn", "m", "", "n", "a"),
        ),
        ("m", LogLine(1, 1.0, "", "m", "", "n", "a")),
        ({"message": {"a": 1}}, LogLine(1, 1.0, "", '{"a":1}', "", "n", "a")),
        (7, LogLine(1, 1.0, "", "", "", "n", "a")),
    ],
)
def test_log_lines_are_read_in_every_known_shape(data: object, expected: LogLine) -> None:
    assert told(("log", data), node="n", agent="a").logs == [expected]


def test_the_last_log_lines_are_kept() -> None:
    snapshot = told(*[("log", str(n)) for n in range(caps.MAX_LOGS + 7)])

    assert [line.message for line in snapshot.logs] == [str(n + 7) for n in range(caps.MAX_LOGS)]
    assert snapshot.dropped.logs == 7


def test_a_message_is_kept_from_its_beginning() -> None:
    snapshot = told(("log", "a" * caps.MAX_MESSAGE_CHARS + "bc"))

    assert snapshot.logs[0].message == "a" * caps.MAX_MESSAGE_CHARS
    assert snapshot.dropped.chars == 2


# --- text -----------------------------------------------------------------------------------------


def test_pieces_of_a_text_are_joined() -> None:
    snapshot = told(
        ("content", {"text": "深度 ", "message_id": "m"}),
        ("content", {"text": "\n", "message_id": "m"}),
        ("log", "between"),
        ("content", {"text": "研究", "message_id": "m"}),
        node="n",
        agent="a",
    )

    assert snapshot.texts == [Text("content", 1, 4, "n", "a", "m", "深度 \n研究")]


@pytest.mark.parametrize(
    "data", ["x", {"text": "x"}, {"content": "x"}, {"text": None, "content": "x"}]
)
def test_text_is_read_in_every_known_shape(data: object) -> None:
    assert [text.text for text in told(("content", data)).texts] == ["x"]


@pytest.mark.parametrize(
    "data", ["", {}, {"text": ""}, {"text": ["x"]}, {"text": 5}, None, 5, ["x"]]
)
def test_what_is_no_text_begins_none(data: object) -> None:
    assert told(("content", data)).texts == []


def test_texts_are_kept_apart_by_kind_place_and_message() -> None:
    places = [("content", "n", "a"), ("thinking", "n", "a"), ("content", "n", "b")]
    log = []
    for seq, (type_, node, agent) in enumerate([*places, ("content", "m", "a"), *places], 1):
        data = {"text": str(seq)}
        log.append(Event(seq=seq, type=type_, data=data, node=node, agent=agent))
    log.append(
        Event(seq=8, type="content", data={"text": "8", "message_id": 5}, node="n", agent="a")
    )

    assert [(text.message_id, text.text) for text in fold(log).texts] == [
        ("", "15"),
        ("", "26"),
        ("", "37"),
        ("", "4"),
        ("5", "8"),
    ]


def test_a_completed_text_without_id_is_followed_by_another() -> None:
    snapshot = told(
        ("content", "chapter 1"),
        ("content_complete", {"message": "chapter 1 is done"}),
        ("content", "chapter "),
        ("content", "2"),
    )

    assert [(text.text, text.is_complete) for text in snapshot.texts] == [
        ("chapter 1", True),
        ("chapter 2", False),
    ]


def test_a_completed_text_with_an_id_is_still_that_text() -> None:
    snapshot = told(
        ("content", {"text": "a", "message_id": "m"}),
        ("content_complete", {"message_id": "m"}),
        ("content", {"text": "b", "message_id": "m"}),
        ("content_complete", {"message_id": "unknown"}),
    )

    assert [(text.text, text.is_complete) for text in snapshot.texts] == [("ab", True)]


def test_the_tail_of_a_long_text_is_kept() -> None:
    most = caps.MAX_TEXT_CHARS
    snapshot = told(("content", "a" * 5), ("content", "b" * most), ("content", "cd"))

    (text,) = snapshot.texts
    assert text.text == "b" * (most - 2) + "cd"
    assert (text.dropped, snapshot.dropped.chars) == (7, 7)


def test_the_text_not_continued_for_longest_makes_room_for_a_new_one() -> None:
    first = [("content", {"text": "x", "message_id": str(n)}) for n in range(caps.MAX_TEXTS)]
    snapshot = told(
        *first,
        ("content", {"text": "y", "message_id": "0"}),
        ("content", {"text": "z", "message_id": "new"}),
    )

    ids = [text.message_id for text in snapshot.texts]
    assert ids == ["0", *map(str, range(2, caps.MAX_TEXTS)), "new"]
    assert (snapshot.dropped.texts, snapshot.dropped.chars) == (1, 1)


def test_long_texts_make_room_before_they_are_many() -> None:
    long = "x" * caps.MAX_TEXT_CHARS
    snapshot = told(*[("content", {"text": long, "message_id": str(n)}) for n in range(10)])

    assert sum(len(text.text) for text in snapshot.texts) <= (
        caps.MAX_ALL_TEXT_CHARS + caps.MAX_TEXT_CHARS
    )
    assert snapshot.texts[-1].message_id == "9"
    assert snapshot.dropped.texts + len(snapshot.texts) == 10


# --- tools ----------------------------------------------------------------------------------------


def test_a_result_finds_its_call() -> None:
    snapshot = told(
        ("tool_call", {"call_id": "c1", "tool": "search", "args": {"q": [1]}}),
        ("tool_call", {"call_id": "c2", "tool": "search", "args": {}}),
        ("tool_result", {"call_id": "c1", "tool": "search", "result": {"n": 1}, "ok": True}),
        node="n",
    )

    assert snapshot.tools == [
        Tool(1, "c1", "search", "n", "", {"q": [1]}, 0, 1.0, {"n": 1}, 0, True, 3.0),
        Tool(2, "c2", "search", "n", "", {}, 0, 2.0),
    ]


def test_without_an_id_a_result_belongs_to_the_last_running_call_of_its_tool() -> None:
    snapshot = told(
        ("tool_call", {"tool_name": "a", "args": 1}),
        ("tool_call", {"tool_name": "b", "args": 2}),
        ("tool_call", {"tool_name": "a", "args": 3}),
        ("tool_result", {"tool_name": "a", "content": "r3"}),
        ("tool_result", {"tool_name": "a", "content": "r1"}),
        ("tool_result", {"tool_name": "a", "content": "r?"}),
    )

    assert [(tool.tool, tool.args, tool.result) for tool in snapshot.tools] == [
        ("a", 1, "r1"),
        ("b", 2, None),
        ("a", 3, "r3"),
        ("a", None, "r?"),
    ]


def test_a_call_told_twice_is_one_call() -> None:
    call = ("tool_call", {"call_id": "c", "tool": "t", "args": {}})
    snapshot = told(call, call, ("tool_result", {"call_id": "c", "ok": False}))

    assert [(tool.tool, tool.ok) for tool in snapshot.tools] == [("t", False)]


def test_the_oldest_finished_call_makes_room_for_a_new_one() -> None:
    calls = [("tool_call", {"call_id": str(n)}) for n in range(caps.MAX_TOOLS)]
    finished = ("tool_result", {"call_id": "3"})
    snapshot = told(
        *calls, finished, ("tool_call", {"call_id": "x"}), ("tool_call", {"call_id": "y"})
    )

    ids = [tool.call_id for tool in snapshot.tools]
    assert ids == [str(n) for n in range(1, caps.MAX_TOOLS) if n != 3] + ["x", "y"]
    assert snapshot.dropped.tools == 2


@pytest.mark.parametrize(
    ("value", "kept", "dropped"),
    [
        ("x" * caps.MAX_VALUE_CHARS, "x" * caps.MAX_VALUE_CHARS, 0),
        ("x" * caps.MAX_VALUE_CHARS + "yz", "x" * caps.MAX_VALUE_CHARS, 2),
        (["x" * caps.MAX_VALUE_CHARS], '["' + "x" * (caps.MAX_VALUE_CHARS - 2), 4),
        ({"a": [1, 2.5, None, True, "b"]}, {"a": [1, 2.5, None, True, "b"]}, 0),
        (_deep(101), "[" * 101 + '"x"' + "]" * 101, 0),
        (_deep(100), _deep(100), 0),
        (2**70, 2**70, 0),
        (False, False, 0),
    ],
)
def test_long_values_are_kept_as_the_beginning_of_their_text(
    value: object, kept: object, dropped: int
) -> None:
    snapshot = told(("tool_result", {"result": value}))

    (tool,) = snapshot.tools
    assert (tool.result, tool.result_dropped) == (kept, dropped)
    assert snapshot.dropped.chars == dropped


# --- questions ------------------------------------------------------------------------------------

_ASK = {"interrupt_id": "i", "action": "deploy", "args": {"to": "prod"}, "message": "go on?"}


def test_an_interrupt_is_open_until_it_is_resolved() -> None:
    asked = ("interrupt_request", {**_ASK, "config": {"allow_edit": True}, "expires_at": 9})
    waiting = ("interrupt_waiting", {"interrupt_id": "i"})
    answered = ("interrupt_response", {"interrupt_id": "i", "approved": True, "answer": "yes"})
    resolved = ("interrupt_resolved", {"interrupt_id": "i"})
    start: tuple[str, object] = ("started", {})
    interrupt = Interrupt(
        seq=2,
        asked_at=2.0,
        interrupt_id="i",
        node="n",
        agent="a",
        action="deploy",
        message="go on?",
        args={"to": "prod"},
        config={"allow_edit": True},
        expires_at=9,
    )
    place = {"node": "n", "agent": "a"}

    open_ = told(start, asked, waiting, **place)
    assert (open_.status, open_.interrupts) == ("waiting", [interrupt])

    interrupt.is_answered = True
    assert told(start, asked, waiting, answered, **place).interrupts == [interrupt]

    closed = told(start, asked, waiting, answered, resolved, resolved, **place)
    assert (closed.status, closed.interrupts) == ("running", [])
    assert (closed.interrupts_resolved, closed.interrupts_lapsed) == (1, 0)


def test_a_run_that_was_resumed_waits_again_once_it_says_so_of_an_open_question() -> None:
    other = ("interrupt_request", {**_ASK, "interrupt_id": "j"})
    resumed = ("interrupt_request", _ASK), other, ("interrupt_resolved", {"interrupt_id": "j"})
    start: tuple[str, object] = ("started", {})

    def waiting(interrupt_id: str) -> tuple[str, object]:
        return "interrupt_waiting", {"interrupt_id": interrupt_id}

    assert told(start, *resumed, start).status == "running"
    assert told(start, *resumed, start, waiting("j")).status == "running"
    assert told(start, *resumed, start, waiting("i")).status == "waiting"


def test_interrupts_lapse_when_the_run_ends() -> None:
    snapshot = told(("interrupt_request", _ASK), ("cancelled", {}))

    assert (snapshot.interrupts, snapshot.interrupts_lapsed) == ([], 1)


def test_asking_again_replaces_the_question() -> None:
    snapshot = told(
        ("interrupt_request", _ASK), ("interrupt_request", {**_ASK, "message": "well?"})
    )

    assert [interrupt.message for interrupt in snapshot.interrupts] == ["well?"]


def test_the_last_interrupts_are_kept() -> None:
    asked = [("interrupt_request", {"interrupt_id": n}) for n in range(caps.MAX_INTERRUPTS + 2)]
    snapshot = told(*asked)

    assert snapshot.interrupts[0].interrupt_id == "2"
    assert snapshot.dropped.interrupts == 2


# --- errors, files, counts ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"message": "m", "code": "c"}, ErrorNote(1, 1.0, "m", "c", "n", "a")),
        ({"error": "m"}, ErrorNote(1, 1.0, "m", "", "n", "a")),
        ({"content": "m", "error_type": "c"}, ErrorNote(1, 1.0, "m", "c", "n", "a")),
        ({"message": "m", "error_code": "c"}, ErrorNote(1, 1.0, "m", "c", "n", "a")),
        ("m", ErrorNote(1, 1.0, "m", "", "n", "a")),
    ],
)
def test_an_error_does_not_end_the_run(data: object, expected: ErrorNote) -> None:
    snapshot = told(("error", data), ("started", {}), node="n", agent="a")

    assert (snapshot.status, snapshot.errors) == ("running", [expected])


def test_the_last_errors_are_kept() -> None:
    snapshot = told(*[("error", str(n)) for n in range(caps.MAX_ERRORS + 3)])

    assert snapshot.errors[0].message == "3"
    assert snapshot.dropped.errors == 3


def test_files_add_up_without_repeats() -> None:
    snapshot = told(
        ("files", {"files": [{"name": "a"}, {"name": "b"}]}),
        ("files", {"files": [{"name": "b"}, {"name": "c"}, "d"]}),
        ("files", {"files": "e"}),
        ("files", ["f"]),
    )

    assert snapshot.files == [{"name": "a"}, {"name": "b"}, {"name": "c"}, "d"]


def test_the_first_files_are_kept() -> None:
    first = [str(n) for n in range(caps.MAX_FILES)]
    snapshot = told(("files", {"files": [*first, "x", "y"]}), ("files", {"files": ["z", "0"]}))

    assert snapshot.files == first
    assert snapshot.dropped.files == 3


def test_types_are_counted_and_the_many_together() -> None:
    kinds = [(f"t{n}", None) for n in range(caps.MAX_TYPES + 2)]
    snapshot = told(*kinds, *kinds)

    assert snapshot.counts == dict.fromkeys([f"t{n}" for n in range(caps.MAX_TYPES)], 2)
    assert snapshot.dropped.types == 4


def test_the_first_labels_are_kept() -> None:
    labels = {str(n): str(n) for n in range(caps.MAX_LABELS + 1)}
    snapshot = told(("started", {"labels": labels}), ("started", {"labels": {"0": "a", "x": "y"}}))

    assert len(snapshot.labels) == caps.MAX_LABELS
    assert snapshot.labels["0"] == "a"
    assert snapshot.dropped.labels == 2


def test_of_too_many_bars_finished_ones_are_dropped_first() -> None:
    bars = [("progress", {"task": f"bar {n}", "percent": n}) for n in range(caps.MAX_BARS)]
    snapshot = told(
        *bars,
        ("progress", {"task": "bar 1", "percent": 100}),
        ("progress", {"task": "bar 0", "percent": 1}),
        ("progress", {"task": "new", "percent": 0}),
        ("progress", {"task": "newer", "percent": 0}),
    )

    assert [bar.task for bar in snapshot.bars] == [
        "bar 0",
        *(f"bar {n}" for n in range(3, caps.MAX_BARS)),
        "new",
        "newer",
    ]
    assert snapshot.dropped.bars == 2
