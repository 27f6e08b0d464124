"""Sources: what turns a framework's own events into the events of a run."""

from types import ModuleType

from runcast import _plugins
from runcast.errors import NotFound

__all__ = ("load",)


def load(name: str) -> ModuleType:
    """Return a source that an installed package offers (entry points, group `runcast.sources`).

    Raises:
        NotFound: no installed package offers it; the message names those there are.
        InvalidValue: its package cannot be imported.
    """
    source: ModuleType | None = _plugins.find(_plugins.SOURCES, name)
    if source is None:
        known = ", ".join(_plugins.names(_plugins.SOURCES)) or "none"
        raise NotFound(f"there is no source {name[:80]!r}; installed packages offer: {known}")
    return source
