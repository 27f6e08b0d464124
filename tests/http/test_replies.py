"""What people do in chats: signed callbacks of platforms that answer questions of real runs."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import runcast
from runcast.errors import StoreUnavailable
from runcast.testing import (
    ChatCallback,
    ChatServer,
    FakeDingTalk,
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


@runcast.function
async def interview() -> list[object]:
    where = {"allow_accept": False, "response_schema": {"enum": ["staging", "production", 3]}}
    place = await runcast.ask("Where?", config=where, interrupt_id="where")
    name = await runcast.ask("Which name?", config={"allow_accept": False}, interrupt_id="name")
    heard = await anext(runcast.inbox())
    return [place.args, name.args, name.by, heard.data]


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


@runcast.function
async def twice() -> str:
    first = await runcast.ask("Deploy?", interrupt_id="first")
    second = await runcast.ask("Drop the database?", interrupt_id="second")
    return f"{first.type} {second.type}"


@runcast.function
async def later() -> str:
    runcast.content("I work, and have a question later.")
    await anext(runcast.inbox())
    return (await runcast.ask("Drop the database?", interrupt_id="drop")).type


@runcast.function
async def silent() -> str:
    return str((await anext(runcast.inbox())).data)


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

    async def events(self, run_id: str = "r") -> list[runcast.Event]:
        return [event async for event in self.hub.watch(run_id)]

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
        store,
        functions=[deploy, interview, listen, publish, twice, later, silent],
        settings=settings,
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


def of_mattermost(mattermost: FakeMattermost, **more: str) -> str:
    given = {
        "url": mattermost.url,
        "token": mattermost.TOKEN,
        "allow": "127.0.0.0/8",
        "webhook_token": mattermost.WEBHOOK_TOKEN,
        "command_token": mattermost.COMMAND_TOKEN,
        **more,
    }
    options = "".join(f'{name} = "{value}"\n' for name, value in given.items())
    return f'[mattermost]\n{options}[mattermost.ops]\nto = "{mattermost.channels[0]}"\n'


def of_dingtalk(dingtalk: FakeDingTalk) -> str:
    return (
        f'[dingtalk]\nurl = "{dingtalk.url}"\napp_key = "{dingtalk.APP_KEY}"\n'
        f'app_secret = "{dingtalk.APP_SECRET}"\nallow = "127.0.0.0/8"\nreplies = true\n'
        '[dingtalk.ops]\nto = "cid1"\n[dingtalk.ada]\nto = "user/ada"\npeople = ["ada"]\n'
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


async def test_a_text_in_the_thread_of_a_post_of_mattermost_is_a_message(tmp_path: Path) -> None:
    async with (
        FakeMattermost() as mattermost,
        serving(tmp_path, table=of_mattermost(mattermost)) as served,
    ):
        await served.hub.start(listen, run_id="r")
        await served.hub.deliver("r", "mattermost:ops")
        root = await first_of(mattermost)
        elsewhere = mattermost.write("to somebody else")
        assert await served.post("mattermost", elsewhere) is None
        said = mattermost.write("look at page 3", root=root)
        for _ in range(2):
            assert await served.post("mattermost", said) is None
        await served.post("mattermost", mattermost.write("run: stop", trigger="run:"))
        by = f"ada (mattermost:{'p' * 26})"
        assert await served.result() == [["look at page 3", by], ["stop", by]]


async def test_a_slash_command_of_mattermost_answers_the_only_question(tmp_path: Path) -> None:
    async with (
        FakeMattermost() as mattermost,
        serving(tmp_path, table=of_mattermost(mattermost)) as served,
    ):
        nobody = await served.post("mattermost", mattermost.command("1"))
        assert nobody["text"] == "No run that is at work is delivered here."
        await served.ask("mattermost:ops", mattermost)
        assert "Write to the bot: 1 (approve) or 2 (reject)." in mattermost.messages[0].text
        command = mattermost.command("1")
        for wrong in (mattermost.WEBHOOK_TOKEN, ""):
            body = command.body.replace(mattermost.COMMAND_TOKEN.encode(), wrong.encode())
            forged = await served.send("mattermost", command._replace(body=body))
            assert forged.status_code == 401
        answer = await served.post("mattermost", command)
        assert answer == {"text": "Approved.", "response_type": "ephemeral"}
        assert await served.result() == f"accept by ada (mattermost:{'p' * 26})"


async def test_a_text_to_a_robot_of_dingtalk_is_for_the_only_run_of_its_chat(
    tmp_path: Path,
) -> None:
    async with (
        FakeDingTalk(["cid1", "ada"]) as dingtalk,
        serving(tmp_path, table=of_dingtalk(dingtalk)) as served,
    ):
        await served.ask("dingtalk:ops", dingtalk)
        assert "Write to the bot: 1 (approve) or 2 (reject)." in dingtalk.messages[0].text
        assert (await served.post("dingtalk", dingtalk.written("go on"))) is None

        await served.hub.start(deploy, run_id="r2")
        await served.hub.deliver("r2", "dingtalk:ops")
        await asyncio.to_thread(dingtalk.wait_for, 2, WAIT_S)
        several = await served.post("dingtalk", dingtalk.written("1"))
        assert several["text"]["content"].startswith("Several runs are delivered here.")
        await served.hub.answer("r2", "deploy", {"type": "reject"})
        await served.result("r2")

        approved = await served.post("dingtalk", dingtalk.written("Approve"))
        assert approved["text"]["content"] == "Approved."
        assert await served.result() == "accept by Ada (dingtalk:ada)"
        heard = [event.data["data"] for event in await served.events() if event.type == "message"]
        assert heard == ["go on"]


def later_by(said: ChatCallback, seconds: int = 1) -> ChatCallback:
    """Return a post that is written as much later: its time has whole seconds."""
    fields = dict(parse_qsl(said.body.decode()))
    sent = {**fields, "timestamp": str(int(fields["timestamp"]) + seconds)}
    return said._replace(body=urlencode(sent).encode())


def approval(kind: str, dingtalk: FakeDingTalk, mattermost: FakeMattermost) -> ChatCallback:
    """Return a text that approves: of DingTalk, or of a webhook or a command of Mattermost."""
    match kind:
        case "dingtalk":
            return dingtalk.written("1")
        case "command":
            return mattermost.command("1")
    return later_by(mattermost.write("! 1", trigger="!"))


async def until_asked(served: Served, interrupt_id: str) -> float:
    """Return when the run asked."""
    async with asyncio.timeout(WAIT_S):
        async for event in served.hub.watch("r"):
            if event.type == "interrupt_request" and event.data["interrupt_id"] == interrupt_id:
                return event.time
    raise AssertionError("the run did not ask")


@pytest.mark.parametrize("kind", ["dingtalk", "webhook", "command"])
async def test_a_text_that_comes_again_does_not_answer_the_next_question(
    tmp_path: Path, kind: str
) -> None:
    async with (
        FakeDingTalk(["cid1"]) as dingtalk,
        FakeMattermost() as mattermost,
        serving(tmp_path, a=of_dingtalk(dingtalk), b=of_mattermost(mattermost)) as served,
    ):
        name = "dingtalk" if kind == "dingtalk" else "mattermost"
        platform = dingtalk if kind == "dingtalk" else mattermost
        await served.ask(f"{name}:ops", platform, function=twice)
        said = approval(kind, dingtalk, mattermost)
        assert "Approved." in str(await served.post(name, said))
        await until_asked(served, "second")
        assert await served.post(name, said) is None
        await served.hub.answer("r", "second", {"type": "reject"})
        assert await served.result() == "accept reject"
        assert "message" not in {event.type for event in await served.events()}


async def test_a_text_that_was_a_message_does_not_answer_when_it_comes_again(
    tmp_path: Path,
) -> None:
    async with (
        FakeDingTalk(["cid1"]) as dingtalk,
        serving(tmp_path, table=of_dingtalk(dingtalk)) as served,
    ):
        await served.ask("dingtalk:ops", dingtalk, function=later)
        said = dingtalk.written("1")
        assert await served.post("dingtalk", said) is None
        await until_asked(served, "drop")
        assert await served.post("dingtalk", said) is None
        await served.hub.answer("r", "drop", {"type": "reject"})
        assert await served.result() == "reject"


@pytest.mark.parametrize("kind", ["dingtalk", "webhook", "command"])
@pytest.mark.parametrize("first", ["answers", "is for several", "is for none"])
async def test_a_text_that_comes_again_does_not_answer_a_later_run(
    tmp_path: Path, kind: str, first: str
) -> None:
    """Also if it was for no run when it came first."""
    async with (
        FakeDingTalk(["cid1"]) as dingtalk,
        FakeMattermost() as mattermost,
        serving(tmp_path, a=of_dingtalk(dingtalk), b=of_mattermost(mattermost)) as served,
    ):
        name = "dingtalk" if kind == "dingtalk" else "mattermost"
        platform = dingtalk if kind == "dingtalk" else mattermost
        before = {"answers": ["a"], "is for several": ["a", "b"], "is for none": []}[first]
        for run_id in before:
            await served.hub.start(deploy, run_id=run_id)
            await served.hub.deliver(run_id, f"{name}:ops")
        await asyncio.to_thread(platform.wait_for, len(before), WAIT_S)
        said = approval(kind, dingtalk, mattermost)
        notice = str(await served.post(name, said))
        expected = {"answers": "Approved.", "is for several": "Several runs", "is for none": "No "}
        assert expected[first] in notice
        for run_id in before:
            await served.hub.cancel(run_id)
            await served.delivered(run_id)

        await served.hub.start(deploy, run_id="r")
        await served.hub.deliver("r", f"{name}:ops")
        await until_asked(served, "deploy")
        assert await served.post(name, said) is None
        await served.hub.answer("r", "deploy", {"type": "reject", "by": "console"})
        assert await served.result() == "reject by console"
        assert "message" not in {event.type for event in await served.events()}


async def test_a_text_that_comes_late_is_not_for_a_run_that_began_since(tmp_path: Path) -> None:
    """It was written while another run was alone in the chat, a moment before the later one."""
    async with (
        FakeDingTalk(["cid1"]) as dingtalk,
        serving(tmp_path, table=of_dingtalk(dingtalk)) as served,
    ):
        await served.ask("dingtalk:ops", dingtalk, run_id="before")
        await served.hub.cancel("before")
        await served.delivered("before")
        ended_at = (await served.hub.hub.info("before")).closed_at or 0.0
        written = dingtalk.written("1")
        body = {**json.loads(written.body), "createAt": int((ended_at - 0.01) * 1000)}
        said = written._replace(body=json.dumps(body).encode())
        late = await served.post("dingtalk", said)
        assert late["text"]["content"] == "This run has ended; nothing was sent to it."
        await served.hub.start(deploy, run_id="r")
        await served.hub.deliver("r", "dingtalk:ops")
        await until_asked(served, "deploy")
        again = json.loads(said.body) | {"msgId": "another"}
        several = await served.post("dingtalk", said._replace(body=json.dumps(again).encode()))
        assert several["text"]["content"].startswith("Several runs are delivered here.")
        assert await served.post("dingtalk", said) is None
        await served.hub.answer("r", "deploy", {"type": "reject", "by": "console"})
        assert await served.result() == "reject by console"


ENDED = "This run has ended; nothing was sent to it."


async def test_who_replies_to_a_run_that_has_ended_is_told_so_once(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/runs.db"
    async with FakeTelegram() as telegram:
        table = of_telegram(telegram, people="[42]")
        async with serving(tmp_path, store=store, telegram=table) as served:
            await served.hub.start(listen, run_id="r")
            await served.hub.deliver("r", "telegram:ops")
            first = await first_of(telegram)
            heard = telegram.sign(telegram.say("look at page 3", reply_to=first))
            await served.post("telegram", heard)
            await served.post("telegram", telegram.sign(telegram.say("stop", reply_to=first)))
            await served.result()
            await served.delivered()
            late = telegram.sign(telegram.say("too late", reply_to=first))
            assert (await served.post("telegram", late))["text"] == ENDED
            assert await served.post("telegram", late) is None
            assert await served.post("telegram", heard) is None  # it was heard
            stranger = telegram.sign(telegram.say("hello", reply_to="999"))
            assert await served.post("telegram", stranger) is None
        async with serving(tmp_path, store=store, telegram=table) as served:
            assert await served.post("telegram", late) is None
            later = telegram.sign(telegram.say("is it done?", reply_to=first))
            assert (await served.post("telegram", later))["text"] == ENDED
            await served.hub.hub.delete("r")
            deleted = telegram.sign(telegram.say("and now?", reply_to=first))
            assert (await served.post("telegram", deleted))["text"] == ENDED


async def test_an_answer_that_comes_again_after_the_run_is_told_who_decided_once(
    tmp_path: Path,
) -> None:
    async with (
        FakeTelegram() as telegram,
        serving(tmp_path, telegram=of_telegram(telegram)) as served,
    ):
        asked = await served.ask("telegram:ops", telegram)
        said = telegram.sign(telegram.say("2", reply_to=asked))
        assert (await served.post("telegram", said))["text"] == "Rejected."
        await served.result()
        await served.delivered()
        again = await served.post("telegram", said)
        assert again["text"].startswith("It is decided already: rejected by Ada")
        assert await served.post("telegram", said) is None


async def test_who_replies_to_an_ended_run_in_slack_is_told_so_once(tmp_path: Path) -> None:
    async with FakeSlack() as slack, serving(tmp_path, slack=of_slack(slack)) as served:
        await served.hub.start(silent, run_id="r")
        await served.hub.deliver("r", "slack:ops")
        await served.hub.send("r", "end")
        await served.result()
        await served.delivered()
        said = slack.say("too late", thread=await first_of(slack))
        for _ in range(2):
            assert await served.post("slack", said) is None
        assert slack.notices == [("U1", ENDED)]


async def test_a_text_from_before_the_question_is_a_message(tmp_path: Path) -> None:
    async with (
        FakeDingTalk(["cid1"]) as dingtalk,
        serving(tmp_path, table=of_dingtalk(dingtalk)) as served,
    ):
        await served.ask("dingtalk:ops", dingtalk)
        asked_at = await until_asked(served, "deploy")
        said = dingtalk.written("1")
        body = {**json.loads(said.body), "createAt": int((asked_at - 1.2) * 1000)}
        early = await served.post("dingtalk", said._replace(body=json.dumps(body).encode()))
        assert early["text"]["content"].startswith("This came before the question")
        await served.hub.answer("r", "deploy", {"type": "reject"})
        assert str(await served.result()).startswith("reject")


async def test_a_text_of_the_second_of_a_question_is_a_message(tmp_path: Path) -> None:
    """Its time has whole seconds: it may be about the question before."""
    async with (
        FakeMattermost() as mattermost,
        serving(tmp_path, table=of_mattermost(mattermost)) as served,
    ):
        await served.ask("mattermost:ops", mattermost, function=twice)
        await served.hub.answer("r", "first", {"type": "reject"})
        asked_at = await until_asked(served, "second")
        said = mattermost.write("! 1", trigger="!")
        seconds = int(asked_at) - int(dict(parse_qsl(said.body.decode()))["timestamp"])
        early = await served.post("mattermost", later_by(said, seconds))
        assert early["text"].startswith("This came before the question")
        await served.hub.answer("r", "second", {"type": "reject"})
        assert await served.result() == "reject reject"


@pytest.mark.parametrize("ahead_s", [5, 3 * 3600])
async def test_a_text_of_a_clock_that_is_ahead_answers_nothing(
    tmp_path: Path, ahead_s: int
) -> None:
    """It could have been written before the question, however late it comes."""
    async with (
        FakeMattermost() as mattermost,
        serving(tmp_path, table=of_mattermost(mattermost)) as served,
    ):
        await served.ask("mattermost:ops", mattermost)
        said = later_by(mattermost.write("! 1", trigger="!"), ahead_s)
        assert "clock is ahead" in (await served.post("mattermost", said))["text"]
        assert await served.post("mattermost", said) is None
        await served.hub.answer("r", "deploy", {"type": "reject"})
        assert str(await served.result()).startswith("reject")
        assert "message" not in {event.type for event in await served.events()}


async def test_a_text_for_a_target_that_left_the_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text comes again, after it was bound to a run by way of that target."""

    async def away(*_: object) -> str:
        raise StoreUnavailable("the store is away")

    store = f"sqlite:///{tmp_path}/runs.db"
    async with FakeDingTalk(["cid1"]) as dingtalk:
        table = of_dingtalk(dingtalk)
        said = dingtalk.written("1")
        async with serving(tmp_path, store=store, table=table) as served:
            await served.ask("dingtalk:ops", dingtalk)
            monkeypatch.setattr(served.hub.replies, "_do", away)
            assert (await served.send("dingtalk", said)).status_code == 503
        table = table.replace("[dingtalk.ops]", "[dingtalk.team]")
        async with serving(tmp_path, store=store, table=table) as served:
            assert "You may not answer here." in str(await served.post("dingtalk", said))


async def test_a_command_without_an_id_is_not_taken_and_not_dropped_silently(
    tmp_path: Path,
) -> None:
    """Servers of Mattermost before 5.6 name no trigger; all their commands would be one."""
    async with (
        FakeMattermost() as mattermost,
        serving(tmp_path, table=of_mattermost(mattermost)) as served,
    ):
        await served.ask("mattermost:ops", mattermost)
        for text in ("1", "2"):
            said = mattermost.command(text)
            fields = dict(parse_qsl(said.body.decode()))
            del fields["trigger_id"]
            nameless = said._replace(body=urlencode(fields).encode())
            answer = await served.post("mattermost", nameless)
            assert answer["text"].startswith("The chat did not say which text this is")
        await served.post("mattermost", mattermost.command("2"))
        assert str(await served.result()).startswith("reject")


@pytest.mark.parametrize("kind", ["own", "bot", "in a thread"])
async def test_a_post_of_a_bot_answers_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """It starts the outgoing webhook as a person's does. So a run could approve itself."""
    async with (
        FakeMattermost() as mattermost,
        serving(tmp_path, table=of_mattermost(mattermost)) as served,
    ):
        asked = await served.ask("mattermost:ops", mattermost)
        root = asked if kind == "in a thread" else ""
        user = FakeMattermost.USER if kind == "own" else ""
        said = later_by(mattermost.write("! 1", trigger="!", user=user, root=root))
        shown = mattermost._post
        if kind != "own":
            marked = {"props": {"from_bot": "true"}}
            monkeypatch.setattr(mattermost, "_post", lambda message: shown(message) | marked)
        assert await served.post("mattermost", said) is None
        await served.hub.answer("r", "deploy", {"type": "reject"})
        assert str(await served.result()).startswith("reject")
        assert "message" not in {event.type for event in await served.events()}


async def test_a_run_that_has_sent_nothing_counts_as_one_of_several(tmp_path: Path) -> None:
    async with (
        FakeDingTalk(["cid1"]) as dingtalk,
        serving(tmp_path, table=of_dingtalk(dingtalk)) as served,
    ):
        await served.ask("dingtalk:ops", dingtalk)
        await served.hub.start(silent, run_id="silent")
        await served.hub.deliver("silent", "dingtalk:ops")
        several = await served.post("dingtalk", dingtalk.written("1"))
        assert several["text"]["content"].startswith("Several runs are delivered here.")
        for run_id in ("r", "silent"):
            await served.hub.cancel(run_id)


async def test_a_text_whose_thread_is_not_told_answers_nothing(tmp_path: Path) -> None:
    async with (
        FakeMattermost() as mattermost,
        serving(tmp_path, table=of_mattermost(mattermost)) as served,
    ):
        await served.ask("mattermost:ops", mattermost)
        said = later_by(mattermost.write("! 1", trigger="!"))
        mattermost.messages[-1].is_deleted = True
        answer = await served.post("mattermost", said)
        assert answer["text"].startswith("The chat did not say what this replies to.")
        mattermost.messages[-1].is_deleted = False
        assert (await served.post("mattermost", said))["text"] == "Approved."


async def test_a_long_name_and_id_are_cut(tmp_path: Path) -> None:
    async with (
        FakeDingTalk(["cid1"]) as dingtalk,
        serving(tmp_path, table=of_dingtalk(dingtalk)) as served,
    ):
        await served.ask("dingtalk:ops", dingtalk)
        long = dingtalk.written("hello", person="a" * 5000)
        assert await served.post("dingtalk", long) is None
        await served.hub.cancel("r")


async def test_a_direct_message_to_a_robot_of_dingtalk_answers(tmp_path: Path) -> None:
    async with (
        FakeDingTalk(["ada"]) as dingtalk,
        serving(tmp_path, table=of_dingtalk(dingtalk)) as served,
    ):
        await served.ask("dingtalk:ada", dingtalk)
        unknown = await served.post("dingtalk", dingtalk.written("1", space="cid2/+="))
        assert unknown["text"]["content"].endswith("is this chat: cid2/+=")
        group = await served.post("dingtalk", dingtalk.written("1"))
        assert group["text"]["content"] == "No run that is at work is delivered here."
        written = dingtalk.written("2", space="user/ada")
        late = {**written.headers, "timestamp": str(int(written.headers["timestamp"]) - 1)}
        other = written.body.replace(b"dingTESTkey", b"dingOTHERrobot")
        for forged in (written._replace(headers=late), written._replace(body=other)):
            assert (await served.send("dingtalk", forged)).status_code == 401
        answer = await served.post("dingtalk", written)
        assert answer["text"]["content"] == "Rejected."
        assert await served.result() == "reject by Ada (dingtalk:ada)"


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
        assert answer["text"] == ENDED


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


async def test_a_choice_is_pressed_and_a_question_for_a_text_is_answered_by_a_reply(
    tmp_path: Path,
) -> None:
    async with (
        FakeTelegram() as telegram,
        serving(tmp_path, telegram=of_telegram(telegram)) as served,
    ):
        await served.hub.start(interview, run_id="r")
        await served.hub.deliver("r", "telegram:ops")
        asked = await first_of(telegram)
        labels = [label for label, _ in telegram.messages[0].buttons]
        assert labels == ["staging", "production", "3", "Reject"]
        pressed = press(telegram, asked, "3")
        assert (await served.post("telegram", pressed))["text"] == "Answered."
        again = await served.post("telegram", pressed)
        assert again["text"] == "It is decided already: answered by Ada (telegram:5)."

        messages = await asyncio.to_thread(telegram.wait_for, 2, WAIT_S)
        assert "Reply to this message with your answer" in messages[1].text
        named = telegram.sign(telegram.say("1", reply_to=messages[1].message_id))
        for _ in range(2):  # the second one is no message for the run
            assert (await served.post("telegram", named))["text"] == "Answered."
        other = telegram.sign(telegram.say("well", reply_to=messages[1].message_id))
        assert await served.post("telegram", other) is None
        assert await served.result() == [3, "1", "Ada (telegram:42)", "well"]
        await served.delivered()
    assert telegram.shown(42)[1].endswith("→ answered: 1 by Ada (telegram:42)")


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
