"""The channel of Telegram, against a Telegram that keeps the rules."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runcast.channels import Button, Edit, Send
from runcast.channels.capability import measure
from runcast.channels.markdown import render
from runcast.channels.outcome import CallKind
from runcast.channels.platforms.telegram import TelegramChannel, entities_of, make_channel
from runcast.errors import InvalidValue
from runcast.testing import ChatFault, FakeClock, FakeTelegram
from runcast.testing.chats.telegram import _wrong_entities
from tests.channels.driving import deliver, listening, talk
from tests.channels.test_markdown import sources

PERSON, GROUP = 42, -100123


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def telegram(clock: FakeClock) -> Iterator[FakeTelegram]:
    with FakeTelegram([PERSON, GROUP], clock=clock) as platform:
        yield platform


@pytest.fixture
async def channel(telegram: FakeTelegram) -> AsyncIterator[TelegramChannel]:
    made = TelegramChannel(str(PERSON), telegram.TOKEN, url=telegram.url, timeout_s=2)
    yield made
    await made.close()


async def test_a_message_grows_and_shows_its_formatting(
    telegram: FakeTelegram, channel: TelegramChannel, clock: FakeClock
) -> None:
    receipt = await deliver(
        channel, talk("# Plan\n\n👩‍🚀 **bo", "ld** and `co", "de`\n```py\nx = 1\n", "```"), clock
    )
    assert receipt.status == "delivered"
    assert telegram.shown(PERSON) == ["Plan\n\n👩‍🚀 bold and code\nx = 1"]
    kinds = [entity["type"] for entity in telegram.entities[receipt.message_ids[0]]]
    assert kinds == ["bold", "bold", "code", "pre"]
    assert {call.status for call in telegram.calls} == {200}


async def test_a_long_text_in_a_group_fits_its_limits_without_a_refusal(
    telegram: FakeTelegram, clock: FakeClock
) -> None:
    channel = TelegramChannel(f"{GROUP}/7", telegram.TOKEN, url=telegram.url)
    text = "😀 word. " * 120
    receipt = await deliver(channel, talk(*[text] * 12, pause_s=8.0), clock)
    await channel.close()
    assert receipt.status == "delivered"
    assert "".join("".join(telegram.shown(GROUP)).split()) == "".join((text * 12).split())
    assert len(receipt.message_ids) > 1
    assert {call.status for call in telegram.calls} == {200}


@pytest.mark.parametrize(
    "fault",
    [
        ChatFault(kind="limited", retry_after_s=130, method="editMessageText"),
        ChatFault(kind="error", method="editMessageText"),
        ChatFault(kind="lost", method="editMessageText"),
        ChatFault(kind="late", method="editMessageText"),
        ChatFault(kind="deleted", method="editMessageText"),
        ChatFault(kind="limited", retry_after_s=3, method="sendMessage"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.method}",
)
async def test_the_answer_is_there_once_after_a_fault(
    telegram: FakeTelegram, channel: TelegramChannel, clock: FakeClock, fault: ChatFault
) -> None:
    telegram.fail(fault)
    receipt = await deliver(channel, talk("Some text that is long enough. ", "The end."), clock)
    assert receipt.status == "delivered"
    assert telegram.shown(PERSON) == ["Some text that is long enough. The end."]
    assert not any(call.was_blocked for call in telegram.calls)


async def test_a_whole_text_whose_send_has_no_answer_is_uncertain(
    telegram: FakeTelegram, channel: TelegramChannel, clock: FakeClock
) -> None:
    telegram.fail(ChatFault(kind="late", method="sendMessage"))
    receipt = await deliver(channel, talk("Short."), clock)
    assert receipt.status == "uncertain"
    assert telegram.shown(PERSON) == ["Short."]


async def test_refusals_are_told_apart(telegram: FakeTelegram, channel: TelegramChannel) -> None:
    sent = await channel.send(Send(1, "k", "text"))
    assert sent.kind == "ok"

    async def kind_of(edit: Edit) -> CallKind:
        return (await channel.edit(edit)).kind

    assert await kind_of(Edit(1, sent.message_id, "text")) == "same"
    assert await kind_of(Edit(1, "999", "text")) == "gone"
    assert await kind_of(Edit(1, sent.message_id, "x" * 4097)) == "too_long"
    assert (await channel.delete("999")).kind == "gone"
    telegram.fail(ChatFault(kind="limited", retry_after_s=7))
    limited = await channel.edit(Edit(1, sent.message_id, "new"))
    assert (limited.kind, limited.retry_after_s) == ("limited", 7.0)


async def test_a_chat_that_blocks_or_does_not_exist_is_given_up(
    telegram: FakeTelegram, channel: TelegramChannel, clock: FakeClock
) -> None:
    telegram.blocked_by.add(PERSON)
    receipt = await deliver(channel, talk("Hello."), clock)
    assert (receipt.status, receipt.reason) == ("failed", "Forbidden: bot was blocked by the user")
    other = TelegramChannel("777", telegram.TOKEN, url=telegram.url)
    assert (await other.send(Send(1, "k", "text"))).kind == "forbidden"
    await other.close()


async def test_a_silent_server_leaves_a_send_uncertain_and_a_closed_one_does_not(
    telegram: FakeTelegram,
) -> None:
    channel = TelegramChannel(str(PERSON), telegram.TOKEN, url=telegram.url, timeout_s=0.1)
    telegram.fail(ChatFault(kind="lost", is_cut=False))
    assert (await channel.send(Send(1, "k", "text"))).kind == "uncertain"
    await channel.close()
    url = telegram.url
    await asyncio.to_thread(telegram.close)
    channel = TelegramChannel(str(PERSON), telegram.TOKEN, url=url, timeout_s=1)
    assert (await channel.send(Send(1, "k", "text"))).kind == "not_started"
    await channel.close()


async def test_buttons_fit_into_callbacks_and_go_with_the_decision(telegram: FakeTelegram) -> None:
    options = {
        "token": telegram.TOKEN,
        "url": telegram.url,
        "allow": "127.0.0.0/8",
        "buttons": "yes",
    }
    channel = make_channel(f"//{PERSON}", options)
    assert channel.capability.has_buttons
    buttons = (Button("accept", "Approve"), Button("reject", "Reject"))
    sent = await channel.send(Send(1, "k", "Sure?", buttons, question_id="q" * 200))
    assert [label for label, _ in telegram.messages[0].buttons] == ["Approve", "Reject"]
    await channel.edit(Edit(1, sent.message_id, "Sure? Yes.", question_id="q" * 200))
    assert telegram.messages[0].buttons == ()
    await channel.close()


async def test_no_error_and_no_log_record_shows_the_token(telegram: FakeTelegram) -> None:
    good, bad = telegram.TOKEN, telegram.TOKEN.replace("TEST", "NEST")
    with listening() as said:
        for token in (good, bad):
            channel = TelegramChannel(str(PERSON), token, url=telegram.url, timeout_s=0.2)
            for kind in ("limited", "error", "lost", "late"):
                telegram.fail(ChatFault(kind=kind, retry_after_s=0))
                said.append(repr(await channel.send(Send(1, "k", "text"))))
            said.append(repr(await channel.send(Send(1, "k", "text"))))
            said += [repr(channel), channel.scope]
            await channel.close()
        url = telegram.url
        await asyncio.to_thread(telegram.close)
        channel = TelegramChannel(str(PERSON), good, url=url, timeout_s=0.2)
        said.append(repr(await channel.send(Send(1, "k", "text"))))
        await channel.close()
    assert any("/sendMessage" in text for text in said)  # HTTP clients do log
    secrets = [secret for token in (good, bad) for secret in (token, token.partition(":")[2])]
    assert not [text for text in said if any(secret in text for secret in secrets)]


@pytest.mark.parametrize("token", ["", "abc", "1:a b", "1:é", "1:x\n", "1:a/../b"])
def test_a_malformed_token_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        TelegramChannel("1", token)
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize("target", ["", "x", "@1", "1/x", "1/2/3", "1?a=b", "--1"])
def test_a_malformed_chat_is_refused(target: str) -> None:
    with pytest.raises(InvalidValue, match="expected a chat"):
        TelegramChannel(target, FakeTelegram.TOKEN)


@given(sources, st.data())
@settings(max_examples=50)
def test_any_cut_of_any_markdown_is_taken(source: str, data: st.DataObject) -> None:
    rendered = render(source[: data.draw(st.integers(0, len(source)), label="cut")])
    entities = json.loads(json.dumps(entities_of(rendered)))
    assert _wrong_entities(rendered.text, entities) == ""
    assert all(entity["length"] <= measure(rendered.text, "utf16") for entity in entities)
