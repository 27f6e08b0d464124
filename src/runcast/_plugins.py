"""Stores, dialects, sources and channels of other packages, found through their entry points.

    [project.entry-points."runcast.stores"]
    etcd = "runcast_etcd:open_store"

| group | name | object |
|---|---|---|
| `runcast.stores` | the scheme of a URL | `open(url: str, settings, clock) -> Store` |
| `runcast.dialects` | the dialect's name | a `Dialect`, or a function that makes one |
| `runcast.sources` | the source's name | the source's module |
| `runcast.channels` | the scheme of a target | a module with `make_channel`, or that function |

A package is imported only when its name is used.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from runcast.errors import InvalidValue

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ("CHANNELS", "DIALECTS", "SOURCES", "STORES", "find", "names")

STORES: Final = "runcast.stores"
DIALECTS: Final = "runcast.dialects"
SOURCES: Final = "runcast.sources"
CHANNELS: Final = "runcast.channels"


def names(group: str) -> list[str]:
    """Return the names that other packages offer in a group, sorted."""
    return sorted(_offered(group))


def find(group: str, name: str) -> Any:
    """Return the object that a package offers under a name, or None.

    Raises:
        InvalidValue: two packages offer it, or the package cannot be imported.
    """
    found = _offered(group).get(name, ())
    if len(found) > 1:
        modules = ", ".join(sorted(each.value for each in found))
        raise InvalidValue(f"several packages offer {name!r} as one of {group}: {modules}")
    for each in found:
        try:
            return each.load()
        except Exception as error:
            raise InvalidValue(
                f"{name!r} of {group} cannot be imported ({each.value}): {error!r:.300}"
            ) from error
    return None


@cache  # reading the metadata of all packages takes milliseconds, and requests may name anything
def _offered(group: str) -> dict[str, tuple["EntryPoint", ...]]:
    from importlib.metadata import entry_points  # late, because it takes 20 ms

    offered: dict[str, tuple[EntryPoint, ...]] = {}
    for each in entry_points(group=group):
        offered[each.name] = (*offered.get(each.name, ()), each)
    return offered
