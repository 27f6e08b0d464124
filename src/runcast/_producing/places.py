"""The keywords of `emit`, and what is said of any other."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Final, TypedDict, cast

from runcast.errors import InvalidValue
from runcast.events.model import Place

__all__ = ("PlaceFields", "not_a_place", "place_of")


class PlaceFields(TypedDict, total=False):
    """The keywords of `emit`: where and by whom something happened, and how long it took."""

    node: str
    """Where it happened."""
    agent: str
    """Who did it."""
    path: Sequence[str]
    """The agents above, the outermost first."""
    duration: float | None
    """Seconds."""


_PLACE_FIELDS: Final = frozenset(PlaceFields.__annotations__)


def place_of(
    *,
    node: str = "",
    agent: str = "",
    path: Sequence[str] = (),
    duration: float | None = None,
) -> Place | None:
    """Return the place that the keywords of `emit` name; None if they name none."""
    if node or agent or path or duration is not None:
        return node, agent, cast("tuple[str, ...]", path), duration
    return None


def not_a_place(kind: object, given: Mapping[str, object]) -> InvalidValue:
    """Return what `emit` raises for keywords that `place_of` does not take."""
    unknown = {name: value for name, value in given.items() if name not in _PLACE_FIELDS}
    held = ", ".join(f'"{name}": {value!r:.40}' for name, value in unknown.items())
    close = get_close_matches(next(iter(unknown)), _PLACE_FIELDS, 1)
    meant = f" ({close[0]}= is a keyword)" if close else ""
    return InvalidValue(
        f"expected what an event holds as one value, got {', '.join(unknown)}= as keywords: call "
        f'emit("{kind}", {{{held}}}){meant}'
    )
