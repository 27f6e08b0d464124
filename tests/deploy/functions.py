"""What the nodes run while they are replaced, besides the demo functions."""

import asyncio
import os
from collections.abc import AsyncGenerator
from typing import Any

import runcast
from runcast.demo import emit_events as emit_events


@runcast.function(recover=True)
async def tend() -> str:
    """Work for longer than any node waits, unless the node has MAY_END."""
    runcast.content("at work")
    if not os.environ.get("MAY_END"):
        await asyncio.Event().wait()
    return "tended"


async def shipped(
    interrupt_id: str, answer: Any, kept: Any
) -> AsyncGenerator[dict[str, Any], None]:
    """Continue `ship` with its answer."""
    assert interrupt_id == "ship"
    yield {"type": "shipped", "data": {"build": kept["build"], "answer": answer.type}}


@runcast.function(resume=shipped)
async def ship() -> None:
    """Ask, and leave the rest to whichever node has the answer."""
    await runcast.ask("Ship it?", interrupt_id="ship", keep={"build": 7})


@runcast.function
async def ask_at_work() -> str:
    """Ask without being able to continue on another node."""
    return (await runcast.ask("Go on?", interrupt_id="here")).type
