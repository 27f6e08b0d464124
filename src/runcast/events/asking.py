"""What a question allows, as its `config` says. The names in it are those of LangGraph."""

from typing import Any, Final, Literal

from runcast.events.snapshot import MAX_VALUE_CHARS
from runcast.events.vocabulary import as_text, pick

__all__ = ("MAX_CHOICES", "allows", "choices_of", "takes_json")

MAX_CHOICES: Final = 20
"""Most choices that are listed; of more, a person writes one."""

_FLAGS: Final = {"accept": "allow_accept", "edit": "allow_edit", "response": "allow_respond"}


def allows(config: object, answer: Literal["accept", "edit", "response", "reject"]) -> bool:
    """Return whether a question takes an answer of this type. It always takes `reject`."""
    return pick(config, _FLAGS.get(answer, "")) is not False


def choices_of(config: object) -> list[Any]:
    """Return the values that a response may have, in order; [] if it takes others, too."""
    if not allows(config, "response") or len(as_text(config)) > MAX_VALUE_CHARS:
        return []  # the state of the run does not keep such a config
    schema = pick(config, "response_schema")
    found = pick(schema, "enum")
    if found is None:
        found = pick(config, "choices", "options")
    if isinstance(found, list):
        return found if len(found) <= MAX_CHOICES else []
    return [True, False] if pick(schema, "type") == "boolean" else []


def takes_json(config: object) -> bool:
    """Return whether a response is JSON, and not a text."""
    kind = pick(pick(config, "response_schema"), "type")
    return isinstance(kind, str) and kind != "string"
