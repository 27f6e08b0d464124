"""Batches of events from a writer outside: checked one by one, and taken together or not at all.

A writer outside may write what a function may emit, and may end its run by a terminal event, the
last one of a batch. It may not write what runcast itself writes on behalf of others: a forged
answer or message would mislead every watcher.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from runcast.errors import InvalidEvent, InvalidValue, RuncastError
from runcast.events.model import (
    BRACKET,
    FLAT_BYTES,
    MAX_NAME_CHARS,
    MAX_PATH,
    OWN_EVENT_BYTES,
    Place,
    checked_type,
    encode_record,
    may_be_too_deep,
)
from runcast.events.outcome import Outcome, cancelled, done, failed
from runcast.events.plain import encode_events, escape_line_ends, shown
from runcast.events.vocabulary import TERMINAL, is_event_type

__all__ = ("MAX_BATCH_EVENTS", "REFUSED", "Batch", "GivenEvent", "read_batch")

MAX_BATCH_EVENTS: Final = 1000
"""Most events of one batch: they are checked on the loop, and stored as one append."""

REFUSED: Final = frozenset(
    {"started", "gap", "message", "interrupt_response", "interrupt_resolved"}
)
"""Types that only runcast writes, on behalf of people and of itself."""


_ODD: Final = REFUSED | TERMINAL | {"usage"}
"""Types whose events are refused or completed one by one."""

_LONG_BYTES: Final = 4096
"""From this length on a record is encoded alone: it may hold numbers of so many digits that other
readers cannot parse them."""


class GivenEvent(
    msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False, kw_only=True
):
    """An event as a writer outside sends it. `seq` is not among the fields: the log gives it.

    The fields have the order of a record, so that a batch of them is encoded by one call.
    """

    time: float | None = None
    type: str
    data: Any = UNSET
    node: str = ""
    agent: str = ""
    path: tuple[str, ...] = ()
    duration: float | None = None


class Batch(NamedTuple):
    """The records of a batch; `outcome` if its last event ends the run."""

    records: list[bytes]
    outcome: Outcome | None


def read_batch(
    given: Sequence[object],
    now: float,
    max_bytes: int,
    price: Callable[[object], object] = lambda data: data,
) -> Batch:
    """Return the records of events.

    Args:
        given: each a `GivenEvent` that was decoded from JSON, or the value of such JSON.
        now: the time of events that have none, Unix seconds.
        max_bytes: `max_event_bytes`.
        price: adds the cost to the data of a `usage` event.

    Raises:
        InvalidValue: there is no event, or there are more than MAX_BATCH_EVENTS.
        InvalidEvent: names the first event that cannot be written, and why.
    """
    if not 0 < len(given) <= MAX_BATCH_EVENTS:
        raise InvalidValue(f"expected 1 to {MAX_BATCH_EVENTS} events, got {len(given)}")
    # Most events need no more than one call for all. The others are read one by one, in order.
    records = _encode_together(given, now, max_bytes)
    outcome: Outcome | None = None
    for index, record in enumerate(records):
        try:
            if outcome is not None:
                raise InvalidValue(f"expected nothing after the terminal event {outcome.type!r}")
            if not record:
                records[index], outcome = _read(_event_of(given[index]), now, max_bytes, price)
        except RuncastError as error:
            raise InvalidEvent(f"event {index}: {error.message}", index) from None
    return Batch(records, outcome)


def _encode_together(given: Sequence[object], now: float, max_bytes: int) -> list[bytes]:
    """Return the record of each event as `encode_record` makes it; b"" if the event must be read
    alone."""
    alone = [b""] * len(given)
    events = [event for event in given if type(event) is GivenEvent]
    if len(events) < len(given):
        return alone
    most = min(max_bytes, FLAT_BYTES)
    odd = {kind for kind in {event.type for event in events} if not _is_usual(kind)}
    apart: list[int] = []
    for index, event in enumerate(events):
        if event.time is None:
            event.time = now
        elif not isfinite(event.time):
            apart.append(index)
        if event.data is UNSET:
            event.data = None
        if (
            event.node or event.agent or event.path or event.duration is not None
        ) and not _is_sound_place(event):
            apart.append(index)
        if odd and event.type in odd:
            apart.append(index)
    try:
        lines = escape_line_ends(encode_events(events)).split(b"\n")
    except (ValueError, RecursionError):
        return alone
    records = [
        line[1:]
        if (len(line) <= most and BRACKET not in line) or _is_plain(line, max_bytes)
        else b""
        for line in lines[:-1]
    ]
    for index in apart:
        records[index] = b""
    return records


def _is_usual(kind: str) -> bool:
    # The length is checked first, because the check of the form caches its arguments.
    return kind not in _ODD and len(kind) <= MAX_NAME_CHARS and is_event_type(kind)


def _is_plain(line: bytes, max_bytes: int) -> bool:
    """Return whether an event is neither too long, nor too deep, nor holds too long a number."""
    size = len(line)
    return size <= max_bytes and size <= _LONG_BYTES and not may_be_too_deep(line)


def _is_sound_place(event: GivenEvent) -> bool:
    return (
        len(event.node) <= MAX_NAME_CHARS
        and len(event.agent) <= MAX_NAME_CHARS
        and len(event.path) <= MAX_PATH
        and all(len(step) <= MAX_NAME_CHARS for step in event.path)
        and (event.duration is None or isfinite(event.duration))
    )


def _read(
    event: GivenEvent, now: float, max_bytes: int, price: Callable[[object], object]
) -> tuple[bytes, Outcome | None]:
    """Return the record of one event, and the outcome if the event is terminal."""
    time = now if event.time is None else event.time
    data = None if event.data is UNSET else event.data
    if event.type in TERMINAL:
        outcome = _outcome_of(event.type, data)
        limit = max_bytes if outcome.type == "done" else max(max_bytes, OWN_EVENT_BYTES)
        record = encode_record(outcome.type, outcome.data, time, _place_of(event), limit)
        return record, outcome
    if event.type == "usage":
        data = price(data)
    return encode_record(event.type, data, time, _place_of(event), max_bytes), None


def _event_of(given: object) -> GivenEvent:
    try:
        event = msgspec.convert(given, GivenEvent)
    except msgspec.ValidationError as error:
        raise InvalidValue(
            'expected an event like {"type": "progress", "data": {…}}, perhaps with time, node, '
            f"agent, path and duration: {error!s:.300}"
        ) from None
    if checked_type(event.type) in REFUSED:
        raise InvalidValue(f"expected no {event.type!r}, which runcast itself writes")
    return event


def _place_of(event: GivenEvent) -> Place | None:
    if event.node or event.agent or event.path or event.duration is not None:
        return event.node, event.agent, event.path, event.duration
    return None


def _outcome_of(kind: str, given: object) -> Outcome:
    """Return the outcome in a terminal event, of the form that runcast itself writes."""
    data = {} if given is None else given
    if not isinstance(data, Mapping):
        raise InvalidValue(f"expected the data of {kind!r} as an object, got {shown(data)}")
    if kind == "done":
        _check_fields(data, "result", "summary")
        return done(data.get("result"), data.get("summary"))
    if kind == "cancelled":
        _check_fields(data, "reason")
        return cancelled(_text(data, "reason", "cancelled"))
    _check_fields(data, "message", "code", "retryable")
    retryable = data.get("retryable", False)
    if not isinstance(retryable, bool):
        raise InvalidValue(f"expected retryable to be true or false, got {shown(retryable)}")
    message, code = _text(data, "message", "the run failed"), _text(data, "code", "function_error")
    return failed(message, code, retryable=retryable)


def _check_fields(data: Mapping[str, Any], *names: str) -> None:
    for name in data:
        if name not in names:
            raise InvalidValue(f"expected {' and '.join(names)}, got the field {shown(name)}")


def _text(data: Mapping[str, Any], name: str, usual: str) -> str:
    text = data.get(name, usual)
    if not isinstance(text, str):
        raise InvalidValue(f"expected {name} to be a text, got {shown(text)}")
    return text
