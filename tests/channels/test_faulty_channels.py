"""Channels of other packages that raise, or that are silent for long."""

import asyncio
import logging
from collections.abc import Mapping

import pytest

import runcast
from runcast.channels import CallOutcome, Inbound, Send, _worker, pollers
from runcast.channels.pollers import Pollers
from runcast.channels.replies import Replies
from runcast.channels.targets import ChannelsFile
from tests.channels.chats import Chat, ChatChannel
from tests.waiting import WAIT_S

TOKEN = "T0PSECRET"


class Faulty(ChatChannel):
    """A channel whose first send fails in its own code."""

    has_failed = False

    async def send(self, message: Send) -> CallOutcome:
        if not self.has_failed:
            self.has_failed = True
            self._chat.called.set()
            try:
                dict[str, str]()["id"]
            except KeyError:
                raise ValueError(f"https://chat.example/bot{TOKEN}/send") from None
        return await super().send(message)


class Silent(ChatChannel):
    """A channel whose first send gets no answer."""

    def __init__(self, chat: Chat) -> None:
        super().__init__(chat)
        self.sends = 0

    async def send(self, message: Send) -> CallOutcome:
        self.sends += 1
        if self.sends == 1:
            self._chat.called.set()
            await asyncio.Event().wait()
        return await super().send(message)


async def _deliver(channel: ChatChannel, chat: Chat) -> None:
    """Deliver a run that says more once the channel was called."""
    async with runcast.open_hub() as hub, asyncio.timeout(WAIT_S):
        async with hub.run("talk") as run:
            delivery = await hub.deliver(run.run_id, channel)
            runcast.content("A text that is long enough to be sent. ")
            await chat.called.wait()
            runcast.content("And what comes after it, " * 6)
        receipt = await delivery.wait()
    assert receipt is not None


async def test_a_channel_that_raises_is_logged_with_its_lines_and_without_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chat = Chat()
    await _deliver(Faulty(chat), chat)
    [logged] = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert "the channel of channel://chat:1 raised ValueError" in logged
    assert "test_faulty_channels.py" in logged
    assert "raise ValueError(" in logged
    assert "builtins.ValueError" in logged
    assert not any(TOKEN in each.getMessage() for each in caplog.records)


class Away(ChatChannel):
    """A channel whose server cannot be reached at first."""

    tries = 0

    async def send(self, message: Send) -> CallOutcome:
        self.tries += 1
        self._chat.called.set()
        if self.tries <= 5:
            return CallOutcome("not_started", reason="connection refused")
        return await super().send(message)


async def test_a_server_that_cannot_be_reached_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chat = Chat()
    await _deliver(Away(chat), chat)
    [logged] = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert logged.endswith(
        " is not delivered to channel://chat:1 so far, and is tried again: connection refused"
    )


class Refusing(ChatChannel):
    async def send(self, message: Send) -> CallOutcome:
        self._begin("send")
        return CallOutcome("forbidden", reason="the bot was blocked")


async def test_a_delivery_that_failed_is_a_warning_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chat = Chat()
    await _deliver(Refusing(chat), chat)
    [logged] = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert logged.endswith(" was not delivered to channel://chat:1: the bot was blocked")


async def test_a_first_message_without_an_answer_is_given_up_sooner_than_other_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_worker, "_OPENING_S", 0.01)
    chat = Chat()
    await _deliver(Silent(chat), chat)
    assert any("And what comes after it" in text for text in chat.messages.values())


class FaultyPoller:
    """A poller that fails once: in a poll, or when it tells a person what became of a press."""

    mark = ""

    def __init__(self, place: str) -> None:
        self.place = place
        self.polls = 0
        self.polled_again = asyncio.Event()

    async def poll(self) -> list[Inbound] | CallOutcome:
        self.polls += 1
        if self.polls == 1:
            if self.place == "poller":
                raise LookupError(TOKEN)
            return [Inbound("button", "x", "key", "1", message_id="8")]
        self.polled_again.set()
        await asyncio.Event().wait()
        return []

    async def tell(self, inbound: Inbound, notice: str) -> CallOutcome:
        raise LookupError(TOKEN)

    def is_in(self, inbound: Inbound, address: str) -> bool:
        return False

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("place", ["poller", "tell"])
async def test_a_poller_that_raises_is_logged_and_polls_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    monkeypatch.setattr(pollers, "_PAUSE_S", 0.01)
    poller = FaultyPoller(place)

    def make(platform: str, options: Mapping[str, str]) -> FaultyPoller:
        return poller

    file = ChannelsFile({"pager": {"poll": True, "ops": {"to": "1"}}})
    async with runcast.open_hub() as hub:
        polling = Pollers(hub.hub, Replies(hub, hub.deliveries), make)
        assert polling.read(file)
        polling.open()
        async with asyncio.timeout(WAIT_S):
            await poller.polled_again.wait()
        await polling.close()
    logged = "\n".join(each.getMessage() for each in caplog.records)
    assert f"{place} of pager:ops raised LookupError" in logged
    assert "test_faulty_channels.py" in logged
    assert TOKEN not in logged
