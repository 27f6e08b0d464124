"""Check what callers pass to a client, before anything is sent."""

import os
from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

from runcast.errors import InvalidValue

__all__ = (
    "check_count",
    "check_seconds",
    "check_wait",
    "checked_labels",
    "checked_mapping",
    "checked_names",
    "checked_text",
    "checked_token",
)


def check_count(name: str, given: object, *, least: int) -> None:
    """Raise `InvalidValue` unless an option is a whole number of at least `least`."""
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        raise InvalidValue(
            f"expected {name} to be a whole number, at least {least}, got {given!r:.80}"
        )


def check_seconds(name: str, given: object) -> None:
    """Raise `InvalidValue` unless an option is a time of more than 0 seconds."""
    if isinstance(given, bool) or not (isinstance(given, int | float) and 0 < given < inf):
        raise InvalidValue(f"expected {name} to be more than 0 seconds, got {given!r:.80}")


def check_wait(name: str, given: object) -> None:
    """Raise `InvalidValue` unless an option is a time of at least 0 seconds."""
    if isinstance(given, bool) or not (isinstance(given, int | float) and 0 <= given < inf):
        raise InvalidValue(f"expected {name} to be seconds, at least 0, got {given!r:.80}")


def checked_text(name: str, given: object, like: str) -> str:
    """Return a text that is not empty. Raises `InvalidValue`."""
    if not isinstance(given, str) or not given:
        raise InvalidValue(f"expected {name} to be a text like {like!r}, got {given!r:.80}")
    return given


def checked_names(name: str, given: Iterable[str]) -> list[str]:
    """Return names; one text is one name. Raises `InvalidValue`."""
    names = [given] if isinstance(given, str) else list(given)
    for each in names:
        if not isinstance(each, str):
            raise InvalidValue(f"expected {name} to be texts, got {each!r:.80}")
    return [each for each in names if each]


def checked_mapping(name: str, given: Mapping[str, Any] | None, like: str) -> dict[str, Any]:
    """Return a mapping as a dict; None is an empty one. Raises `InvalidValue`."""
    if given is not None and not isinstance(given, Mapping):
        raise InvalidValue(f"expected {name} like {like}, got {given!r:.80}")
    return dict(given or {})


def checked_labels(given: Mapping[str, str] | None) -> dict[str, str]:
    """Return labels as a dict; None is an empty one. Raises `InvalidValue`."""
    labels = checked_mapping("labels", given, '{"user": "ada"}')
    for name, value in labels.items():
        if not isinstance(name, str):
            raise InvalidValue(f"expected names of labels to be texts, got {name!r:.80}")
        if not isinstance(value, str):
            raise InvalidValue(
                f"expected the value of the label {name[:80]!r} to be a text, got {value!r:.80}; "
                "write it as the run has it, as str(…) does"
            )
    return labels


def checked_token(token: str | None, link: str) -> str:
    """Return the access token; by default that in `RUNCAST_TOKEN`, with a link "".

    Raises:
        InvalidValue: both are given.
    """
    if link and token:
        raise InvalidValue("expected either a token or a link, got both; pass one of them")
    if token is None:
        return "" if link else os.environ.get("RUNCAST_TOKEN", "")
    return token
