"""Combine parts of schemas: the place of definitions, and the order of choices."""

import enum
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

__all__ = ("hoist", "reorder")

_PREFIX: Final = "#/$defs/"
_DATA: Final = frozenset({"default", "const", "enum", "examples", "example"})
"""Keywords of a schema that hold values, not schemas."""


def hoist(schema: dict[str, Any], definitions: dict[str, Any]) -> None:
    """Move the definitions inside a schema to `definitions`, under unique names."""
    for part in _parts(schema):
        hoist(part, definitions)
    inner = schema.pop("$defs", None)
    if not isinstance(inner, dict):
        return
    names = {name: _free(name, part, definitions) for name, part in inner.items()}
    changed = {name: new for name, new in names.items() if name != new}
    for part in (schema, *inner.values()):
        _rename(part, changed)
    definitions.update({names[name]: part for name, part in inner.items()})


def reorder(schemas: Iterable[dict[str, Any]], kinds: Sequence[Any]) -> None:
    """Put choices in the order in which `Literal` and `Enum` name them, instead of sorted."""
    orders: dict[frozenset[Any], list[Any]] = {}
    for kind in kinds:
        for values in _choices(kind):
            orders.setdefault(_keyed(values), list(values))
    if not orders:
        return
    for schema in schemas:
        _reorder(schema, orders)


def _reorder(schema: dict[str, Any], orders: dict[frozenset[Any], list[Any]]) -> None:
    # No choices, other choices, or values that cannot be hashed.
    with suppress(KeyError, TypeError):
        schema["enum"] = orders[_keyed(schema["enum"])]
    for part in _parts(schema):
        _reorder(part, orders)


def _keyed(values: Iterable[Any]) -> frozenset[Any]:
    return frozenset((type(value), value) for value in values)


def _choices(hint: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the values of each `Literal` and `Enum` in a type, and in the fields of a class."""
    if get_origin(hint) is Literal:
        yield get_args(hint)
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        yield tuple(member.value for member in hint)
    elif get_args(hint):
        for part in get_args(hint):
            yield from _choices(part)
    elif isinstance(hint, type) and hasattr(hint, "__annotations__"):
        for part in _hints(hint):
            if part is not hint and not hasattr(part, "__annotations__"):
                yield from _choices(part)


def _hints(kind: type) -> list[Any]:
    try:
        return [*get_type_hints(kind, include_extras=True).values()]
    except Exception:  # noqa: BLE001 - whatever evaluating a user's annotation raises
        return []


def _parts(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the schemas directly inside a schema, those of its definitions too."""
    for key, value in schema.items():
        if key in _DATA:
            continue
        if isinstance(value, dict):
            # The keywords that name schemas hold them one level further down.
            is_map = key in ("properties", "patternProperties", "$defs", "dependentSchemas")
            yield from (it for it in value.values() if isinstance(it, dict)) if is_map else [value]
        elif isinstance(value, list):
            yield from (it for it in value if isinstance(it, dict))


def _free(name: str, part: Any, definitions: dict[str, Any]) -> str:
    """Return a name for a definition: its own, or a new one if that is taken."""
    free, number = name, 2
    while free in definitions and definitions[free] != part:
        free, number = f"{name}_{number}", number + 1
    return free


def _rename(schema: dict[str, Any], names: dict[str, str]) -> None:
    if not names:
        return
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith(_PREFIX):
        name = reference.removeprefix(_PREFIX)
        schema["$ref"] = _PREFIX + names.get(name, name)
    mapping = schema.get("mapping")  # a discriminator's mapping
    if isinstance(mapping, dict):
        for key, value in mapping.items():
            name = str(value).removeprefix(_PREFIX)
            mapping[key] = _PREFIX + names.get(name, name)
    for part in _parts(schema):
        _rename(part, names)
