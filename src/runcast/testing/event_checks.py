"""Check the events that a streaming function yields, for the function's own tests.

def test_it_streams() -> None:
    check_events(list(my_stream_function("test")))
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from runcast.errors import RuncastError
from runcast.events.model import Event, encode_record
from runcast.events.vocabulary import (
    DELTA_TYPES,
    TERMINAL,
    as_number,
    is_event_type,
    percent_of,
    pick,
)

__all__ = ("EventsBroken", "check_events")

_LAST: Final = TERMINAL | {"error"}
"""Types that may come last. An `error` followed by other events was survived."""


class EventsBroken(AssertionError):
    """Events break the rules; `problems` lists every error."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def check_events(events: Iterable[Mapping[str, Any] | Event]) -> None:
    """Check the events of one run, from first to last, as yielded, stored or read from a stream.

    These rules must hold. Each event has a type, and data that JSON can hold. A `start`, if any,
    comes first. Exactly one event ends the run (`done`, or `error`, `failed`, `cancelled`), and
    nothing follows it. Pieces of text are texts, and an error has a message. For each node and
    agent, percentages are 0 to 100 and never fall, and `current` is at most `total`.

    Raises:
        EventsBroken: lists every problem with the number of its event, from 0.
    """
    problems = tuple(_problems(list(events)))
    if problems:
        raise EventsBroken(problems)


def _problems(events: list[Mapping[str, Any] | Event]) -> Iterator[str]:
    if not events:
        yield "expected at least one event, got none"
        return
    read: list[dict[str, Any]] = []
    for index, event in enumerate(events):
        fields = _fields(event)
        kind = fields.get("type")
        if not isinstance(kind, str) or not is_event_type(kind):
            yield f"event {index}: expected a dict with a type like 'progress', got {event!r:.200}"
            kind = ""
        read.append({**fields, "type": kind})
        yield from (f"event {index} ({kind}): {text}" for text in _problems_of(kind, fields))
    yield from _problems_of_order([event["type"] for event in read])
    yield from _problems_of_progress(read)


def _fields(event: object) -> dict[str, Any]:
    if isinstance(event, Event):
        names = ("type", "data", "node", "agent")
        return {name: getattr(event, name) for name in names}
    return dict(event) if isinstance(event, Mapping) else {}


def _problems_of(kind: str, fields: Mapping[str, Any]) -> Iterator[str]:
    data = fields.get("data")
    try:
        encode_record(kind or "unknown", data, 0.0)
    except RuncastError as error:
        yield error.message
    names = ("text", "content") if kind in DELTA_TYPES else ("message", "error", "content")
    if kind in DELTA_TYPES or kind == "error":
        text = data if isinstance(data, str) else pick(data, *names)
        if not isinstance(text, str):
            yield f"expected data to be a text, got {data!r:.80}"
    code = fields.get("error_code")
    if code is not None and not isinstance(code, str):
        yield f"expected error_code to be a text, got {code!r:.80}"


def _problems_of_order(types: list[str]) -> Iterator[str]:
    first = 1 if types[0] == "started" else 0
    for index, kind in enumerate(types):
        if kind == "start" and index != first:
            yield f"event {index} (start): expected it first, and once"
        if kind in TERMINAL and index < len(types) - 1:
            yield f"event {index} ({kind}): expected nothing after it, got {types[index + 1]!r}"
    if types[-1] not in _LAST:
        yield f"event {len(types) - 1} ({types[-1]}): expected 'done' or 'error' at the end"


def _problems_of_progress(events: list[dict[str, Any]]) -> Iterator[str]:
    highest: dict[tuple[object, object], float] = {}
    for index, event in enumerate(events):
        data = event.get("data")
        if event["type"] != "progress" or not isinstance(data, Mapping):
            continue
        where = f"event {index} (progress)"
        current, total = as_number(data.get("current")), as_number(data.get("total"))
        if current is not None and total is not None and current > total:
            yield f"{where}: expected current <= total, got {current} of {total}"
        percent = percent_of(dict(data))
        if percent is None:
            continue
        given = as_number(pick(dict(data), "percent", "percentage"))
        if given is not None and given != percent:
            yield f"{where}: expected 0 to 100 percent, got {given}"
        place = (event.get("node"), event.get("agent"))
        if percent < highest.get(place, 0):
            yield f"{where}: expected at least {highest[place]:g} percent, got {percent}"
        highest[place] = max(percent, highest.get(place, 0))
