"""The fields of JSON bodies: the known ones parsed, the others refused by name (R-10.7).

A field that is not known is a mistake, mostly of typing. To ignore it would be to do less than the
client asked for, and to say that all is well.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Final, TypeVar, cast, get_args, get_type_hints

import msgspec

from runcast._http.api.bodies import parse_json
from runcast.errors import InvalidValue

__all__ = ("check_fields", "convert_fields", "parse_fields")

_MAX_CHARS: Final = 64
"""Longest part of a name that is compared and shown: comparing takes quadratic time."""

_MAX_SHOWN: Final = 5

_MAX_COMPARED: Final = 32
"""Most unknown fields that are compared with the known ones: a body has room for a million names,
and comparing them would keep the loop busy for a minute."""

T = TypeVar("T", bound=msgspec.Struct)


def parse_fields(body: bytes, form: type[T], example: str) -> T:
    """Return a JSON body as an object with the fields of `form`.

    Raises:
        InvalidValue: the body is not JSON, has another form, or has a field that `form` lacks.
    """
    return convert_fields(parse_json(body, example), form, example)


def convert_fields(given: object, form: type[T], example: str) -> T:
    """Return a value of JSON as an object with the fields of `form`. Raises `InvalidValue`."""
    try:
        parsed = msgspec.convert(given, form)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InvalidValue(
            f"expected a body like {example}: {error!s:.300}{_choices(form, str(error))}"
        ) from None
    check_fields(
        cast("Mapping[str, object]", given),
        [field.encode_name for field in msgspec.structs.fields(form)],
    )
    return parsed


_NOT_AMONG: Final = re.compile(r"Invalid enum value .* `\$\.(\w+)`")


def _choices(form: type[msgspec.Struct], error: str) -> str:
    """Return the values that a field may have, if an error of msgspec says that it has another."""
    found = _NOT_AMONG.search(error)
    values = get_args(get_type_hints(form).get(found[1])) if found else ()
    return f"; it may be {' or '.join(map(repr, values))}" if values else ""


def check_fields(given: Mapping[str, object], known: Iterable[str]) -> None:
    """Raise `InvalidValue` if an object has a field that is not known.

    A gateway may add fields whose names begin with `_`. They are accepted, except one that
    resembles a known name, and at most `_MAX_COMPARED` together.
    """
    names = sorted(known)
    others = [name for name in given if name not in names]
    meant = {name: _meant(name[:_MAX_CHARS], names) for name in others[:_MAX_COMPARED]}
    unknown = sorted(name for name, close in meant.items() if close or not name.startswith("_"))
    if len(others) > _MAX_COMPARED:
        unknown = unknown or sorted(meant)
    if unknown:
        shown = ", ".join(repr(name[:_MAX_CHARS]) for name in unknown[:_MAX_SHOWN])
        close = next((f"; is {meant[name]!r} meant?" for name in unknown if meant[name]), "")
        listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
        raise InvalidValue(f"expected no other fields than {listed}, got {shown}{close}")


def _meant(name: str, known: list[str]) -> str:
    """Return the known name that an unknown one resembles; "" if it resembles none."""
    return next(iter(get_close_matches(name, known, 1, 0.7)), "")
