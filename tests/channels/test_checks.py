"""Targets of the channels file are checked when the file is read, and their tokens on demand."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.channels.checks import check_channels, identify
from runcast.channels.outcome import CallOutcome
from runcast.channels.platforms import PLATFORMS
from runcast.channels.targets import ChannelsFile, Target
from runcast.errors import InvalidValue
from runcast.testing import (
    ChatServer,
    FakeDiscord,
    FakeMattermost,
    FakeSlack,
    FakeTelegram,
)
from tests.channels.chats import Chat, ChatChannel
from tests.documents import ROOT

_BLOCK = re.compile(r"^```(?:toml|text)\n(.*?)^```", re.M | re.S)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[telegram.ops]\nto = "42"', r"\[telegram.ops\]: expected a bot's token of Telegram"),
        ('[telegram]\ntoken = "T0PSECRET"\n[telegram.ops]\nto = "42"', "expected a bot's token"),
        ('[telegram]\ntoken = "1:T0PSECRET"\n[telegram.ops]\nto = "x y"', "expected a chat like"),
        ('[telegrm.ops]\nto = "42"', r"\[telegrm.ops\]: expected a target on one of apprise"),
        ('[telegram]\ntoken = "1:x"\npoeple = [5]', r"\[telegram\]: there is no option 'poeple'"),
        (
            '[telegram]\ntoken = "1:x"\n[telegram.ops]\nto = "42"\npoeple = [5]',
            r"\[telegram.ops\]: there is no option 'poeple'; expected one of .*people",
        ),
        ('[matrix.ops]\nto = "!a:b"', r"\[matrix.ops\]: a target on Matrix needs the option home"),
        ('[email.ops]\nto = "a@b.example"', r"\[email.ops\]: .* needs the option server"),
        (
            '[discord]\ntoken = "x"\npublic_key = "T0PSECRET"\n[discord.ops]\nto = "7"',
            r"\[discord.ops\]: expected public_key to be 64",
        ),
        ('[slack]\ntoken_env = "NOT_SET"\n[slack.ops]\nto = "C1"', "NOT_SET"),
        ('[slack.ops]\nshows = "all"\nto = "C1"', "expected shows"),
        ("[slack", "cannot be read"),
    ],
)
async def test_a_target_that_cannot_work_is_an_error_when_a_hub_opens(
    tmp_path: Path, text: str, expected: str
) -> None:
    file = tmp_path / "channels.toml"
    file.write_text(text)
    settings = runcast.Settings(channels_file=str(file))
    with pytest.raises(InvalidValue, match=expected) as refused:
        async with runcast.open_hub(settings=settings):
            pass
    assert str(file) in refused.value.message
    assert "T0PSECRET" not in refused.value.message


async def test_a_channel_of_another_package_is_made_and_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chat = Chat()
    file = ChannelsFile({"pager": {"anything": 1, "bell": {"to": "b"}}})

    def fail(target: Target) -> ChatChannel:
        raise KeyError(target.options["anything"] + "T0PSECRET")

    await check_channels(file, "x.toml", lambda target: ChatChannel(chat))
    assert chat.closed == 1
    with pytest.raises(InvalidValue, match=r"\[pager.bell\]: its make_channel raised KeyError"):
        await check_channels(file, "x.toml", fail)
    [logged] = [each.getMessage() for each in caplog.records]
    assert "in fail" in logged


async def test_the_files_of_the_documentation_have_no_unknown_option(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = 0
    for page in (ROOT / "docs").rglob("*.md"):
        for block in _BLOCK.findall(page.read_text("utf-8")):
            tables = _tables_of(block)
            if not any(platform in tables for platform in PLATFORMS):
                continue
            for name in re.findall(r'_env = "(\w+)"', block):
                monkeypatch.setenv(name, "x" * 20)
            await check_channels(ChannelsFile(tables), page.name, lambda _: ChatChannel(Chat()))
            found += 1
    assert found >= 10


def _tables_of(block: str) -> dict[str, Any]:
    try:
        return tomllib.loads(block)
    except tomllib.TOMLDecodeError:
        return {}


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize(
    ("make", "target", "name"),
    [
        (FakeTelegram, "telegram://42?token={token}&url={url}", "@test_bot"),
        (FakeSlack, "slack://C1?token={token}&url={url}/api", "bot in Test"),
        (FakeDiscord, "discord://7?token={token}&url={url}/api/v10", "bot"),
        (FakeMattermost, "mattermost://{channel}?token={token}&url={url}", "bot"),
    ],
)
async def test_a_platform_says_whose_token_it_is(
    make: Callable[[], ChatServer], target: str, name: str, is_known: bool
) -> None:
    async with make() as platform:
        token = getattr(platform, "TOKEN", "")
        channel = platform.channels[0] if isinstance(platform, FakeMattermost) else ""
        said = token if is_known else token[:-1] + ("y" if token[-1] == "x" else "x")
        text = target.format(token=said, url=platform.url, channel=channel)
        found = ChannelsFile().find(text)
        options = {**found.options, "allow": "127.0.0.0/8"}
        outcome = await identify(Target(found.platform, found.address, options))
    assert isinstance(outcome, CallOutcome)
    if is_known:
        assert (outcome.kind, outcome.reason) == ("ok", name)
    else:
        assert outcome.kind == "forbidden"


async def test_a_platform_without_such_a_call_is_not_asked() -> None:
    assert await identify(Target("ntfy", "bell")) is None
