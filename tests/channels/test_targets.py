"""Runs delivered to platforms by the names of the channels file."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import runcast
from runcast.channels.platforms import PLATFORMS, make_channel
from runcast.channels.targets import ChannelsFile
from runcast.errors import InvalidValue
from runcast.testing import FakeTelegram
from tests.waiting import WAIT_S


@pytest.fixture
def telegram() -> Iterator[FakeTelegram]:
    with FakeTelegram() as platform:
        yield platform


async def test_a_run_is_delivered_to_a_chat_by_name(telegram: FakeTelegram, tmp_path: Path) -> None:
    file = tmp_path / "channels.toml"
    file.write_text(
        f'[telegram]\nurl = "{telegram.url}"\ntoken = "{telegram.TOKEN}"\nallow = "127.0.0.0/8"\n'
        '[telegram.ops]\nto = "42"\n'
    )
    settings = runcast.Settings(channels_file=str(file))
    async with runcast.open_hub(settings=settings) as hub:
        async with hub.run("import") as run:
            runcast.content("All is **imported**.")
        async with asyncio.timeout(WAIT_S):
            delivery = await hub.deliver(run.run_id, "telegram:ops")
            receipt = await delivery.wait()
    assert receipt is not None
    assert receipt.status == "delivered"
    assert telegram.shown(42) == ["All is imported."]


@pytest.mark.parametrize(
    "target",
    [
        "telegram://42?token=123456:ABC-DEF",
        "slack://C0123ABCD?token=xoxb-1",
        "discord://123456789012345678?token=abc.def.ghi",
        "feishu://oc_1?app_id=cli_1&app_secret=s",
        "lark://ou_1?app_id=cli_1&app_secret=s",
        "dingtalk://cid1/+=?app_key=k&app_secret=s",
        "dingtalk://robot?token=t&secret=SECs",
        "mattermost://4xp9fdt77pncbef59f4k1qe83o?url=https://example.org&token=x",
        "matrix://!room:example.org?homeserver=https://example.org&token=x",
        "email://me@example.org?server=smtp.example.org",
        "https://example.org/hook",
    ],
)
async def test_an_address_makes_a_channel(target: str) -> None:
    found = ChannelsFile().find(target)
    assert found.platform in PLATFORMS
    channel = make_channel(found)
    assert channel.capability.limit >= 2000
    await channel.close()


@pytest.mark.parametrize("target", ["nowhere://x", "telegram://?token=1", "slack://C1", "plain"])
def test_what_is_no_target_is_refused(target: str) -> None:
    with pytest.raises(InvalidValue):
        make_channel(ChannelsFile().find(target))


@pytest.mark.parametrize(
    ("platform", "option"), [("telegram", "url"), ("matrix", "homeserver"), ("email", "server")]
)
def test_no_token_of_the_file_goes_to_a_server_that_an_address_names(
    platform: str, option: str
) -> None:
    shared = {"token": "S3CRET", "password": "S3CRET", "allow": "10.0.0.0/8"}
    file = ChannelsFile({platform: shared})
    found = file.find(f"{platform}://42?{option}=https://evil.example")
    assert found.options == {
        option: "https://evil.example",
        "allow": "10.0.0.0/8",
        "buttons": "no",
    }
    assert file.find(f"{platform}://42").options == {**shared, "buttons": "no"}
    with pytest.raises(InvalidValue, match="expected no option allow"):
        file.find(f"{platform}://42?allow=0.0.0.0/0")


@pytest.mark.parametrize("option", ['shows = "all"', 'finish = "later"'])
@pytest.mark.parametrize("head", ["telegram", "telegram.ops"])
def test_a_file_with_another_way_is_refused(option: str, head: str, tmp_path: Path) -> None:
    name = option.partition(" ")[0]
    file = tmp_path / "channels.toml"
    file.write_text(f'[{head}]\n{option}\nto = "42"\n')
    with pytest.raises(InvalidValue, match=rf"expected {name} in channels_file, \[{head}\], to be"):
        ChannelsFile.read(str(file))


def test_an_address_may_say_what_is_shown() -> None:
    assert ChannelsFile().find("telegram://42?shows=answer").options["shows"] == "answer"


async def test_a_question_has_no_buttons_where_nobody_takes_what_they_send(
    telegram: FakeTelegram, tmp_path: Path
) -> None:
    async def ask() -> None:
        await runcast.ask("Deploy?")

    file = tmp_path / "channels.toml"
    file.write_text(
        f'[telegram.ops]\nto = "42"\nurl = "{telegram.url}"\ntoken = "{telegram.TOKEN}"\n'
        'allow = "127.0.0.0/8"\n'
    )
    settings = runcast.Settings.load(channels_file=str(file))
    async with runcast.OpenHub(functions=[ask], settings=settings) as hub:
        run = await hub.start(ask)
        await hub.deliver(run.run_id, "telegram:ops")
        [message] = await asyncio.to_thread(telegram.wait_for, 1, WAIT_S)
        assert message.buttons == ()
        assert "Answer it (approve or reject) on the page of runcast" in message.text
        await hub.cancel(run.run_id)
