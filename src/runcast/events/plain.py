"""What producers give, turned into what JSON can hold."""

from pathlib import PurePath
from typing import Final

import msgspec

from runcast.errors import InvalidValue
from runcast.events.fields import mend

__all__ = (
    "MAX_DEPTH",
    "cut",
    "decode_json",
    "encode_json",
    "make_plain",
    "shown",
)

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
        return decode_json(value)
    # pydantic models and numpy values, without importing either.
    for method, options in (("model_dump", {"mode": "json"}), ("tolist", {})):
        convert = getattr(value, method, None)
        if callable(convert) and not isinstance(value, type):
            return convert(**options)
    raise TypeError(f"an object of {type(value).__qualname__}")


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
            return {
                _key(key, where): _plain(item, _at(where, key), inner)
                for key, item in list(value.items())  # at once: another thread may change it
            }
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


def _key(key: object, where: str) -> str:
    if isinstance(key, str):
        return mend(key)
    if isinstance(key, int | float) and not isinstance(key, bool):
        return str(key)
    raise InvalidValue(f"expected the keys of {where} to be strings or numbers, got {shown(key)}")


encode_json: Final = msgspec.json.Encoder(enc_hook=_hook).encode
"""Encode whatever producers give, if msgspec can; what it cannot is for `make_plain`."""

decode_json: Final = msgspec.json.Decoder().decode
