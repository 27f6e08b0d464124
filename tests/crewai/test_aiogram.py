"""Deliveries through a bot of aiogram."""

import pytest

pytest.importorskip("aiogram", reason="aiogram is not installed; python3 dev.py test --crewai")

from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer

from runcast.channels import Button, Edit, Send, telegram
from runcast.testing import ChatFault, FakeTelegram
from tests.channels.borrowing import deliver_through

ASKS = Send(1, "k1", "Sure?", (Button("accept", "Yes"),), question_id="q")


async def test_a_bot_of_aiogram_delivers_a_run() -> None:
    async with FakeTelegram([42]) as platform:
        session = AiohttpSession(api=TelegramAPIServer.from_base(platform.url))
        async with Bot(platform.TOKEN, session=session) as bot:
            channel = telegram.from_bot(bot, 42)
            receipt = await deliver_through(channel, platform, "42", [platform.TOKEN])
            assert receipt.status == "delivered"
            sent = await channel.send(ASKS)
            assert sent.kind == "ok"
            assert platform.messages[-1].buttons[0][0] == "Yes"
            edit = Edit(1, sent.message_id, "**Sure**?", question_id="q")
            assert (await channel.edit(edit)).kind == "ok"
            assert (await channel.edit(edit)).kind == "same"
            platform.delete(sent.message_id)
            assert (await channel.edit(edit)).kind == "gone"
            assert (await channel.show_typing(True)).kind == "ok"
            platform.fail(ChatFault(kind="late"), ChatFault(kind="error"))
            assert (await channel.send(ASKS)).kind == "uncertain"
            assert (await channel.send(ASKS)).kind == "uncertain"
            platform.fail(ChatFault(kind="limited", retry_after_s=7))
            limited = await channel.send(ASKS)
            assert (limited.kind, limited.retry_after_s) == ("limited", 7.0)
            assert (await telegram.from_bot(bot, 7).send(ASKS)).kind == "forbidden"
