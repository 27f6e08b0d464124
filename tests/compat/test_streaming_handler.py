"""The documented handler of one growing message, and the faults that it had."""

import asyncio
import threading
from typing import Any

import pytest

from runcast.compat.streaming_handler import (
    ChannelCapabilities,
    ChannelCapability,
    ChannelCapabilityHandover,
    ChannelCapabilityManager,
    MessageChannel,
    MessageResponse,
    Notification,
    StreamingHandler,
)
from tests.waiting import WAIT_S

START = "The beginning, which is long enough. "


class Limited(Exception):
    retry_after = 0.6


class Chat:
    """A chain whose calls may go wrong: each fault is used once."""

    def __init__(self, *faults: object, ids: bool = True, most: int = 4096) -> None:
        self.messages: list[str] = []
        self.calls: list[str] = []
        self.called = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.threads: set[str] = set()
        self._faults = list(faults)
        self._ids = ids
        self._most = most

    def _fault(self, kind: str, text: str) -> bool:
        self.calls.append(kind)
        self._loop.call_soon_threadsafe(self.called.set)
        self.threads.add(threading.current_thread().name)
        assert len(text) <= self._most
        fault = self._faults.pop(0) if self._faults else None
        if isinstance(fault, Exception):
            raise fault
        return fault is False

    def send_direct_message(self, notification: Notification) -> MessageResponse:
        if self._fault("send", notification.text):
            return MessageResponse(success=False)
        self.messages.append(notification.text)
        number = len(self.messages) if self._ids else None
        return MessageResponse(message_id=number, chat_id=7, success=True)

    def edit_message(self, *, message_id: int, text: str, **_: Any) -> bool:
        if self._fault("edit", text):
            return False
        self.messages[message_id - 1] = text
        return True


class Handler(StreamingHandler):
    FLUSH_INTERVAL = 0.01


async def stream(
    chat: Chat, *pieces: str, channel: str = "Telegram"
) -> tuple[bool, StreamingHandler]:
    """Emit a text whose first piece is on the screen before the rest comes."""
    handler = Handler(chat)
    await handler.start_streaming(channel=channel, user_id="7")
    handler.emit(START)
    async with asyncio.timeout(WAIT_S):
        await chat.called.wait()
    for piece in pieces:
        handler.emit(piece)
    async with asyncio.timeout(4 * WAIT_S):
        return await handler.stop_streaming(), handler


async def test_one_message_grows_and_nothing_is_left_to_send() -> None:
    chat = Chat()
    is_sent, handler = await stream(chat, "The ", "end.")
    assert is_sent
    assert chat.messages == [START + "The end."]
    assert await handler.take() == ""
    assert not handler.is_streaming
    assert not any("MainThread" in name for name in chat.threads)


@pytest.mark.parametrize(
    "fault", [Limited(), Exception("message is not modified"), Exception("timed out"), False]
)
async def test_an_edit_that_goes_wrong_makes_no_second_message(fault: object) -> None:
    chat = Chat(None, fault)
    is_sent, _ = await stream(chat, "The end.")
    assert is_sent
    assert len(chat.messages) == 1


async def test_a_message_without_an_id_is_continued_and_not_repeated() -> None:
    chat = Chat(ids=False)
    is_sent, _ = await stream(chat, "The end.")
    assert is_sent
    assert chat.messages == [START.strip(), "The end."]


async def test_a_long_text_goes_on_in_the_next_message() -> None:
    chat = Chat(most=1800)
    words = " ".join(f"word{number}" for number in range(600))
    is_sent, _ = await stream(chat, words, channel="Discord")
    assert is_sent
    assert len(chat.messages) > 2
    assert " ".join(chat.messages).split() == (START + words).split()


async def test_what_cannot_be_sent_is_left_for_the_caller() -> None:
    chat = Chat(False, False, False)
    is_sent, handler = await stream(chat, "The end.")
    assert not is_sent
    assert await handler.take() == START + "The end."


async def test_a_channel_without_edits_collects() -> None:
    handler = Handler(Chat())
    for channel in ("DingTalk", "Unknown", None):
        await handler.start_streaming(channel=channel)
        handler.emit("some ")
        handler.emit([{"type": "text", "text": "text"}, {"type": "image"}])
        handler.emit(None)
        assert not handler.is_streaming
        assert await handler.stop_streaming() is False
        assert await handler.take() == "some text"
        assert await handler.take() == ""


async def test_a_second_start_ends_the_first_stream() -> None:
    chat = Chat()
    handler = Handler(chat)
    for _ in range(2):
        await handler.start_streaming(channel="Telegram")
        handler.emit(START)
    async with asyncio.timeout(4 * WAIT_S):
        assert await handler.stop_streaming()
    assert chat.messages == [START.strip()] * 2


async def test_text_is_not_taken_away_while_a_message_shows_it() -> None:
    chat = Chat()
    handler = Handler(chat)
    await handler.start_streaming(channel="Telegram")
    handler.emit(START)
    async with asyncio.timeout(WAIT_S):
        await chat.called.wait()
        assert await handler.take() == ""
        handler.emit("The end.")
        assert await handler.stop_streaming()
    assert chat.messages == [START + "The end."]


async def test_a_send_that_is_on_its_way_at_the_end_makes_one_message() -> None:
    arrived, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    class Slow(Chat):
        def send_direct_message(self, notification: Notification) -> MessageResponse:
            loop.call_soon_threadsafe(arrived.set)
            assert go_on.wait(WAIT_S)
            return super().send_direct_message(notification)

    chat = Slow()
    handler = Handler(chat)
    await handler.start_streaming(channel="Telegram")
    handler.emit(START)
    async with asyncio.timeout(2 * WAIT_S):
        await arrived.wait()
        stopping = asyncio.ensure_future(handler.stop_streaming())
        loop.call_later(0, go_on.set)
        assert await stopping
    assert chat.messages == [START.strip()]


async def test_a_first_text_that_is_too_long_is_split_between_words() -> None:
    chat = Chat(most=1800)
    handler = Handler(chat)
    await handler.start_streaming(channel="Discord")
    words = " ".join(f"word{number}" for number in range(600))
    handler.emit(words)
    async with asyncio.timeout(4 * WAIT_S):
        assert await handler.stop_streaming()
    assert " ".join(chat.messages).split() == words.split()


async def test_a_deleted_message_is_sent_again_and_a_strange_format_as_it_is() -> None:
    chat = Chat(None, Exception("Bad Request: message to edit not found"))
    is_sent, _ = await stream(chat, "The end.")
    assert is_sent
    assert chat.messages[1:] == [START + "The end."]
    chat = Chat(None, Exception("Bad Request: can't parse entities"))
    is_sent, _ = await stream(chat, "The end.")
    assert is_sent
    assert chat.messages == [START + "The end."]


async def test_nothing_said_is_nothing_sent() -> None:
    chat = Chat()
    handler = Handler(chat)
    await handler.start_streaming(channel="Telegram")
    assert await handler.stop_streaming() is False
    assert chat.calls == []


async def test_a_channel_of_an_extension_shows_a_growing_message() -> None:
    manager = ChannelCapabilityManager
    edits = {ChannelCapability.MESSAGE_EDITING}
    try:
        manager.register_extension_capabilities(
            "pager", [ChannelCapabilities("Pager", edits, max_message_length=100)]
        )
        chat = Chat(most=100)
        is_sent, _ = await stream(chat, "The end.", channel="Pager")
        assert is_sent
        assert chat.messages == [START + "The end."]
    finally:
        manager.register_extension_capabilities("pager", [])


def test_the_last_registration_counts_until_it_is_withdrawn() -> None:
    manager, handover = ChannelCapabilityManager, ChannelCapabilityHandover

    def length(number: int) -> ChannelCapabilities:
        return ChannelCapabilities(channel="Pager", max_message_length=number)

    register = manager.register_extension_capabilities
    try:
        assert register("one", [length(1)]) == (handover("Pager", None, "one"),)
        assert register("two", [length(2)]) == (handover("Pager", "one", "two"),)
        assert manager.get_max_message_length("Pager") == 2
        assert register("two", []) == (handover("Pager", "two", "one"),)
        assert manager.get_max_message_length("Pager") == 1
        register("one", [ChannelCapabilities("Telegram", max_message_length=7)])
        assert manager.get_max_message_length("Telegram") == 3500  # what is built in comes first
        assert manager.get_max_message_length("Pager") == 0
    finally:
        for owner in ("one", "two"):
            register(owner, [])


def test_the_table_of_abilities_has_the_documented_numbers() -> None:
    manager = ChannelCapabilityManager
    assert manager.supports_capability(MessageChannel.Feishu, ChannelCapability.MESSAGE_EDITING)
    assert not manager.supports_editing(MessageChannel.DingTalk)
    assert manager.get_max_message_length(MessageChannel.Telegram) == 3500
    assert manager.get_max_buttons_per_row(MessageChannel.QQ) == 5
    assert manager.get_max_button_text_length(MessageChannel.Discord) == 80
    assert not manager.should_use_fallback(MessageChannel.WebAgent)
    assert StreamingHandler.FLUSH_INTERVAL == 1.0
