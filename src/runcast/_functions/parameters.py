"""The inputs of a function: their names, types and schemas, from its signature."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter as Given
from typing import Any, NamedTuple

from runcast._functions.adapting import adapted
from runcast._functions.hints import Hint, origin_of, parameters_in, resolve
from runcast._functions.models import is_field
from runcast._functions.schemas import schemas_of, why_unchecked
from runcast.errors import InvalidValue, UncheckedInput
from runcast.events.plain import decode_json, encode_json

__all__ = ("Parameter", "Signature", "signature_of")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One input: its name, its type, and its schema."""

    name: str
    type: Any
    required: bool
    default: Any
    schema: Mapping[str, Any]


class Signature(NamedTuple):
    """The parameters, whether further inputs are accepted, and the shared schemas."""

    parameters: tuple[Parameter, ...]
    takes_more: bool
    definitions: dict[str, Any]


def signature_of(call: Callable[..., object], name: str) -> Signature:
    """Return a function's inputs. Warns with `UncheckedInput` for each input that is not checked.

    Args:
        name: the function's name.

    Raises:
        InvalidValue: not all of its inputs have names.
    """
    try:
        signature = parameters_in(call)
    except ValueError:
        raise InvalidValue(f"expected {name!r} to have a signature; wrap it in a def") from None
    named = [parameter for parameter in signature if parameter.kind is not parameter.VAR_KEYWORD]
    for parameter in named:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise InvalidValue(
                f"expected the inputs of {name!r} to have names, got {parameter}; inputs are given "
                "by name"
            )
    hints = [
        _checked(hint, parameter, name)
        for hint, parameter in zip(resolve(call, named), named, strict=True)
    ]
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


def _checked(hint: Hint, parameter: Given, name: str) -> Hint:
    """Return a hint whose type JSON can be converted to; else a hint of Any.

    Raises:
        InvalidValue: pydantic would have to check the input, but cannot.
    """
    if is_field(parameter.default):
        raise InvalidValue(
            f"expected a default for the input {parameter.name!r} of {name!r}, got a Field of "
            "pydantic; write Annotated[…, Field(…)] before the default"
        )
    if hint.type is Any or hint.type is object:
        return Hint(Any, hint.problem)
    try:
        kind = adapted(hint.type)
    except InvalidValue as error:
        raise InvalidValue(f"the input {parameter.name!r} of {name!r}: {error.message}") from None
    problem = why_unchecked(kind)
    return Hint(Any, problem) if problem else Hint(kind)


def _warn(call: Callable[..., object], name: str, problems: Mapping[str, str]) -> None:
    """Warn at the function's definition, once for each place like `warnings.warn`."""
    origin = origin_of(call)
    for parameter, problem in problems.items():
        warnings.warn_explicit(
            f"the input {parameter!r} of {name!r} is passed on unchecked: {problem}",
            UncheckedInput,
            origin.file,
            origin.line,
            module=str(origin.names.get("__name__", "")) or None,
            registry=origin.names.setdefault("__warningregistry__", {}),
        )


def _parameter(parameter: Given, kind: Any, schema: dict[str, Any]) -> Parameter:
    if parameter.default is parameter.empty:
        return Parameter(parameter.name, kind, True, None, schema)
    schema = {**schema, **_default(parameter.default)}
    return Parameter(parameter.name, kind, False, parameter.default, schema)


def _default(value: object) -> dict[str, Any]:
    try:
        return {"default": decode_json(encode_json(value))}
    except Exception:  # noqa: BLE001 - a default that JSON cannot hold is not shown
        return {}
