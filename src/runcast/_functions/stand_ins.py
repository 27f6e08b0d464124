"""Stand-ins for types that msgspec cannot convert alone.

Each is a class that converts JSON to values of its `kind`, and has a schema. They stand in for a
type that pydantic checks; a union of several classes or of several kinds of text; an `Enum` whose
values are not texts or whole numbers; a class with such a part in one of its fields.
"""

import typing
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Annotated, Any, Final, get_args, get_origin

import msgspec

from runcast._functions.converting import Misfit, Problem, StandIn, convert
from runcast._functions.models import Invalid, fields_of, schema_of, validate
from runcast._functions.schemas import schemas_of
from runcast._functions.type_forms import is_container, name_of
from runcast.events.plain import decode_json, encode_json

__all__ = ("Choice", "Fields", "Member", "OneOf", "Validated", "make_stand_in")

_described: Final = ContextVar[frozenset[type]]("_described", default=frozenset())
"""Classes whose schema is being made: inside, they are referenced by name."""


def make_stand_in(base: type[StandIn], kind: Any, **more: Any) -> Any:
    name = getattr(kind, "__name__", None) or str(kind)
    return type(name, (base,), {"kind": kind, **more})


class Validated(StandIn):
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


class Member(StandIn):
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


class OneOf(StandIn):
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


class Choice(StandIn):
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
                problems.append(f"{name_of(member)}: {error!s:.300}")
                continue
            unknown = _count_unknown(value, member)
            if not unknown:
                return made
            found.append((unknown, made))
        if found:
            return min(found, key=lambda each: each[0])[1]
        names = " | ".join(map(name_of, cls.members))
        raise Misfit(
            Problem(f"Expected `{names}`, but the value fits no member ({'; '.join(problems)})")
        )

    @classmethod
    def schema(cls) -> dict[str, Any]:
        schemas, definitions = schemas_of(list(cls.members))
        return {"anyOf": list(schemas), "$defs": definitions}


class Fields(StandIn):
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


def _count_unknown(value: Any, kind: Any) -> int:
    """Return how many fields of an object a type does not know: such fields would be lost."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if isinstance(value, list) and is_container(kind):
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
