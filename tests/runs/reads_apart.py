"""Functions that read messages in processes of their own: imported by those processes."""

import asyncio
from typing import Any

import runcast


@runcast.function(isolation="process")
def reads_apart(count: int) -> list[Any]:
    found = []
    for message in runcast.inbox():
        found.append([message.id, message.data, message.sender])
        runcast.log(f"got {message.id}")
        if len(found) == count:
            return found
    return found


@runcast.function(isolation="process")
async def awaits_apart() -> list[Any]:
    inbox, found = runcast.inbox(), list[Any]()
    try:
        await asyncio.wait_for(anext(inbox), 0.01)
    except TimeoutError:
        runcast.log("nothing yet")
    while len(found) < 2:
        message = await anext(inbox)
        found.append(message.data)
    assert await inbox.poll() is None
    return found
