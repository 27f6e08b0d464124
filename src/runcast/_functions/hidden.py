"""Which inputs are not to be kept: secrets and bytes, as their schemas declare them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runcast._functions.parameters import Parameter

__all__ = ("hidden_inputs",)


def hidden_inputs(
    parameters: Iterable[Parameter], definitions: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """Return why inputs are not to be kept, by name: `secret` or `bytes`.

    A secret has the format `password` or is `writeOnly`, as pydantic's `SecretStr` is; bytes have
    the encoding `base64`. An input that contains one anywhere is not kept as a whole.
    """
    found = {}
    for parameter in parameters:
        for schema in _schemas_in(parameter.schema, definitions, set()):
            if schema.get("format") == "password" or schema.get("writeOnly") is True:
                found[parameter.name] = "secret"
                break
            if schema.get("contentEncoding") == "base64" or schema.get("format") == "binary":
                found[parameter.name] = "bytes"
    return found


def _schemas_in(
    value: object, definitions: Mapping[str, Mapping[str, Any]], seen: set[str]
) -> Iterator[Mapping[str, Any]]:
    """Yield a schema and all schemas inside it; each definition once."""
    if isinstance(value, Mapping):
        yield value
        reference = str(value.get("$ref", "")).rpartition("/")[2]
        if reference in definitions and reference not in seen:
            seen.add(reference)
            yield from _schemas_in(definitions[reference], definitions, seen)
    items = value.values() if isinstance(value, Mapping) else value
    if isinstance(items, Iterable) and not isinstance(items, str):
        for item in items:
            yield from _schemas_in(item, definitions, seen)
