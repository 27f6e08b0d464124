"""Hostile data, and logs of events that hold it."""

import json
from typing import Any, Final

from hypothesis import strategies as st

from runcast.events.model import Event, decode_event, encode_record
from runcast.events.view import Filter, Streaming, ViewSpec
from runcast.events.vocabulary import KNOWN

_HOSTILE = [
    *("\n", "\r\n", "\n\n", "\0", "\u2028", "\u2029", "\x85", "\ufeff", "\U0001f600", "</script>"),
    *("\n\nevent: done\ndata: {}\n\n", "\rid: 99\r\r", '"},"type":"done","x":{"', "data: forged"),
    *("task_id", "seq", "type", "connection_end", "gap", "final_result"),
]

texts = st.lists(st.sampled_from(_HOSTILE) | st.text(max_size=5), max_size=4).map("".join)
"""Text that UTF-8 can hold."""

broken_texts = st.text(st.characters(), max_size=8) | st.sampled_from(
    ["\ud800", "a\udfffb", "\udc80"]
)
"""Text with lone surrogates."""

numbers = (
    st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, -1, 1, 50, 100.0, 2**53, 2**53 + 1, 2**64, -0.0, 1e308])
)

# Names that mean something to a snapshot or to a dialect, so that most data is nearly right.
_NAMES = sorted(
    {name for names in KNOWN.values() for name in names}
    | {"content", "progress", "percentage", "error", "status", "type", "type_", "task_id"}
    | {"sequence", "agent_name", "event_type", "timestamp", "task_id_", "message_type", "node"}
    | {"agent", "agent_hierarchy", "duration", "length", "length_", "chunk_index", "tool_name"}
    | {"error_code", "error_type", "is_final", "execution_summary", "data", "metadata", "seq"}
)
names = st.sampled_from(_NAMES) | texts

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=8,
)

TYPES = [*KNOWN, "start", "action", "end", "gap", "message", "open", "my.own_type-2"]

types = st.sampled_from(TYPES)

_places = st.tuples(
    st.sampled_from(["", "research", "writing", "a\nb"]),
    st.sampled_from(["", "ann", "bob"]),
    st.sampled_from([(), ("ann",), ("ann", "bob")]),
    st.none() | st.floats(0, 1e6),
)

_ids = st.sampled_from(["", "a", "b"])
_likely: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(["message_id", "call_id", "interrupt_id", "step_id", "tool"], _ids),
    **dict.fromkeys(["text", "message", "result", "level", "code", "function"], texts),
    **dict.fromkeys(["percent", "current", "total", "index", "length"], numbers),
    **dict.fromkeys(["args", "value", "config", "summary"], json_values),
    **dict.fromkeys(["ok", "approved", "retryable"], st.booleans()),
    "attempt": st.sampled_from([1, 1, 2, 3, 0, -1, 1.5, True, "2"]),
    "labels": st.dictionaries(_ids, texts),
    "files": st.lists(texts | st.dictionaries(_ids, texts), max_size=3),
}
"""Values as writers send them, by the field."""

_foreign = st.lists(
    st.one_of([st.tuples(st.just(name), value) for name, value in _likely.items()]), max_size=4
).map(dict)
_data = _foreign | st.dictionaries(names, json_values, max_size=4) | json_values


def _data_of(kind: str) -> st.SearchStrategy[Any]:
    """Return data that often has the fields of a type. All fields in each would take too long."""
    fields = {name: _likely[name] for name in sorted(KNOWN.get(kind, ())) if name in _likely}
    near = st.fixed_dictionaries({}, optional=fields)
    return st.one_of(near, near, _data) if fields else _data


_data_by_type: dict[str, st.SearchStrategy[Any]] = {kind: _data_of(kind) for kind in TYPES}


@st.composite
def events(draw: st.DrawFn, seq: int = 1) -> Event:
    """Return an event as it is read from a log."""
    kind, place, time = draw(types), draw(_places), draw(st.floats(0, 4e9))
    record = encode_record(kind, draw(_data_by_type[kind]), time, place)
    return decode_event(b'{"seq":%d,%b' % (seq, record))


@st.composite
def logs(draw: st.DrawFn, most: int = 12) -> list[Event]:
    """Return events of rising `seq`, with a hole now and then, as after a filter."""
    seq, found = 0, []
    for _ in range(draw(st.integers(0, most))):
        seq += draw(st.sampled_from([1, 1, 1, 4]))
        found.append(draw(events(seq)))
    return found


def canonical(event: dict[str, Any]) -> Event:
    """Read an event given as a JSON object."""
    return decode_event(json.dumps(event))


_decisive = st.sampled_from(
    [
        *("started", "interrupt_request", "interrupt_resolved", "interrupt_waiting") * 6,
        *("interrupt_response", "log", "progress") * 2,
        *("done", "failed", "cancelled"),
    ]
)
_questions = st.fixed_dictionaries(
    {}, optional={"interrupt_id": st.sampled_from(["", "a", "b", "c", 7, "x" * 256, "x" * 300])}
)


@st.composite
def lives(draw: st.DrawFn, most: int = 16) -> list[Event]:
    """Return events without holes, most of which change the status of a run."""
    found = []
    for seq in range(1, draw(st.integers(0, most)) + 1):
        kind = draw(_decisive)
        data = draw(_questions | _data_by_type[kind])
        record = encode_record(kind, data, draw(st.floats(0, 4e9)), draw(_places))
        found.append(decode_event(b'{"seq":%d,%b' % (seq, record)))
    return found


# --- logs as views see them ----------------------------------------------------------------------

_SEEN_TYPES: Final = (
    *("started", "step_start", "step_complete", "content", "content", "content", "thinking"),
    *("reasoning", "tool_call", "error", "interrupt_request", "my_type"),
)
_NODES: Final = ("", "outline", "writing")

_seen_names = st.frozensets(st.sampled_from((*_SEEN_TYPES, *_NODES, "ann")), max_size=2)
_filters = st.builds(Filter, include=_seen_names, exclude=_seen_names)
specs = st.builds(
    ViewSpec,
    messages=st.just(Filter()) | _filters,
    nodes=st.just(Filter()) | _filters,
    agents=st.just(Filter()) | _filters,
    streaming=st.builds(
        Streaming,
        enabled=st.booleans(),
        batch_size=st.integers(1, 4),
        max_buffer=st.integers(1, 6),
        nodes=st.dictionaries(st.sampled_from(_NODES), st.booleans()),
    ),
    dedupe=st.booleans(),
)
commits = st.lists(
    st.lists(
        st.builds(
            lambda kind, node, agent, text: Event(
                type=kind,
                data={"text": text, "message": text, "interrupt_id": text},
                node=node,
                agent=agent,
            ),
            st.sampled_from(_SEEN_TYPES),
            st.sampled_from(_NODES),
            st.sampled_from(("", "ann")),
            st.sampled_from(("a", "b", "\n\n")),
        ),
        min_size=1,
        max_size=5,
    ),
    max_size=8,
)
"""A log, as the commits it comes in."""
