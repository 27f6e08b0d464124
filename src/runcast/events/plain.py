"""What producers give, turned into what JSON can hold."""

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
    "MAX_DEPTH",
    "checked_number",
    "cut",
    "decode_json",
    "encode_json",
    "make_plain",
    "repeats_name",
    "shown",
)

_KEYS: Final = frozenset({int, float, date, datetime, time, UUID, Decimal})
"""Keys besides texts that msgspec takes as they are."""

MAX_DEPTH: Final = 100
"""Most levels of lists and dicts in an event's `data`: every watcher's parser must survive them,
whatever its language."""

_MAX_SHOWN: Final = 80
"""Most characters of a value, or of the way to it, that an error message repeats."""


def shown(value: object) -> str:
    """Return a value as an error message repeats it: not for long, whatever it is."""
    try:
        text = str.__str__(repr(value))  # which may be a string of a hostile kind
    except Exception:  # noqa: BLE001 - whatever a user's object raises
        text = f"an object of {type(value).__qualname__}"
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"


def cut(text: str, most: int) -> str:
    """Return a text of at most so many characters, and how many are left out."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} more characters)"


def make_plain(value: object) -> object:
    """Rebuild a value that could not be encoded at once: mend its strings, or say what is wrong.

    Raises:
        InvalidValue: naming the place of the first value that JSON cannot hold.
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
    """Return a number as Python's own, from numpy's and decimal fractions, too; None for None.

    Raises:
        InvalidValue: it is no number: a text, say, or a truth value.
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
    """Turn what msgspec does not know into what it does."""
    # Subclasses, from numpy, templating or enums: read past whatever they override.
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
    # A subclass may be more precise than what it is derived from: of that it says so itself.
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
    """Turn values of libraries, which are not imported for that, and containers into plain ones."""
    dtype: Any = getattr(value, "dtype", None)
    if dtype is not None and getattr(dtype, "kind", "") in ("m", "M"):
        return _moments(value, dtype.kind)
    if getattr(dtype, "names", None):
        raise TypeError("an array with named fields, which a list would not have")
    for method, options in (("model_dump", {"mode": "json"}), ("tolist", {})):
        convert = getattr(value, method, None)
        if callable(convert):
            plain: object = convert(**options)
            if type(plain) is type(value):  # a number that Python has none for
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
    """Tell whether this is a date or a duration that is none, as in tables: equal to nothing."""
    return isinstance(value, date | timedelta) and value != value


def _moments(value: Any, kind: str) -> object:
    """Return the texts of numpy's dates or durations, in all their precision."""
    listed = value.tolist()
    if isinstance(listed, list):
        # Of a table's column each is a date of its own kind, which says itself what it is.
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
    """Tell whether an object in JSON has two fields with one name, of which readers keep one."""

    def look(pairs: list[tuple[str, Any]]) -> None:
        if len(dict(pairs)) < len(pairs):
            raise KeyError

    try:
        json.loads(bytes(text), object_pairs_hook=look)
    except KeyError:
        return True
    except (ValueError, RecursionError):
        pass  # what else is wrong with it is for others to say
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
            for key, item in list(value.items()):  # at once: another thread may change it
                name = _key(key, where)
                if name in named:
                    raise InvalidValue(
                        f"expected the keys of {where} to have names of their own in JSON, got two "
                        f"that are {shown(name)} there"
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
    """Return what msgspec takes for a key, of numpy's numbers, too."""
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
    except Exception:  # noqa: BLE001 - it is said below
        pass
    raise InvalidValue(f"expected the keys of {where} to be strings or numbers, got {shown(key)}")


encode_json: Final = msgspec.json.Encoder(enc_hook=_hook).encode
"""Encode whatever producers give, if msgspec can; what it cannot is for `make_plain`."""

decode_json: Final = msgspec.json.Decoder().decode
