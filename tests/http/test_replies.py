"""What people do in chats: signed callbacks of platforms that answer questions of real runs."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import runcast
from runcast.testing import (
    ChatCallback,
    ChatServer,
    FakeDiscord,
    FakeFeishu,
    FakeMattermost,
    FakeSlack,
    FakeTelegram,
)
from tests.waiting import WAIT_S

pytestmark = pytest.mark.anyio

KEY = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
PUBLIC_KEY = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


@runcast.function
async def deploy() -> str:
    answer = await runcast.ask("Deploy?", interrupt_id="deploy")
    return f"{answer.type} by {answer.by}"


def go_on(interrupt_id: str, answer: runcast.Answer) -> str:
    return f"{answer.type} by {answer.by}, later"


@runcast.function(resume=go_on)
async def publish() -> str:
    return go_on("", await runcast.ask("Publish?", interrupt_id="publish"))


@runcast.function
async def listen() -> list[object]:
    runcast.content("I listen to you, so write something to me.")
    heard = [await anext(runcast.inbox()) for _ in range(2)]
    return [[message.data, message.sender] for message in heard]


class Served:
    """A hub with its HTTP application, and the chats of a platform."""

    def __init__(self, hub: runcast.OpenHub, client: httpx2.AsyncClient) -> None:
        self.hub = hub
        self._client = client

    async def post(self, name: str, callback: ChatCallback) -> Any:
        """Send a callback; return the answer's JSON, or None."""
        answer = await self.send(name, callback)
        assert answer.status_code == 200, answer.text
        return answer.json() if answer.content else None

    async def send(self, name: str, callback: ChatCallback) -> httpx2.Response:
        return await self._client.post(
            f"/channels/{name}", content=callback.body, headers=dict(callback.headers)
        )

    async def ask(
        self,
        target: str,
        platform: ChatServer,
        *,
        function: Callable[[], Coroutine[Any, Any, str]] = deploy,
        run_id: str = "r",
    ) -> str:
        """Start a run that asks in a chat; return the id of the message with the question."""
        await self.hub.start(function, run_id=run_id)
        await self.hub.deliver(run_id, target)
        return await first_of(platform)

    async def result(self, run_id: str = "r") -> object:
        async with asyncio.timeout(WAIT_S):
            async for event in self.hub.watch(run_id):
                if event.type == "done":
                    return event.data["result"]
        return None

    async def delivered(self, run_id: str = "r") -> None:
        async with asyncio.timeout(WAIT_S):
            for delivery in self.hub.deliveries.of(run_id):
                await delivery.wait()


async def first_of(platform: ChatServer) -> str:
    """Return the id of the first message, once it is there."""
    return (await asyncio.to_thread(platform.wait_for, 1, WAIT_S))[0].message_id


@asynccontextmanager
async def serving(path: Path, *, store: str = "memory://", **tables: str) -> AsyncIterator[Served]:
    """Serve a hub whose channels file has these tables."""
    file = path / "channels.toml"
    file.write_text("\n".join(tables.values()))
    settings = runcast.Settings.load(channels_file=str(file), shutdown_grace_s=0)
    async with runcast.OpenHub(
        store, functions=[deploy, listen, publish], settings=settings
    ) as hub:
        transport = httpx2.ASGITransport(runcast.asgi(hub, token="secret-of-the-server"))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield Served(hub, client)


def of_telegram(telegram: FakeTelegram, **more: str) -> str:
    extra = "".join(f"{name} = {value}\n" for name, value in more.items())
    return (
        f'[telegram]\nurl = "{telegram.url}"\ntoken = "{telegram.TOKEN}"\n'
        f'allow = "127.0.0.0/8"\nsecret_token = "{telegram.SECRET}"\n{extra}'
        '[telegram.ops]\nto = "42"\n[telegram.team]\nto = "-100123"\n'
    )


def of_slack(slack: FakeSlack) -> str:
    return (
        f'[slack]\nurl = "{slack.api_url}"\ntoken = "{slack.TOKEN}"\nallow = "127.0.0.0/8"\n'
        f'signing_secret = "{slack.SIGNING_SECRET}"\n[slack.ops]\nto = "C1"\n'
    )


def of_discord(discord: FakeDiscord) -> str:
    return (
        f'[discord]\nurl = "{discord.api_url}"\ntoken = "{discord.TOKEN}"\nallow = "127.0.0.0/8"\n'
        f'public_key = "{PUBLIC_KEY}"\n[discord.ops]\nto = "7"\n'
    )


def press(telegram: FakeTelegram, message_id: str, label: str, user: int = 5) -> ChatCallback:
    telegram.press(message_id, label, user)
    return telegram.sign(telegram.updates[-1])


async def test_a_press_in_telegram_answers_and_the_message_shows_who_decided(
    tmp_path: Path,
) -> None:
    async with (
        FakeTelegram() as telegram,
        serving(tmp_path, telegram=of_telegram(telegram)) as served,
    ):
        asked = await served.ask("telegram:ops", telegram)
        answer = await served.post("telegram", press(telegram, asked, "Approve"))
        assert (answer["method"], answer["text"]) == ("answerCallbackQuery", "Approved.")
        assert await served.result() == "accept by Ada (telegram:5)"
        await served.delivered()
        assert "→ approved by Ada (telegram:5)" in telegram.shown(42)[0]
        assert not telegram.messages[0].buttons


async def test_a_press_in_slack_answers_and_the_person_is_told(tmp_path: Path) -> None:
    async with FakeSlack() as slack, serving(tmp_path, slack=of_slack(slack)) as served:
        asked = await served.ask("slack:ops", slack)
        assert await served.post("slack", slack.press(asked, "Reject", "U7")) is None
        assert await served.result() == "reject by ada (slack:U7)"
        assert slack.notices == [("U7", "Rejected.")]


async def test_a_press_in_discord_answers(tmp_path: Path) -> None:
    async with FakeDiscord() as discord, serving(tmp_path, discord=of_discord(discord)) as served:
        asked = await served.ask("discord:ops", discord)
        answer = await served.post("discord", discord.press(asked, "Approve", KEY.sign))
        assert (answer["type"], answer["data"]["content"]) == (4, "Approved.")
        assert await served.result() == "accept by ada (discord:5)"
        assert await served.post("discord", discord.sign({"type": 1}, KEY.sign)) == {"type": 1}


async def test_a_press_in_mattermost_answers(tmp_path: Path) -> None:
    async with FakeMattermost() as mattermost:
        table = (
            f'[mattermost]\nurl = "{mattermost.url}"\ntoken = "{mattermost.TOKEN}"\n'
            'allow = "127.0.0.0/8"\ncallback_secret = "it signs what buttons send"\n'
            'callback_url = "https://runcast.example/channels/mattermost"\n'
            f'[mattermost.ops]\nto = "{mattermost.channels[0]}"\n'
        )
        async with serving(tmp_path, mattermost=table) as served:
            asked = await served.ask("mattermost:ops", mattermost)
            answer = await served.post("mattermost", mattermost.press(asked, "Approve"))
            assert answer == {"ephemeral_text": "Approved."}
            person = "p" * 26
            assert await served.result() == f"accept by ada (mattermost:{person})"
            await served.delivered()
            assert not mattermost.messages[0].buttons


async def test_a_press_in_feishu_answers(tmp_path: Path) -> None:
    async with FakeFeishu() as feishu:
        table = (
            f'[feishu]\nurl = "{feishu.api_url}"\napp_id = "{feishu.APP_ID}"\n'
            f'allow = "127.0.0.0/8"\napp_secret = "{feishu.APP_SECRET}"\n'
            f'verification_token = "{feishu.VERIFICATION_TOKEN}"\n[feishu.ops]\nto = "oc_1"\n'
        )
        async with serving(tmp_path, feishu=table) as served:
            asked = await served.ask("feishu:ops", feishu)
            answer = await served.post("feishu", feishu.press(asked, "Reject", "ou_7"))
            assert answer == {"toast": {"type": "info", "content": "Rejected."}}
            assert await served.result() == "reject by feishu:ou_7"
            await served.delivered()
            assert not feishu.messages[0].buttons


async def test_of_two_people_who_press_at_once_one_wins_and_the_other_is_told(
    tmp_path: Path,
) -> None:
    async with (
        FakeTelegram() as telegram,
        serving(tmp_path, telegram=of_telegram(telegram)) as served,
    ):
        asked = await served.ask("telegram:team", telegram)
        presses = [
            press(telegram, asked, label, user)
            for user, label in enumerate(["Approve", "Reject", "Approve", "Reject"], 1)
        ]
        answers = await asyncio.gather(*(served.post("telegram", each) for each in presses))
        winners = [each for each in answers if each["text"] in ("Approved.", "Rejected.")]
        assert len(winners) == 1
        winner = answers.index(winners[0]) + 1
        assert str(await served.result()).endswith(f"by Ada (telegram:{winner})")
        for late in answers:
            assert late is winners[0] or f"by Ada (telegram:{winner})" in late["text"]


async def test_a_press_after_an_answer_elsewhere_is_told_who_decided(tmp_path: Path) -> None:
    async with (
        FakeTelegram() as telegram,
        serving(tmp_path, telegram=of_telegram(telegram)) as served,
    ):
        asked = await served.ask("telegram:ops", telegram)
        late = press(telegram, asked, "Approve")
        await served.hub.answer("r", "deploy", {"type": "reject", "by": "console"})
        answer = await served.post("telegram", late)
        assert "by console" in answer["text"] or "any more" in answer["text"]
        assert await served.result() == "reject by console"


async def test_who_may_answer_can_be_listed(tmp_path: Path) -> None:
    async with (
        FakeTelegram() as telegram,
        serving(tmp_path, telegram=of_telegram(telegram, people="[5, 6]")) as served,
    ):
        asked = await served.ask("telegram:team", telegram)
        answer = await served.post("telegram", press(telegram, asked, "Approve", 7))
        assert answer["text"] == "You may not answer here."
        await served.post("telegram", press(telegram, asked, "Reject", 6))
        assert await served.result() == "reject by Ada (telegram:6)"


async def test_a_press_in_another_chat_answers_nothing(tmp_path: Path) -> None:
    async with (
        FakeTelegram(chats=[42, 43]) as telegram,
        serving(tmp_path, telegram=of_telegram(telegram)) as served,
    ):
        asked = await served.ask("telegram:ops", telegram)
        telegram.press(asked, "Approve")
        update = telegram.updates[-1]
        update["callback_query"]["message"]["chat"]["id"] = 43
        answer = await served.post("telegram", telegram.sign(update))
        assert answer["text"] == "This cannot be answered here any more."
        await served.hub.cancel("r")


async def test_a_reply_is_a_message_once_although_it_comes_again(tmp_path: Path) -> None:
    async with (
        FakeTelegram() as telegram,
        serving(tmp_path, telegram=of_telegram(telegram)) as served,
    ):
        await served.hub.start(listen, run_id="r")
        await served.hub.deliver("r", "telegram:ops")
        first = await first_of(telegram)
        said = telegram.sign(telegram.say("look at page 3", reply_to=first))
        for _ in range(3):
            assert await served.post("telegram", said) is None
        nothing = telegram.sign(telegram.say("I talk to somebody else"))
        assert await served.post("telegram", nothing) is None
        await served.post("telegram", telegram.sign(telegram.say("stop", reply_to=first)))
        by = "Ada (telegram:42)"
        assert await served.result() == [["look at page 3", by], ["stop", by]]
        late = telegram.sign(telegram.say("too late", reply_to=first))
        answer = await served.post("telegram", late)
        assert answer is None or "has ended" in answer["text"]


async def test_a_reply_in_a_thread_of_slack_is_a_message(tmp_path: Path) -> None:
    async with FakeSlack() as slack, serving(tmp_path, slack=of_slack(slack)) as served:
        await served.hub.start(listen, run_id="r")
        await served.hub.deliver("r", "slack:ops")
        first = await first_of(slack)
        for text in ("one", "two"):
            said = slack.say(text, thread=first)
            await served.post("slack", said)
            await served.post("slack", said)
        assert await served.result() == [["one", "slack:U1"], ["two", "slack:U1"]]
        ping = slack.sign({"type": "url_verification", "challenge": "c"})
        assert await served.post("slack", ping) == {"challenge": "c"}


async def test_a_number_as_a_reply_answers_a_question(tmp_path: Path) -> None:
    async with (
        FakeTelegram() as telegram,
        serving(tmp_path, telegram=of_telegram(telegram)) as served,
    ):
        asked = await served.ask("telegram:ops", telegram)
        said = telegram.sign(telegram.say(" 2 ", reply_to=asked))
        answer = await served.post("telegram", said)
        assert answer["text"] == "Rejected."
        assert await served.result() == "reject by Ada (telegram:42)"


async def test_a_press_that_another_process_gets_answers(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/runs.db"
    async with FakeTelegram() as telegram:
        table = of_telegram(telegram)
        async with serving(tmp_path, store=store, telegram=table) as first:
            asked = await first.ask("telegram:ops", telegram)
            async with serving(tmp_path, store=store, telegram=table) as second:
                assert not second.hub.deliveries.of("r")
                answer = await second.post("telegram", press(telegram, asked, "Approve"))
                assert answer["text"] == "Approved."
            assert await first.result() == "accept by Ada (telegram:5)"


async def test_a_press_after_a_restart_answers(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/runs.db"
    async with FakeTelegram() as telegram:
        table = of_telegram(telegram)
        async with serving(tmp_path, store=store, telegram=table) as first:
            asked = await first.ask("telegram:ops", telegram, function=publish)
        async with serving(tmp_path, store=store, telegram=table) as second:
            answer = await second.post("telegram", press(telegram, asked, "Approve"))
            assert answer["text"] == "Approved."
            assert await second.result() == "accept by Ada (telegram:5), later"
            await second.delivered()
        shown = "\n".join(telegram.shown(42))
        assert "→ approved by Ada (telegram:5)" in shown
        assert shown.count("Publish?") == shown.count("later") == 1


@pytest.mark.parametrize("name", ["telegram", "telegram:none", "email", "slack", "x" * 300])
async def test_what_no_platform_signed_is_refused_without_detail(tmp_path: Path, name: str) -> None:
    async with (
        FakeTelegram() as telegram,
        serving(tmp_path, telegram=of_telegram(telegram), email="[email]") as served,
    ):
        forged = ChatCallback({"content-type": "application/json"}, json.dumps({}).encode())
        answer = await served.send(name, forged)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert telegram.SECRET not in answer.text


async def test_a_callback_that_is_old_or_too_long_is_refused(tmp_path: Path) -> None:
    async with FakeSlack() as slack, serving(tmp_path, slack=of_slack(slack)) as served:
        good = slack.say("hello")
        sent_at = str(int(good.headers["x-slack-request-timestamp"]) - 301)
        old = good._replace(headers={**good.headers, "x-slack-request-timestamp": sent_at})
        assert (await served.send("slack", old)).status_code == 401
        long = good._replace(body=b"x" * (256 * 1024 + 1))
        assert (await served.send("slack", long)).status_code == 413
