"""The channel of Feishu and Lark, against a Feishu that keeps the rules."""

from collections.abc import AsyncIterator, Iterator

import pytest

from runcast.channels import Button, Edit, Send
from runcast.channels.platforms import feishu as module
from runcast.channels.platforms import lark
from runcast.channels.platforms.feishu import FeishuChannel, make_channel
from runcast.channels.platforms.feishu_cards import markdown_of
from runcast.errors import InvalidValue
from runcast.testing import ChatFault, FakeClock, FakeFeishu
from tests.channels.driving import deliver, listening, talk

BUTTONS = (Button("accept", "Approve"), Button("reject", "Reject"))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def feishu(clock: FakeClock) -> Iterator[FakeFeishu]:
    with FakeFeishu(["oc_1"], clock=clock) as platform:
        yield platform


def open_channel(feishu: FakeFeishu, clock: FakeClock, target: str = "oc_1") -> FeishuChannel:
    return FeishuChannel(
        target, feishu.APP_ID, feishu.APP_SECRET, clock=clock, url=feishu.api_url, timeout_s=2
    )


@pytest.fixture
async def channel(feishu: FakeFeishu, clock: FakeClock) -> AsyncIterator[FeishuChannel]:
    made = open_channel(feishu, clock)
    yield made
    await made.close()


def methods(feishu: FakeFeishu) -> list[str]:
    return [call.method for call in feishu.calls]


async def test_a_card_streams_and_is_closed_at_the_end(
    feishu: FakeFeishu, channel: FeishuChannel, clock: FakeClock
) -> None:
    script = talk("# Plan\n\nThe words of a **longer** sentence ", "and `a", "<at id=all>` code.")
    receipt = await deliver(channel, script, clock)
    assert receipt.status == "delivered"
    shown = "# Plan\n\nThe words of a **longer** sentence and `a<at id=all>` code."
    assert feishu.shown("oc_1") == [shown]
    assert not feishu.is_streaming(receipt.message_ids[0])
    assert methods(feishu)[:4] == ["token", "messages.create", "cards.id_convert", "cards.content"]
    assert methods(feishu)[-2:] == ["cards.update", "messages.get"]
    assert {call.status for call in feishu.calls} == {200}


async def test_a_card_is_closed_although_its_text_was_there_before_the_end(
    feishu: FakeFeishu, channel: FeishuChannel, clock: FakeClock
) -> None:
    receipt = await deliver(channel, talk("All is said in one go, long ago.", pause_s=30.0), clock)
    assert receipt.status == "delivered"
    assert len(feishu.messages) == 1
    assert not feishu.is_streaming(receipt.message_ids[0])


async def test_a_long_run_outlives_its_streams_and_keeps_the_rates(
    feishu: FakeFeishu, channel: FeishuChannel, clock: FakeClock
) -> None:
    text = '一句话，带有 <b> 和 "引号"。\n'
    receipt = await deliver(channel, talk(*[text * 3] * 150, pause_s=25.0), clock)
    assert receipt.status == "delivered"
    assert len(receipt.message_ids) > 1
    shown = "".join(feishu.shown("oc_1")).replace("\n", "")
    assert shown == (text * 3 * 150).replace("\n", "")
    statuses = {call.status for call in feishu.calls if call.method != "cards.content"}
    assert statuses == {200}
    assert any(call.status == 400 for call in feishu.calls), "no stream has ended by itself"
    assert not any(feishu.is_streaming(each) for each in receipt.message_ids)


@pytest.mark.parametrize(
    "fault",
    [
        ChatFault(kind="limited", retry_after_s=30, method="cards.content"),
        ChatFault(kind="limited", retry_after_s=30, method="cards.update"),
        ChatFault(kind="limited", retry_after_s=3, method="messages.create"),
        ChatFault(kind="limited", retry_after_s=3, method="token"),
        *(
            ChatFault(kind=kind, method=method)
            for kind in ("error", "lost", "late")
            for method in ("cards.content", "cards.update", "messages.create", "cards.id_convert")
        ),
        ChatFault(kind="lost", method="token"),
        ChatFault(kind="deleted", method="cards.content"),
        ChatFault(kind="deleted", method="cards.update"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.method}",
)
async def test_the_answer_is_there_once_after_a_fault(
    feishu: FakeFeishu, channel: FeishuChannel, clock: FakeClock, fault: ChatFault
) -> None:
    feishu.fail(fault)
    script = talk("Some text that is long enough. ", "More of it. ", "The end.")
    receipt = await deliver(channel, script, clock)
    assert receipt.status == "delivered"
    assert feishu.shown("oc_1") == ["Some text that is long enough. More of it. The end."]
    assert not feishu.is_streaming(receipt.message_ids[-1])
    assert not any(call.was_blocked for call in feishu.calls)


async def test_another_process_goes_on_with_the_numbers_of_a_card(
    feishu: FakeFeishu, channel: FeishuChannel, clock: FakeClock
) -> None:
    sent = await channel.send(Send(1, "k", "One"))
    for _ in range(3):
        assert (await channel.edit(Edit(1, sent.message_id, "One two"))).kind == "ok"
    other = open_channel(feishu, clock)  # at the same moment: its first number was used already
    assert (await other.edit(Edit(1, sent.message_id, "One two three"))).kind == "ok"
    assert feishu.shown("oc_1") == ["One two three"]
    assert (await other.send(Send(1, "k", "One"))).message_id == sent.message_id
    assert len(feishu.messages) == 1
    await other.close()


async def test_without_the_permission_of_cards_messages_are_replaced(
    feishu: FakeFeishu, channel: FeishuChannel, clock: FakeClock
) -> None:
    feishu.has_cards = False
    receipt = await deliver(channel, talk("Some text that is long enough. ", "The end."), clock)
    assert receipt.status == "delivered"
    assert feishu.shown("oc_1") == ["Some text that is long enough. The end."]
    assert methods(feishu).count("cards.id_convert") == 1
    assert not feishu.is_streaming(receipt.message_ids[0])


async def test_a_token_is_renewed_before_its_end_and_when_it_is_revoked(
    feishu: FakeFeishu, channel: FeishuChannel, clock: FakeClock
) -> None:
    sent = await channel.send(Send(1, "k", "One"))
    assert len(feishu.tokens) == 1
    clock.advance(7100)
    assert (await channel.edit(Edit(1, sent.message_id, "Two", is_final=True))).kind == "ok"
    assert len(feishu.tokens) == 2
    feishu.revoke_token()
    assert (await channel.edit(Edit(1, sent.message_id, "Three", is_final=True))).kind == "ok"
    assert len(feishu.tokens) == 3
    assert feishu.shown("oc_1") == ["Three"]


async def test_errors_inside_good_answers_are_told_apart(clock: FakeClock) -> None:
    async with FakeFeishu(["oc_1"], has_old_errors=True, clock=clock) as feishu:
        channel = open_channel(feishu, clock)
        sent = await channel.send(Send(1, "k", "text"))
        assert sent.kind == "ok"
        assert (await channel.send(Send(1, "l", "x" * 31_000))).kind == "too_long"
        feishu.delete(sent.message_id)
        assert (await channel.edit(Edit(1, sent.message_id, "new"))).kind == "gone"
        assert (await channel.delete(sent.message_id)).kind == "gone"
        other = open_channel(feishu, clock, "oc_2")
        assert (await other.send(Send(1, "k", "text"))).kind == "forbidden"
        await channel.close()
        await other.close()
        assert {call.status for call in feishu.calls} == {200, 400}


async def test_a_topic_gets_replies(
    feishu: FakeFeishu, channel: FeishuChannel, clock: FakeClock
) -> None:
    root = await channel.send(Send(1, "k", "root"))
    topic = open_channel(feishu, clock, f"oc_1/{root.message_id}")
    assert (await topic.send(Send(1, "k2", "reply"))).kind == "ok"
    assert methods(feishu)[-1] == "messages.reply"
    await topic.close()


async def test_buttons_come_and_go(feishu: FakeFeishu) -> None:
    options = {
        **{"app_id": feishu.APP_ID, "app_secret": feishu.APP_SECRET, "url": feishu.api_url},
        **{"allow": "127.0.0.0/8", "buttons": "yes"},
    }
    channel = make_channel("//oc_1", options)
    assert channel.capability.has_buttons
    sent = await channel.send(Send(1, "k", "Sure?", BUTTONS, question_id="q" * 300))
    assert [label for label, _ in feishu.messages[0].buttons] == ["Approve", "Reject"]
    assert not feishu.is_streaming(sent.message_id), "a streaming card takes no clicks"
    await channel.edit(Edit(1, sent.message_id, "Sure? Yes.", question_id="q" * 300))
    assert feishu.messages[0].buttons == ()
    await channel.close()


async def test_plain_text_replaces_what_feishu_cannot_read(
    feishu: FakeFeishu, channel: FeishuChannel
) -> None:
    sent = await channel.send(Send(1, "k", "a"))
    await channel.edit(Edit(1, sent.message_id, "<at id=all></at> *a*", is_plain=True))
    assert feishu.shown("oc_1") == ["<at id=all></at> *a*"]


def test_text_notifies_nobody_and_shows_no_images() -> None:
    said = "<at id=all></at> 1 < 2 ![x](img_key) `<at>` \n```\n<at id=all>![x](y)\n```\n</font>"
    assert markdown_of(said) == (
        "&#60;at id=all>&#60;/at> 1 < 2 [x](img_key) `<at>` \n```\n<at id=all>![x](y)\n```\n"
        "&#60;/font>"
    )


async def test_no_error_and_no_log_record_shows_the_secret_or_a_token(
    feishu: FakeFeishu, clock: FakeClock
) -> None:
    good, bad = feishu.APP_SECRET, feishu.APP_SECRET.replace("TEST", "NEST")
    with listening() as said:
        for secret in (good, bad):
            channel = FeishuChannel(
                "oc_1", feishu.APP_ID, secret, url=feishu.api_url, timeout_s=0.2
            )
            for kind in ("limited", "error", "lost", "late"):
                feishu.fail(ChatFault(kind=kind, retry_after_s=0))
                said.append(repr(await channel.send(Send(1, "k", "text"))))
            said.append(repr(await channel.send(Send(1, "k", "text"))))
            said += [repr(channel), channel.scope]
            await channel.close()
    assert any("messages" in text for text in said)
    hidden = [good, bad, *feishu.tokens]
    assert not [text for text in said if any(each in text for each in hidden)]


@pytest.mark.parametrize(
    ("target", "app_id", "secret"),
    [
        ("", "cli_1", "s3cr3t"),
        ("ou_1/om_1", "cli_1", "s3cr3t"),
        ("oc_1", "app", "s3cr3t"),
        ("oc_1", "cli_1", ""),
        ("oc_1", "cli_1", "s3cr3t s3cr3t"),
    ],
)
def test_malformed_targets_and_apps_are_refused(target: str, app_id: str, secret: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        FeishuChannel(target, app_id, secret)
    assert not secret or secret not in str(caught.value)


def test_lark_has_an_address_of_its_own() -> None:
    options = {"app_id": "cli_1", "app_secret": "s"}
    assert lark.make_channel("//ou_1", options)._caller._url == lark.URL
    assert make_channel("//a@b.c", options)._caller._url == module.URL
