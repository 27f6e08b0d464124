"""The Feishu for tests, called by lark-oapi: a second party that knows the platform."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from runcast.channels import Button, Send
from runcast.channels.platforms.feishu_cards import card_of
from runcast.testing import ChatFault, FakeClock, FakeFeishu
from tests.channels.feishu_events import encrypted

pytestmark = pytest.mark.heavy  # it imports a very large library


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def feishu(clock: FakeClock) -> Iterator[FakeFeishu]:
    with FakeFeishu(["oc_1"], clock=clock) as platform:
        yield platform


@pytest.fixture
def client(feishu: FakeFeishu) -> Any:
    import lark_oapi
    from lark_oapi.core.token.manager import TokenManager

    TokenManager.cache.set(f"self_tenant_token:{feishu.APP_ID}", "", 0)  # it is the process's
    made = lark_oapi.Client.builder().app_id(feishu.APP_ID).app_secret(feishu.APP_SECRET)
    return made.domain(feishu.url).build()


def _card(text: str, *, is_streaming: bool = True) -> str:
    elements = [{"tag": "markdown", "element_id": "text", "content": text}]
    config = {"update_multi": True, "streaming_mode": is_streaming}
    return json.dumps({"schema": "2.0", "config": config, "body": {"elements": elements}})


def _send(client: Any, kind: str, content: str, uuid: str = "") -> Any:
    from lark_oapi.api.im.v1 import CreateMessageRequest, CreateMessageRequestBody

    body = CreateMessageRequestBody.builder().receive_id("oc_1").msg_type(kind).content(content)
    request = CreateMessageRequest.builder().receive_id_type("chat_id")
    return client.im.v1.message.create(request.request_body(body.uuid(uuid).build()).build())


def _stream(client: Any, card_id: str, text: str, number: int) -> Any:
    from lark_oapi.api.cardkit.v1 import (
        ContentCardElementRequest,
        ContentCardElementRequestBody,
    )

    body = ContentCardElementRequestBody.builder().content(text).sequence(number).build()
    request = ContentCardElementRequest.builder().card_id(card_id).element_id("text")
    return client.cardkit.v1.card_element.content(request.request_body(body).build())


def test_a_card_is_made_sent_streamed_and_closed(
    feishu: FakeFeishu, client: Any, clock: FakeClock
) -> None:
    from lark_oapi.api.cardkit.v1 import (
        CreateCardRequest,
        CreateCardRequestBody,
        SettingsCardRequest,
        SettingsCardRequestBody,
    )

    body = CreateCardRequestBody.builder().type("card_json").data(_card("…")).build()
    made = client.cardkit.v1.card.create(CreateCardRequest.builder().request_body(body).build())
    card_id = made.data.card_id
    named = json.dumps({"type": "card", "data": {"card_id": card_id}})
    sent = _send(client, "interactive", named)
    assert sent.success(), sent.msg
    assert _stream(client, card_id, "One", 1).success()
    assert _stream(client, card_id, "One two", 2).success()
    assert _stream(client, card_id, "again", 2).code == 300317
    clock.advance(601)
    assert _stream(client, card_id, "late", 3).code == 200850
    assert _stream(client, card_id, "later", 4).code == 300309
    assert feishu.shown("oc_1") == ["One two"]
    settings = json.dumps({"config": {"streaming_mode": True}})
    again = SettingsCardRequestBody.builder().settings(settings).sequence(5).build()
    request = SettingsCardRequest.builder().card_id(card_id).request_body(again).build()
    assert client.cardkit.v1.card.settings(request).success()
    assert _stream(client, card_id, "One two three", 6).success()
    assert feishu.shown("oc_1") == ["One two three"]


def test_the_card_of_a_message_is_found_and_replaced(feishu: FakeFeishu, client: Any) -> None:
    from lark_oapi.api.cardkit.v1 import (
        Card,
        IdConvertCardRequest,
        IdConvertCardRequestBody,
        UpdateCardRequest,
        UpdateCardRequestBody,
    )

    sent = _send(client, "interactive", _card("One"), "same")
    assert (
        _send(client, "interactive", _card("One"), "same").data.message_id == sent.data.message_id
    )
    body = IdConvertCardRequestBody.builder().message_id(sent.data.message_id).build()
    found = client.cardkit.v1.card.id_convert(
        IdConvertCardRequest.builder().request_body(body).build()
    )
    card = Card.builder().type("card_json").data(_card("Two", is_streaming=False)).build()
    update = UpdateCardRequestBody.builder().card(card).sequence(1).build()
    request = UpdateCardRequest.builder().card_id(found.data.card_id).request_body(update).build()
    assert client.cardkit.v1.card.update(request).success()
    assert feishu.shown("oc_1") == ["Two"]
    assert not feishu.is_streaming(sent.data.message_id)


def test_a_text_takes_twenty_edits(feishu: FakeFeishu, client: Any) -> None:
    from lark_oapi.api.im.v1 import (
        DeleteMessageRequest,
        UpdateMessageRequest,
        UpdateMessageRequestBody,
    )

    sent = _send(client, "text", json.dumps({"text": "0"}))
    for number in range(1, 22):
        body = UpdateMessageRequestBody.builder().msg_type("text")
        body = body.content(json.dumps({"text": str(number)}))
        request = UpdateMessageRequest.builder().message_id(sent.data.message_id)
        edited = client.im.v1.message.update(request.request_body(body.build()).build())
        assert edited.code == (0 if number <= 20 else 230072)
    assert feishu.shown("oc_1") == ["20"]
    gone = DeleteMessageRequest.builder().message_id(sent.data.message_id).build()
    assert client.im.v1.message.delete(gone).success()
    assert client.im.v1.message.delete(gone).code == 230011


def test_a_card_is_patched_by_its_message(feishu: FakeFeishu, client: Any) -> None:
    from lark_oapi.api.im.v1 import PatchMessageRequest, PatchMessageRequestBody

    sent = _send(client, "interactive", _card("One"))
    for number in range(6):
        body = PatchMessageRequestBody.builder().content(_card(str(number))).build()
        request = PatchMessageRequest.builder().message_id(sent.data.message_id)
        patched = client.im.v1.message.patch(request.request_body(body).build())
        assert patched.code == (0 if number < 5 else 230020)


@pytest.mark.parametrize(
    ("kind", "content", "code"),
    [
        ("interactive", "no JSON", 230099),
        ("interactive", _card("![x](img_1)"), 230099),
        ("interactive", _card("x" * 31_000), 230025),
        ("text", json.dumps({"text": "x" * 160_000}), 230025),
    ],
)
def test_refusals_are_those_of_feishu(client: Any, kind: str, content: str, code: int) -> None:
    assert _send(client, kind, content).code == code


def test_faults_reach_the_client(feishu: FakeFeishu, client: Any) -> None:
    _send(client, "text", json.dumps({"text": "x"}))
    feishu.fail(ChatFault(kind="limited", retry_after_s=7))
    refused = _send(client, "text", json.dumps({"text": "x"}))
    assert (refused.code, refused.raw.status_code) == (99991400, 429)
    headers = {name.lower(): value for name, value in refused.raw.headers.items()}
    assert headers["x-ogw-ratelimit-reset"] == "7"


def test_the_library_reads_the_events_of_the_fake(feishu: FakeFeishu, client: Any) -> None:
    import lark_oapi
    from lark_oapi.core.model import RawRequest
    from lark_oapi.event.callback.model.p2_card_action_trigger import (
        P2CardActionTriggerResponse,
    )

    message = Send(1, "k", "Sure?", (Button("accept", "Approve"),), question_id="q1")
    sent = _send(client, "interactive", card_of(message, is_streaming=False))
    pressed: list[Any] = []

    def note(event: Any) -> Any:
        pressed.append(event)
        return P2CardActionTriggerResponse({})

    builder = lark_oapi.EventDispatcherHandler.builder("key", feishu.VERIFICATION_TOKEN)
    handler = builder.register_p2_card_action_trigger(note).build()
    request = RawRequest()
    headers, request.body = encrypted(
        json.loads(feishu.press(sent.data.message_id, "Approve").body), "key", 1000.0
    )
    request.uri = "/"
    request.headers = {
        "X-Lark-Request-Timestamp": headers["x-lark-request-timestamp"],
        "X-Lark-Request-Nonce": headers["x-lark-request-nonce"],
        "X-Lark-Signature": headers["x-lark-signature"],
    }
    assert handler.do(request).status_code == 200
    assert pressed[0].event.context.open_message_id == sent.data.message_id
    assert pressed[0].event.action.value["callback"].endswith(":accept")
