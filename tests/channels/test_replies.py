"""Callbacks while the store is slow or away."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

import runcast
import runcast.channels.platforms.telegram  # here, because an import in the loop would block it
from runcast.channels import Button, Callback, CallOutcome, Capability, Edit, Inbound, Send
from runcast.channels.callbacks import callback_of
from runcast.channels.deliveries import Deliveries
from runcast.channels.refusals import Refusals
from runcast.channels.replies import Replies
from runcast.channels.targets import ChannelsFile, Target
from runcast.errors import StoreUnavailable, Unauthorized
from runcast.testing import FakeClock, FakeTelegram
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

    def __init__(self, *, is_silent: bool = False) -> None:
        self.is_silent = is_silent
        self.asked = asyncio.Event()
        self.edits: list[Edit] = []

    async def send(self, message: Send) -> CallOutcome:
        if not message.question_id:
            return CallOutcome("ok", "9")
        assert message.buttons == (Button("accept", "Approve"), Button("reject", "Reject"))
        self.asked.set()
        return CallOutcome("uncertain") if self.is_silent else CallOutcome("ok", "8")

    async def edit(self, message: Edit) -> CallOutcome:
        self.edits.append(message)
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
        self.is_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.is_away = False

    async def answer(
        self, run_id: str, interrupt_id: str, answer: object, **how: Any
    ) -> tuple[Mapping[str, Any], bool]:
        await self._wait()
        return await self._runs.answer(run_id, interrupt_id, answer, **how)

    async def send(self, run_id: str, data: object, **how: Any) -> object:
        await self._wait()
        return await self._runs.send(run_id, data, **how)

    async def _wait(self) -> None:
        if self.is_away:
            raise StoreUnavailable("the store is away")
        self.is_asked.set()
        await self.may_answer.wait()


async def ask() -> str:
    return (await runcast.ask("Sure?", interrupt_id="q")).type


def update(text: str = "", epoch: str = "") -> Mapping[str, Any]:
    place = {"message_id": 8, "chat": {"id": 42}}
    person = {"id": 5, "is_bot": False}
    if text:
        said = {**place, "message_id": 9, "text": text, "from": person, "reply_to_message": place}
        return {"update_id": 1, "message": said}
    query = {"id": "7", "data": callback_of("q", "accept", epoch), "from": person, "message": place}
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


@pytest.mark.parametrize(
    ("text", "notice"),
    [
        ("", "This cannot be answered here any more."),
        ("look at page 3", "This run has ended; nothing was sent to it."),
    ],
)
async def test_nothing_is_done_to_a_run_that_takes_the_id_of_the_one_in_the_message(
    text: str, notice: str
) -> None:
    async with asking() as (hub, runs, replies):
        replies._answer_s = WAIT_S
        posting = asyncio.create_task(post(replies, update(text)))
        async with asyncio.timeout(WAIT_S):
            await runs.is_asked.wait()
            await hub.start(ask, run_id="r", replace=True)
            async for event in hub.watch("r"):
                if event.type == "interrupt_request":
                    break
        taken = await hub.info("r")
        runs.may_answer.set()
        assert (await posting)["text"] == notice
        assert await hub.info("r") == taken


async def test_without_a_store_a_press_asks_for_another_and_a_text_comes_again() -> None:
    async with asking() as (_, runs, replies):
        runs.is_away = True
        replies._answer_s = WAIT_S
        answer = await post(replies, update())
        assert answer["text"] == "It could not be stored. Try again in a moment."
        with pytest.raises(StoreUnavailable):
            await post(replies, update("look at page 3"))


@pytest.mark.parametrize("is_of_this_run", [True, False])
async def test_a_press_tells_the_message_of_a_question_whose_send_got_no_answer(
    is_of_this_run: bool,
) -> None:
    async with runcast.open_hub() as hub:
        chat = Chat(is_silent=True)
        deliveries = Deliveries(hub.hub, CHANNELS, lambda _: chat)
        replies = Replies(hub, deliveries, answer_s=WAIT_S)
        await hub.start(ask, run_id="r")
        delivery = await deliveries.begin("r", "telegram:ops")
        async with asyncio.timeout(WAIT_S):
            await chat.asked.wait()
        epoch = (await hub.hub.info("r")).epoch if is_of_this_run else "of-an-older-run"
        answer = await post(replies, update(epoch=epoch))
        if is_of_this_run:
            assert answer["text"] == "Approved."
            async with asyncio.timeout(WAIT_S):
                receipt = await delivery.wait()
            assert receipt is not None
            assert (receipt.status, receipt.message_ids) == ("delivered", ("8", "9"))
            assert [edit.message_id for edit in chat.edits] == ["8"]
        else:
            assert answer["text"] == "This cannot be answered here any more."
            await hub.cancel("r")
        await replies.close()
        await deliveries.close()


@pytest.mark.parametrize("name", ["telegram", "telegram:ops", "telegram:none", "slack", "none"])
async def test_a_stranger_does_not_learn_which_channels_there_are(name: str) -> None:
    async with asking() as (_, _, replies):
        with pytest.raises(Unauthorized) as refused:
            await replies.receive(name, {}, b"{}", {})
        assert refused.value.message == "no platform sent this"


async def test_refused_requests_are_logged_once_a_minute_for_each_channel(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with asking() as (_, _, replies):
        replies._refusals = Refusals(clock := FakeClock())
        for minute in range(2):
            for number in range(50):
                for name in ("telegram", "telegram:ops", f"none{number}", f"\n{number}"):
                    with pytest.raises(Unauthorized):
                        await replies.receive(name, {}, b"{}", {})
            logged = [each.getMessage() for each in caplog.records[minute * 3 :]]
            more = " (49 more since the last such line)" if minute else ""
            many = " (99 more since the last such line)" if minute else ""
            assert logged == [
                f"a request to /channels/telegram was refused{more}: Telegram did not send this",
                f"a request to /channels/telegram:ops was refused{more}: "
                "Telegram did not send this",
                f"a request to /channels/none0 was refused{many}: "
                "the channels file has no such name",
            ]
            clock.advance(60.0)


class FaultyReceiver:
    """A receiver that fails in its own code before it checks the signature."""

    def read(self, callback: Callback) -> Inbound | None:
        return json.loads(callback.body)["kind"]  # type: ignore[no-any-return]

    def reply(self, inbound: Inbound, notice: str) -> object:
        return None

    def is_in(self, inbound: Inbound, address: str) -> bool:
        return False


async def test_a_receiver_that_raises_is_logged_once_a_minute_with_its_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with asking() as (_, _, replies):
        replies._make = lambda platform, options: FaultyReceiver()
        for _ in range(20):
            with pytest.raises(Unauthorized) as refused:
                await replies.receive("telegram", {}, b"T0PSECRET", {})
        assert refused.value.message == "no platform sent this"
    [logged] = [each.getMessage() for each in caplog.records]
    assert "the receiver raised JSONDecodeError" in logged
    assert 'return json.loads(callback.body)["kind"]' in logged
    assert "T0PSECRET" not in logged
