"""What a delivery shows, and how it ends: as its caller says, else as its target says.

The options `shows` and `finish` of a target stand beside its other options in the channels file.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runcast.channels.document import SHOWS, Shows
from runcast.errors import InvalidValue

if TYPE_CHECKING:
    from runcast.channels.engine import Finish

__all__ = ("FINISHES", "DeliveryOptions")

FINISHES: Final = ("auto", "in_place", "fresh")
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class DeliveryOptions(NamedTuple):
    """How a run is delivered; see `OpenHub.deliver`."""

    shows: Shows
    finish: "Finish"

    @classmethod
    def choose(
        cls,
        shows: object = None,
        finish: object = None,
        target: Mapping[str, str] = _NOTHING,
        *,
        place: str = "",
    ) -> "DeliveryOptions":
        """Return what the caller chose; where that is None, what the target has.

        Args:
            target: its options.
            place: where those options are written, for the error.

        Raises:
            InvalidValue: there is no such choice.
        """
        where = f" in {place}" if place else ""
        shows = target.get("shows", "tools") if shows is None else shows
        finish = target.get("finish", "auto") if finish is None else finish
        return cls(
            _chosen("shows", shows, SHOWS, where), _chosen("finish", finish, FINISHES, where)
        )


def _chosen(name: str, value: object, known: tuple[str, ...], where: str) -> Any:
    if value not in known:
        raise InvalidValue(f"expected {name}{where} to be {_listed(known)}; got {value!r:.40}")
    return value


def _listed(known: tuple[str, ...]) -> str:
    return f"{', '.join(known[:-1])} or {known[-1]}"
