"""The Discord for tests, called by discord.py: a second party that knows the platform."""

import warnings
from collections.abc import AsyncIterator, Iterator

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it imports `audioop`, which Python 3.13 does not have
    import discord
    from discord.http import Route

from runcast.testing import ChatFault, FakeDiscord

pytestmark = pytest.mark.heavy  # it imports a large library


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDiscord]:
    with FakeDiscord([7]) as made:
        monkeypatch.setattr(Route, "BASE", made.api_url)
        yield made


@pytest.fixture
async def client(platform: FakeDiscord) -> AsyncIterator[discord.Client]:
    made = discord.Client(intents=discord.Intents.none(), max_ratelimit_timeout=30.0)
    await made.login(platform.TOKEN)
    yield made
    await made.close()


async def test_messages_are_sent_edited_and_deleted(
    platform: FakeDiscord, client: discord.Client
) -> None:
    channel = client.get_partial_messageable(7)
    sent = await channel.send("text", nonce="n")
    assert (sent.content, platform.shown(7)) == ("text", ["text"])
    await sent.edit(content="**new**")
    assert platform.shown(7) == ["**new**"]
    await sent.delete()
    assert platform.shown(7) == []
    await channel.typing()


async def test_refusals_are_those_of_discord(platform: FakeDiscord, client: discord.Client) -> None:
    channel = client.get_partial_messageable(7)
    with pytest.raises(discord.HTTPException) as caught:
        await channel.send("x" * 2001)
    assert caught.value.code == 50035
    with pytest.raises(discord.NotFound) as unknown:
        await channel.get_partial_message(999).edit(content="x")
    assert unknown.value.code == 10008
    with pytest.raises(discord.NotFound) as nowhere:
        await client.get_partial_messageable(8).send("x")
    assert nowhere.value.code == 10003
    stranger = discord.Client(intents=discord.Intents.none())
    with pytest.raises(discord.LoginFailure):
        await stranger.login("wrong")
    await stranger.close()


async def test_the_library_reads_the_buckets_headers(
    platform: FakeDiscord, client: discord.Client
) -> None:
    channel = client.get_partial_messageable(7)
    for number in range(3):  # after the fifth it would sleep
        await channel.send(str(number))
    assert [call.status for call in platform.calls if "messages" in call.method] == [200] * 3
    bucket = next(each for each in client.http._buckets.values() if each.limit == 5)
    assert bucket.remaining == 2
    assert 0 < bucket.reset_after <= 5


async def test_faults_reach_the_client(platform: FakeDiscord, client: discord.Client) -> None:
    platform.fail(ChatFault(kind="limited", retry_after_s=0.05, method="POST messages"))
    sent = await client.get_partial_messageable(7).send("again")
    assert platform.shown(7) == ["again"]
    assert [call.status for call in platform.calls[-2:]] == [429, 200]
    platform.fail(ChatFault(kind="deleted", method="PATCH messages"))
    with pytest.raises(discord.NotFound):
        await sent.edit(content="new")
