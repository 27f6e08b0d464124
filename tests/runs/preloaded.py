"""A script: makes a hub, as a server does that imports the application before it forks workers.

One worker begins a run and is killed; another one opens the same hub. It prints how the run ended.
"""

import asyncio
import os
import signal
import sys

import runcast

hub = runcast.OpenHub(sys.argv[1])


async def forever() -> None:
    await asyncio.Event().wait()


async def begin() -> None:
    async with hub:
        await hub.start(forever, run_id="r")
        os.kill(os.getpid(), signal.SIGKILL)


async def look() -> None:
    async with hub:
        _, state = await hub.present("r")
        code = state.failure.code if state.failure else ""
        sys.stdout.write(f"{state.status} {code}")
        sys.stdout.flush()


for work in (begin, look):
    worker = os.fork()
    if not worker:
        asyncio.run(work())
        os._exit(0)
    os.waitpid(worker, 0)
