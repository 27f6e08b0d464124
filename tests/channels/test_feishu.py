"""The channel of Feishu and Lark, against a Feishu that keeps the rules."""

import json
from collections.abc import AsyncIterator, Iterator

import pytest

from runcast.channels import Button, Edit, Send
from runcast.channels.callbacks import read_callback
from runcast.channels.platforms import feishu as module
from runcast.channels.platforms import lark, make_receiver
from runcast.channels.platforms.feishu import FeishuChannel, make_channel
from runcast.channels.platforms.feishu_cards import markdown_of
from runcast.channels.receiver import Callback
from runcast.errors import InvalidValue, Unauthorized
from runcast.testing import ChatFault, FakeClock, FakeFeishu
from tests.channels.driving import deliver, listening, talk
from tests.channels.feishu_events import encrypted

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
            channel = FeishuChannel("oc_1", feishu.APP_ID, secret, url=feishu.api_url, timeout_s=2)
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


KEY = "encrypt-key"


@pytest.mark.parametrize("key", ["", KEY])
async def test_a_pressed_button_says_who_pressed_it(
    feishu: FakeFeishu, channel: FeishuChannel, key: str
) -> None:
    sent = await channel.send(Send(1, "k", "Sure?", BUTTONS, question_id="q1"))
    event = json.loads(feishu.press(sent.message_id, "Reject", user="ou_7").body)
    options = {"verification_token": feishu.VERIFICATION_TOKEN, "encrypt_key": key}
    receiver = make_receiver("lark" if key else "feishu", options)
    plain: tuple[dict[str, str], bytes] = ({}, json.dumps(event).encode())
    headers, body = encrypted(event, key, 1000.0) if key else plain
    pressed = receiver.read(Callback(headers, body, 1100.0))
    assert pressed is not None
    assert read_callback(pressed.value, "q1") == "reject"
    assert (pressed.person, pressed.message_id) == ("ou_7", sent.message_id)
    assert receiver.is_in(pressed, "oc_1/om_1")
    assert receiver.is_in(pressed, "ou_7"), "only Feishu knows the chat with a person"
    assert not receiver.is_in(pressed, "oc_2")
    assert receiver.reply(pressed, "Done") == {"toast": {"type": "info", "content": "Done"}}


def test_what_feishu_did_not_send_is_refused(feishu: FakeFeishu) -> None:
    options = {"verification_token": feishu.VERIFICATION_TOKEN, "encrypt_key": KEY}
    receiver = make_receiver("feishu", options)
    event = feishu.event("im.message.receive_v1", {})
    headers, body = encrypted(event, KEY, 1000.0)
    foreign = {**event, "header": {**event["header"], "token": "other"}}
    for callback in (
        Callback({}, body, 1000.0),
        Callback(headers, body, 1301.0),
        Callback(headers, body + b" ", 1000.0),
        Callback({}, json.dumps(event).encode(), 1000.0),  # in the clear
        Callback(*encrypted(event, "another key", 1000.0), 1000.0),
        Callback(*encrypted(foreign, KEY, 1000.0), 1000.0),
        Callback(headers, b'{"encrypt": 1}', 1000.0),
        Callback(headers, b"[]", 1000.0),
    ):
        with pytest.raises(Unauthorized):
            receiver.read(callback)
    with pytest.raises(InvalidValue, match="verification_token"):
        make_receiver("feishu", {})


def test_feishu_sees_that_the_address_is_right(feishu: FakeFeishu) -> None:
    options = {"verification_token": feishu.VERIFICATION_TOKEN, "encrypt_key": KEY}
    receiver = make_receiver("feishu", options)
    question = {
        "type": "url_verification",
        "challenge": "c",
        "token": feishu.VERIFICATION_TOKEN,
    }
    _, body = encrypted(question, KEY, 0.0)  # it has no signature
    asked = receiver.read(Callback({}, body, 1000.0))
    assert asked is not None
    assert receiver.reply(asked, "") == {"challenge": "c"}


def test_a_reply_in_a_chat_is_read(feishu: FakeFeishu) -> None:
    message = {
        **{"message_id": "om_9", "root_id": "om_1", "parent_id": "om_2", "chat_id": "oc_1"},
        "content": json.dumps({"text": "@_user_1 stop it"}),
        "mentions": [{"key": "@_user_1", "name": "Bot"}, 7],
    }
    sender = {"sender_type": "user", "sender_id": {"open_id": "ou_7"}}
    receiver = make_receiver("feishu", {"verification_token": feishu.VERIFICATION_TOKEN})
    for kind, expected in (("user", "@Bot stop it"), ("app", None)):
        said = {"message": message, "sender": {**sender, "sender_type": kind}}
        event = feishu.event("im.message.receive_v1", said)
        read = receiver.read(Callback({}, json.dumps(event).encode(), 0.0))
        assert (None if read is None else read.value) == expected
        assert read is None or (read.message_id, read.thread) == ("om_2", "om_1")
