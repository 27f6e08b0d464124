"""Types that msgspec cannot convert alone, and their stand-ins.

`adapted` rebuilds a type with a stand-in for each part that msgspec refuses: a type that pydantic
checks; a union of several classes or of several kinds of text; an `Enum` whose values are not texts
or whole numbers; a class with such a part in one of its fields.

Long because the walk over types and the stand-ins refer to each other.
"""

import dataclasses
import enum
import functools
import operator
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

import msgspec

from runcast._functions.converting import Misfit, Problem, StandIn, convert, from_json
from runcast._functions.models import (
    Invalid,
    fields_of,
    is_constraint,
    is_model,
    require_pydantic,
    schema_of,
    validate,
)
from runcast._functions.schemas import schemas_of
from runcast.events.plain import decode_json, encode_json

__all__ = ("adapted", "is_json")

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

_described: Final = ContextVar[frozenset[type]]("_described", default=frozenset())
"""Classes whose schema is being made: inside, they are referenced by name."""


def adapted(kind: Any) -> Any:
    """Return a type that msgspec converts JSON to: `kind`, or a stand-in for it.

    Raises:
        InvalidValue: pydantic would have to check the type, but is missing or too old.
    """
    return _adapt(kind, {}) if _is_beyond(kind, set()) else kind


def is_json(kind: Any) -> bool:
    """Return whether the values of a type are what JSON itself has: no objects of other classes."""
    if get_origin(kind) is typing.Literal or kind in _JSON:
        return True
    if _is_union(kind) or get_origin(kind) in (list, dict):
        return all(map(is_json, get_args(kind)))
    return False


def _is_beyond(kind: Any, seen: set[Any]) -> bool:
    """Return whether a type, or a part, needs a stand-in or metadata that msgspec reads."""
    if _is_alias(kind):
        return True
    kind = _unaliased(kind)
    if is_model(kind) or _is_odd_enum(kind) or _is_odd_literal(kind):
        return True
    if get_origin(kind) is Annotated:
        inner, *metadata = get_args(kind)
        if any(is_constraint(each) or _translated(each) is not each for each in metadata):
            return True
        return _is_beyond(inner, seen)
    if _is_union(kind):
        return any(_is_beyond(each, seen) for each in get_args(kind)) or not _is_known(kind)
    if get_args(kind):
        return any(_is_beyond(each, seen) for each in _types_in(kind))
    if not _has_fields(kind) or kind in seen:
        return False
    seen.add(kind)
    return any(_is_beyond(each, seen) for each in _hints(kind).values())


def _adapt(kind: Any, made: dict[Any, type[StandIn]]) -> Any:
    kind = _unaliased(kind)
    if is_model(kind):
        require_pydantic(kind)
        return _stand_in(_Validated, kind)
    if _is_odd_enum(kind):
        return _stand_in(_Member, kind)
    if _is_odd_literal(kind):
        return _stand_in(_OneOf, kind)
    if get_origin(kind) is Annotated:
        return _adapt_annotated(kind, made)
    if _is_union(kind):
        return _adapt_union(kind, made)
    if _is_container(kind):
        parts = tuple(_adapt(each, made) if each is not ... else each for each in get_args(kind))
        return get_origin(kind)[parts if len(parts) != 1 else parts[0]]
    if not _has_fields(kind) or not _is_beyond(kind, set()):
        return kind
    if kind not in made:
        made[kind] = _stand_in(_Fields, kind)
        made[kind].shape = _shape_of(kind, made)  # type: ignore[attr-defined]
    return made[kind]


def _adapt_annotated(kind: Any, made: dict[Any, type[StandIn]]) -> Any:
    inner, *metadata = get_args(kind)
    translated = [_translated(each) for each in metadata]
    described = [it for it in translated if getattr(it, "description", None) is not None]
    if any(map(is_constraint, metadata)):
        require_pydantic(kind)
        base, kept = _stand_in(_Validated, kind), described[:1]
    else:
        base = _adapt(inner, made)
        kept = [it for it in translated if it not in described[1:]]
    return Annotated[(base, *kept)] if kept else base


def _adapt_union(kind: Any, made: dict[Any, type[StandIn]]) -> Any:
    members = [_adapt(each, made) for each in get_args(kind)]
    union = functools.reduce(operator.or_, members)
    if _is_known(union):
        return union
    return _stand_in(_Choice, kind, members=tuple(members))


def _is_known(kind: Any) -> bool:
    """Return whether msgspec takes a type, with our hook for classes that it does not know."""
    try:
        msgspec.json.Decoder(kind, dec_hook=from_json)
    except Exception:  # noqa: BLE001 - whatever a user's class raises
        return False
    return True


# --- looking at types -----------------------------------------------------------------------------


def _unaliased(kind: Any) -> Any:
    """Return the type that a `NewType` or a `type` statement names."""
    while True:
        origin = get_origin(kind)
        if hasattr(kind, "__supertype__"):
            kind = kind.__supertype__
        elif origin in _QUALIFIERS and origin is not None:
            (kind,) = get_args(kind)
        elif not _is_alias(kind):
            return kind
        else:
            kind = kind.__value__ if origin is None else origin.__value__[get_args(kind)]


def _is_alias(kind: Any) -> bool:
    """Return whether a `type` statement made this, or a generic form of one."""
    # Compare names: typing has it from Python 3.12 on, and typing_extensions has its own.
    return "TypeAliasType" in (type(kind).__name__, type(get_origin(kind)).__name__)


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in _UNIONS


def _is_container(kind: Any) -> bool:
    origin = get_origin(kind)
    return isinstance(origin, type) and bool(get_args(kind)) and not _has_fields(origin)


def _types_in(kind: Any) -> Iterator[Any]:
    """Yield the arguments of a container that are types."""
    if _is_container(kind):
        yield from (each for each in get_args(kind) if each is not ...)


def _has_fields(kind: Any) -> bool:
    """Return whether a class has fields whose types can be replaced by stand-ins."""
    if not isinstance(kind, type):
        return False
    if dataclasses.is_dataclass(kind):
        return not any(
            isinstance(each, dataclasses.InitVar) for each in kind.__annotations__.values()
        )
    return typing.is_typeddict(kind) or (issubclass(kind, tuple) and hasattr(kind, "_fields"))


def _hints(kind: Any) -> dict[str, Any]:
    """Return the types of a class's fields; {} if they cannot be resolved (msgspec reports
    that)."""
    try:
        hints = get_type_hints(kind, include_extras=True)
    except Exception:  # noqa: BLE001 - whatever evaluating a user's annotation raises
        return {}
    if dataclasses.is_dataclass(kind):
        return {it.name: hints[it.name] for it in dataclasses.fields(kind) if it.init}
    return hints


def _is_odd_enum(kind: Any) -> bool:
    """Return whether this is an `Enum` with values that msgspec does not take."""
    if not (isinstance(kind, type) and issubclass(kind, enum.Enum)) or issubclass(kind, enum.Flag):
        return False
    return len(kind) > 0 and {type(each.value) for each in kind} not in ({str}, {int})


def _is_odd_literal(kind: Any) -> bool:
    """Return whether a `Literal` has several types, which msgspec before 0.22 cannot sort."""
    if get_origin(kind) is not typing.Literal:
        return False
    try:
        msgspec.json.schema_components([kind])
    except TypeError:
        return True
    return False


def _translated(metadata: Any) -> Any:
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


# --- the stand-ins --------------------------------------------------------------------------------


def _stand_in(base: type[StandIn], kind: Any, **more: Any) -> Any:
    name = getattr(kind, "__name__", None) or str(kind)
    return type(name, (base,), {"kind": kind, **more})


class _Validated(StandIn):
    """A type that pydantic checks."""

    @classmethod
    def make(cls, value: Any) -> Any:
        try:
            return validate(cls.kind, value)
        except Invalid as error:
            raise Misfit(*(Problem(*each) for each in error.problems)) from None

    @classmethod
    def schema(cls) -> dict[str, Any]:
        return schema_of(cls.kind)

    @classmethod
    def fields(cls) -> frozenset[str] | None:
        return fields_of(cls.kind)


class _Member(StandIn):
    """A member of an `Enum` whose values are not all texts and not all whole numbers."""

    @classmethod
    def make(cls, value: Any) -> Any:
        for member in cls.kind:
            if value is member or _same(value, decode_json(encode_json(member.value))):
                return member
        raise Misfit(Problem(f"Expected one of {', '.join(map(repr, cls.schema()['enum']))}"))

    @classmethod
    def schema(cls) -> dict[str, Any]:
        values = [decode_json(encode_json(member.value)) for member in cls.kind]
        return {"title": cls.__name__, "enum": values}


class _OneOf(StandIn):
    """One of the values of a `Literal`."""

    @classmethod
    def make(cls, value: Any) -> Any:
        for each in get_args(cls.kind):
            if _same(value, each):
                return each
        raise Misfit(Problem(f"Expected one of {', '.join(map(repr, get_args(cls.kind)))}"))

    @classmethod
    def schema(cls) -> dict[str, Any]:
        return {"enum": [*get_args(cls.kind)]}


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) is isinstance(other, bool)


class _Choice(StandIn):
    """A union. The first member that fits wins; for an object, the one that knows most fields."""

    members: Sequence[Any] = ()

    @classmethod
    def make(cls, value: Any) -> Any:
        found: list[tuple[int, Any]] = []
        problems: list[str] = []
        for member in cls.members:
            try:
                made = convert(value, member)
            except (ValueError, TypeError) as error:
                problems.append(f"{_name_of(member)}: {error!s:.300}")
                continue
            unknown = _count_unknown(value, member)
            if not unknown:
                return made
            found.append((unknown, made))
        if found:
            return min(found, key=lambda each: each[0])[1]
        names = " | ".join(map(_name_of, cls.members))
        raise Misfit(
            Problem(f"Expected `{names}`, but the value fits no member ({'; '.join(problems)})")
        )

    @classmethod
    def schema(cls) -> dict[str, Any]:
        schemas, definitions = schemas_of(list(cls.members))
        return {"anyOf": list(schemas), "$defs": definitions}


class _Fields(StandIn):
    """A class with fields, at least one of which msgspec cannot convert alone."""

    shape: type[msgspec.Struct]

    @classmethod
    def make(cls, value: Any) -> Any:
        if not typing.is_typeddict(cls.kind) and isinstance(value, cls.kind):
            return value  # from a script
        found = convert(value, cls.shape)
        given = {
            name: each
            for name in cls.shape.__struct_fields__
            if (each := getattr(found, name)) is not msgspec.UNSET
        }
        return cls.kind(**given)

    @classmethod
    def schema(cls) -> dict[str, Any]:
        name = cls.__name__
        reference = {"$ref": f"#/$defs/{name}"}
        if cls in _described.get():
            return reference
        token = _described.set(_described.get() | {cls})
        try:
            _, definitions = schemas_of([cls.shape])
        finally:
            _described.reset(token)
        documented = cls.kind.__doc__ or ""
        if documented and not documented.startswith(f"{name}("):  # a dataclass's default docstring
            definitions[name]["description"] = documented.strip()
        return {**reference, "$defs": definitions}

    @classmethod
    def fields(cls) -> frozenset[str] | None:
        return frozenset(cls.shape.__struct_fields__)


def _shape_of(kind: Any, made: dict[Any, type[StandIn]]) -> type[msgspec.Struct]:
    """Return a class of msgspec's with the same fields, whose types it can convert."""
    required = _required(kind)
    fields = [
        (
            name,
            _adapt(hint, made),
            *(() if name in required else (msgspec.field(default=msgspec.UNSET),)),
        )
        for name, hint in _hints(kind).items()
    ]
    is_array = not (typing.is_typeddict(kind) or dataclasses.is_dataclass(kind))
    return msgspec.defstruct(kind.__name__, fields, kw_only=not is_array, array_like=is_array)


def _required(kind: Any) -> frozenset[str]:
    if typing.is_typeddict(kind):
        # If annotations are strings, the class itself does not see NotRequired.
        origins = {name: get_origin(hint) for name, hint in _hints(kind).items()}
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


def _count_unknown(value: Any, kind: Any) -> int:
    """Return how many fields of an object a type does not know: such fields would be lost."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if isinstance(value, list) and _is_container(kind):
        item = get_args(kind)[0]
        return sum(_count_unknown(each, item) for each in value)
    if not isinstance(value, Mapping):
        return 0
    if isinstance(kind, type) and issubclass(kind, StandIn):
        names = kind.fields()
    else:
        info = msgspec.inspect.type_info(kind)
        known = getattr(info, "fields", None)
        names = None if known is None else frozenset(each.encode_name for each in known)
    return 0 if names is None else len(value.keys() - names)


def _name_of(kind: Any) -> str:
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return "None" if kind is type(None) else str(getattr(kind, "__name__", kind))
