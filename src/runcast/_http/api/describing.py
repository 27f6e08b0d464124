"""The parts of a description of an operation: what it takes and answers, as OpenAPI wants it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from runcast._producing.labels import MAX_GIVEN_LABELS
from runcast.stores.base import MAX_LABEL_CHARS

__all__ = (
    "GIVEN_LABELS",
    "Operation",
    "Response",
    "Schema",
    "of_fields",
    "of_object",
    "of_path",
    "parameter",
    "ref",
)

Schema = dict[str, Any]


class Response(NamedTuple):
    """A response: its meaning, its body by media type, and its headers' names.

    `leads_to` are the names of operations that take the `run_id` in its headers.
    """

    about: str
    content: Mapping[str, Schema] = {}
    headers: Sequence[str] = ()
    leads_to: Sequence[str] = ()


class Operation(NamedTuple):
    """One path and method: its purpose, parameters and responses.

    `problems` are its own statuses besides those of `openapi.COMMON`. `body` is by media type.
    `is_open` operations need no access token.
    """

    name: str
    summary: str
    tag: str
    responses: Mapping[int, Response]
    parameters: Sequence[Schema] = ()
    body: Mapping[str, Schema] = {}
    problems: Sequence[int] = ()
    is_open: bool = False
    is_body_required: bool = False


def ref(name: str) -> Schema:
    """Return a reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def parameter(place: str, name: str, schema: Schema, about: str = "", **more: Any) -> Schema:
    """Return a parameter."""
    shown = {"name": name, "in": place, "schema": schema, **more}
    return {**shown, "description": about} if about else shown


def of_path(name: str, pattern: str, about: str) -> Schema:
    """Return a parameter in the path."""
    return parameter("path", name, {"type": "string", "pattern": pattern}, about, required=True)


def of_object(required: Sequence[str] = (), /, **properties: Schema) -> Schema:
    """Return the schema of an object."""
    found: Schema = {"type": "object", "properties": properties}
    return {**found, "required": list(required)} if required else found


def of_fields(required: Sequence[str] = (), /, **properties: Schema) -> Schema:
    """Return the schema of a body. Other fields are refused, except those of gateways."""
    return {
        **of_object(required, **properties),
        "patternProperties": {"^_": {}},
        "additionalProperties": False,
    }


GIVEN_LABELS: Final[Schema] = {
    "type": "object",
    "maxProperties": MAX_GIVEN_LABELS,
    "propertyNames": {
        "pattern": r"^(?!function$|status$|runcast\.)[^\u0000]+$",
        "maxLength": MAX_LABEL_CHARS,
    },
    "additionalProperties": {
        "type": "string",
        "pattern": r"^[^\u0000]*$",
        "maxLength": MAX_LABEL_CHARS,
    },
}
"""Labels that a client may give a run."""
