"""The hub that the modules of this package write to: one for the process, or one made on demand.

The modules stood alone before: nobody handed them a hub. So there is one in use, which is

1. the hub that `use_hub` was given, for the whole process, or else
2. one of the running event loop, in memory, made when it is first needed.

The second keeps ended runs for an hour. It goes with its loop, or with `close_hub`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from runcast import OpenHub, Settings

__all__ = ("close_hub", "hub_in_use", "opened", "use_hub", "using_hub")

KEEP_RUNS_S: Final = 3600.0
"""How long a hub made on demand keeps ended runs: as long as streams used to be kept."""

_given: OpenHub | None = None
_made: Final[dict[asyncio.AbstractEventLoop, OpenHub]] = {}
_opening: Final[dict[OpenHub, "asyncio.Task[OpenHub]"]] = {}


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


def hub_in_use() -> OpenHub:
    """Return the hub in use; it may not be open yet.

    Raises:
        RuntimeError: none was given, and no event loop runs here that one could be made for.
    """
    if _given is not None:
        return _given
    loop = asyncio.get_running_loop()
    for other in [other for other in _made if other.is_closed()]:
        _opening.pop(_made.pop(other), None)
    hub = _made.get(loop)
    if hub is None:
        settings = replace(Settings.load(), keep_runs_s=KEEP_RUNS_S)
        hub = _made[loop] = OpenHub(settings=settings)
    return hub


async def opened(hub: OpenHub | None = None) -> OpenHub:
    """Return a hub, the one in use if None, open if it was made on demand."""
    hub = hub or hub_in_use()
    if hub is not _made.get(asyncio.get_running_loop()):
        return hub
    opening = _opening.get(hub)
    if opening is None:
        opening = _opening[hub] = asyncio.create_task(hub.open(), name="runcast-compat-hub")
    # Whoever asked first may be cancelled; the others still want it.
    return await asyncio.shield(opening)


async def close_hub() -> None:
    """Close the hub that was made for this loop, if one was. The next use makes another."""
    hub = _made.pop(asyncio.get_running_loop(), None)
    if hub is not None:
        opening = _opening.pop(hub, None)
        if opening is not None:
            await opening
        await hub.close()
