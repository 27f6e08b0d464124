"""Example inputs for a function, made from its schema, for a command that people can paste."""

import inspect
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from runcast._functions.function import Function
from runcast.errors import InvalidInputs

__all__ = ("example_inputs", "needed_files", "pick_example")

_NAMES_OF_FILES: Final = frozenset({"path", "file", "filename", "file_path"})

_STRINGS: Final[Mapping[str, str]] = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T10:00:00Z",
    "duration": "PT1M",
    "time": "10:00:00Z",
    "uuid": "018f3c5e-7b2a-7c3d-9e4f-5a6b7c8d9e0f",
}
"""Example strings for JSON Schema's formats."""

_MOST_ITEMS: Final = 10
"""Most items of an example's array: nobody pastes more."""


def pick_example(
    functions: Iterable[Function[..., Any]],
) -> tuple[Function[..., Any], dict[str, Any]] | None:
    """Return a function to try, and inputs for it. Prefer a function that needs no files and
    streams."""
    for function in sorted(functions, key=lambda f: (bool(needed_files(f)), not f.is_streaming)):
        inputs = example_inputs(function)
        if inputs is not None:
            return function, inputs
    return None


def example_inputs(function: Function[..., Any]) -> dict[str, Any] | None:
    """Return inputs that the function accepts; None if its schema is too vague."""
    schema = function.schema
    defs = schema.get("$defs", {})
    inputs: dict[str, Any] = {}
    try:
        for name in schema["required"]:
            kind = schema["properties"][name]
            is_file = kind.get("type") == "string" and name in _NAMES_OF_FILES
            inputs[name] = (is_file and _source_of(function)) or _value(kind, defs)
        function.convert(inputs)
    except (_Endless, InvalidInputs):
        return None
    return inputs


def needed_files(function: Function[..., Any]) -> list[str]:
    """Return an option for each file that a function needs, with an existing file."""
    source = _source_of(function) or "PATH"
    needed = [group for group in function.files.values() if group.kind == "input"]
    return [f"--file={group.key}={source}" for group in needed for _ in range(group.fewest)]


def _source_of(function: Function[..., Any]) -> str | None:
    """Return the file with a function's source, because that file surely exists."""
    if function.source is not None:
        return function.source.file
    try:
        return inspect.getsourcefile(inspect.unwrap(function.call))
    except TypeError:  # a callable object
        return None


class _Endless(Exception):
    """An example would contain itself."""


def _value(
    schema: Mapping[str, Any], defs: Mapping[str, Any], inside: frozenset[str] = frozenset()
) -> Any:
    """Return an example of a schema.

    Args:
        inside: the references that lead here.

    Raises:
        _Endless: a schema needs itself.
    """
    if "$ref" in schema:
        reference = schema["$ref"]
        if reference in inside:
            raise _Endless
        return _value(defs[reference.rpartition("/")[2]], defs, inside | {reference})
    for alternatives in ("anyOf", "oneOf"):
        if alternatives in schema:
            return _first(schema[alternatives], defs, inside)
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    match schema.get("type", "string"):
        case "integer" | "number":
            least = schema.get("minimum", schema.get("exclusiveMinimum", 9) + 1)
            return min(least, schema.get("maximum", schema.get("exclusiveMaximum", least + 1) - 1))
        case "boolean":
            return True
        case "null":
            return None
        case "array":
            items = schema.get("prefixItems") or [schema.get("items") or {}] * min(
                schema.get("minItems", 1), _MOST_ITEMS
            )
            try:
                return [_value(item, defs, inside) for item in items]
            except _Endless:
                return []  # as in a tree's leaf
        case "object":
            properties = schema.get("properties", {})
            return {
                name: _value(properties[name], defs, inside) for name in schema.get("required", ())
            }
        case _:
            return _STRINGS.get(schema.get("format", ""), "hello world")


def _first(
    alternatives: Iterable[Mapping[str, Any]], defs: Mapping[str, Any], inside: frozenset[str]
) -> Any:
    """Return an example of the first schema that has one. Raises `_Endless` if there is no such."""
    for alternative in alternatives:
        with suppress(_Endless):
            return _value(alternative, defs, inside)
    raise _Endless
