"""The receivers of platforms: who may send a callback, what it says, how it is answered."""

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from runcast.channels.inbound import Inbound
from runcast.channels.platforms import make_receiver
from runcast.channels.receiver import Callback
from runcast.errors import InvalidValue, Unauthorized

NOW = 1_763_715_600.0
DISCORD = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
OPTIONS = {
    "telegram": {"secret_token": "s3cret"},
    "slack": {"signing_secret": "s3cret", "token": "xoxb-1"},
    "discord": {
        "public_key": DISCORD.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    },
}

_PRESSED: dict[str, Any] = {
    "telegram": {
        "update_id": 1,
        "callback_query": {
            "id": "77",
            "data": "v",
            "from": {"id": 5, "first_name": "Ada"},
            "message": {"message_id": 8, "chat": {"id": -42}, "message_thread_id": 7},
        },
    },
    "slack": {
        "type": "block_actions",
        "trigger_id": "t",
        "user": {"id": "U1", "name": "ada"},
        "channel": {"id": "C1"},
        "message": {"ts": "1.2"},
        "actions": [{"value": "v"}],
    },
    "discord": {
        "type": 3,
        "id": "9",
        "channel_id": "7",
        "data": {"custom_id": "v"},
        "message": {"id": "8"},
        "member": {"user": {"id": "5", "username": "ada"}},
    },
}


def signed(platform: str, body: object, now: float = NOW) -> Callback:
    """Return a callback as the platform sends it."""
    content, sent_at = json.dumps(body).encode(), str(int(now))
    match platform:
        case "telegram":
            headers = {"x-telegram-bot-api-secret-token": "s3cret"}
        case "slack":
            headers = {"content-type": "application/json"}
            if isinstance(body, dict) and body.get("type") == "block_actions":
                headers = {"content-type": "application/x-www-form-urlencoded"}
                content = urlencode({"payload": json.dumps(body)}).encode()
            text = b"v0:" + sent_at.encode() + b":" + content
            headers["x-slack-request-timestamp"] = sent_at
            headers["x-slack-signature"] = (
                "v0=" + hmac.new(b"s3cret", text, hashlib.sha256).hexdigest()
            )
        case _:
            signature = DISCORD.sign(sent_at.encode() + content).hex()
            headers = {"x-signature-timestamp": sent_at, "x-signature-ed25519": signature}
    return Callback(headers, content, now)


@pytest.mark.parametrize(
    ("platform", "answer", "address"),
    [
        (
            "telegram",
            {"method": "answerCallbackQuery", "callback_query_id": "77", "text": "done"},
            "-42/7",
        ),
        ("slack", None, "C1"),
        (
            "discord",
            {
                "type": 4,
                "data": {"content": "done", "flags": 64, "allowed_mentions": {"parse": []}},
            },
            "7",
        ),
    ],
)
def test_a_press_is_read_and_answered(platform: str, answer: object, address: str) -> None:
    receiver = make_receiver(platform, OPTIONS[platform])
    pressed = receiver.read(signed(platform, _PRESSED[platform]))
    assert pressed is not None
    assert (pressed.kind, pressed.value, pressed.name.lower()) == ("button", "v", "ada")
    assert receiver.reply(pressed, "done") == answer
    assert receiver.is_in(pressed, address)
    assert not receiver.is_in(pressed, "C2" if platform == "slack" else "43")


@pytest.mark.parametrize("platform", OPTIONS)
def test_what_the_platform_did_not_sign_is_refused_without_detail(platform: str) -> None:
    receiver = make_receiver(platform, OPTIONS[platform])
    good = signed(platform, _PRESSED[platform])
    forged = [Callback({}, good.body, NOW)]
    if platform != "telegram":  # which signs nothing
        forged.append(Callback(good.headers, good.body + b" ", NOW))
        forged.append(Callback(good.headers, good.body, NOW + 301))
    for callback in forged:
        with pytest.raises(Unauthorized) as refused:
            receiver.read(callback)
        assert refused.value.message == f"{platform.title()} did not send this"


def test_platforms_see_that_the_address_is_right() -> None:
    slack = make_receiver("slack", OPTIONS["slack"])
    asked = slack.read(signed("slack", {"type": "url_verification", "challenge": "c"}))
    assert asked is not None
    assert slack.reply(asked, "") == {"challenge": "c"}
    discord = make_receiver("discord", OPTIONS["discord"])
    asked = discord.read(signed("discord", {"type": 1}))
    assert asked is not None
    assert discord.reply(asked, "") == {"type": 1}


@pytest.mark.parametrize("platform", OPTIONS)
def test_a_signed_body_that_says_nothing_is_none(platform: str) -> None:
    receiver = make_receiver(platform, OPTIONS[platform])
    assert receiver.read(signed(platform, {"type": "other"})) is None
    assert receiver.read(signed(platform, [1])) is None


def test_a_name_of_a_channel_may_be_any_conversation() -> None:
    slack = make_receiver("slack", OPTIONS["slack"])
    there = Inbound("button", "v", place="C1")
    assert slack.is_in(there, "#ops")
    assert slack.is_in(there, "C1/1.2")
    assert not slack.is_in(there, "C2")


@pytest.mark.parametrize(
    ("platform", "options"),
    [
        ("email", {}),
        ("none", {}),
        ("telegram", {}),
        ("slack", {"signing_secret": "s"}),
        ("discord", {"public_key": "zz"}),
    ],
)
def test_a_platform_without_callbacks_or_without_its_secret_has_no_receiver(
    platform: str, options: dict[str, str]
) -> None:
    with pytest.raises(InvalidValue):
        make_receiver(platform, options)
