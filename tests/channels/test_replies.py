"""Callbacks while the store is slow or away."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

import runcast
from runcast.channels import Button, CallOutcome, Capability, Send
from runcast.channels.callbacks import callback_of
from runcast.channels.deliveries import Deliveries
from runcast.channels.replies import Replies
from runcast.channels.targets import ChannelsFile, Target
from runcast.errors import StoreUnavailable, Unauthorized
from runcast.testing import FakeTelegram
from tests.waiting import WAIT_S

if TYPE_CHECKING:
    from runcast._hub.hub import Hub

CHANNELS = ChannelsFile(
    {"telegram": {"token": "1:x", "secret_token": FakeTelegram.SECRET, "ops": {"to": "42"}}}
)


class Chat:
    """A channel that sends every message at once."""

    capability = Capability(limit=500, has_buttons=True)
    scope = "chat"

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def send(self, message: Send) -> CallOutcome:
        assert message.buttons == (Button("accept", "Approve"), Button("reject", "Reject"))
        self.asked.set()
        return CallOutcome("ok", "8")

    async def edit(self, message: object) -> CallOutcome:
        return CallOutcome("ok")

    async def delete(self, message_id: str) -> CallOutcome:
        return CallOutcome("ok")

    async def close(self) -> None:
        pass


class SlowRuns:
    """Runs whose store answers when it may, or is away."""

    def __init__(self, hub: runcast.OpenHub) -> None:
        self.hub: Hub = hub.hub
        self._runs = hub
        self.may_answer = asyncio.Event()
        self.is_away = False

    async def answer(
        self, run_id: str, interrupt_id: str, answer: object
    ) -> tuple[Mapping[str, Any], bool]:
        if self.is_away:
            raise StoreUnavailable("the store is away")
        await self.may_answer.wait()
        return await self._runs.answer(run_id, interrupt_id, answer)

    async def send(
        self, run_id: str, data: object, *, message_id: str = "", sender: str = ""
    ) -> object:
        raise StoreUnavailable("the store is away")


async def ask() -> str:
    return (await runcast.ask("Sure?", interrupt_id="q")).type


def update(text: str = "") -> Mapping[str, Any]:
    place = {"message_id": 8, "chat": {"id": 42}}
    person = {"id": 5, "is_bot": False}
    if text:
        said = {**place, "message_id": 9, "text": text, "from": person, "reply_to_message": place}
        return {"update_id": 1, "message": said}
    query = {"id": "7", "data": callback_of("q", "accept"), "from": person, "message": place}
    return {"update_id": 1, "callback_query": query}


@asynccontextmanager
async def asking() -> AsyncIterator[tuple[runcast.OpenHub, SlowRuns, Replies]]:
    async with runcast.open_hub() as hub:
        chat, runs = Chat(), SlowRuns(hub)

        def make(target: Target) -> Chat:
            return chat

        deliveries = Deliveries(hub.hub, CHANNELS, make)
        replies = Replies(runs, deliveries, answer_s=0.01)
        await hub.start(ask, run_id="r")
        await deliveries.begin("r", "telegram:ops")
        async with asyncio.timeout(WAIT_S):
            await chat.asked.wait()
        yield hub, runs, replies
        await replies.close()
        await hub.cancel("r")
        await deliveries.close()


async def post(replies: Replies, sent: Mapping[str, Any]) -> Any:
    callback = FakeTelegram().sign(dict(sent))
    return await replies.receive("telegram", callback.headers, callback.body, {})


async def test_a_press_is_acknowledged_in_time_and_counts_later() -> None:
    async with asking() as (hub, runs, replies):
        answer = await post(replies, update())
        assert answer == {"method": "answerCallbackQuery", "callback_query_id": "7", "text": ""}
        runs.may_answer.set()
        async with asyncio.timeout(WAIT_S):
            async for event in hub.watch("r"):
                if event.type == "done":
                    assert event.data["result"] == "accept"


async def test_without_a_store_a_press_asks_for_another_and_a_text_comes_again() -> None:
    async with asking() as (_, runs, replies):
        runs.is_away = True
        replies._answer_s = WAIT_S
        answer = await post(replies, update())
        assert answer["text"] == "It could not be stored. Try again in a moment."
        with pytest.raises(StoreUnavailable):
            await post(replies, update("look at page 3"))


@pytest.mark.parametrize("name", ["telegram", "telegram:ops", "telegram:none", "slack", "none"])
async def test_a_stranger_does_not_learn_which_channels_there_are(name: str) -> None:
    async with asking() as (_, _, replies):
        with pytest.raises(Unauthorized) as refused:
            await replies.receive(name, {}, b"{}", {})
        assert refused.value.message == "no platform sent this"
