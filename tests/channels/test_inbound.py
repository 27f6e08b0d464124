"""What people do in chats, and whether it comes from the platform."""

import hashlib
import hmac
import json
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from runcast.channels import Button, Send
from runcast.channels.callbacks import read_callback
from runcast.channels.inbound import Inbound, from_discord, from_slack, from_telegram, parse_json
from runcast.channels.keys import verify_ed25519
from runcast.channels.platforms.telegram import TelegramChannel
from runcast.channels.signatures import (
    check_discord_key,
    is_from_discord,
    is_from_slack,
    is_from_telegram,
)
from runcast.channels.telegram_updates import TelegramUpdates
from runcast.errors import InvalidValue
from runcast.testing import ChatFault, FakeTelegram

NOW = 1_763_715_600.0


async def test_a_pressed_button_is_polled_once_and_names_the_answer() -> None:
    async with FakeTelegram([42]) as telegram:
        channel = TelegramChannel("42", telegram.TOKEN, url=telegram.url)
        updates = TelegramUpdates(telegram.TOKEN, url=telegram.url, wait_s=0)
        buttons = (Button("accept", "Approve"), Button("reject", "Reject"))
        sent = await channel.send(Send(1, "k", "Sure?", buttons, question_id="q1"))
        telegram.press(sent.message_id, "Reject", user=5)
        polled = await updates.poll()
        assert isinstance(polled, list)
        [pressed] = polled
        assert read_callback(pressed.value, "q1") == "reject"
        assert (pressed.place, pressed.message_id, pressed.person) == ("42", sent.message_id, "5")
        assert (await updates.confirm(pressed, "Thanks")).kind == "ok"
        assert await updates.poll() == []
        telegram.fail(ChatFault(kind="limited", retry_after_s=7))
        limited = await updates.poll()
        assert not isinstance(limited, list)
        assert (limited.kind, limited.retry_after_s) == ("limited", 7.0)
        await channel.close()
        await updates.close()


def test_a_text_in_telegram_is_a_message_and_a_bots_is_not() -> None:
    message = {
        "message_id": 8,
        "text": "stop",
        "chat": {"id": -1},
        "message_thread_id": 7,
        "from": {"id": 5, "is_bot": False},
        "reply_to_message": {"message_id": 3},
    }
    found = from_telegram({"update_id": 1, "message": message})
    assert found == Inbound("text", "stop", "telegram:1", "-1", "7", "3", "5")
    bot = {**message, "from": {"id": 6, "is_bot": True}}
    assert from_telegram({"update_id": 2, "message": bot}) is None


def test_slack_sends_buttons_texts_and_pings() -> None:
    assert from_slack({"type": "url_verification", "challenge": "c"}) == Inbound("ping", "c")
    pressed = {
        "type": "block_actions",
        "trigger_id": "t",
        "user": {"id": "U1"},
        "channel": {"id": "C1"},
        "message": {"ts": "1.2"},
        "actions": [{"action_id": "a", "value": "v"}],
    }
    assert from_slack(pressed) == Inbound("button", "v", "slack:t", "C1", "", "C1/1.2", "U1")
    event = {"type": "message", "channel": "C1", "user": "U1", "text": "a &lt; b", "ts": "2.0"}
    outer = {"type": "event_callback", "event_id": "E1"}
    found = from_slack({**outer, "event": event})
    assert found == Inbound("text", "a < b", "slack:E1", "C1", "", "", "U1")
    assert from_slack({**outer, "event": {**event, "bot_id": "B1"}}) is None
    assert from_slack({**outer, "event": {**event, "subtype": "message_changed"}}) is None


def test_discord_sends_buttons_and_pings() -> None:
    assert from_discord({"type": 1}) == Inbound("ping", "")
    pressed = {
        "type": 3,
        "id": "9",
        "channel_id": "7",
        "data": {"custom_id": "v"},
        "message": {"id": "8"},
        "member": {"user": {"id": "5"}},
    }
    assert from_discord(pressed) == Inbound("button", "v", "discord:9", "7", "", "8", "5")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "event", "message", "callback_query", "data", "actions", "chat", "text"]
            ),
            inner | st.sampled_from(["block_actions", "event_callback", 3]),
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(_JSON)
@settings(max_examples=50)
def test_a_body_may_be_anything(body: object) -> None:
    for read in (from_telegram, from_slack, from_discord):
        found = read(body)
        assert found is None or found.kind in ("button", "text", "ping")


def test_a_body_that_is_not_json_is_none() -> None:
    assert parse_json(b"\xff") is None
    assert parse_json("[" * 100_000) is None
    assert parse_json(b'{"a": 1}') == {"a": 1}


def test_the_signature_of_slack_covers_the_time_and_the_body() -> None:
    # The example of Slack's documentation
    secret = "8f742231b10e8888abcd99yyyzzz85a5"
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow"
        b"&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner"
        b"&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands"
        b"%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = {
        "x-slack-request-timestamp": "1531420618",
        "x-slack-signature": (
            "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
        ),
    }
    assert is_from_slack(headers, body, secret, 1531420618.0)
    assert not is_from_slack(headers, body + b" ", secret, 1531420618.0)
    assert not is_from_slack(headers, body, secret + "x", 1531420618.0)
    assert not is_from_slack(headers, body, secret, 1531420618.0 + 301)
    assert not is_from_slack({}, body, secret, 1531420618.0)
    empty = hmac.new(b"", b"v0:1531420618:", hashlib.sha256).hexdigest()
    signed = {**headers, "x-slack-signature": f"v0={empty}"}
    assert not is_from_slack(signed, b"", "", 1531420618.0)


def test_the_secret_of_telegram_is_compared_and_an_empty_one_is_none() -> None:
    name = "x-telegram-bot-api-secret-token"
    assert is_from_telegram({name: "s"}, "s")
    assert not is_from_telegram({name: "é"}, "s")
    assert not is_from_telegram({}, "s")
    assert not is_from_telegram({name: ""}, "")


def test_the_signature_of_discord_covers_the_time_and_the_body() -> None:
    private = Ed25519PrivateKey.generate()
    key = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    body = json.dumps({"type": 1}).encode()
    sent_at = str(int(NOW))
    signature = private.sign(sent_at.encode() + body).hex()
    headers = {"x-signature-timestamp": sent_at, "x-signature-ed25519": signature}
    assert is_from_discord(headers, body, key, NOW)
    assert not is_from_discord(headers, body + b" ", key, NOW)
    assert not is_from_discord(headers, body, key, NOW + 301)
    assert not is_from_discord({**headers, "x-signature-ed25519": "zz"}, body, key, NOW)
    assert not is_from_discord({**headers, "x-signature-timestamp": "²"}, body, key, NOW)
    assert not is_from_discord({}, body, key, NOW)
    assert not is_from_discord(headers, body, "00", NOW)


@pytest.mark.parametrize(
    ("key", "message", "signature"),
    [  # RFC 8032, section 7.1
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
    ],
)
def test_ed25519_keeps_the_vectors_of_its_standard(key: str, message: str, signature: str) -> None:
    public, signed = bytes.fromhex(key), bytes.fromhex(signature)
    assert verify_ed25519(public, bytes.fromhex(message), signed)
    order = 2**252 + 27742317777372353535851937790883648493
    larger = int.from_bytes(signed[32:], "little") + order  # a second form of the same number
    changed = signed[:32] + larger.to_bytes(32, "little")
    assert not verify_ed25519(public, bytes.fromhex(message), changed)
    assert not verify_ed25519(public, b"other", signed)
    assert not verify_ed25519(b"\xff" * 32, b"", signed)
    assert not verify_ed25519(public, b"", b"")


def test_a_key_of_discord_is_checked_where_it_is_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert check_discord_key(key) == key
    for malformed in ("", "00", "zz" * 32):
        with pytest.raises(InvalidValue, match="64 hexadecimal digits"):
            check_discord_key(malformed)
    name = "cryptography.hazmat.primitives.asymmetric.ed25519"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InvalidValue, match=r"pip install 'runcast\[discord\]'"):
        check_discord_key(key)


def test_half_a_character_in_what_a_platform_sends_is_mended() -> None:
    half = json.loads(r'"\ud800"')
    person, message = {"id": half, "is_bot": False, "first_name": half}, {"message_id": 8}
    said = {"text": half, "from": person, "chat": {"id": half}, "reply_to_message": message}
    found = from_telegram({"update_id": 1, "message": said})
    assert found is not None
    assert {found.value, found.person, found.name, found.place} == {"\ufffd"}
    ping = from_slack({"type": "url_verification", "challenge": half})
    assert ping == Inbound("ping", "\ufffd")
