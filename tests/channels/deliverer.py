"""A process that delivers a run, and may be killed at any time.

    python -m tests.channels.deliverer begin|resume STORE CHANNELS_FILE RUN_ID TARGET

It keeps short pauses and makes short messages, so that a delivery is many calls in little time.
`begin` begins the delivery. `resume` waits until the delivery of a process that died has ended, and
prints its receipt as JSON.
"""

import asyncio
import dataclasses
import json
import sys
from typing import Any

import runcast
from runcast.channels.channel import Channel
from runcast.channels.deliveries import DELIVERY
from runcast.channels.platforms import make_channel
from runcast.channels.targets import Target

LIMIT = 160


def _make(target: Target) -> Channel:
    channel: Any = make_channel(target)
    channel.capability = dataclasses.replace(
        channel.capability, limit=LIMIT, interval_s=0.01, slots=1000, typing_s=60.0
    )
    made: Channel = channel
    return made


async def _resumed(hub: runcast.OpenHub, run_id: str) -> dict[str, Any]:
    (found,) = await hub.hub.store.list(kind=DELIVERY, labels={"run": run_id}, limit=5)
    async for _ in hub.watch(found.log_id):
        pass
    info, snapshot = await hub.hub.present(found.log_id)
    return {"status": info.status, "outcome": snapshot.result or snapshot.errors}


async def main(what: str, store: str, file: str, run_id: str, target: str) -> None:
    settings = runcast.Settings(channels_file=file, lease_s=1.0)
    hub = runcast.open_hub(f"sqlite:///{store}", settings=settings)._make()
    hub.deliveries._make = _make
    await hub.open()
    try:
        if what == "begin":
            delivery = await hub.deliver(run_id, target)
            await delivery.wait()
        sys.stdout.write(json.dumps(await _resumed(hub, run_id)))
    finally:
        await hub.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
