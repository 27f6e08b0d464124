"""Making values from JSON: by msgspec, and by stand-ins for types that msgspec does not know."""

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, Final, NamedTuple

import msgspec

from runcast._functions.models import Invalid, as_json, is_model, validate
from runcast.events.plain import decode_json, encode_json

__all__ = ("Misfit", "Problem", "StandIn", "convert", "encode_input", "from_json")

_MOST_PROBLEMS: Final = 5
"""Most problems of one value in a message."""

_PLACE: Final = " - at `$"


class Problem(NamedTuple):
    """A problem and its place inside the value, like `.rooms[2].beds`."""

    message: str
    place: str = ""


class Misfit(ValueError):
    """A value does not fit its type."""

    def __init__(self, *problems: Problem) -> None:
        shown = [f"{it.message}{_PLACE}{it.place}`" if it.place else it.message for it in problems]
        left_out = len(shown) - _MOST_PROBLEMS
        more = [f"and {left_out} more"] if left_out > 0 else []
        super().__init__("; ".join([*shown[:_MOST_PROBLEMS], *more]))
        self.problems = problems


class _AnyInstance(type):
    """The metaclass of classes that accept every object as an instance, because msgspec checks
    that."""

    def __instancecheck__(cls, instance: object) -> bool:
        return True


class StandIn(metaclass=_AnyInstance):
    """A type in place of one that msgspec cannot convert; msgspec calls our hook for it.

    Stand-ins are never instantiated. `kind` is the replaced type.
    """

    kind: Any

    @classmethod
    def make(cls, value: Any) -> Any:
        """Return a value of `kind` from JSON. Raises `Misfit` or another `ValueError`."""
        raise TypeError(value)

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """Return the JSON Schema of `kind`. Raises if it is not convertible."""
        raise TypeError(cls.kind)

    @classmethod
    def fields(cls) -> frozenset[str] | None:
        """Return the names of the fields that `kind` has in JSON; None if any name will do."""
        return None


def convert(value: Any, kind: Any) -> Any:
    """Convert a JSON value to a type.

    Raises:
        Misfit: names the problems and their places. Other errors come from the type itself.
    """
    try:
        return _convert(value, kind)
    except msgspec.ValidationError as error:
        # In JSON 3.0 is as whole a number as 3. Source: JSON Schema 2020-12, core, §4.2.1.
        try:
            return _convert(_with_whole_numbers(value), kind)
        except msgspec.ValidationError:
            raise Misfit(*_problems_of(error)) from None


def from_json(kind: Any, value: Any) -> Any:
    """Return a value of a type that msgspec does not know."""
    if issubclass(kind, StandIn):
        return kind.make(value)
    if is_model(kind):
        try:
            return validate(kind, value)
        except Invalid as error:
            raise Misfit(*(Problem(*each) for each in error.problems)) from None
    if isinstance(value, str):
        return kind(value)
    if isinstance(value, PurePath):  # from a script
        return value
    raise TypeError(f"Expected `path`, got `{type(value).__name__}`")


def _convert(value: Any, kind: Any) -> Any:
    # Names in JSON objects are strings, whatever the type of a dict's keys.
    return msgspec.convert(value, kind, dec_hook=from_json, str_keys=True)


def _problems_of(error: msgspec.ValidationError) -> Iterator[Problem]:
    """Yield the problems, each with its full place."""
    message, _, outer = str(error).rpartition(_PLACE)
    inner = error.__cause__
    if isinstance(inner, Misfit):
        # msgspec repeats the message of an error of ours, and appends the place of the value.
        place = "" if str(error) == str(inner) else outer.rstrip("`")
        for problem in inner.problems:
            yield Problem(problem.message, place + problem.place)
    elif message:
        yield Problem(message, outer.rstrip("`"))
    else:
        yield Problem(str(error))


def _with_whole_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_with_whole_numbers(each) for each in value]
    if isinstance(value, dict):
        return {name: _with_whole_numbers(each) for name, each in value.items()}
    return value


def _encode_hook(value: Any) -> Any:
    return as_json(value) if is_model(type(value)) else decode_json(encode_json(value))


encode_input: Final = msgspec.json.Encoder(enc_hook=_encode_hook).encode
"""Returns an input of a script, which may be an object, as JSON. Raises whatever it raises."""
