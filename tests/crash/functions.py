"""What the servers of these tests run, besides the demo functions."""

import asyncio
from collections.abc import Generator
from typing import Any

import runcast
from runcast.demo import emit_events as emit_events
from runcast.errors import Overloaded, StoreUnavailable


@runcast.function
async def insist(n: int, size: int) -> dict[str, int]:
    """Emit n ticks, each again and again until it is taken, and each in the log before the next."""
    refused = 0
    for number in range(1, n + 1):
        while True:
            try:
                runcast.emit("tick", {"n": number, "of": n, "text": "." * size})
                break
            except (StoreUnavailable, Overloaded):
                refused += 1
                await asyncio.sleep(0)
        try:
            await runcast.flush()
        except StoreUnavailable:
            refused += 1  # it was taken, and will be in the log
    return {"events": n, "refused": refused}


@runcast.function
def pour(n: int, size: int) -> Generator[dict[str, Any], None, dict[str, int]]:
    """Yield n ticks from a thread, as fast as they are taken."""
    for number in range(1, n + 1):
        yield {"type": "tick", "data": {"n": number, "of": n, "text": "." * size}}
    return {"events": n}
