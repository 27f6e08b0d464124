"""JSON Schemas of types. Every value that a schema allows can be converted to its type."""

from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import inspect as types

from runcast._functions.converting import StandIn, from_json
from runcast._functions.definitions import hoist, reorder
from runcast._functions.models import is_model, schema_of

__all__ = ("Schemas", "schemas_of", "why_unchecked")

_INTEGER: Final = "^(0|-?[1-9][0-9]*)$"

_NUMBER: Final = r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?$"
"""Names that stand for a float: no exponents, which could be out of range."""

_FORMATS: Final[dict[type, str]] = {
    types.DateType: "date",
    types.DateTimeType: "date-time",
    types.TimeType: "time",
    types.TimeDeltaType: "duration",
    types.UUIDType: "uuid",
    types.DecimalType: "decimal",
}

_DICTS: Final[Any] = tuple(
    getattr(types, name) for name in ("DictType", "FrozenDictType") if hasattr(types, name)
)
"""Types with names and values; older versions of msgspec know one of the two."""

_ANY_NAME: Final = types.AnyType | types.StrType | types.CustomType
_OBJECTS: Final = (
    types.StructType | types.DataclassType | types.TypedDictType | types.NamedTupleType
)


class Schemas(NamedTuple):
    """A schema for each type, and the shared schemas by name."""

    schemas: Sequence[dict[str, Any]]
    definitions: dict[str, dict[str, Any]]


def schemas_of(kinds: Sequence[Any]) -> Schemas:
    """Return the schemas of types. Raises if a type is not convertible."""
    infos = types.multi_type_info(kinds)
    objects: dict[Any, Any] = {}
    for info in infos:
        _collect(info, objects)
    found, definitions = msgspec.json.schema_components(
        [*kinds, *objects], schema_hook=_schema_hook
    )
    schemas, references = found[: len(kinds)], found[len(kinds) :]
    for info, schema in zip(infos, schemas, strict=True):
        _complete(info, schema)
    for info, reference in zip(objects.values(), references, strict=True):
        for field, schema in _fields(info, definitions[reference["$ref"].rpartition("/")[2]]):
            _complete(field, schema)
    for schema in [*schemas, *list(definitions.values())]:
        hoist(schema, definitions)
    reorder([*schemas, *definitions.values()], [*kinds, *objects])
    return Schemas(schemas, definitions)


def why_unchecked(kind: Any) -> str:
    """Return why no JSON can be converted to a type; "" if it can."""
    try:
        schemas_of([kind])
        msgspec.json.Decoder(kind, dec_hook=from_json)
    except Exception as error:  # noqa: BLE001 - whatever a user's class raises
        return str(error).partition("\n")[0] or type(error).__name__
    return ""


def _schema_hook(kind: Any) -> dict[str, Any]:
    if isinstance(kind, type) and issubclass(kind, StandIn):
        return kind.schema()
    if is_model(kind):
        return schema_of(kind)
    if isinstance(kind, type) and issubclass(kind, PurePath):
        return {"type": "string", "format": "path"}
    raise TypeError(f"{kind!r:.100} is made from JSON in no way that runcast knows")


# --- the names that a dict may have ---------------------------------------------------------------
#
# In JSON they are strings. msgspec's schemas allow any name, also names that it then refuses.


def _collect(kind: Any, objects: dict[Any, Any]) -> None:
    """Find the classes with fields in a type, whose schemas are definitions."""
    kind = _bare(kind)
    if isinstance(kind, _OBJECTS) and kind.cls not in objects:
        objects[kind.cls] = kind
        for field in kind.fields:
            _collect(field.type, objects)
    for inner in _inner(kind):
        _collect(inner, objects)


def _inner(kind: Any) -> Iterator[Any]:
    """Yield the element types of a container or a union."""
    if isinstance(kind, types.CollectionType):
        yield kind.item_type
    elif isinstance(kind, _DICTS):
        yield kind.value_type
    elif isinstance(kind, types.TupleType):
        yield from kind.item_types
    elif isinstance(kind, types.UnionType):
        yield from kind.types


def _complete(kind: Any, schema: dict[str, Any]) -> None:
    """Add the allowed names of dicts to a schema.

    Raises:
        TypeError: no name can have the key's type, or the type holds undecoded JSON.
    """
    kind = _bare(kind)
    if isinstance(kind, types.RawType):
        raise TypeError("msgspec.Raw holds JSON that was not decoded")
    if isinstance(kind, types.DateTimeType | types.TimeType):
        schema.setdefault("format", _FORMATS[type(kind)])
    inner: Sequence[Any] = [*_inner(kind)]
    schemas: Sequence[Any] = ()
    if isinstance(kind, _DICTS):
        names = _names(kind.key_type)
        if names and "propertyNames" not in schema:
            schema["propertyNames"] = names
        schemas = [schema.get("additionalProperties", {})]
    elif isinstance(kind, types.CollectionType):
        schemas = [schema.get("items", {})]
    elif isinstance(kind, types.TupleType):
        schemas = schema.get("prefixItems", ())
    elif isinstance(kind, types.UnionType):
        inner = [each for each in inner if not _comes_last(_bare(each))]
        schemas = schema.get("anyOf", ())
    for each, its_schema in zip(inner, schemas, strict=False):
        _complete(each, its_schema)


def _comes_last(kind: Any) -> bool:
    """Return whether a type's schema comes after the others in a union."""
    is_struct = isinstance(kind, types.StructType) and not kind.array_like
    return is_struct or isinstance(kind, types.NoneType)


def _fields(kind: Any, definition: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield the type and the schema of each field of a class."""
    items = definition.get("prefixItems")
    if items is not None:  # in a tagged class the tag comes first
        yield from zip(
            [field.type for field in kind.fields], items[-len(kind.fields) :], strict=False
        )
    else:
        for field in kind.fields:
            yield field.type, definition["properties"][field.encode_name]


def _names(key: Any) -> dict[str, Any]:
    """Return the schema of the names that stand for keys of a type; {} if every name is allowed."""
    key = _bare(key)
    if isinstance(key, _ANY_NAME):
        return {}
    if isinstance(key, types.IntType):
        return {"pattern": _INTEGER}
    if isinstance(key, types.FloatType):
        return {"pattern": _NUMBER}
    if isinstance(key, types.EnumType):
        return {"enum": [str(member.value) for member in key.cls]}
    if isinstance(key, types.LiteralType):
        return {"enum": [str(value) for value in key.values]}
    if type(key) in _FORMATS:
        return {"format": _FORMATS[type(key)]}
    if isinstance(key, types.UnionType):
        members = [_names(member) for member in key.types]
        return {"anyOf": members} if all(members) else {}
    raise TypeError(f"the keys of a dict in JSON are texts, which can never be a {_said(key)}")


def _bare(kind: Any) -> Any:
    while isinstance(kind, types.Metadata):
        kind = kind.type
    return kind


def _said(kind: Any) -> str:
    return type(kind).__name__.removesuffix("Type").lower()
