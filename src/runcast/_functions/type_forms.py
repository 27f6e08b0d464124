"""What a type is: an alias, a union, a container, a class with fields."""

import dataclasses
import enum
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

import msgspec

__all__ = (
    "has_fields",
    "hints_of",
    "is_alias",
    "is_container",
    "is_json",
    "is_odd_enum",
    "is_odd_literal",
    "is_union",
    "name_of",
    "required_of",
    "translated",
    "types_in",
    "unaliased",
)

_UNIONS: Final = (Union, types.UnionType)

_JSON: Final = (Any, object, str, int, float, bool, None, type(None), list, dict)

_QUALIFIERS: Final = tuple(
    getattr(typing, name)
    for name in ("Required", "NotRequired", "ReadOnly")
    if hasattr(typing, name)
)
"""Qualifiers around the type of a `TypedDict`'s field."""

_BOUNDS: Final = ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length")
"""The constraints of `annotated_types`, which have the same names in `msgspec.Meta`."""


def is_json(kind: Any) -> bool:
    """Return whether the values of a type are what JSON itself has: no objects of other classes."""
    if get_origin(kind) is typing.Literal or kind in _JSON:
        return True
    if is_union(kind) or get_origin(kind) in (list, dict):
        return all(map(is_json, get_args(kind)))
    return False


def unaliased(kind: Any) -> Any:
    """Return the type that a `NewType` or a `type` statement names."""
    while True:
        origin = get_origin(kind)
        if hasattr(kind, "__supertype__"):
            kind = kind.__supertype__
        elif origin in _QUALIFIERS and origin is not None:
            (kind,) = get_args(kind)
        elif not is_alias(kind):
            return kind
        else:
            kind = kind.__value__ if origin is None else origin.__value__[get_args(kind)]


def is_alias(kind: Any) -> bool:
    """Return whether a `type` statement made this, or a generic form of one."""
    # Compare names: typing has it from Python 3.12 on, and typing_extensions has its own.
    return "TypeAliasType" in (type(kind).__name__, type(get_origin(kind)).__name__)


def is_union(kind: Any) -> bool:
    return get_origin(kind) in _UNIONS


def is_container(kind: Any) -> bool:
    origin = get_origin(kind)
    return isinstance(origin, type) and bool(get_args(kind)) and not has_fields(origin)


def types_in(kind: Any) -> Iterator[Any]:
    """Yield the arguments of a container that are types."""
    if is_container(kind):
        yield from (each for each in get_args(kind) if each is not ...)


def has_fields(kind: Any) -> bool:
    """Return whether a class has fields whose types can be replaced by stand-ins."""
    if not isinstance(kind, type):
        return False
    if dataclasses.is_dataclass(kind):
        return not any(
            isinstance(each, dataclasses.InitVar) for each in kind.__annotations__.values()
        )
    return typing.is_typeddict(kind) or (issubclass(kind, tuple) and hasattr(kind, "_fields"))


def hints_of(kind: Any) -> dict[str, Any]:
    """Return the types of a class's fields; {} if they cannot be resolved (msgspec reports
    that)."""
    try:
        hints = get_type_hints(kind, include_extras=True)
    except Exception:  # noqa: BLE001 - whatever evaluating a user's annotation raises
        return {}
    if dataclasses.is_dataclass(kind):
        return {it.name: hints[it.name] for it in dataclasses.fields(kind) if it.init}
    return hints


def required_of(kind: Any) -> frozenset[str]:
    if typing.is_typeddict(kind):
        # If annotations are strings, the class itself does not see NotRequired.
        origins = {name: get_origin(hint) for name, hint in hints_of(kind).items()}
        required = {name for name, origin in origins.items() if origin is typing.Required}
        optional = {name for name, origin in origins.items() if origin is typing.NotRequired}
        return frozenset(kind.__required_keys__ - optional | required)
    if dataclasses.is_dataclass(kind):
        empty = dataclasses.MISSING
        return frozenset(
            it.name
            for it in dataclasses.fields(kind)
            if it.default is empty and it.default_factory is empty
        )
    return frozenset(kind._fields) - frozenset(kind._field_defaults)


def is_odd_enum(kind: Any) -> bool:
    """Return whether this is an `Enum` with values that msgspec does not take."""
    if not (isinstance(kind, type) and issubclass(kind, enum.Enum)) or issubclass(kind, enum.Flag):
        return False
    return len(kind) > 0 and {type(each.value) for each in kind} not in ({str}, {int})


def is_odd_literal(kind: Any) -> bool:
    """Return whether a `Literal` has several types, which msgspec before 0.22 cannot sort."""
    if get_origin(kind) is not typing.Literal:
        return False
    try:
        msgspec.json.schema_components([kind])
    except TypeError:
        return True
    return False


def translated(metadata: Any) -> Any:
    """Return an argument of `Annotated` as msgspec's: a text is a description."""
    if isinstance(metadata, str):
        return msgspec.Meta(description=metadata)
    if isinstance(text := getattr(metadata, "documentation", None), str):  # typing's Doc
        return msgspec.Meta(description=text)
    if type(metadata).__module__.partition(".")[0] == "annotated_types":
        bounds = {name: getattr(metadata, name, None) for name in _BOUNDS}
        given: dict[str, Any] = {name: it for name, it in bounds.items() if it is not None}
        return msgspec.Meta(**given) if given else metadata
    return metadata


def name_of(kind: Any) -> str:
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return "None" if kind is type(None) else str(getattr(kind, "__name__", kind))
