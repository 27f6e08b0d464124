"""Messages into a run, over HTTP: their bodies, and how `/openapi.json` describes them."""

from typing import Any, Final, NamedTuple

from runcast._http.api.bodies import parse_json
from runcast._http.api.describing import of_fields
from runcast._http.api.fields import check_fields
from runcast.errors import InvalidValue
from runcast.events.plain import shown

__all__ = ("MESSAGE_SCHEMAS", "GivenMessage", "parse_message")

_TEXT: Final = {"type": "string"}

_FIELDS: Final[dict[str, Any]] = {
    "data": {"description": "what the run reads, at most 16 KiB of JSON"},
    "message_id": {
        "type": "string",
        "maxLength": 128,
        "description": "the same message under the same id is stored once",
    },
    "from": {"type": "string", "maxLength": 200, "description": "who sends it"},
}

MESSAGE_SCHEMAS: Final[dict[str, Any]] = {
    "Message": of_fields(("data",), **_FIELDS),
    "Sent": {
        "type": "object",
        "required": ["message_id", "position", "repeated"],
        "properties": {
            "message_id": _TEXT,
            "position": _TEXT,
            "repeated": {"type": "boolean", "description": "whether it was there before"},
        },
    },
}


class GivenMessage(NamedTuple):
    """The body of a message into a run."""

    data: Any
    message_id: str
    sender: str


def parse_message(body: bytes) -> GivenMessage:
    """Read the body of a message into a run. Raises `InvalidValue`."""
    example = '{"data": …, "message_id": "…"}'
    given = parse_json(body, example)
    if not isinstance(given, dict) or "data" not in given:
        raise InvalidValue(f"expected a message like {example}, got {shown(given)}")
    check_fields(given, _FIELDS)
    names = {"message_id": given.get("message_id", ""), "from": given.get("from", "")}
    for name, text in names.items():
        if not isinstance(text, str):
            raise InvalidValue(f"expected {name} to be a text, got {shown(text)}")
    return GivenMessage(given["data"], names["message_id"], names["from"])
