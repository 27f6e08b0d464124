"""Deliveries to the platforms for tests, by the addresses that people write."""

import asyncio

import pytest

import runcast
from runcast.testing import ChatFault, FakeDiscord, FakeSlack, FakeTelegram
from tests.waiting import WAIT_S


@runcast.function
async def explain(topic: str) -> str:
    runcast.content(f"This **explains** {topic}.")
    return "And so it *is*."


@pytest.mark.parametrize("platform", [FakeTelegram, FakeSlack, FakeDiscord])
async def test_a_run_is_delivered_to_an_address(
    platform: type[FakeTelegram] | type[FakeSlack] | type[FakeDiscord],
) -> None:
    async with platform() as chat:
        if isinstance(chat, FakeTelegram):
            place, address = "42", f"telegram://42?token={chat.TOKEN}&url={chat.url}"
        elif isinstance(chat, FakeSlack):
            place, address = "C1", f"slack://C1?token={chat.TOKEN}&url={chat.api_url}"
        else:
            place, address = "7", f"discord://7?token={chat.TOKEN}&url={chat.api_url}"
        chat.fail(ChatFault(kind="limited", retry_after_s=0.1))
        async with runcast.OpenHub(functions=[explain]) as hub:
            run = await hub.start(explain, {"topic": "rain"})
            delivery = await hub.deliver(run.run_id, address)
            receipt = await asyncio.wait_for(delivery.wait(), WAIT_S)
        assert receipt is not None
        assert receipt.status == "delivered"
        shown = "\n\n".join(chat.shown(place)).replace("*", "")
        assert shown == "This explains rain.\n\nAnd so it is."
        assert not any(call.was_blocked for call in chat.calls)
