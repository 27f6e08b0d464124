"""Batches of events from a writer outside: checked one by one, and taken together or not at all.

A writer outside may write what a function may emit, and may end its run by a terminal event, the
last one of a batch. It may not write what runcast itself writes on behalf of others: a forged
answer or message would mislead every watcher.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from runcast.errors import InvalidEvent, InvalidValue, RuncastError
from runcast.events.model import OWN_EVENT_BYTES, Place, checked_type, encode_record
from runcast.events.outcome import Outcome, cancelled, done, failed
from runcast.events.plain import shown
from runcast.events.vocabulary import TERMINAL

__all__ = ("MAX_BATCH_EVENTS", "REFUSED", "Batch", "read_batch")

MAX_BATCH_EVENTS: Final = 1000
"""Most events of one batch: they are checked on the loop, and stored as one append."""

REFUSED: Final = frozenset(
    {"started", "gap", "message", "interrupt_response", "interrupt_resolved"}
)
"""Types that only runcast writes, on behalf of people and of itself."""


class _Given(msgspec.Struct, forbid_unknown_fields=True):
    """An event as a writer outside sends it. `seq` is not among the fields: the log gives it."""

    type: str
    data: Any = None
    time: float | None = None
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
        now: the time of events that have none, Unix seconds.
        max_bytes: `max_event_bytes`.
        price: adds the cost to the data of a `usage` event.

    Raises:
        InvalidValue: there is no event, or there are more than MAX_BATCH_EVENTS.
        InvalidEvent: names the first event that cannot be written, and why.
    """
    if not 0 < len(given) <= MAX_BATCH_EVENTS:
        raise InvalidValue(f"expected 1 to {MAX_BATCH_EVENTS} events, got {len(given)}")
    records: list[bytes] = []
    outcome: Outcome | None = None
    for index, each in enumerate(given):
        try:
            if outcome is not None:
                raise InvalidValue(f"expected nothing after the terminal event {outcome.type!r}")
            event = _event_of(each)
            time = now if event.time is None else event.time
            if event.type in TERMINAL:
                outcome = _outcome_of(event)
                limit = max_bytes if outcome.type == "done" else max(max_bytes, OWN_EVENT_BYTES)
                record = encode_record(outcome.type, outcome.data, time, _place_of(event), limit)
            else:
                data = price(event.data) if event.type == "usage" else event.data
                record = encode_record(event.type, data, time, _place_of(event), max_bytes)
        except RuncastError as error:
            raise InvalidEvent(f"event {index}: {error.message}", index) from None
        records.append(record)
    return Batch(records, outcome)


def _event_of(given: object) -> _Given:
    try:
        event = msgspec.convert(given, _Given)
    except msgspec.ValidationError as error:
        raise InvalidValue(
            'expected an event like {"type": "progress", "data": {…}}, perhaps with time, node, '
            f"agent, path and duration: {error!s:.300}"
        ) from None
    if checked_type(event.type) in REFUSED:
        raise InvalidValue(f"expected no {event.type!r}, which runcast itself writes")
    return event


def _place_of(event: _Given) -> Place | None:
    if event.node or event.agent or event.path or event.duration is not None:
        return event.node, event.agent, event.path, event.duration
    return None


def _outcome_of(event: _Given) -> Outcome:
    """Return the outcome in a terminal event, of the form that runcast itself writes."""
    data = {} if event.data is None else event.data
    if not isinstance(data, Mapping):
        raise InvalidValue(f"expected the data of {event.type!r} as an object, got {shown(data)}")
    if event.type == "done":
        _check_fields(data, "result", "summary")
        return done(data.get("result"), data.get("summary"))
    if event.type == "cancelled":
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
