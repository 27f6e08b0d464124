"""A watcher that comes and goes."""

import asyncio
import random

from runcast._app import OpenHub
from runcast.events.model import Event

__all__ = ("wander",)


async def wander(hub: OpenHub, run_id: str, chance: random.Random) -> list[Event]:
    """Watch to the end, but leave now and then and come back to where it was."""
    seen: list[Event] = []
    after = None
    while True:
        with await hub.hub.watch(run_id, after) as watch:
            stay = chance.randrange(1, 12)
            async for chunk in watch:
                assert chunk.gap is None
                seen += chunk.events()
                after = chunk.position
                stay -= 1
                if not stay:
                    break
            if watch.is_over:
                return seen
        for _ in range(chance.randrange(20)):
            await asyncio.sleep(0)
