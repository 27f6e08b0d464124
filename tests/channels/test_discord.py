"""The channel of Discord, against a Discord that keeps the rules."""

from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runcast.channels import Button, Edit, Send
from runcast.channels.capability import measure
from runcast.channels.platforms.discord import DiscordChannel, _with_tables, make_channel
from runcast.errors import InvalidValue
from runcast.testing import ChatFault, FakeClock, FakeDiscord
from tests.channels.driving import deliver, listening, talk
from tests.channels.test_markdown import sources


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def discord(clock: FakeClock) -> Iterator[FakeDiscord]:
    with FakeDiscord([7], clock=clock) as platform:
        yield platform


@pytest.fixture
async def channel(discord: FakeDiscord) -> AsyncIterator[DiscordChannel]:
    made = DiscordChannel("7", discord.TOKEN, url=discord.api_url, timeout_s=2)
    yield made
    await made.close()


async def test_a_long_text_keeps_its_markdown_and_the_rates(
    discord: FakeDiscord, channel: DiscordChannel, clock: FakeClock
) -> None:
    text = "A **bold** word 😀 and more. " * 20
    receipt = await deliver(channel, talk(*[text] * 20, pause_s=1.0), clock)
    assert receipt.status == "delivered"
    assert len(receipt.message_ids) > 4
    assert "".join("".join(discord.shown(7)).split()) == "".join((text * 20).split())
    assert {call.status for call in discord.calls} <= {200, 204}


@pytest.mark.parametrize(
    "fault",
    [
        ChatFault(kind="limited", retry_after_s=2.5, method="PATCH messages"),
        ChatFault(kind="error", method="PATCH messages"),
        ChatFault(kind="late", method="PATCH messages"),
        ChatFault(kind="deleted", method="PATCH messages"),
        ChatFault(kind="lost", method="POST messages"),
        ChatFault(kind="late", method="POST messages"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.method}",
)
async def test_the_answer_is_there_once_after_a_fault(
    discord: FakeDiscord, channel: DiscordChannel, clock: FakeClock, fault: ChatFault
) -> None:
    discord.fail(fault)
    receipt = await deliver(channel, talk("Some text that is long enough. ", "The end."), clock)
    assert receipt.status == "delivered"
    assert discord.shown(7) == ["Some text that is long enough. The end."]
    assert not any(call.was_blocked for call in discord.calls)


async def test_the_last_call_of_a_bucket_says_how_long_to_wait(
    discord: FakeDiscord, channel: DiscordChannel, clock: FakeClock
) -> None:
    others = DiscordChannel("7", discord.TOKEN, url=discord.api_url)
    for number in range(4):  # of another program
        sent = await others.send(Send(1, f"k{number}", "text"))
        assert sent.retry_after_s == 0
    await others.close()
    script = talk("Some text that is long enough. ", "The end.", pause_s=0.01)
    receipt = await deliver(channel, script, clock)
    assert receipt.status == "delivered"
    assert {call.status for call in discord.calls} <= {200, 204}


async def test_a_webhook_sends_edits_and_deletes(discord: FakeDiscord) -> None:
    channel = DiscordChannel("webhook/9", discord.WEBHOOK_TOKEN, url=discord.api_url)
    sent = await channel.send(Send(1, "k", "text"))
    assert (sent.kind, sent.message_id != "") == ("ok", True)
    assert (await channel.edit(Edit(1, sent.message_id, "new"))).kind == "ok"
    assert discord.shown(7) == ["new"]
    assert (await channel.delete(sent.message_id)).kind == "ok"
    assert not channel.capability.is_idempotent
    await channel.close()


async def test_refusals_are_told_apart(discord: FakeDiscord, channel: DiscordChannel) -> None:
    sent = await channel.send(Send(1, "k", "text"))
    again = await channel.send(Send(1, "k", "text"))
    assert again.message_id == sent.message_id
    assert (await channel.edit(Edit(1, "999", "new"))).kind == "gone"
    assert (await channel.edit(Edit(1, sent.message_id, "x" * 2001))).kind == "too_long"
    discord.fail(ChatFault(kind="limited", retry_after_s=0.75))
    limited = await channel.edit(Edit(1, sent.message_id, "new"))
    assert (limited.kind, limited.retry_after_s) == ("limited", 0.75)
    other = DiscordChannel("8", discord.TOKEN, url=discord.api_url)
    assert (await other.send(Send(1, "k", "text"))).kind == "forbidden"
    await other.close()


async def test_buttons_come_and_go(discord: FakeDiscord) -> None:
    options = {
        "token": discord.TOKEN,
        "url": discord.api_url,
        "allow": "127.0.0.0/8",
        "buttons": "yes",
    }
    channel = make_channel("//7", options)
    assert channel.capability.has_buttons
    buttons = (Button("accept", "Approve"), Button("reject", "Reject"))
    sent = await channel.send(Send(1, "k", "Sure?", buttons, question_id="q" * 300))
    assert [label for label, _ in discord.messages[0].buttons] == ["Approve", "Reject"]
    await channel.edit(Edit(1, sent.message_id, "Sure? Yes.", question_id="q" * 300))
    assert discord.messages[0].buttons == ()
    await channel.close()


async def test_no_error_and_no_log_record_shows_a_token(discord: FakeDiscord) -> None:
    tokens = {
        "7": [discord.TOKEN, "WRONG.token.of-somebody"],
        "webhook/9": [discord.WEBHOOK_TOKEN, "WRONG-webhook-token"],
    }
    pairs = [(target, token) for target, each in tokens.items() for token in each]
    with listening() as said:
        for target, token in pairs:
            channel = DiscordChannel(target, token, url=discord.api_url, timeout_s=0.2)
            for kind in ("limited", "error", "lost", "late"):
                discord.fail(ChatFault(kind=kind, retry_after_s=0))
                said.append(repr(await channel.send(Send(1, kind, "text"))))
            said.append(repr(await channel.send(Send(1, "k", "text"))))
            said += [repr(channel), channel.scope]
            await channel.close()
    assert any("/api/v10" in text for text in said)
    assert not [text for text in said if any(token in text for _, token in pairs)]


@pytest.mark.parametrize(
    ("target", "token"),
    [("", "x"), ("general", "x"), ("7/8", "x"), ("7", ""), ("webhook/9", "a/b"), ("7", "é")],
)
def test_malformed_targets_and_tokens_are_refused(target: str, token: str) -> None:
    with pytest.raises(InvalidValue, match="expected a"):
        DiscordChannel(target, token)


def test_a_table_becomes_a_code_block_where_it_fits() -> None:
    table = "|a|b|\n|-|-|\n|1|2|"
    assert _with_tables(f"x\n\n{table}\n\ny") == f"x\n\n```\n{table}\n```\n\ny"
    assert _with_tables(f"```\n{table}\n```") == f"```\n{table}\n```"
    long = table + "\n" + "y" * 1985
    assert _with_tables(long) == long


@given(sources, st.data())
@settings(max_examples=50)
def test_any_cut_of_any_markdown_fits(source: str, data: st.DataObject) -> None:
    cut = source[: data.draw(st.integers(0, len(source)), label="cut")]
    shown = _with_tables(cut)
    assert "".join(shown.replace("```", "").split()) == "".join(cut.replace("```", "").split())
    assert measure(shown, "utf16") <= max(2000, measure(cut, "utf16"))
