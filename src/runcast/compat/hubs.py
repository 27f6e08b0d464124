"""The hub that the modules of this package write to.

These modules were once standalone, and their functions take no hub. So there is a hub in use:

1. the hub that was passed to `use_hub`, for the whole process; otherwise
2. a hub of the running event loop, in memory, opened when it is first needed.

The second kind keeps ended runs for an hour. It ends with its loop, or with `close_hub`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from runcast import OpenHub, Settings

__all__ = ("KEEP_RUNS_S", "close_hub", "opened", "settings_in_use", "use_hub", "using_hub")

KEEP_RUNS_S: Final = 3600.0
"""How long a hub made on demand keeps ended runs: the time that the replaced modules kept
streams."""

_given: OpenHub | None = None
_made: Final[dict[asyncio.AbstractEventLoop, asyncio.Task[OpenHub]]] = {}


def use_hub(hub: OpenHub | None) -> None:
    """Make everything in this package write to a hub. The caller opens and closes the hub.

    None returns to hubs made on demand.
    """
    global _given
    _given = hub


@asynccontextmanager
async def using_hub(hub: OpenHub) -> AsyncIterator[OpenHub]:
    """Open a hub, and make everything in this package write to it inside the block."""
    before = _given
    async with hub:
        use_hub(hub)
        try:
            yield hub
        finally:
            use_hub(before)


def settings_in_use() -> Settings:
    """Return the settings of the hub in use, or of the hub that would be made."""
    if _given is not None:
        return _given.settings
    return replace(Settings.load(), keep_runs_s=KEEP_RUNS_S)


async def opened() -> OpenHub:
    """Return the hub in use."""
    if _given is not None:
        return _given
    loop = asyncio.get_running_loop()
    for other in [other for other in _made if other.is_closed()]:
        del _made[other]
    opening = _made.get(loop)
    if opening is None:
        hub = OpenHub(settings=settings_in_use())
        opening = _made[loop] = loop.create_task(hub.open(), name="runcast-compat-hub")
    # The first caller may be cancelled, while others still wait for the hub.
    return await asyncio.shield(opening)


async def close_hub() -> None:
    """Close the hub that was made for this loop, if any. The next use makes a new one."""
    opening = _made.pop(asyncio.get_running_loop(), None)
    if opening is not None:
        await (await opening).close()
