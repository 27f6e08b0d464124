"""The channel of Slack, against a Slack that keeps the rules."""

import json
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runcast.channels import Button, Edit, Send
from runcast.channels.markdown import render
from runcast.channels.platforms.slack import SlackChannel, blocks_of, make_channel
from runcast.errors import InvalidValue
from runcast.testing import ChatFault, FakeClock, FakeSlack
from runcast.testing.chats.slack import _wrong_content
from tests.channels.driving import deliver, listening, talk
from tests.channels.test_markdown import sources


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def slack(clock: FakeClock) -> Iterator[FakeSlack]:
    with FakeSlack(["C1"], clock=clock) as platform:
        yield platform


@pytest.fixture
async def channel(slack: FakeSlack) -> AsyncIterator[SlackChannel]:
    made = SlackChannel("C1", slack.TOKEN, url=slack.api_url, timeout_s=2)
    yield made
    await made.close()


async def test_a_message_grows_and_shows_its_formatting(
    slack: FakeSlack, channel: SlackChannel, clock: FakeClock
) -> None:
    script = talk("# Plan\n\nSee **bo", "ld** [x](https://a.b)\n```py\nx = 1\n", "```\nend <!here>")
    receipt = await deliver(channel, script, clock)
    assert receipt.status == "delivered"
    assert slack.shown("C1") == ["Plan\n\nSee bold x\nx = 1\nend <!here>"]
    [block] = slack.blocks[slack.messages[0].message_id]
    assert [part["type"] for part in block["elements"]] == [
        "rich_text_section",
        "rich_text_preformatted",
        "rich_text_section",
    ]
    assert {"type": "link", "url": "https://a.b", "text": "x"} in block["elements"][0]["elements"]
    assert {call.status for call in slack.calls} == {200}


async def test_a_long_text_keeps_the_rates_without_a_refusal(
    slack: FakeSlack, channel: SlackChannel, clock: FakeClock
) -> None:
    text = "A sentence & <more>. " * 30
    receipt = await deliver(channel, talk(*[text] * 30, pause_s=2.0), clock)
    assert receipt.status == "delivered"
    assert len(receipt.message_ids) > 4
    assert "".join("".join(slack.shown("C1")).split()) == "".join((text * 30).split())
    assert {call.status for call in slack.calls} == {200}


@pytest.mark.parametrize(
    "fault",
    [
        ChatFault(kind="limited", retry_after_s=30, method="chat.update"),
        ChatFault(kind="error", method="chat.update"),
        ChatFault(kind="lost", method="chat.update"),
        ChatFault(kind="late", method="chat.update"),
        ChatFault(kind="deleted", method="chat.update"),
        ChatFault(kind="limited", retry_after_s=3, method="chat.postMessage"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.method}",
)
async def test_the_answer_is_there_once_after_a_fault(
    slack: FakeSlack, channel: SlackChannel, clock: FakeClock, fault: ChatFault
) -> None:
    slack.fail(fault)
    receipt = await deliver(channel, talk("Some text that is long enough. ", "The end."), clock)
    assert receipt.status == "delivered"
    assert slack.shown("C1") == ["Some text that is long enough. The end."]
    assert not any(call.was_blocked for call in slack.calls)


@pytest.mark.parametrize("kind", ["late", "lost"])
@pytest.mark.parametrize("pause_s", [0.01, 3.0])
async def test_a_message_whose_answer_was_lost_is_found(
    slack: FakeSlack, channel: SlackChannel, clock: FakeClock, kind: str, pause_s: float
) -> None:
    slack.fail(ChatFault(kind=kind, method="chat.postMessage"))  # type: ignore[arg-type]
    channel._clock = clock
    script = talk("Some text that is long enough. ", "The end.", pause_s=pause_s)
    receipt = await deliver(channel, script, clock)
    assert (receipt.status, receipt.strays) == ("delivered", 0)
    assert slack.shown("C1") == ["Some text that is long enough. The end."]


async def test_an_app_that_may_not_read_says_what_it_does_not_know(
    slack: FakeSlack, channel: SlackChannel, clock: FakeClock
) -> None:
    slack.can_read = False
    slack.fail(ChatFault(kind="late", method="chat.postMessage"))
    receipt = await deliver(channel, talk("All of the text.", pause_s=0.01), clock)
    assert receipt.status == "uncertain"
    assert slack.shown("C1") == ["All of the text."]
    assert [call.method for call in slack.calls][-1] == "conversations.history"


async def test_an_edit_that_comes_too_late_continues_in_a_new_message(
    slack: FakeSlack, channel: SlackChannel, clock: FakeClock
) -> None:
    slack.edit_window_s = 10.0
    script = talk("First words that are long enough. ", "Late words.", pause_s=20.0)
    receipt = await deliver(channel, script, clock)
    assert receipt.status == "delivered"
    assert slack.shown("C1") == ["First words that are long enough.", "Late words."]


async def test_errors_inside_good_answers_are_told_apart(
    slack: FakeSlack, channel: SlackChannel
) -> None:
    sent = await channel.send(Send(1, "k", "text"))
    assert (sent.kind, sent.message_id.startswith("C1/")) == ("ok", True)
    assert (await channel.edit(Edit(1, "C1/1.000", "new"))).kind == "gone"
    assert (await channel.edit(Edit(1, sent.message_id, "x" * 12_001))).kind == "too_long"
    assert (await channel.delete(sent.message_id)).kind == "ok"
    assert (await channel.delete(sent.message_id)).kind == "gone"
    other = SlackChannel("C2", slack.TOKEN, url=slack.api_url)
    assert (await other.send(Send(1, "k", "text"))).kind == "forbidden"
    await other.close()


async def test_a_message_to_a_person_is_edited_where_slack_has_put_it(slack: FakeSlack) -> None:
    channel = SlackChannel("U5", slack.TOKEN, url=slack.api_url)
    sent = await channel.send(Send(1, "k", "Hello"))
    assert (await channel.edit(Edit(1, sent.message_id, "Hello, **you**"))).kind == "ok"
    assert slack.shown("D5") == ["Hello, you"]
    await channel.close()


async def test_plain_text_replaces_formatting_and_loses_nothing(
    slack: FakeSlack, channel: SlackChannel
) -> None:
    text = "<!channel> *a* " * 250
    sent = await channel.send(Send(1, "k", text))
    await channel.edit(Edit(1, sent.message_id, text, is_plain=True))
    assert slack.shown("C1")[0].replace("\n", "") == text
    assert all(block["type"] == "section" for block in slack.blocks[sent.message_id[3:]])


async def test_buttons_come_and_go(slack: FakeSlack) -> None:
    options = {"token": slack.TOKEN, "url": slack.api_url, "allow": "127.0.0.0/8", "buttons": "yes"}
    channel = make_channel("//C1", options)
    assert channel.capability.has_buttons
    buttons = (Button("accept", "Approve"), Button("reject", "Reject"))
    sent = await channel.send(Send(1, "k", "Sure?", buttons, question_id="q" * 300))
    assert [label for label, _ in slack.messages[0].buttons] == ["Approve", "Reject"]
    await channel.edit(Edit(1, sent.message_id, "Sure? Yes.", question_id="q" * 300))
    assert slack.messages[0].buttons == ()
    await channel.close()


async def test_no_error_and_no_log_record_shows_the_token(slack: FakeSlack) -> None:
    good, bad = slack.TOKEN, slack.TOKEN.replace("test", "nest")
    with listening() as said:
        for token in (good, bad):
            channel = SlackChannel("C1", token, url=slack.api_url, timeout_s=0.2)
            for kind in ("limited", "error", "lost", "late"):
                slack.fail(ChatFault(kind=kind, retry_after_s=0))
                said.append(repr(await channel.send(Send(1, "k", "text"))))
            said.append(repr(await channel.send(Send(1, "k", "text"))))
            said += [repr(channel), channel.scope]
            await channel.close()
    assert any("chat.postMessage" in text for text in said)
    assert not [text for text in said if good in text or bad in text]


@pytest.mark.parametrize(
    ("target", "token"), [("", "xoxb-1"), ("C 1", "xoxb-1"), ("C1", ""), ("C1", "abc")]
)
def test_malformed_targets_and_tokens_are_refused(target: str, token: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        SlackChannel(target, token)
    assert not token or token not in str(caught.value)


@given(sources, st.data())
@settings(max_examples=50)
def test_any_cut_of_any_markdown_is_taken(source: str, data: st.DataObject) -> None:
    cut = source[: data.draw(st.integers(0, len(source)), label="cut")]
    rendered = render(cut)
    if rendered.text.strip():
        block = json.loads(json.dumps(blocks_of(rendered)))
        assert _wrong_content({"text": "x", "blocks": [block]}) == ""
        shown = "".join(each["text"] for part in block["elements"] for each in part["elements"])
        assert shown.split() == rendered.text.split() or "".join(shown.split()) == "".join(
            rendered.text.split()
        )
