"""The DingTalk for tests, called by dingtalk-stream: a second party that knows the platform."""

import json
from collections.abc import Iterator
from typing import Any

import dingtalk_stream
import pytest
from dingtalk_stream import AIMarkdownCardInstance, ChatbotMessage, Credential
from dingtalk_stream.card_replier import AICardStatus

from runcast.testing import ChatFault, FakeClock, FakeDingTalk

pytestmark = pytest.mark.heavy  # it imports a large library


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def dingtalk(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDingTalk]:
    with FakeDingTalk(["cid1"], clock=clock) as platform:
        for module in (dingtalk_stream.stream, dingtalk_stream.card_replier):
            monkeypatch.setattr(module, "DINGTALK_OPENAPI_ENDPOINT", platform.url)
        yield platform


@pytest.fixture
def card(dingtalk: FakeDingTalk) -> Any:
    credential = Credential(dingtalk.APP_KEY, dingtalk.APP_SECRET)
    client = dingtalk_stream.DingTalkStreamClient(credential)
    asked = ChatbotMessage.from_dict(json.loads(dingtalk.written("a question").body))
    return AIMarkdownCardInstance(client, asked)


def test_the_library_reads_what_people_write(dingtalk: FakeDingTalk) -> None:
    asked = ChatbotMessage.from_dict(json.loads(dingtalk.written("a question").body))
    assert asked.text.content.strip() == "a question"
    assert (asked.conversation_id, asked.sender_staff_id) == ("cid1", "ada")


def test_a_card_is_begun_streamed_and_finished(dingtalk: FakeDingTalk, card: Any) -> None:
    card.ai_start()
    assert dingtalk.status_of(card.card_instance_id) == str(AICardStatus.PROCESSING.value)
    card.ai_streaming("One ", append=True)
    card.ai_streaming("two", append=True)
    assert dingtalk.shown("cid1") == ["One two"]
    assert dingtalk.status_of(card.card_instance_id) == str(AICardStatus.INPUTING.value)
    card.ai_finish("One two three")
    assert dingtalk.shown("cid1") == ["One two three"]
    assert dingtalk.status_of(card.card_instance_id) == str(AICardStatus.FINISHED.value)
    assert {call.status for call in dingtalk.calls} == {200}
    card.streaming(card.card_instance_id, "msgContent", "late", False, False, False)
    assert dingtalk.calls[-1].status == 400
    assert dingtalk.shown("cid1") == ["One two three"]


def test_faults_reach_the_client(dingtalk: FakeDingTalk, card: Any) -> None:
    card.ai_start()
    dingtalk.fail(ChatFault(kind="limited", method="cards.stream"))
    card.ai_streaming("One")
    assert dingtalk.calls[-1].status == 403
    assert dingtalk.shown("cid1") == [""]
