"""Deliveries to the platforms for tests, by the addresses that people write."""

import asyncio
from pathlib import Path

import pytest

import runcast
from runcast.channels import Send
from runcast.channels.platforms import make_channel
from runcast.channels.targets import ChannelsFile
from runcast.testing import (
    ChatFault,
    FakeDingTalk,
    FakeDiscord,
    FakeFeishu,
    FakeMattermost,
    FakeSlack,
    FakeTelegram,
)
from tests.waiting import WAIT_S


@runcast.function
async def explain(topic: str) -> str:
    runcast.content(f"This **explains** {topic}.")
    return "And so it *is*."


@pytest.mark.parametrize("platform", [FakeTelegram, FakeSlack, FakeDiscord])
async def test_a_run_is_delivered_to_an_address(
    platform: type[FakeTelegram] | type[FakeSlack] | type[FakeDiscord], tmp_path: Path
) -> None:
    async with platform() as chat:
        if isinstance(chat, FakeTelegram):
            place, address = (
                "42",
                f"telegram://42?token={chat.TOKEN}&url={chat.url}",
            )
        elif isinstance(chat, FakeSlack):
            place, address = (
                "C1",
                f"slack://C1?token={chat.TOKEN}&url={chat.api_url}",
            )
        else:
            place, address = (
                "7",
                f"discord://7?token={chat.TOKEN}&url={chat.api_url}",
            )
        chat.fail(ChatFault(kind="limited", retry_after_s=0.1))
        file = tmp_path / "channels.toml"
        file.write_text(f'[{address.partition(":")[0]}]\nallow = "127.0.0.0/8"\n')
        settings = runcast.Settings(channels_file=str(file))
        async with runcast.OpenHub(functions=[explain], settings=settings) as hub:
            run = await hub.start(explain, {"topic": "rain"})
            delivery = await hub.deliver(run.run_id, address)
            receipt = await asyncio.wait_for(delivery.wait(), WAIT_S)
        assert receipt is not None
        assert receipt.status == "delivered"
        shown = "\n\n".join(chat.shown(place)).replace("*", "")
        assert shown == "This explains rain.\n\nAnd so it is."
        assert not any(call.was_blocked for call in chat.calls)


@pytest.mark.parametrize("platform", [FakeFeishu, FakeDingTalk, FakeMattermost])
async def test_a_run_is_delivered_to_a_name_of_the_file(
    platform: type[FakeFeishu] | type[FakeDingTalk] | type[FakeMattermost], tmp_path: Path
) -> None:
    async with platform() as chat:
        if isinstance(chat, FakeFeishu):
            name, place = "feishu", "oc_1"
            own = f'app_id = "{chat.APP_ID}"\napp_secret = "{chat.APP_SECRET}"\n'
            own += f'url = "{chat.api_url}"\n'
        elif isinstance(chat, FakeDingTalk):
            name, place = "dingtalk", "cid1"
            own = f'app_key = "{chat.APP_KEY}"\napp_secret = "{chat.APP_SECRET}"\n'
            own += f'url = "{chat.url}"\n'
        else:
            name, place = "mattermost", chat.channels[0]
            own = f'token = "{chat.TOKEN}"\nurl = "{chat.url}"\n'
        file = tmp_path / "channels.toml"
        file.write_text(f'[{name}]\nallow = "127.0.0.0/8"\n{own}[{name}.ops]\nto = "{place}"\n')
        settings = runcast.Settings(channels_file=str(file))
        async with runcast.OpenHub(functions=[explain], settings=settings) as hub:
            run = await hub.start(explain, {"topic": "rain"})
            delivery = await hub.deliver(run.run_id, f"{name}:ops")
            receipt = await asyncio.wait_for(delivery.wait(), WAIT_S)
        assert receipt is not None
        assert receipt.status == "delivered"
        shown = "\n\n".join(chat.shown(place)).replace("*", "")
        assert shown == "This explains rain.\n\nAnd so it is."


@pytest.mark.parametrize(
    "target",
    [
        "telegram://42?token=123456:ABC-DEF&url={url}",
        "slack://C1?token=xoxb-1&url={url}",
        "discord://7?token=abc.def.ghi&url={url}",
        "matrix://!room:example.org?token=x&homeserver={url}",
        "feishu://oc_1?app_id=cli_1&app_secret=s&url={url}",
        "mattermost://{channel}?token=x&url={url}",
        "dingtalk://cid1?app_key=k&app_secret=s&url={url}",
    ],
)
async def test_an_address_of_a_platform_may_not_be_private(target: str) -> None:
    async with FakeTelegram() as chat:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
            url = chat.url.replace("127.0.0.1", host)
            channel = make_channel(ChannelsFile().find(target.format(url=url, channel="c" * 26)))
            outcome = await channel.send(Send(1, "k", "text"))
            await channel.close()
            assert outcome.kind in ("forbidden", "not_started"), host
        assert not chat.calls
        tables = {target.partition(":")[0]: {"allow": "10.0.0.0/8,127.0.0.0/8"}}
        channel = make_channel(
            ChannelsFile(tables).find(target.format(url=chat.url, channel="c" * 26))
        )
        outcome = await channel.send(Send(1, "k", "text"))
        await channel.close()
        assert outcome.kind != "not_started"
        assert "public network" not in outcome.reason


async def test_a_platform_is_called_through_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    proxy = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with proxy:
        port = proxy.sockets[0].getsockname()[1]
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        own = "&url=https://127.0.0.1:9"
        for more in ("", own):
            target = f"telegram://42?token=123456:ABC-DEF{more}"
            channel = make_channel(ChannelsFile().find(target))
            outcome = await channel.send(Send(1, "k", "text"))
            await channel.close()
            assert outcome.kind == ("forbidden" if more else "uncertain"), outcome
    assert asked == [b"CONNECT api.telegram.org:443 HTTP/1.1\r\n"]
