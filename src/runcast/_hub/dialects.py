"""Dialects by name: our own, and those of installed packages."""

from runcast import _plugins
from runcast._wire.dialects import DIALECTS, Dialect
from runcast.errors import InvalidValue

__all__ = ("find_dialect",)


def find_dialect(name: str) -> Dialect:
    """Return the dialect of that name, ours or one of an installed package.

    Packages offer dialects through entry points of the group `runcast.dialects`.

    Raises:
        InvalidValue: there is none, and the message names those there are; or the package cannot
            be imported.
    """
    dialect = DIALECTS.get(name)
    if dialect is not None:
        return dialect
    offered = _plugins.find(_plugins.DIALECTS, name)
    if offered is None:
        known = ", ".join([*DIALECTS, *_plugins.names(_plugins.DIALECTS)])
        raise InvalidValue(f"expected a dialect, one of {known}; got {name[:80]!r}")
    made: object = offered() if isinstance(offered, type) else offered
    if not isinstance(made, Dialect) or made.name != name:
        raise InvalidValue(f"expected the package to offer a Dialect {name!r}, got {made!r:.80}")
    return made
