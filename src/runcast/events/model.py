"""The event, and its one encoding.

Canonical JSON, the bytes every watcher of the `runcast` dialect gets (empty places are left out):

    {"seq":7,"time":1763715600.123456,"type":"progress","data":{…},"node":"…","agent":"…",
     "path":["…"],"duration":1.5}

`encode_record` makes everything but `{"seq":7,`, which is spliced in when the event is committed.
"""

from math import isfinite
from pathlib import PurePath
from typing import Any, Final, TypeAlias

import msgspec

from runcast.errors import EventTooLarge, InvalidValue, PeerError
from runcast.events.fields import is_deeper, mend
from runcast.events.vocabulary import KNOWN, is_event_type

__all__ = (
    "MAX_DEPTH",
    "MAX_NAME_CHARS",
    "MAX_PATH",
    "OWN_EVENT_BYTES",
    "Event",
    "Place",
    "as_stored",
    "decode_event",
    "encode_event",
    "encode_record",
    "record_of",
)

MAX_NAME_CHARS: Final = 200
"""Most characters of a `node`, an `agent` or one step of a `path`: they are names, not texts."""

MAX_PATH: Final = 32
"""Most steps of a `path`."""

MAX_DEPTH: Final = 100
"""Most levels of lists and dicts in an event's `data`: every watcher's parser must survive them,
whatever its language."""

OWN_EVENT_BYTES: Final = 1 << 20
"""Largest event that runcast writes of its own accord, however low `max_event_bytes` is."""

Place: TypeAlias = tuple[str, str, tuple[str, ...], float | None]
"""Where an event happened: (node, agent, path, duration), each empty or None where not known."""

_ANY_SIZE: Final = 1 << 62
"""Bytes of a record: what was stored was measured then."""

_LONG_TIME: Final = 1111111111.0000002
"""A time whose JSON is as long as any other's, until the year 2286."""

_LINE_FEED: Final = 0x0A
_DATA: Final = b'"data":'
_SIMPLE: Final = frozenset({str, int, float, bool, type(None)})
_BRACKET: Final = ord("[")

_LONG_DIGITS: Final = 4200
"""Digits of a whole number from which on it may be too long to be read again."""

_MAX_SHOWN: Final = 80
"""Most characters of a value, or of the way to it, that an error message repeats."""


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
        raise PeerError(f"expected the JSON of an event: {error}") from None


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
    # The hot path of `emit()`: nearly all data is a dict of strings and numbers, and of such a one
    # whatever it holds was encoded, so that nothing else is to be looked at.
    if type(kind) is not str or kind not in KNOWN:
        kind = _checked_type(kind)
    if type(time) is not float or time - time != 0.0:  # NaN, where it is not finite
        time = _checked_time(time)
    if place is None:
        fields = _Record(time, kind, data)
    else:
        fields = _Record(time, kind, data, *_checked(place))
    is_flat = type(data) is dict
    try:
        if is_flat:
            for value in data.values():  # type: ignore[attr-defined]
                if (of := type(value)) is not str and of is not int and of not in _SIMPLE:
                    is_flat = False
                    break
    except RuntimeError:  # another thread changes it
        is_flat = False
    try:
        written = _encode(fields)
    except Exception:  # noqa: BLE001 - whatever a user's object raises while it is encoded
        written, is_flat = b"\n", False
    if is_flat and len(written) > _LONG_DIGITS:
        is_flat = not any(map(_is_long, list(data.values())))  # type: ignore[attr-defined]
    if not is_flat:
        written = _made_whole(written, fields)
    record = written[1:]
    if len(record) > max_bytes:
        raise EventTooLarge(
            f"expected an event of at most {max_bytes} bytes, got {len(record)} ({kind}); "
            "write large output to a file and name the file in the event"
        )
    if not is_flat:
        _check_depth(record)
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


def _checked_type(kind: object) -> str:
    # Its length first: the check remembers what it was asked.
    plain = str.__str__(kind) if isinstance(kind, str) else ""
    if len(plain) > MAX_NAME_CHARS or not is_event_type(plain):
        raise InvalidValue(
            f"expected an event type like 'progress' ([a-z][a-z0-9_.-]*, at most 64 characters), "
            f"got {_shown(kind)}"
        )
    return plain


def _checked_time(time: float) -> float:
    if not _is_number(time):
        raise InvalidValue(f"expected the time as Unix seconds, got {_shown(time)}")
    return float(time)


def _made_whole(written: bytes, fields: _Record) -> bytes:
    """Return a record as it was encoded, or, if that is not one line of JSON, encoded anew.

    Only `msgspec.Raw` is written as it is, and only containers and objects may hold it.
    """
    is_safe = _LINE_FEED not in written and (
        (type(fields.data) in _SIMPLE and not _is_long(fields.data)) or _is_whole(written, fields)
    )
    if is_safe:
        return written
    try:
        plain = _plain(fields.data, "data", ())
    except InvalidValue:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a user's container or key raises
        raise InvalidValue(
            f"expected data that can be read, got {type(error).__name__} ({str(error)[:200]})"
        ) from None
    return _encode(msgspec.structs.replace(fields, data=plain))


def _is_long(value: object) -> bool:
    return type(value) is int and value.bit_length() > 3 * _LONG_DIGITS


def _is_whole(written: bytes, fields: _Record) -> bool:
    """Tell whether a record can be read again, and its `data` is all of what was written for it.

    What is written as it is could end its dict too early, and go on with a `seq` of its own.
    """
    try:
        data = _split(written).data
        _decode_any(data)  # who writes it beforehand may write numbers that nobody reads
        if not written.isascii():
            written.decode()
    except (ValueError, RecursionError):
        return False
    behind = len(written) - len(data) - written.index(_DATA) - len(_DATA)
    if behind == len("}"):
        return True
    place = _Place(fields.node, fields.agent, fields.path, fields.duration)
    return behind == len(_encode(place))  # its brace stands for our comma


def _checked(place: Place) -> Place:
    node, agent, path, duration = place
    steps: object = path
    if not isinstance(steps, tuple | list) or len(steps) > MAX_PATH:
        raise InvalidValue(f"expected a path of at most {MAX_PATH} steps, got {_shown(steps)}")
    names: tuple[object, ...] = (node, agent, *steps)
    for name in names:
        if not isinstance(name, str) or len(name) > MAX_NAME_CHARS:
            raise InvalidValue(
                f"expected node, agent and path to be names of at most {MAX_NAME_CHARS} "
                f"characters, got {_shown(name)}"
            )
    seconds: object = duration
    if seconds is not None and not _is_number(seconds):
        raise InvalidValue(f"expected the duration in seconds or None, got {_shown(seconds)}")
    return (
        mend(node),
        mend(agent),
        tuple(mend(step) for step in path),
        None if duration is None else float(duration),
    )


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    except OverflowError:
        return False


def _shown(value: object) -> str:
    try:
        shown = repr(value)
    except Exception:  # noqa: BLE001 - whatever a user's object raises
        shown = f"an object of {type(value).__qualname__}"
    return shown if len(shown) <= _MAX_SHOWN else shown[:_MAX_SHOWN] + "…"


def _hook(value: object) -> object:
    """Turn what msgspec does not know into what it does."""
    # Subclasses, from numpy, templating or enums: read past whatever they override.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, msgspec.Raw):
        return _decode_any(value)
    # pydantic models and numpy values, without importing either.
    for method, options in (("model_dump", {"mode": "json"}), ("tolist", {})):
        convert = getattr(value, method, None)
        if callable(convert) and not isinstance(value, type):
            return convert(**options)
    raise TypeError(f"an object of {type(value).__qualname__}")


def _plain(value: object, where: str, above: tuple[int, ...]) -> object:
    """Rebuild a value that could not be encoded at once: mend its strings, or say what is wrong.

    Raises:
        InvalidValue: naming the place of the first value that JSON cannot hold.
    """
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, dict | list | tuple | set | frozenset):
        if id(value) in above:
            raise InvalidValue(f"expected JSON, got a cycle at {where}")
        if len(above) >= MAX_DEPTH:
            raise InvalidValue(
                f"expected JSON nested at most {MAX_DEPTH} deep, got more at {where}"
            )
        inner = (*above, id(value))
        if isinstance(value, dict):
            return {
                _key(key, where): _plain(item, _at(where, key), inner)
                for key, item in list(value.items())  # at once: another thread may change it
            }
        return [_plain(item, _at(where, index), inner) for index, item in enumerate(list(value))]
    try:
        plain: object = msgspec.to_builtins(value, enc_hook=_hook)
        if not isinstance(plain, dict | list | tuple | set | frozenset | str):
            return _decode_any(_encode(plain))
    except Exception as error:  # noqa: BLE001 - see above
        raise InvalidValue(
            f"expected something JSON can hold at {where}, got {type(value).__qualname__} "
            f"({str(error)[:200]}); convert it to a string, number, list or dict first"
        ) from None
    return _plain(plain, where, above)


def _at(where: str, key: object) -> str:
    return where if len(where) > _MAX_SHOWN else f"{where}[{_shown(key)}]"


def _key(key: object, where: str) -> str:
    if isinstance(key, str):
        return mend(key)
    if isinstance(key, int | float) and not isinstance(key, bool):
        return str(key)
    raise InvalidValue(f"expected the keys of {where} to be strings or numbers, got {_shown(key)}")


def _check_depth(record: bytes) -> None:
    # A level takes two bytes in lists and five in dicts (`{"":}`), so its length spares nearly
    # every event the counting, and that the walk.
    size = len(record)
    if size <= 2 * MAX_DEPTH or (size <= 5 * MAX_DEPTH and _BRACKET not in record):
        return
    if record.count(b"{") + record.count(b"[") <= MAX_DEPTH:
        return
    # What was encoded is walked, not `data`: objects may nest where lists and dicts do not show.
    try:
        is_too_deep = is_deeper(_decode_any(b"{" + record)["data"], MAX_DEPTH)
    except RecursionError:
        is_too_deep = True
    if is_too_deep:
        raise InvalidValue(f"expected JSON nested at most {MAX_DEPTH} deep, got more")


_encode: Final = msgspec.json.Encoder(enc_hook=_hook).encode
_decode: Final = msgspec.json.Decoder(Event).decode
_decode_any: Final = msgspec.json.Decoder().decode
_split: Final = msgspec.json.Decoder(_Written).decode
