"""Batches of remote writers: read by one call where that gives the same records."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runcast._producing import batches
from runcast._producing.batches import Batch, GivenEvent, read_batch
from runcast.errors import InvalidEvent
from runcast.events.plain import encode_events

NOW = 1763715600.25

_texts = st.text(max_size=8) | st.sampled_from(
    ["a\u2028b\u2029c\u0085d", "line\nfeed", "[{", "x" * 199, "x" * 200, "é" * 201, "y" * 5000]
)
_numbers = (
    st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([2**53 + 1, 2**64, -(2**70), 10**400, 1e-320])
)
_flat = st.none() | st.booleans() | _numbers | _texts


def _nested(depth: int, of_lists: bool) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if of_lists else {"": value}
    return value


_data = st.recursive(
    _flat,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=5,
) | st.builds(_nested, st.integers(95, 105), st.booleans())

_types = st.sampled_from(
    ["tick", "progress", "usage", "log", "started", "message", "done", "failed", "Bad", "a" * 65]
)
_events = st.fixed_dictionaries(
    {"type": _types},
    optional={
        "data": _data,
        "time": st.none() | _numbers,
        "node": _texts,
        "agent": _texts,
        "path": st.lists(_texts, max_size=3) | st.just(["a"] * 33),
        "duration": st.none() | _numbers,
    },
)


def _read(given: Sequence[object], max_bytes: int) -> Batch | tuple[int, str]:
    def price(data: object) -> object:
        return {"cost": 1.5} if isinstance(data, dict) else data

    try:
        return read_batch(given, NOW, max_bytes, price)
    except InvalidEvent as error:
        return error.index, error.message


@settings(max_examples=60)
@given(st.lists(_events, min_size=1, max_size=4), st.sampled_from([256, 600, 1 << 20]))
def test_events_are_read_the_same_together_and_one_by_one(
    events: list[dict[str, Any]], max_bytes: int
) -> None:
    body = json.dumps(events).encode()
    try:
        together = msgspec.json.decode(body, type=list[GivenEvent])
    except msgspec.MsgspecError:
        return  # read one by one
    alone = msgspec.json.decode(body)
    assert _read(together, max_bytes) == _read(alone, max_bytes)


def test_usual_events_are_encoded_by_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []

    def encode(events: list[GivenEvent]) -> bytes:
        encoded.append(len(events))
        return encode_events(events)

    monkeypatch.setattr(batches, "encode_events", encode)
    monkeypatch.setattr(batches, "encode_record", None)  # for one event
    body = json.dumps([{"type": "tick", "data": {"n": n}, "node": "a"} for n in range(100)])
    given = msgspec.json.decode(body, type=list[GivenEvent])
    assert len(read_batch(given, NOW, 1 << 20).records) == 100
    assert encoded == [100]
