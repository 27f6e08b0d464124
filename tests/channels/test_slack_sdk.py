"""The Slack for tests, called by slack-sdk: a second party that knows the platform."""

from collections.abc import Iterator
from typing import Any

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.signature import Clock as SignatureClock
from slack_sdk.signature import SignatureVerifier

from runcast.testing import ChatFault, FakeClock, FakeSlack

pytestmark = pytest.mark.heavy  # it imports a large library


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def slack(clock: FakeClock) -> Iterator[FakeSlack]:
    with FakeSlack(["C1"], clock=clock) as platform:
        yield platform


@pytest.fixture
def client(slack: FakeSlack) -> WebClient:
    return WebClient(slack.TOKEN, base_url=slack.api_url)


def error_of(caught: pytest.ExceptionInfo[SlackApiError]) -> str:
    return str(caught.value.response["error"])


def test_messages_are_sent_edited_and_deleted(slack: FakeSlack, client: WebClient) -> None:
    sent = client.chat_postMessage(channel="C1", text="a &lt; b")
    assert slack.shown("C1") == ["a < b"]
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "block"}}]
    client.chat_update(channel="C1", ts=sent["ts"], text="new", blocks=blocks)
    assert slack.shown("C1") == ["block"]
    client.chat_update(channel="C1", ts=sent["ts"], text="newer")
    assert slack.shown("C1") == ["block"], "blocks stay unless they are replaced"
    client.chat_update(channel="C1", ts=sent["ts"], text="newest", blocks=[])
    assert slack.shown("C1") == ["newest"]
    client.chat_delete(channel="C1", ts=sent["ts"])
    assert slack.shown("C1") == []


@pytest.mark.filterwarnings("ignore:The top-level `text` argument")
@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"text": "x" * 40_001}, "msg_too_long"),
        ({"markdown_text": "x" * 12_001}, "msg_too_long"),
        ({"markdown_text": "x", "text": "y"}, "markdown_text_conflict"),
        ({"text": " "}, "no_text"),
        (
            {"text": "x", "blocks": [{"type": "markdown", "text": "y" * 12_001}]},
            "msg_blocks_too_long",
        ),
        ({"text": "x", "blocks": [{"type": "divider"}] * 51}, "invalid_blocks"),
        ({"text": "x", "channel": "C2"}, "channel_not_found"),
    ],
)
def test_refusals_are_those_of_slack(client: WebClient, values: dict[str, Any], error: str) -> None:
    with pytest.raises(SlackApiError) as caught:
        client.chat_postMessage(**{"channel": "C1", **values})
    assert error_of(caught) == error
    assert caught.value.response.status_code == 200


def test_rates_are_those_of_the_tiers(
    slack: FakeSlack, client: WebClient, clock: FakeClock
) -> None:
    sent = client.chat_postMessage(channel="C1", text="x")
    for number in range(50):
        client.chat_update(channel="C1", ts=sent["ts"], text=str(number))
    with pytest.raises(SlackApiError) as caught:
        client.chat_update(channel="C1", ts=sent["ts"], text="one more")
    assert caught.value.response.status_code == 429
    wait_s = int(caught.value.response.headers["Retry-After"])
    clock.advance(wait_s)
    client.chat_update(channel="C1", ts=sent["ts"], text="one more")
    assert slack.shown("C1") == ["one more"]


def test_a_stream_takes_text_for_five_minutes(
    slack: FakeSlack, client: WebClient, clock: FakeClock
) -> None:
    thread = client.chat_postMessage(channel="C1", text="x")["ts"]
    stream = client.chat_stream(
        channel="C1",
        thread_ts=thread,
        recipient_team_id="T1",
        recipient_user_id="U1",
        buffer_size=1,
    )
    stream.append(markdown_text="one ")
    stream.append(markdown_text="two")
    assert slack.shown("C1") == ["x", "one two"]
    clock.advance(301)
    with pytest.raises(SlackApiError) as caught:
        stream.append(markdown_text=" three")
    assert error_of(caught) == "message_not_in_streaming_state"
    ts = slack.messages[1].message_id
    client.chat_update(channel="C1", ts=ts, text="one two three")
    assert slack.shown("C1") == ["x", "one two three"]


def test_faults_reach_the_client(slack: FakeSlack, client: WebClient) -> None:
    slack.fail(ChatFault(kind="limited", retry_after_s=7), ChatFault(kind="error"))
    with pytest.raises(SlackApiError) as caught:
        client.chat_postMessage(channel="C1", text="x")
    assert caught.value.response.headers["Retry-After"] == "7"


def test_what_slack_sends_is_signed(slack: FakeSlack, client: WebClient, clock: FakeClock) -> None:
    button = {"type": "button", "text": {"type": "plain_text", "text": "Yes"}, "value": "v"}
    blocks = [{"type": "actions", "elements": [{**button, "action_id": "a"}]}]
    sent = client.chat_postMessage(channel="C1", text="Sure?", blocks=blocks)
    verifier = SignatureVerifier(slack.SIGNING_SECRET, clock=_Now(clock))
    for callback in (slack.press(sent["ts"], "Yes"), slack.say("hello")):
        assert verifier.is_valid_request(callback.body, dict(callback.headers))
        assert not verifier.is_valid_request(callback.body + b" ", dict(callback.headers))


class _Now(SignatureClock):
    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def now(self) -> float:
        return self._clock.time()
