"""The inputs that a function takes: their names, types and schemas, read off its signature."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec

from runcast.errors import InvalidValue

__all__ = ("Parameter", "behind", "convert", "convertible", "parameters_of")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One input: its name, what converts a JSON value to it, and its schema."""

    name: str
    type: Any
    required: bool
    default: Any
    schema: Mapping[str, Any]


def parameters_of(
    call: Callable[..., object], name: str
) -> tuple[tuple[Parameter, ...], bool, dict[str, Any]]:
    """Return the parameters, whether others are taken too, and the schemas that several share.

    Raises:
        InvalidValue: not all of them have names.
    """
    try:
        signature = list(inspect.signature(call).parameters.values())
    except ValueError:
        raise InvalidValue(f"expected {name!r} to say what it takes; wrap it in a def") from None
    named = [parameter for parameter in signature if parameter.kind is not parameter.VAR_KEYWORD]
    for parameter in named:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise InvalidValue(
                f"expected the inputs of {name!r} to have names, got {parameter}; inputs are given "
                "by name"
            )
    hints = _hints(behind(call))
    kinds = [convertible(hints.get(parameter.name, Any)) for parameter in named]
    schemas, definitions = msgspec.json.schema_components(kinds)
    parameters = tuple(
        _parameter(parameter, kind, schema)
        for parameter, kind, schema in zip(named, kinds, schemas, strict=True)
    )
    return parameters, len(named) < len(signature), definitions


def convert(value: Any, kind: Any) -> Any:
    """Return a JSON value as the type it is meant for; raises whatever that type raises."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        # In JSON 3.0 is as whole a number as 3. Source: JSON Schema 2020-12, core, §4.2.1.
        try:
            return msgspec.convert(_with_whole_numbers(value), kind)
        except msgspec.ValidationError:
            raise error from None


def _with_whole_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_with_whole_numbers(each) for each in value]
    if isinstance(value, dict):
        return {name: _with_whole_numbers(each) for name, each in value.items()}
    return value


def behind(call: Any) -> Any:
    """Return the function behind a `functools.partial`."""
    while isinstance(call, functools.partial):
        call = call.func
    return call


def _parameter(parameter: inspect.Parameter, kind: Any, schema: dict[str, Any]) -> Parameter:
    if parameter.default is parameter.empty:
        return Parameter(parameter.name, kind, True, None, schema)
    schema = {**schema, **_default(parameter.default)}
    return Parameter(parameter.name, kind, False, parameter.default, schema)


def _hints(target: Any) -> dict[str, Any]:
    if inspect.isclass(target):
        target = target.__init__
    elif not inspect.isroutine(target):
        target = target.__call__
    try:
        return get_type_hints(target, include_extras=True)
    except Exception:  # noqa: BLE001 - an annotation may name what only a type checker sees
        return {}


def convertible(kind: Any) -> Any:
    """Return a type if its values can come from JSON, otherwise Any: a class of the user's, say."""
    try:
        msgspec.json.schema_components([kind])
        msgspec.json.Decoder(kind)
    except Exception:  # noqa: BLE001 - see above
        return Any
    return kind


def _default(value: object) -> dict[str, Any]:
    try:
        return {"default": msgspec.to_builtins(value)}
    except Exception:  # noqa: BLE001 - a default that JSON cannot hold is not shown
        return {}
