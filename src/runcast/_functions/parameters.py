"""The inputs that a function takes: their names, types and schemas, read off its signature."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter as Given
from typing import Any, NamedTuple

import msgspec

from runcast._functions.hints import Hint, origin_of, parameters_in, resolve
from runcast._functions.schemas import from_json, schemas_of, why_unchecked
from runcast.errors import InvalidValue, UncheckedInput

__all__ = ("Parameter", "Signature", "convert", "signature_of")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One input: its name, what converts a JSON value to it, and its schema."""

    name: str
    type: Any
    required: bool
    default: Any
    schema: Mapping[str, Any]


class Signature(NamedTuple):
    """The parameters, whether others are taken too, and the schemas that several share."""

    parameters: tuple[Parameter, ...]
    takes_more: bool
    definitions: dict[str, Any]


def signature_of(call: Callable[..., object], name: str) -> Signature:
    """Return what a function takes. Warns of each input that is not checked: `UncheckedInput`.

    Args:
        name: what the function is called.

    Raises:
        InvalidValue: not all of its inputs have names.
    """
    try:
        signature = parameters_in(call)
    except ValueError:
        raise InvalidValue(f"expected {name!r} to say what it takes; wrap it in a def") from None
    named = [parameter for parameter in signature if parameter.kind is not parameter.VAR_KEYWORD]
    for parameter in named:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise InvalidValue(
                f"expected the inputs of {name!r} to have names, got {parameter}; inputs are given "
                "by name"
            )
    hints = [_checked(hint) for hint in resolve(call, named)]
    problems = {
        parameter.name: hint.problem
        for parameter, hint in zip(named, hints, strict=True)
        if hint.problem
    }
    if problems:
        _warn(call, name, problems)
    schemas, definitions = schemas_of([hint.type for hint in hints])
    parameters = tuple(
        _parameter(parameter, hint.type, schema)
        for parameter, hint, schema in zip(named, hints, schemas, strict=True)
    )
    return Signature(parameters, len(named) < len(signature), definitions)


def _checked(hint: Hint) -> Hint:
    """Return a hint of a type that JSON can be converted to, or of Any."""
    if hint.type is Any or hint.type is object:
        return Hint(Any, hint.problem)
    problem = why_unchecked(hint.type)
    return Hint(Any, problem) if problem else hint


def _warn(call: Callable[..., object], name: str, problems: Mapping[str, str]) -> None:
    """Warn where the function is defined, once for each place as `warnings.warn` does."""
    origin = origin_of(call)
    for parameter, problem in problems.items():
        warnings.warn_explicit(
            f"the input {parameter!r} of {name!r} is taken as it comes, unchecked: {problem}",
            UncheckedInput,
            origin.file,
            origin.line,
            module=str(origin.names.get("__name__", "")) or None,
            registry=origin.names.setdefault("__warningregistry__", {}),
        )


def convert(value: Any, kind: Any) -> Any:
    """Return a JSON value as the type it is meant for; raises whatever that type raises."""
    try:
        return _convert(value, kind)
    except msgspec.ValidationError as error:
        # In JSON 3.0 is as whole a number as 3. Source: JSON Schema 2020-12, core, §4.2.1.
        try:
            return _convert(_with_whole_numbers(value), kind)
        except msgspec.ValidationError:
            raise error from None


def _convert(value: Any, kind: Any) -> Any:
    # The names in JSON objects are texts, whatever the keys of a dict are.
    return msgspec.convert(value, kind, dec_hook=from_json, str_keys=True)


def _with_whole_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_with_whole_numbers(each) for each in value]
    if isinstance(value, dict):
        return {name: _with_whole_numbers(each) for name, each in value.items()}
    return value


def _parameter(parameter: Given, kind: Any, schema: dict[str, Any]) -> Parameter:
    if parameter.default is parameter.empty:
        return Parameter(parameter.name, kind, True, None, schema)
    schema = {**schema, **_default(parameter.default)}
    return Parameter(parameter.name, kind, False, parameter.default, schema)


def _default(value: object) -> dict[str, Any]:
    try:
        return {"default": msgspec.to_builtins(value, str_keys=True)}
    except Exception:  # noqa: BLE001 - a default that JSON cannot hold is not shown
        return {}
