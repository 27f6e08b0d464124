"""The event, and its one encoding.

Canonical JSON, the bytes every watcher of the `runcast` dialect gets (empty places are left out):

    {"seq":7,"time":1763715600.123456,"type":"progress","data":{…},"node":"…","agent":"…",
     "path":["…"],"duration":1.5}

`encode_record` makes everything but `{"seq":7,`, which is spliced in when the event is committed.
"""

from typing import Any, Final, TypeAlias

import msgspec

from runcast.errors import EventTooLarge, InvalidValue, PeerError
from runcast.events.plain import (
    MAX_DEPTH,
    decode_json,
    encode_json,
    make_plain,
    repeats_name,
    shown,
)
from runcast.events.vocabulary import KNOWN, as_number, is_deeper, is_event_type, mend

__all__ = (
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
    "record_of",
)

MAX_NAME_CHARS: Final = 200
"""Most characters of a `node`, an `agent` or one step of a `path`: they are names, not texts."""

MAX_PATH: Final = 32
"""Most steps of a `path`."""

OWN_EVENT_BYTES: Final = 1 << 20
"""Largest event that runcast writes of its own accord, however low `max_event_bytes` is."""

Place: TypeAlias = tuple[str, str, tuple[str, ...], float | None]
"""Where an event happened: (node, agent, path, duration), each empty or None where not known."""

_ANY_SIZE: Final = 1 << 62
"""Bytes of a record: what was stored was measured then."""

_LONG_TIME: Final = 1111111111.0000002
"""A time whose JSON is as long as any other's, until the year 2286."""

_LINE_FEED: Final = 0x0A
_CARRIAGE_RETURN: Final = 0x0D
_DATA: Final = b'"data":'
_SIMPLE: Final = frozenset({str, int, float, bool, type(None)})
_BRACKET: Final = ord("[")

_LONG_DIGITS: Final = 4200
"""Digits of a whole number from which on it may be too long to be read again."""


class Event(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
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
    """The fields a producer knows, in canonical order; `data` is always written."""

    time: float
    type: str
    data: Any
    node: str = ""
    agent: str = ""
    path: tuple[str, ...] = ()
    duration: float | None = None


class _Place(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a record has behind its `data`."""

    node: str = ""
    agent: str = ""
    path: tuple[str, ...] = ()
    duration: float | None = None


class _Written(msgspec.Struct, frozen=True, gc=False):
    """What a record says its `data` is, as it is written."""

    data: msgspec.Raw


def decode_event(canonical: bytes | str) -> Event:
    """Read canonical JSON. Unknown types and unknown fields are accepted.

    Raises:
        PeerError: it is not an event.
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

    NaN and infinities become null, as JSON has none; lone surrogates become U+FFFD. What JSON
    cannot hold is refused, so that what was stored is what was meant.

    Args:
        kind: the event's type.
        place: None where nothing is known of it.
        max_bytes: of the record; `max_event_bytes` for all that others have a part in.

    Raises:
        InvalidValue: the type, the time or the place is malformed, or `data` cannot be encoded
            (an unknown class, a cycle, nesting over MAX_DEPTH); the message says what.
        EventTooLarge: the record is longer than `max_bytes`.
    """
    if type(time) is not float or time - time != 0.0:  # NaN, where it is not finite
        time = _checked_time(time)
    return encode_known(checked_type(kind), data, time, place, max_bytes)


def encode_known(
    kind: str, data: object, time: float, place: Place | None, max_bytes: int
) -> bytes:
    """Do what `encode_record` does, of a type and a time that were checked.

    Raises as `encode_record` does.
    """
    # The hot path of `emit()`: nearly all data is a dict of strings and numbers, and of such a one
    # whatever it holds is encoded, so that nothing else is to be looked at.
    if place is None:
        fields = _Record(time, kind, data)
    else:
        fields = _Record(time, kind, data, *_checked(place))
    if type(data) is dict:
        try:
            for name, value in data.items():
                if type(name) is not str:
                    break  # two of them may be one name in JSON
                if (of := type(value)) is not str and of is not int and of not in _SIMPLE:
                    break
            else:
                written = encode_json(fields)
                if len(written) <= _LONG_DIGITS <= max_bytes:
                    return written[1:]
                if not any(map(_is_long, list(data.values()))):
                    return _fitting(written[1:], kind, max_bytes)
        except Exception:  # noqa: BLE001 - what is wrong, and with what, is said below
            pass
    try:
        written = encode_json(fields)
    except Exception:  # noqa: BLE001 - whatever a user's object raises while it is encoded
        written = b"\n"
    record = _fitting(_made_whole(written, fields)[1:], kind, max_bytes)
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
    """Return an event as a log would give it back: what cannot be stored is refused now, not later.

    Without a time it is measured as if it had the longest: it fits whenever it is stored.

    Raises as `encode_record` does.
    """
    return decode_event(b"{" + encode_record(type, data, time, place, max_bytes))


def encode_event(event: Event) -> bytes:
    """Return an event's canonical JSON; without `seq` if it is not of a log."""
    head = b'{"seq":%d,' % event.seq if event.seq else b"{"
    return head + record_of(event)


def record_of(event: Event) -> bytes:
    """Return the record of an event that was stored once, or is made of such: of any size."""
    place = (event.node, event.agent, event.path, event.duration)
    return encode_record(event.type, event.data, event.time, place, _ANY_SIZE)


def checked_type(kind: object) -> str:
    """Return an event's type as a plain string. Raises `InvalidValue` if it is malformed."""
    if type(kind) is str and kind in KNOWN:
        return kind
    # Its length first: the check remembers what it was asked.
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
    """Return a record as it was encoded, or, if that is not one line of JSON, encoded anew.

    Only `msgspec.Raw` is written as it is, and only containers and objects may hold it.
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
    """Tell whether a record can be read again, and its `data` is all of what was written for it.

    What is written as it is could end its dict too early, and go on with a `seq` of its own.
    """
    try:
        data = _split(written).data
        # Who writes it beforehand may write numbers that nobody reads; and of two fields with one
        # name a reader keeps the second.
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
    return behind == len(encode_json(place))  # its brace stands for our comma


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


def _check_depth(record: bytes, data: object) -> None:
    # A level takes two bytes in lists and five in dicts (`{"":}`), so its length spares nearly
    # every event the counting, and that the walk.
    size = len(record)
    if size <= 2 * MAX_DEPTH or (size <= 5 * MAX_DEPTH and _BRACKET not in record):
        return
    if record.count(b"{") + record.count(b"[") <= MAX_DEPTH:
        return
    # What was encoded is walked, not `data`: objects may nest where lists and dicts do not show.
    try:
        is_too_deep = is_deeper(decode_json(b"{" + record)["data"], MAX_DEPTH)
    except RecursionError:
        is_too_deep = True
    if is_too_deep:
        make_plain(data)  # raises with the place, which depends on no recursion limit of a parser
        raise InvalidValue(f"expected JSON nested at most {MAX_DEPTH} deep, got more")


_decode: Final = msgspec.json.Decoder(Event).decode
_split: Final = msgspec.json.Decoder(_Written).decode
