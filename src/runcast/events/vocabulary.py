"""The event types that runcast gives a meaning, and readers for the fields of their `data`.

Any other type is passed on unchanged. One producer writes `{"percent": 40}`, another
`{"percentage": 40}` or `{"progress": 40}`. The readers return one meaning for all of them. They
never raise: from data of another shape they return nothing.
"""

import re
from functools import lru_cache
from math import isfinite
from typing import Any, Final, NamedTuple

import msgspec

__all__ = (
    "DELTA_TYPES",
    "EXACT",
    "KNOWN",
    "TERMINAL",
    "Outcome",
    "as_number",
    "as_text",
    "is_deeper",
    "is_event_type",
    "mend",
    "outcome_of",
    "percent_of",
    "pick",
    "text_of",
)

TERMINAL: Final = frozenset({"done", "failed", "cancelled"})
"""The types that end a run: exactly one of them, last in its log."""

DELTA_TYPES: Final = frozenset({"content", "thinking", "reasoning", "tool_call_delta"})
"""Types whose `text` continues the text of the event before."""

KNOWN: Final[dict[str, tuple[str, ...]]] = {
    # life
    "started": ("function", "labels", "attempt", "recovered"),
    "done": ("result", "summary"),
    "failed": ("message", "code", "retryable"),
    "cancelled": ("reason",),
    # steps
    "step_start": ("message", "step_id"),
    "step_progress": ("percent", "message", "step_id"),
    "step_complete": ("message", "step_id"),
    "node_complete": ("message", "aggregated", "step_id"),
    # progress and log
    "progress": ("current", "total", "percent", "message", "task"),
    "log": ("level", "message", "logger"),
    # text
    "content": ("text", "message_id", "index", "attempt"),
    "content_complete": ("message", "message_id", "attempt"),
    "thinking": ("text", "message_id", "index", "attempt"),
    "reasoning": ("text", "message_id", "index", "attempt"),
    # tools
    "tool_call": ("call_id", "tool", "args", "attempt"),
    "tool_call_delta": ("call_id", "tool", "text", "index", "attempt"),
    "tool_result": ("call_id", "tool", "result", "ok", "length", "attempt"),
    # what models used
    "usage": (
        "model",
        "input_tokens",
        "output_tokens",
        "cached_tokens",
        "reasoning_tokens",
        "cost",
        "currency",
    ),
    # questions
    "interrupt_request": ("interrupt_id", "action", "args", "message", "config", "expires_at"),
    "interrupt_waiting": ("interrupt_id", "message"),
    "interrupt_response": ("interrupt_id", "approved", "answer", "by"),
    "interrupt_resolved": ("interrupt_id", "outcome", "message"),
    # messages into the run
    "message": ("message_id", "data", "from"),
    "message_read": ("message_ids",),
    # other
    "error": ("message", "code"),
    "result": ("value",),
    "files": ("files",),
}
"""Each known type and the fields of its `data`, in the order they are documented."""

_TYPE: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


@lru_cache(maxsize=1024)  # called for every event; there are few types
def is_event_type(text: str) -> bool:
    """Return whether a string may be an event's type: `[a-z][a-z0-9_.-]{0,63}`."""
    return _TYPE.fullmatch(text) is not None


EXACT: Final = 2**53
"""The largest whole number that every JSON reader keeps exact; above it JavaScript loses digits."""

_NAMES_OF_PERCENT: Final = ("percent", "percentage", "progress")
_NAMES_OF_OUTCOME: Final = frozenset(KNOWN["done"])


_NAMES_OF_TEXT: Final[dict[str, tuple[str, ...]]] = {
    "done": ("result", "summary", "message", "content"),
    "failed": ("message", "error", "content"),
    "error": ("message", "error", "content"),
    "cancelled": ("reason", "message", "content"),
    "content": ("text", "content"),
    "thinking": ("text", "content"),
    "reasoning": ("text", "content"),
    "tool_call_delta": ("text", "content"),
    "message": ("message", "content", "text", "data"),
    "tool_result": ("result", "content"),
    "interrupt_response": ("answer", "message", "content"),
    "result": ("value", "message", "content"),
}
_NAMES_OF_OTHER_TEXT: Final = ("message", "content", "text")


class Outcome(NamedTuple):
    """The result and the summary of a run, from the data of its `done`."""

    result: object
    summary: object


def pick(data: object, *names: str) -> object:
    """Return the first of these fields that is present and not null, or None."""
    if isinstance(data, dict):
        for name in names:
            value: object = data.get(name)
            if value is not None:
                return value
    return None


def as_text(value: object) -> str:
    """Return a value as text that UTF-8 can hold: strings unchanged, null as "", others as JSON."""
    if isinstance(value, str):
        return mend(value)
    if value is None:
        return ""
    try:
        return _encode(value).decode()
    except Exception:  # noqa: BLE001 - whatever a user's object raises while it is encoded
        return f"<{type(value).__name__}>"


def as_number(value: object) -> int | float | None:
    """Return a finite number, None for anything else; beyond EXACT it is a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and -EXACT <= value <= EXACT:
        return int(value)
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None


def percent_of(data: object) -> int | float | None:
    """Return the percentage done, 0 to 100, from a percentage field or from `current` and
    `total`."""
    for name in _NAMES_OF_PERCENT:
        percent = as_number(pick(data, name))
        if percent is not None:
            return min(100, max(0, percent))
    current, total = as_number(pick(data, "current")), as_number(pick(data, "total"))
    if current is None or total is None or total <= 0:
        return None
    # Divided first: the product of two large floats would be infinite.
    return min(100.0, max(0.0, round(current / total * 100, 2)))


def outcome_of(data: object) -> Outcome:
    """Return the result and the summary of a `done` event.

    Data that has neither field is the result itself.
    """
    if isinstance(data, dict) and data.keys() <= _NAMES_OF_OUTCOME:
        return Outcome(data.get("result"), data.get("summary"))
    return Outcome(data, None)


def text_of(type: str, data: object) -> tuple[str, dict[str, object]]:  # noqa: A002 - the field
    """Return an event's text for people ("" if it has no text), and its other fields."""
    if not isinstance(data, dict):
        return as_text(data), {}
    rest: dict[str, object] = {str(name): value for name, value in data.items()}
    for name in _NAMES_OF_TEXT.get(type, _NAMES_OF_OTHER_TEXT):
        if rest.get(name) is not None:
            return as_text(rest.pop(name)), rest
    return "", rest


def mend(text: str) -> str:
    """Return text that UTF-8 can hold: lone surrogates become U+FFFD."""
    # Not str(): a subclass may override it, and an enum member would show its name.
    plain = str.__str__(text)
    try:
        plain.encode()
    except UnicodeEncodeError:
        return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return plain


_CONTAINERS: Final = (dict, list)


def is_deeper(value: object, levels: int) -> bool:
    """Return whether decoded JSON is nested more than `levels` deep."""
    # Level by level: a walk that calls itself would use up the stack.
    level: list[Any] = [value]
    for _ in range(levels + 1):
        level = [each for each in level if isinstance(each, _CONTAINERS)]
        if not level:
            return False
        level = [
            item for each in level for item in (each.values() if isinstance(each, dict) else each)
        ]
    return True


_encode: Final = msgspec.json.Encoder().encode
