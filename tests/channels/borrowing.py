"""What every client of a bot's author has to do for a delivery."""

import asyncio
from collections.abc import Sequence

import runcast
from runcast.channels import Channel, Receipt
from runcast.testing import ChatFault, ChatServer
from tests.waiting import WAIT_S


async def deliver_through(
    channel: Channel, platform: ChatServer, place: str, secrets: Sequence[str]
) -> Receipt:
    """Deliver a run that asks nothing, while the platform refuses once; check what people see."""

    async def explain() -> str:
        runcast.content("This **explains** rain.")
        return "And so it *is*."

    platform.fail(ChatFault(kind="limited", retry_after_s=0.1))
    async with runcast.open_hub() as hub:
        run = await hub.start(explain)
        delivery = await hub.deliver(run.run_id, channel)
        async with asyncio.timeout(WAIT_S):
            receipt = await delivery.wait()
    assert receipt is not None
    assert not any(secret in repr((receipt, delivery.target)) for secret in secrets)
    shown = "\n\n".join(platform.shown(place)).replace("*", "")
    assert shown == "This explains rain.\n\nAnd so it is.", receipt
    return receipt
