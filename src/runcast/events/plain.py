"""Values of producers, converted to what JSON can hold."""

import json
from collections import UserString, deque
from collections.abc import Mapping, Sequence, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from math import isfinite
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

import msgspec

from runcast.errors import InvalidValue
from runcast.events.vocabulary import mend

__all__ = (
    "ESCAPED_GROWTH",
    "MAX_DEPTH",
    "checked_number",
    "cut",
    "decode_json",
    "encode_events",
    "encode_json",
    "encode_line",
    "escape_line_ends",
    "make_plain",
    "repeats_name",
    "shown",
)

_KEYS: Final = frozenset({int, float, date, datetime, time, UUID, Decimal})
"""Types of keys, besides strings, that msgspec takes unchanged."""

MAX_DEPTH: Final = 100
"""Most levels of lists and dicts in an event's `data`: every watcher's parser, in any language,
must survive them."""

_MAX_SHOWN: Final = 80
"""Most characters of a value, or of its path, that an error message repeats."""


def shown(value: object) -> str:
    """Return a value as an error message shows it: shortened, and never raising."""
    try:
        text = str.__str__(repr(value))  # may be a hostile subclass of str
    except Exception:  # noqa: BLE001 - whatever a user's object raises
        text = f"an object of {type(value).__qualname__}"
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"


def cut(text: str, most: int) -> str:
    """Return a text cut to `most` characters, with a note of how many are missing."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} more characters)"


def make_plain(value: object) -> object:
    """Rebuild a value that could not be encoded: mend its strings, or raise with what is wrong.

    Raises:
        InvalidValue: names the place of the first value that JSON cannot hold.
    """
    try:
        return _plain(value, "data", ())
    except InvalidValue:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a user's container or key raises
        raise InvalidValue(
            f"expected data that can be read, got {type(error).__name__} ({str(error)[:200]})"
        ) from None


def checked_number(name: str, value: object) -> int | float | None:
    """Return a number as a Python number, also from numpy and from decimal fractions; None for
    None.

    Raises:
        InvalidValue: not a number: for example a string or a bool.
    """
    if value is None or type(value) is int or type(value) is float:
        return value
    try:
        convert = getattr(value, "tolist", None)
        plain = convert() if callable(convert) else value
        if isinstance(plain, int) and not isinstance(plain, bool):
            return int(plain)
        if isinstance(plain, float):
            return float(plain)
        if isinstance(plain, Decimal | Fraction):
            number = float(plain)
            return int(plain) if isfinite(number) and plain == int(plain) else number
    except Exception:  # noqa: BLE001 - whatever a user's object raises
        pass
    raise InvalidValue(f"expected {name} to be a number, got {shown(value)}")


def _hook(value: object) -> object:
    """Convert a value that msgspec does not know into one that it knows."""
    # Subclasses, from numpy, templating or enums: ignore what they override.
    if isinstance(value, str):
        return str.__str__(value)
    if _is_missing(value):
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, msgspec.Raw):
        if repeats_name(value):
            raise TypeError("JSON with two fields of one name")
        return decode_json(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, Decimal):
        return str(value)
    # A subclass may be more precise than its base class; its own text keeps that precision.
    if isinstance(value, datetime | date | time):
        text = str.__str__(value.isoformat())
        return f"{text.removesuffix('+00:00')}Z" if text.endswith("+00:00") else text
    if isinstance(value, timedelta):
        own = getattr(value, "isoformat", None)
        if callable(own):
            return str.__str__(own())
        return timedelta(value.days, value.seconds, value.microseconds)
    if isinstance(value, type):
        raise TypeError(f"the class {value.__qualname__}")
    return _of_library(value)


def _of_library(value: object) -> object:
    """Turn containers and values of libraries into plain ones, without importing the libraries."""
    dtype: Any = getattr(value, "dtype", None)
    if dtype is not None and getattr(dtype, "kind", "") in ("m", "M"):
        return _moments(value, dtype.kind)
    if getattr(dtype, "names", None):
        raise TypeError("an array with named fields, which a list would not have")
    for method, options in (("model_dump", {"mode": "json"}), ("tolist", {})):
        convert = getattr(value, method, None)
        if callable(convert):
            plain: object = convert(**options)
            if type(plain) is type(value):  # Python has no such number type
                break
            return plain
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, UserString):
        return str(value)
    if isinstance(value, Sequence | Set | deque):
        return list(value)
    raise TypeError(f"an object of {type(value).__qualname__}")


def _is_missing(value: object) -> bool:
    """Return whether this is a missing date or duration, as in tables: not equal to itself."""
    return isinstance(value, date | timedelta) and value != value


def _moments(value: Any, kind: str) -> object:
    """Return the texts of numpy's dates or durations, in full precision."""
    listed = value.tolist()
    if isinstance(listed, list):
        # The entries of a table's column are dates of their own class, which converts itself.
        return [_moments(each, kind) if hasattr(each, "tolist") else each for each in value]
    if listed is None or not isinstance(listed, int) or isinstance(listed, bool):
        return listed
    text = str(value)
    if text == "NaT":
        return None
    if kind == "M":
        return text
    number, _, unit = text.partition(" ")
    if unit != "nanoseconds":
        raise TypeError(f"a duration in {unit or 'no unit'}, which no text of ISO 8601 has")
    seconds, rest = divmod(abs(int(number)), 10**9)
    return f"{'-' if int(number) < 0 else ''}PT{seconds}.{rest:09}S"


def repeats_name(text: Any) -> bool:
    """Return whether an object in the JSON has two fields with one name; readers keep only one."""

    def look(pairs: list[tuple[str, Any]]) -> None:
        if len(dict(pairs)) < len(pairs):
            raise KeyError

    try:
        json.loads(bytes(text), object_pairs_hook=look)
    except KeyError:
        return True
    except (ValueError, RecursionError):
        pass  # the caller reports other faults
    return False


def _plain(value: object, where: str, above: tuple[int, ...]) -> object:
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
            named: dict[str, object] = {}
            for key, item in list(value.items()):  # a copy: another thread may change the dict
                name = _key(key, where)
                if name in named:
                    raise InvalidValue(
                        f"expected the keys of {where} to have names of their own in JSON, got two "
                        f"that become {shown(name)}"
                    )
                named[name] = _plain(item, _at(where, key), inner)
            return named
        return [_plain(item, _at(where, index), inner) for index, item in enumerate(list(value))]
    try:
        plain: object = msgspec.to_builtins(value, enc_hook=_hook)
        if not isinstance(plain, dict | list | tuple | set | frozenset | str):
            return decode_json(encode_json(plain))
    except Exception as error:  # noqa: BLE001 - see above
        raise InvalidValue(
            f"expected something JSON can hold at {where}, got {type(value).__qualname__} "
            f"({str(error)[:200]}); convert it to a string, number, list or dict first"
        ) from None
    return _plain(plain, where, above)


def _at(where: str, key: object) -> str:
    return where if len(where) > _MAX_SHOWN else f"{where}[{shown(key)}]"


def _plain_key(key: object) -> object:
    """Return a key that msgspec takes, also for numpy's numbers."""
    convert = getattr(key, "tolist", None)
    plain = convert() if callable(convert) and not isinstance(key, type) else key
    known = isinstance(plain, int | float | date | time | UUID | Decimal | Enum)
    if not known or isinstance(plain, bool):
        raise TypeError("no key")
    return _hook(plain) if type(plain) not in _KEYS and not isinstance(plain, Enum) else plain


def _key(key: object, where: str) -> str:
    if isinstance(key, str):
        return mend(key)
    try:
        if not isinstance(key, bool):
            # As msgspec writes it: numbers, dates, UUIDs, members of an enumeration.
            (name,) = decode_json(encode_json({_plain_key(key): None}))
            return mend(str(name))
    except Exception:  # noqa: BLE001 - reported below
        pass
    raise InvalidValue(f"expected the keys of {where} to be strings or numbers, got {shown(key)}")


ESCAPED_GROWTH: Final = 3
"""A text is at most so many times as long after `escape_line_ends`: U+0085 has two bytes, and six
when escaped."""


def escape_line_ends(text: bytes) -> bytes:
    r"""Return JSON with U+2028, U+2029 and U+0085 written as `\u2028`, `\u2029` and `\u0085`.

    JSON may hold them as they are, and inside strings only. Many readers, `str.splitlines` among
    them, take them for the end of a line. JSON escapes what else they take for one.
    """
    if text.isascii():
        return text
    # One byte is found ten times as fast as several, and most texts lack one of each pair.
    if 0xE2 in text:
        if 0xA8 in text:
            text = text.replace(b"\xe2\x80\xa8", rb"\u2028")
        if 0xA9 in text:
            text = text.replace(b"\xe2\x80\xa9", rb"\u2029")
    return text.replace(b"\xc2\x85", rb"\u0085") if 0xC2 in text else text


def encode_line(value: object) -> bytes:
    """Return JSON that every reader takes for one line. Raises as msgspec does."""
    return escape_line_ends(_encode_plain(value))


_encode_plain: Final = msgspec.json.Encoder().encode

encode_events: Final = msgspec.json.Encoder().encode_lines
"""Encode values that were decoded from JSON, each on its own line."""

encode_json: Final = msgspec.json.Encoder(enc_hook=_hook).encode
"""Encode a producer's value if msgspec can; otherwise `make_plain` rebuilds it."""

decode_json: Final = msgspec.json.Decoder().decode
