"""What the servers of these tests run, besides the demo functions."""

import asyncio
import os
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
async def tell(n: int, size: int) -> dict[str, int]:
    """Emit n ticks, each in the log before the next, and know nothing of a store that fails."""
    for number in range(1, n + 1):
        runcast.emit("tick", {"n": number, "of": n, "text": "." * size})
        await runcast.flush()
    return {"events": n}


@runcast.function
def pour(n: int, size: int) -> Generator[dict[str, Any], None, dict[str, int]]:
    """Yield n ticks from a thread, as fast as they are taken."""
    for number in range(1, n + 1):
        yield {"type": "tick", "data": {"n": number, "of": n, "text": "." * size}}
    return {"events": n}


@runcast.function(recover=True, max_attempts=1)
async def works_until_it_may_end() -> str:
    """Work until a server whose environment has MAY_END calls it."""
    runcast.content("at work")
    if not os.environ.get("MAY_END"):
        await asyncio.Event().wait()
    return "end"


@runcast.function
async def asks() -> Any:
    """Ask, and return what was answered."""
    return (await runcast.ask("Left or right?")).args


@runcast.function(recover=True, max_attempts=1)
async def asks_and_reads() -> Any:
    """Ask, then read a message; return both, and which process did so."""
    runcast.emit("pid", os.getpid())
    answer = await runcast.ask("Left or right?", interrupt_id="way")
    async for message in runcast.inbox():
        return [answer.args, message.data, os.getpid()]
    return None
