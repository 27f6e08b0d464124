"""`runcast.deliver` inside a run."""

import asyncio

import pytest

import runcast
from runcast.channels import Delivery
from runcast.errors import InvalidValue
from tests.channels.chats import Chat, ChatChannel
from tests.waiting import WAIT_S


async def ended(hub: runcast.OpenHub, run_id: str) -> None:
    async with asyncio.timeout(WAIT_S):
        async for _ in hub.watch(run_id):
            pass
        for delivery in hub.deliveries.of(run_id):
            await delivery.wait()


async def test_a_coroutine_delivers_its_own_run() -> None:
    chat = Chat()

    async def work() -> str:
        delivery = await runcast.deliver(ChatChannel(chat), shows="answer")
        again = await runcast.deliver(ChatChannel(chat))
        assert isinstance(delivery, Delivery)
        assert again is delivery
        return "It is done."

    async with runcast.open_hub() as hub:
        run = await hub.start(work)
        await ended(hub, run.run_id)
    assert list(chat.messages.values()) == ["It is done."]


async def test_a_thread_delivers_its_own_run() -> None:
    chat = Chat()

    def work() -> str:
        runcast.deliver(ChatChannel(chat))
        return "It is done."

    async with runcast.open_hub() as hub:
        run = await hub.start(work)
        await ended(hub, run.run_id)
    assert list(chat.messages.values()) == ["It is done."]


async def test_a_block_delivers_its_own_run() -> None:
    chat = Chat()
    async with runcast.open_hub() as hub:
        async with hub.run("import") as run:
            await runcast.deliver(ChatChannel(chat))
            runcast.content("All is imported.")
        await ended(hub, run.run_id)
    assert list(chat.messages.values()) == ["All is imported."]


async def test_outside_a_run_there_is_none_to_deliver() -> None:
    with pytest.raises(InvalidValue, match=r"hub\.deliver"):
        runcast.deliver("telegram:ops")


async def test_a_target_that_is_not_known_fails_the_run() -> None:
    async def work() -> None:
        with pytest.raises(InvalidValue, match="a name of the channels file"):
            await runcast.deliver("nowhere")
        runcast.content("caught")

    async with runcast.open_hub() as hub:
        run = await hub.start(work)
        events = [event async for event in hub.watch(run.run_id)]
    assert events[-1].type == "done"
