"""Deliveries through the clients that authors of bots have already, each with its real library."""

import socket
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator

import pytest
from slack_sdk.web.async_client import AsyncWebClient
from telegram import Bot

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it imports `audioop`, which Python 3.13 does not have
    import discord as discord_py
    from discord.http import Route

from runcast.channels import Button, CallOutcome, Edit, Find, Send, discord, slack, telegram
from runcast.errors import InvalidValue
from runcast.testing import ChatFault, FakeDiscord, FakeSlack, FakeTelegram
from tests.channels.borrowing import deliver_through

pytestmark = pytest.mark.heavy  # it imports large libraries

ASKS = Send(1, "k1", "Sure?", (Button("accept", "Yes"),), question_id="q")


@pytest.fixture(autouse=True)
def future(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTB_TIMEDELTA", "1")  # else it warns


async def test_a_bot_of_python_telegram_bot_delivers_a_run() -> None:
    async with FakeTelegram([42]) as platform:
        async with Bot(platform.TOKEN, base_url=f"{platform.url}/bot") as bot:
            channel = telegram.from_bot(bot, 42)
            receipt = await deliver_through(channel, platform, "42", [platform.TOKEN])
            assert receipt.status == "delivered"
            # Refusals are those of Telegram.
            sent = await channel.send(ASKS)
            assert sent.kind == "ok"
            edit = Edit(1, sent.message_id, "Sure?", question_id="q")
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
            elsewhere = telegram.from_bot(bot, 7)
            assert (await elsewhere.send(ASKS)).kind == "forbidden"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            nowhere = f"http://127.0.0.1:{free.getsockname()[1]}/bot"
        unreached = Bot(platform.TOKEN, base_url=nowhere)
        outcome = await telegram.from_bot(unreached, 42).send(ASKS)
        await unreached.shutdown()
        assert outcome.kind == "not_started"
        assert platform.TOKEN not in outcome.reason


async def test_a_client_of_slack_delivers_a_run() -> None:
    async with FakeSlack(["C1"]) as platform:
        client = AsyncWebClient(platform.TOKEN, base_url=f"{platform.api_url}/")
        channel = slack.from_client(client, "C1")
        receipt = await deliver_through(channel, platform, "C1", [platform.TOKEN])
        assert receipt.status == "delivered"
        sent = await channel.send(ASKS)
        assert sent.kind == "ok"
        assert await channel.find(Find(ASKS.key, 1.0)) == CallOutcome("ok", sent.message_id)
        assert (await channel.find(Find("another", 1.0))).kind == "gone"
        platform.delete(sent.message_id.partition("/")[2])
        gone = await channel.edit(Edit(1, sent.message_id, "x"))
        assert gone.kind == "gone"
        platform.fail(ChatFault(kind="limited", retry_after_s=7))
        limited = await channel.send(ASKS)
        assert (limited.kind, limited.retry_after_s) == ("limited", 7.0)
        nowhere = slack.from_client(client, "C9")
        assert (await nowhere.send(ASKS)).kind in ("forbidden", "limited")


@pytest.fixture
async def platform(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeDiscord]:
    async with FakeDiscord([7]) as made:
        monkeypatch.setattr(Route, "BASE", made.api_url)
        yield made


@pytest.fixture
async def client(platform: FakeDiscord) -> AsyncIterator[discord_py.Client]:
    made = discord_py.Client(intents=discord_py.Intents.none(), max_ratelimit_timeout=30.0)
    await made.login(platform.TOKEN)
    yield made
    await made.close()


async def test_a_channel_of_discord_py_delivers_a_run(
    platform: FakeDiscord, client: discord_py.Client
) -> None:
    place = client.get_partial_messageable(7)
    channel = discord.from_channel(place)
    receipt = await deliver_through(channel, platform, "7", [platform.TOKEN])
    assert receipt.status == "delivered"
    edit = Edit(1, "999", "x")
    assert (await channel.edit(edit)).kind == "gone"
    assert (await channel.send(Send(1, "long", "x" * 2001))).kind == "too_long"
    sent = await channel.send(ASKS)
    assert sent.kind == "ok"
    assert (await channel.send(ASKS)).message_id == sent.message_id  # by its nonce
    elsewhere = discord.from_channel(client.get_partial_messageable(8))
    assert (await elsewhere.send(ASKS)).kind == "forbidden"


@pytest.mark.parametrize(
    "make",
    [
        lambda it: telegram.from_bot(it, 42),
        lambda it: slack.from_client(it, "C1"),
        discord.from_channel,
    ],
)
def test_another_object_is_refused(make) -> None:  # type: ignore[no-untyped-def]
    for other in (None, "token", object()):
        with pytest.raises(InvalidValue, match=f"got {type(other).__name__}"):
            make(other)


def test_no_library_is_imported_before_an_object_is_passed() -> None:
    code = (
        "import sys\n"
        "from runcast.channels import discord, slack, telegram\n"
        "print(sorted({'aiogram', 'discord', 'slack_sdk', 'telegram'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert printed.stdout.strip() == "[]"
