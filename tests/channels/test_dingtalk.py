"""The channels of DingTalk, against a DingTalk that keeps the rules."""

from collections.abc import AsyncIterator, Iterator

import pytest

from runcast.channels import Channel, Edit, Send
from runcast.channels.platforms import make_receiver
from runcast.channels.platforms.dingtalk import DingTalkChannel, DingTalkRobot, make_channel
from runcast.channels.receiver import Callback
from runcast.errors import InvalidValue, Unauthorized
from runcast.events.model import Event
from runcast.testing import ChatFault, FakeClock, FakeDingTalk
from tests.channels.driving import deliver, listening, talk


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def dingtalk(clock: FakeClock) -> Iterator[FakeDingTalk]:
    with FakeDingTalk(["cid1/+=", "ada"], clock=clock) as platform:
        yield platform


def open_channel(dingtalk: FakeDingTalk, clock: FakeClock, target: str) -> DingTalkChannel:
    return DingTalkChannel(
        target, dingtalk.APP_KEY, dingtalk.APP_SECRET, clock=clock, url=dingtalk.url, timeout_s=2
    )


@pytest.fixture
async def channel(dingtalk: FakeDingTalk, clock: FakeClock) -> AsyncIterator[DingTalkChannel]:
    made = open_channel(dingtalk, clock, "cid1/+=")
    yield made
    await made.close()


@pytest.fixture
async def robot(dingtalk: FakeDingTalk, clock: FakeClock) -> AsyncIterator[DingTalkRobot]:
    made = DingTalkRobot(
        dingtalk.ROBOT_TOKEN,
        dingtalk.ROBOT_SECRET,
        clock=clock,
        url=f"{dingtalk.url}/robot/send",
        timeout_s=2,
    )
    yield made
    await made.close()


async def test_a_card_streams_and_is_finished_at_the_end(
    dingtalk: FakeDingTalk, channel: DingTalkChannel, clock: FakeClock
) -> None:
    script = talk("# Plan\n\nThe words of a\nlonger sentence ", "and ![x](y)\n```\na\nb\n```")
    receipt = await deliver(channel, script, clock)
    assert receipt.status == "delivered"
    shown = "# Plan\n\nThe words of a\nlonger sentence and [x](y)\n```\na\nb\n```"
    assert dingtalk.shown("cid1/+=") == [shown]
    assert dingtalk.status_of(receipt.message_ids[0]) == "3"
    methods = [call.method for call in dingtalk.calls]
    assert methods == [
        *("token", "cards.createAndDeliver", "cards.stream"),
        *("cards.stream", "cards.update"),
    ]
    assert {call.status for call in dingtalk.calls} == {200}


async def test_a_card_is_finished_although_its_text_was_there_before_the_end(
    dingtalk: FakeDingTalk, channel: DingTalkChannel, clock: FakeClock
) -> None:
    receipt = await deliver(channel, talk("All is said in one go, long ago.", pause_s=30.0), clock)
    assert receipt.status == "delivered"
    assert dingtalk.status_of(receipt.message_ids[0]) == "3"


async def test_a_finished_card_takes_another_text(
    dingtalk: FakeDingTalk, channel: DingTalkChannel
) -> None:
    sent = await channel.send(Send(1, "k", "Sure?", is_final=True))
    for text in ("Sure? Yes.", "Sure? No."):
        edit = Edit(1, sent.message_id, text, is_final=True)
        assert (await channel.edit(edit)).kind == "ok"
    assert dingtalk.shown("cid1/+=") == ["Sure? No."]


async def test_a_long_text_continues_in_new_cards(
    dingtalk: FakeDingTalk, channel: DingTalkChannel, clock: FakeClock
) -> None:
    text = "一句话 and words.\n" * 40
    receipt = await deliver(channel, talk(*[text] * 40, pause_s=2.0), clock)
    assert receipt.status == "delivered"
    assert len(receipt.message_ids) > 2
    assert "".join("".join(dingtalk.shown("cid1/+=")).split()) == "".join((text * 40).split())
    assert {call.status for call in dingtalk.calls} == {200}


@pytest.mark.parametrize(
    "fault",
    [
        ChatFault(kind="limited", retry_after_s=20, method="cards.stream"),
        ChatFault(kind="limited", retry_after_s=20, method="cards.update"),
        ChatFault(kind="limited", retry_after_s=3, method="cards.createAndDeliver"),
        *(
            ChatFault(kind=kind, method=method)
            for kind in ("error", "lost", "late")
            for method in ("cards.stream", "cards.update")
        ),
        ChatFault(kind="lost", method="token"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.method}",
)
async def test_the_answer_is_there_once_after_a_fault(
    dingtalk: FakeDingTalk, channel: DingTalkChannel, clock: FakeClock, fault: ChatFault
) -> None:
    dingtalk.fail(fault)
    script = talk("Some text that is long enough. ", "More of it. ", "The end.")
    receipt = await deliver(channel, script, clock)
    assert receipt.status == "delivered"
    assert dingtalk.shown("cid1/+=") == ["Some text that is long enough. More of it. The end."]
    assert dingtalk.status_of(receipt.message_ids[-1]) == "3"


@pytest.mark.parametrize("kind", ["lost", "late"])
async def test_a_card_that_nobody_knows_of_is_never_there_twice_with_the_whole_text(
    dingtalk: FakeDingTalk, channel: DingTalkChannel, clock: FakeClock, kind: str
) -> None:
    dingtalk.fail(ChatFault(kind=kind, method="cards.createAndDeliver"))  # type: ignore[arg-type]
    receipt = await deliver(channel, talk("All is said at once, in a few words."), clock)
    assert receipt.status == "uncertain"
    assert len(dingtalk.shown("cid1/+=")) == (1 if kind == "late" else 0)


async def test_a_person_gets_a_card_and_a_stranger_does_not(
    dingtalk: FakeDingTalk, clock: FakeClock
) -> None:
    for target, kind in (("user/ada", "ok"), ("user/bob", "forbidden"), ("cid2", "forbidden")):
        channel = open_channel(dingtalk, clock, target)
        outcome = await channel.send(Send(1, target, "Hello"))
        assert outcome.kind == kind, outcome
        await channel.close()
    assert dingtalk.shown("ada") == ["Hello"]


async def test_a_token_is_renewed(
    dingtalk: FakeDingTalk, channel: DingTalkChannel, clock: FakeClock
) -> None:
    sent = await channel.send(Send(1, "k", "One"))
    clock.advance(7199)
    assert (await channel.edit(Edit(1, sent.message_id, "Two"))).kind == "ok"
    dingtalk.revoke_token()
    assert (await channel.edit(Edit(1, sent.message_id, "Three"))).kind == "ok"
    assert len(dingtalk.tokens) == 2
    assert dingtalk.shown("cid1/+=") == ["Three"]


async def test_a_groups_own_robot_sends_whole_messages(
    dingtalk: FakeDingTalk, robot: DingTalkRobot, clock: FakeClock
) -> None:
    assert isinstance(robot, Channel)
    events = [
        ("content", {"text": "I look it up.", "message_id": "a"}),
        ("tool_call", {"call_id": "c", "tool": "find", "args": {}}),
        ("content", {"text": "It is\nhere.", "message_id": "b"}),
        ("done", {"result": None}),
    ]
    script = [
        (at * 5.0, Event(seq=at, type=kind, data=data)) for at, (kind, data) in enumerate(events, 1)
    ]
    receipt = await deliver(robot, script, clock)
    assert receipt.status == "delivered"
    assert dingtalk.shown(dingtalk.ROBOT_CHAT) == [
        "I look it up.\n\n⚙ `find()`",
        "It is\nhere.",
    ]


@pytest.mark.parametrize("kind", ["error", "lost", "late"])
async def test_a_robot_that_gets_no_answer_is_uncertain(
    dingtalk: FakeDingTalk, robot: DingTalkRobot, clock: FakeClock, kind: str
) -> None:
    dingtalk.fail(ChatFault(kind=kind))  # type: ignore[arg-type]
    receipt = await deliver(robot, talk("All is said."), clock)
    assert receipt.status == "uncertain"
    assert len(dingtalk.shown(dingtalk.ROBOT_CHAT)) == (1 if kind == "late" else 0)


async def test_a_robot_waits_ten_minutes_when_it_was_too_fast(
    dingtalk: FakeDingTalk, robot: DingTalkRobot, clock: FakeClock
) -> None:
    for number in range(20):
        assert (await robot.send(Send(1, str(number), "x"))).kind == "ok"
    refused = await robot.send(Send(1, "k", "x"))
    assert (refused.kind, refused.retry_after_s) == ("limited", 600.0)
    clock.advance(600)
    assert (await robot.send(Send(1, "k", "x"))).kind == "ok"
    assert (await robot.send(Send(1, "l", "x" * 20_001))).kind == "too_long"


async def test_a_text_to_the_robot_is_read(dingtalk: FakeDingTalk, clock: FakeClock) -> None:
    receiver = make_receiver("dingtalk", {"app_secret": dingtalk.APP_SECRET})
    written = dingtalk.written("stop it", space="cid1/+=")
    headers, body, now = written.headers, written.body, clock.time()
    said = receiver.read(Callback(headers, body, now))
    assert said is not None
    assert (said.value, said.person, said.name) == ("stop it", "ada", "Ada")
    assert receiver.is_in(said, "//cid1/+=")
    assert not receiver.is_in(said, "cid1")
    assert receiver.reply(said, "Hi") == {"msgtype": "text", "text": {"content": "Hi"}}
    for callback in (
        Callback({}, body, now),
        Callback(headers, body, now + 301),
        Callback({**headers, "sign": headers["sign"][::-1]}, body, now),
        Callback({**headers, "timestamp": headers["timestamp"][:-1]}, body, now),
    ):
        with pytest.raises(Unauthorized):
            receiver.read(callback)
    assert receiver.read(Callback(headers, b"[]", now)) is None


async def test_no_error_and_no_log_record_shows_a_secret(dingtalk: FakeDingTalk) -> None:
    with listening() as said:
        channels: list[DingTalkChannel | DingTalkRobot] = [
            DingTalkChannel("cid1/+=", "key", "S3CRET", url=dingtalk.url, timeout_s=2),
            DingTalkRobot("S3CRET", "SECS3CRET", url=f"{dingtalk.url}/robot/send", timeout_s=2),
            open_channel(dingtalk, FakeClock(), "cid1/+="),
        ]
        for channel in channels:
            for kind in ("limited", "error", "lost", "late"):
                dingtalk.fail(ChatFault(kind=kind, retry_after_s=0))
                said.append(repr(await channel.send(Send(1, "k", "text"))))
            said.append(repr(await channel.send(Send(1, "k", "text"))))
            said += [repr(channel), channel.scope]
            await channel.close()
    assert any("robot/send" in text for text in said)
    hidden = ["S3CRET", dingtalk.APP_SECRET, *dingtalk.tokens]
    assert not [text for text in said if any(each in text for each in hidden)]


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("", {"app_key": "k", "app_secret": "s3cr3t"}),
        ("group", {"app_key": "k", "app_secret": "s3cr3t"}),
        ("cid1", {"app_key": "", "app_secret": "s3cr3t"}),
        ("cid1", {"app_key": "k", "app_secret": ""}),
        ("robot", {"token": ""}),
        ("robot", {"token": "https://oapi/s3cr3t"}),
        ("robot", {"token": "s3cr3t", "secret": "SEC s3cr3t"}),
    ],
)
def test_malformed_targets_and_secrets_are_refused(target: str, options: dict[str, str]) -> None:
    with pytest.raises(InvalidValue) as caught:
        make_channel(target, options)
    assert "s3cr3t" not in str(caught.value)
