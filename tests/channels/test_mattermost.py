"""The channel of Mattermost, against a Mattermost that keeps the rules."""

import json
import re
from collections.abc import AsyncIterator, Iterator

import pytest

from runcast.channels import Button, Edit, Send
from runcast.channels.callbacks import read_callback
from runcast.channels.platforms import make_receiver
from runcast.channels.platforms.mattermost import MattermostChannel, make_channel
from runcast.channels.receiver import Callback
from runcast.errors import InvalidValue, Unauthorized
from runcast.testing import ChatFault, FakeClock, FakeMattermost
from tests.channels.driving import deliver, listening, talk

BUTTONS = (Button("accept", "Approve"), Button("reject", "Reject"))
SECRET = "a secret that signs buttons"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def mattermost(clock: FakeClock) -> Iterator[FakeMattermost]:
    with FakeMattermost(2, clock=clock) as platform:
        yield platform


@pytest.fixture
async def channel(mattermost: FakeMattermost) -> AsyncIterator[MattermostChannel]:
    made = MattermostChannel(
        mattermost.channels[0], mattermost.TOKEN, url=mattermost.url, timeout_s=2
    )
    yield made
    await made.close()


async def test_a_post_grows_and_notifies_nobody(
    mattermost: FakeMattermost, channel: MattermostChannel, clock: FakeClock
) -> None:
    script = talk("# Plan\n\nAsk @all, @here, not a@b.c or `@x`; **bo", "ld** ![x](https://a.b)")
    receipt = await deliver(channel, script, clock)
    assert receipt.status == "delivered"
    place = mattermost.channels[0]
    assert mattermost.shown(place) == [
        "# Plan\n\nAsk @all, @here, not a@b.c or `@x`; **bold** [x](https://a.b)"
    ]
    assert mattermost.typed == [place]
    assert {call.status for call in mattermost.calls} == {200, 201}


async def test_a_long_text_continues_in_new_posts_without_a_refusal(
    mattermost: FakeMattermost, channel: MattermostChannel, clock: FakeClock
) -> None:
    text = "句子 and more. " * 60 + "@you "
    receipt = await deliver(channel, talk(*[text] * 60, pause_s=2.0), clock)
    assert receipt.status == "delivered"
    assert len(receipt.message_ids) > 2
    shown = "".join(mattermost.shown(mattermost.channels[0]))
    assert "".join(shown.split()) == "".join((text * 60).split())
    assert {call.status for call in mattermost.calls} == {200, 201}


@pytest.mark.parametrize(
    "fault",
    [
        ChatFault(kind="limited", retry_after_s=30, method="posts.patch"),
        ChatFault(kind="limited", retry_after_s=3, method="posts.create"),
        *(
            ChatFault(kind=kind, method=method)
            for kind in ("error", "lost", "late")
            for method in ("posts.patch", "posts.create")
        ),
        ChatFault(kind="deleted", method="posts.patch"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.method}",
)
async def test_the_answer_is_there_once_after_a_fault(
    mattermost: FakeMattermost, channel: MattermostChannel, clock: FakeClock, fault: ChatFault
) -> None:
    mattermost.fail(fault)
    receipt = await deliver(channel, talk("Some text that is long enough. ", "The end."), clock)
    assert receipt.status == "delivered"
    shown = mattermost.shown(mattermost.channels[0])
    assert shown == ["Some text that is long enough. The end."]
    assert not any(call.was_blocked for call in mattermost.calls)


async def test_an_edit_that_comes_too_late_continues_in_a_new_post(
    mattermost: FakeMattermost, channel: MattermostChannel, clock: FakeClock
) -> None:
    mattermost.edit_window_s = 10.0
    script = talk("First words that are long enough. ", "Late words.", pause_s=20.0)
    receipt = await deliver(channel, script, clock)
    assert receipt.status == "delivered"
    assert mattermost.shown(mattermost.channels[0]) == [
        "First words that are long enough.",
        "Late words.",
    ]


async def test_refusals_are_told_apart(
    mattermost: FakeMattermost, channel: MattermostChannel
) -> None:
    sent = await channel.send(Send(1, "k", "text"))
    assert sent.kind == "ok"
    assert (await channel.send(Send(1, "k", "text"))).message_id == sent.message_id
    assert (await channel.edit(Edit(1, sent.message_id, "x" * 16_384))).kind == "too_long"
    assert (await channel.edit(Edit(1, "../users", "x"))).kind == "gone"
    assert (await channel.delete(sent.message_id)).kind == "ok"
    assert (await channel.delete(sent.message_id)).kind == "gone"
    assert (await channel.edit(Edit(1, sent.message_id, "x"))).kind == "gone"
    for target in ("z" * 26, f"{mattermost.channels[0]}/{'z' * 26}"):
        other = MattermostChannel(target, mattermost.TOKEN, url=mattermost.url)
        assert (await other.send(Send(1, "l", "text"))).kind == "forbidden"
        await other.close()


async def test_a_thread_gets_replies(
    mattermost: FakeMattermost, channel: MattermostChannel
) -> None:
    root = await channel.send(Send(1, "k", "root"))
    target = f"{mattermost.channels[0]}/{root.message_id}"
    thread = MattermostChannel(target, mattermost.TOKEN, url=mattermost.url)
    assert (await thread.send(Send(1, "k2", "reply"))).kind == "ok"
    await thread.close()


async def test_a_pressed_button_says_who_pressed_it_and_cannot_be_forged(
    mattermost: FakeMattermost,
) -> None:
    options = {
        **{"token": mattermost.TOKEN, "url": mattermost.url, "allow": "127.0.0.0/8"},
        **{"callback_url": "https://runcast.example/channels/mattermost"},
        **{"callback_secret": SECRET, "webhook_token": "t0ken"},
    }
    channel = make_channel(f"//{mattermost.channels[0]}", options)
    assert channel.capability.has_buttons
    sent = await channel.send(Send(1, "k", "Sure?", BUTTONS, question_id="q1"))
    body = json.loads(mattermost.press(sent.message_id, "Approve").body)
    assert mattermost.called_back == [options["callback_url"]]

    receiver = make_receiver("mattermost", options)
    pressed = receiver.read(Callback({}, json.dumps(body).encode(), 0.0))
    assert pressed is not None
    assert read_callback(pressed.value, "q1") == "accept"
    assert (pressed.message_id, pressed.name) == (sent.message_id, "ada")
    assert receiver.is_in(pressed, mattermost.channels[0])
    assert receiver.reply(pressed, "Approved.") == {"ephemeral_text": "Approved."}
    rejecting = {**body["context"], "callback": body["context"]["callback"].replace("acc", "rej")}
    elsewhere = {**body, "channel_id": mattermost.channels[1]}
    sent_by_others: list[object] = [{**body, "context": rejecting}, elsewhere]
    for forged in (*sent_by_others, {**body, "context": {}}, [], {}):
        with pytest.raises(Unauthorized):
            receiver.read(Callback({}, json.dumps(forged).encode(), 0.0))

    await channel.edit(Edit(1, sent.message_id, "Sure? Yes.", question_id="q1"))
    assert mattermost.messages[0].buttons == ()
    await channel.close()


def test_a_text_of_an_outgoing_webhook_is_read() -> None:
    receiver = make_receiver("mattermost", {"callback_secret": SECRET, "webhook_token": "t0ken"})
    form = {"content-type": "application/x-www-form-urlencoded"}
    body = b"token=t0ken&channel_id=c1&user_id=u1&user_name=ada&post_id=p1&text=stop+it"
    said = receiver.read(Callback(form, body, 0.0))
    assert said is not None
    assert (said.kind, said.value, said.place, said.person) == ("text", "stop it", "c1", "u1")
    with pytest.raises(Unauthorized):
        receiver.read(Callback(form, body.replace(b"t0ken", b"other"), 0.0))
    without = make_receiver("mattermost", {"callback_secret": SECRET})
    with pytest.raises(Unauthorized):
        without.read(Callback(form, body.replace(b"t0ken", b""), 0.0))


def test_the_trigger_of_a_slash_command_says_when_it_was_written(
    mattermost: FakeMattermost,
) -> None:
    receiver = make_receiver("mattermost", {"command_token": mattermost.COMMAND_TOKEN})
    command = mattermost.command("1")
    said = receiver.read(Callback(command.headers, command.body, 0.0))
    assert said is not None
    assert 0.0 <= mattermost.clock.time() - said.sent_at < 60.0
    for trigger in (b"trigger7", b"YTpiOmM6ZA%3D%3D", b"a" * 5000, b"%C3%A9"):
        body = re.sub(rb"trigger_id=[^&]*", b"trigger_id=" + trigger, command.body)
        said = receiver.read(Callback(command.headers, body, 0.0))
        assert said is not None
        assert said.sent_at == 0.0


async def test_no_error_and_no_log_record_shows_the_token(mattermost: FakeMattermost) -> None:
    good, bad = mattermost.TOKEN, mattermost.TOKEN.replace("test", "nest")
    with listening() as said:
        for token in (good, bad):
            channel = MattermostChannel(
                mattermost.channels[0], token, url=mattermost.url, timeout_s=2
            )
            for kind in ("limited", "error", "lost", "late"):
                mattermost.fail(ChatFault(kind=kind, retry_after_s=0))
                said.append(repr(await channel.send(Send(1, "k", "text"))))
            said.append(repr(await channel.send(Send(1, "k", "text"))))
            said += [repr(channel), channel.scope]
            await channel.close()
    assert any("posts" in text for text in said)
    assert not [text for text in said if good in text or bad in text]


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("c1", {"url": "https://chat.example", "token": "s3cr3t"}),
        ("c" * 26, {"url": "https://chat.example", "token": "s3 cr3t"}),
        ("c" * 26, {"token": "s3cr3t"}),
        ("c" * 26, {"url": "https://chat.example", "token": "s3cr3t", "buttons": "yes"}),
        (
            "c" * 26,
            {"url": "https://chat.example", "token": "s3cr3t", "callback_secret": "short"},
        ),
    ],
)
def test_malformed_targets_and_options_are_refused(target: str, options: dict[str, str]) -> None:
    with pytest.raises(InvalidValue) as caught:
        make_channel(target, options)
    assert options["token"] not in str(caught.value)
