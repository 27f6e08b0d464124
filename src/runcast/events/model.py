"""The event and its only encoding.

Canonical JSON, the bytes every watcher of the `runcast` dialect gets (empty fields are left out):

    {"seq":7,"time":1763715600.123456,"type":"progress","data":{…},"node":"…","agent":"…",
     "path":["…"],"duration":1.5}

`encode_record` makes everything except `{"seq":7,`, which is added when the event is committed.
"""

from typing import Any, Final, TypeAlias

import msgspec

from runcast.errors import EventTooLarge, InvalidValue, PeerError
from runcast.events.data import HasData
from runcast.events.plain import (
    ESCAPED_GROWTH,
    MAX_DEPTH,
    decode_json,
    encode_json,
    escape_line_ends,
    make_plain,
    repeats_name,
    shown,
)
from runcast.events.vocabulary import KNOWN, as_number, is_deeper, is_event_type, mend

__all__ = (
    "BRACKET",
    "FLAT_BYTES",
    "MAX_NAME_CHARS",
    "MAX_PATH",
    "OWN_EVENT_BYTES",
    "Event",
    "Place",
    "as_stored",
    "checked_type",
    "decode_event",
    "encode_event",
    "encode_known",
    "encode_record",
    "may_be_too_deep",
    "record_of",
)

MAX_NAME_CHARS: Final = 200
"""Most characters of a `node`, an `agent` or one step of a `path`: these are names, not texts."""

MAX_PATH: Final = 32
"""Most steps of a `path`."""

OWN_EVENT_BYTES: Final = 1 << 20
"""Largest event that runcast itself writes, however low `max_event_bytes` is."""

Place: TypeAlias = tuple[str, str, tuple[str, ...], float | None]
"""Where an event happened: (node, agent, path, duration), each empty or None if unknown."""

_ANY_SIZE: Final = 1 << 62
"""No limit on a record's bytes: a stored record was measured when it was stored."""

_LONG_TIME: Final = 1111111111.0000002
"""A time whose JSON is as long as any other time's, until the year 2286."""

_LINE_FEED: Final = 0x0A
_CARRIAGE_RETURN: Final = 0x0D
_DATA: Final = b'"data":'
_SIMPLE: Final = frozenset({str, int, float, bool, type(None)})
BRACKET: Final = ord("[")

FLAT_BYTES: Final = 5 * MAX_DEPTH
"""A record of at most this length without lists is not nested too deep: a level of dicts takes five
bytes (`{"":}`)."""

_LONG_DIGITS: Final = 4200
"""From this many digits on, a whole number may be too long to be parsed."""

_ESCAPED_DIGITS: Final = ESCAPED_GROWTH * _LONG_DIGITS

_REST: Final = slice(1, None)
"""All of a record but its brace. Made once, because making a slice takes a part of an `emit()`."""


class Event(msgspec.Struct, HasData, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that happened in a run.

    `seq` is 0 until the event is committed; `time` is Unix seconds, 0 until it is emitted.
    `node` and `agent` say where it happened, `path` lists the agents above it, outermost first;
    `duration` is seconds.
    """

    seq: int = 0
    time: float = 0.0
    type: str
    data: Any = None
    node: str = ""
    agent: str = ""
    path: tuple[str, ...] = ()
    duration: float | None = None


class _Record(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The fields that a producer knows, in canonical order; `data` is always written."""

    time: float
    type: str
    data: Any
    node: str = ""
    agent: str = ""
    path: tuple[str, ...] = ()
    duration: float | None = None


class _Place(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The fields of a record after its `data`."""

    node: str = ""
    agent: str = ""
    path: tuple[str, ...] = ()
    duration: float | None = None


class _Written(msgspec.Struct, frozen=True, gc=False):
    """The `data` of a record, as encoded."""

    data: msgspec.Raw


def decode_event(canonical: bytes | str) -> Event:
    """Decode an event from canonical JSON. Unknown types and unknown fields are accepted.

    Raises:
        PeerError: the JSON is not an event.
    """
    try:
        return _decode(canonical)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise PeerError(f"expected the JSON of an event: {error!s:.300}") from None


def encode_record(
    kind: str,
    data: object,
    time: float,
    place: Place | None = None,
    max_bytes: int = OWN_EVENT_BYTES,
) -> bytes:
    """Return an event's record: canonical JSON without `{"seq":N,`, on one line, in UTF-8.

    NaN and infinities become null, because JSON has neither. Lone surrogates become U+FFFD. Other
    data that JSON cannot hold is refused, so that the stored data is the data that was emitted.

    Args:
        kind: the event's type.
        place: None if it is unknown.
        max_bytes: the record's limit: `max_event_bytes`, except for events that only runcast
            writes.

    Raises:
        InvalidValue: the type, the time or the place is malformed, or `data` cannot be encoded
            (an unknown class, a cycle, nesting over MAX_DEPTH); the message says what.
        EventTooLarge: the record is longer than `max_bytes`.
    """
    if type(time) is not float or time - time != 0.0:  # NaN if it is not finite
        time = _checked_time(time)
    return escape_line_ends(encode_known(checked_type(kind), data, time, place, max_bytes))


def encode_known(
    kind: str, data: object, time: float, place: Place | None, max_bytes: int
) -> bytes:
    """Do what `encode_record` does, for a type and a time that were checked before.

    A short record may hold U+2028 and the like as they are: the hub escapes them (`Pending.take`),
    so that the caller of `emit()` does not wait for it.

    Raises what `encode_record` raises.
    """
    # The hot path of `emit()`. Nearly all data is a dict of strings and numbers, and such a dict
    # is encoded whatever it holds, without further checks.
    if place is None:
        fields = _Record(time, kind, data)
    else:
        fields = _Record(time, kind, data, *_checked(place))
    if type(data) is dict:
        try:
            for name, value in data.items():
                if type(name) is not str:
                    break  # two keys may become one name in JSON
                if (of := type(value)) is not str and of is not int and of not in _SIMPLE:
                    break
            else:
                written = encode_json(fields)
                if len(written) <= _LONG_DIGITS and max_bytes >= _ESCAPED_DIGITS:
                    return written[_REST]
                if not any(map(_is_long, list(data.values()))):
                    return _fitting(escape_line_ends(written)[1:], kind, max_bytes)
        except Exception:  # noqa: BLE001 - reported below, with its place
            pass
    try:
        written = encode_json(fields)
    except Exception:  # noqa: BLE001 - whatever a user's object raises while it is encoded
        written = b"\n"
    record = _fitting(escape_line_ends(_made_whole(written, fields))[1:], kind, max_bytes)
    _check_depth(record, data)
    return record


def _fitting(record: bytes, kind: str, max_bytes: int) -> bytes:
    if len(record) > max_bytes:
        raise EventTooLarge(
            f"expected an event of at most {max_bytes} bytes, got {len(record)} ({kind}); "
            "write large output to a file and name the file in the event"
        )
    return record


def as_stored(
    type: str,  # noqa: A002 - the name of the field
    data: object,
    time: float = _LONG_TIME,
    place: Place | None = None,
    max_bytes: int = _ANY_SIZE,
) -> Event:
    """Return an event as a log would return it, and refuse at once what cannot be stored.

    An event without a time is measured with the longest time, so it fits whenever it is stored.

    Raises what `encode_record` raises.
    """
    return decode_event(b"{" + encode_record(type, data, time, place, max_bytes))


def encode_event(event: Event) -> bytes:
    """Return an event's canonical JSON; without `seq` if it is not in a log."""
    head = b'{"seq":%d,' % event.seq if event.seq else b"{"
    return head + record_of(event)


def record_of(event: Event) -> bytes:
    """Return the record, of any size, of an event that was stored or is made of stored events."""
    place = (event.node, event.agent, event.path, event.duration)
    return encode_record(event.type, event.data, event.time, place, _ANY_SIZE)


def checked_type(kind: object) -> str:
    """Return an event's type as a plain string. Raises `InvalidValue` if it is malformed."""
    if type(kind) is str and kind in KNOWN:
        return kind
    # Check the length first, because the check caches its arguments.
    # Not isinstance(): an object may call itself a string.
    plain = str.__str__(kind) if issubclass(type(kind), str) else ""
    if len(plain) > MAX_NAME_CHARS or not is_event_type(plain):
        raise InvalidValue(
            f"expected an event type like 'progress' ([a-z][a-z0-9_.-]*, at most 64 characters), "
            f"got {shown(kind)}"
        )
    return plain


def _checked_time(time: float) -> float:
    seconds = as_number(time)
    if seconds is None:
        raise InvalidValue(f"expected the time as Unix seconds, got {shown(time)}")
    return float(seconds)


def _made_whole(written: bytes, fields: _Record) -> bytes:
    """Return a record as it was encoded or, if that is not one line of JSON, encoded again.

    Only `msgspec.Raw` is written unchanged, and only containers and objects may hold it.
    """
    is_safe = (_LINE_FEED not in written and _CARRIAGE_RETURN not in written) and (
        (type(fields.data) in _SIMPLE and not _is_long(fields.data)) or _is_whole(written, fields)
    )
    if is_safe:
        return written
    return encode_json(msgspec.structs.replace(fields, data=make_plain(fields.data)))


def _is_long(value: object) -> bool:
    return type(value) is int and value.bit_length() > 3 * _LONG_DIGITS


def _is_whole(written: bytes, fields: _Record) -> bool:
    """Return whether a record can be read again, and its `data` is all that was written for it.

    Raw JSON could end its dict too early and continue with a `seq` of its own.
    """
    try:
        data = _split(written).data
        # Raw JSON may hold numbers that no reader can parse, and of two fields with one name a
        # reader keeps only the second.
        if len(encode_json(decode_json(data))) < len(data) and repeats_name(data):
            return False
        if not written.isascii():
            written.decode()
    except (ValueError, RecursionError):
        return False
    behind = len(written) - len(data) - written.index(_DATA) - len(_DATA)
    if behind == len("}"):
        return True
    place = _Place(fields.node, fields.agent, fields.path, fields.duration)
    return behind == len(encode_json(place))  # its brace takes the place of our comma


def _checked(place: Place) -> Place:
    try:
        return _plain_place(*place)
    except InvalidValue:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a user's object raises
        raise InvalidValue(
            "expected a node, agent, path and duration that can be read, "
            f"got {type(error).__name__}"
        ) from None


def _plain_place(node: object, agent: object, path: object, duration: object) -> Place:
    steps = tuple(path) if isinstance(path, tuple | list) else None
    if steps is None or len(steps) > MAX_PATH:
        raise InvalidValue(f"expected a path of at most {MAX_PATH} steps, got {shown(path)}")
    seconds = as_number(duration)
    if seconds is None and duration is not None:
        raise InvalidValue(f"expected the duration in seconds or None, got {shown(duration)}")
    names = tuple(map(_plain_name, steps))
    return _plain_name(node), _plain_name(agent), names, None if seconds is None else float(seconds)


def _plain_name(name: object) -> str:
    plain = mend(name) if isinstance(name, str) else None
    if plain is None or len(plain) > MAX_NAME_CHARS:
        raise InvalidValue(
            f"expected node, agent and path to be names of at most {MAX_NAME_CHARS} "
            f"characters, got {shown(name)}"
        )
    return plain


def may_be_too_deep(record: bytes) -> bool:
    """Return False if a record's data is surely nested at most MAX_DEPTH deep."""
    # A level takes two bytes in lists. So a short record needs no count, and a low count needs no
    # walk.
    size = len(record)
    if size <= 2 * MAX_DEPTH or (size <= FLAT_BYTES and BRACKET not in record):
        return False
    return record.count(b"{") + record.count(b"[") > MAX_DEPTH


def _check_depth(record: bytes, data: object) -> None:
    if not may_be_too_deep(record):
        return
    # Walk the encoded record, not `data`: objects may nest without showing lists or dicts.
    try:
        is_too_deep = is_deeper(decode_json(b"{" + record)["data"], MAX_DEPTH)
    except RecursionError:
        is_too_deep = True
    if is_too_deep:
        make_plain(data)  # raises and names the place, whatever a parser's recursion limit
        raise InvalidValue(f"expected JSON nested at most {MAX_DEPTH} deep, got more")


_decode: Final = msgspec.json.Decoder(Event).decode
_split: Final = msgspec.json.Decoder(_Written).decode
