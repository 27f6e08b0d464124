"""The hub that the modules of this package write to.

The modules stood alone before: nobody handed them a hub. So there is one in use, which is

1. the hub that `use_hub` was given, for the whole process, or else
2. one of the running event loop, in memory, opened when it is first needed.

The second keeps ended runs for an hour. It goes with its loop, or with `close_hub`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from runcast import OpenHub, Settings

__all__ = ("KEEP_RUNS_S", "close_hub", "opened", "settings_in_use", "use_hub", "using_hub")

KEEP_RUNS_S: Final = 3600.0
"""How long a hub made on demand keeps ended runs: as long as streams used to be kept."""

_given: OpenHub | None = None
_made: Final[dict[asyncio.AbstractEventLoop, asyncio.Task[OpenHub]]] = {}


def use_hub(hub: OpenHub | None) -> None:
    """Have everything in this package write to a hub, which stays the caller's to open and close.

    None goes back to hubs made on demand.
    """
    global _given
    _given = hub


@asynccontextmanager
async def using_hub(hub: OpenHub) -> AsyncIterator[OpenHub]:
    """Open a hub and have everything in this package write to it inside the block."""
    before = _given
    async with hub:
        use_hub(hub)
        try:
            yield hub
        finally:
            use_hub(before)


def settings_in_use() -> Settings:
    """Return the settings of the hub in use, or of the one that would be made."""
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
    # Whoever asked first may be cancelled; the others still want it.
    return await asyncio.shield(opening)


async def close_hub() -> None:
    """Close the hub that was made for this loop, if one was. The next use makes another."""
    opening = _made.pop(asyncio.get_running_loop(), None)
    if opening is not None:
        await (await opening).close()
