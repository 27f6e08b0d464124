"""Functions to try a deployment with: how each one behaves while nodes are replaced."""

import asyncio

import runcast


@runcast.function
async def count(to: int = 20) -> int:
    """Count, a number a second. A node that is being replaced waits for it."""
    for number in runcast.track(range(to)):
        runcast.content(f"{number} ")
        await asyncio.sleep(1)
    return to


@runcast.function(recover=True)
async def tend(hours: float = 1) -> None:
    """Work for longer than any node waits. Another node continues it."""
    runcast.log("at work")
    await asyncio.sleep(3600 * hours)


async def shipped(interrupt_id, answer, kept):
    """Continue `ship` on any node, with the answer."""
    yield f"{kept['build']}: {answer.type}"


@runcast.function(resume=shipped)
async def ship() -> None:
    """Ask for permission. The question stays open while all nodes are replaced."""
    await runcast.ask("Ship it?", interrupt_id="ship", keep={"build": 7})
