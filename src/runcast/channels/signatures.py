"""Whether a request to a webhook comes from the platform that it claims to come from.

Check a request before its body is read. The body must be the bytes that came: parsed and written
again, they would have another signature.

Source: https://core.telegram.org/bots/api#setwebhook,
https://docs.slack.dev/authentication/verifying-requests-from-slack,
https://docs.discord.com/developers/interactions/overview#setting-up-an-endpoint,
https://open.feishu.cn/document/event-subscription-guide/event-subscriptions/event-subscription-configure-/encrypt-key-encryption-configuration-case,
https://open.dingtalk.com/document/orgapp/receive-message, and
https://developers.mattermost.com/integrate/webhooks/outgoing/; for Mattermost's buttons, ours.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final

from runcast.channels.keys import load_ed25519, verify_ed25519
from runcast.errors import InvalidValue

__all__ = (
    "MAX_AGE_S",
    "check_discord_key",
    "is_from_dingtalk",
    "is_from_discord",
    "is_from_feishu",
    "is_from_mattermost",
    "is_from_slack",
    "is_from_telegram",
    "sign_for_mattermost",
)

_MILLISECOND_DIGITS: Final = 13
MAX_AGE_S: Final = 300.0
"""Age from which on a signed request is refused: somebody may have recorded it."""


def is_from_telegram(headers: Mapping[str, str], secret: str) -> bool:
    """Return whether a request has the secret token that `setWebhook` was given.

    Args:
        headers: with names in small letters.
        secret: not empty; an empty one is no secret, and nothing has it.
    """
    sent = headers.get("x-telegram-bot-api-secret-token", "")
    return bool(secret) and hmac.compare_digest(sent.encode(), secret.encode())


def is_from_slack(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> bool:
    """Return whether Slack signed a request, not long ago.

    Args:
        headers: with names in small letters.
        secret: the app's signing secret.
        now: Unix seconds.
    """
    sent_at = headers.get("x-slack-request-timestamp", "")
    if not secret or not _is_fresh(sent_at, now):
        return False
    signed = b"v0:" + sent_at.encode() + b":" + body
    expected = "v0=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    given = headers.get("x-slack-signature", "")
    return hmac.compare_digest(given.encode(), expected.encode())


def check_discord_key(key: str) -> str:
    """Return an application's public key, if signatures can be checked with it here.

    Call it where the application is configured: `is_from_discord` would refuse every request.

    Args:
        key: as the developer portal shows it, hexadecimal.

    Raises:
        InvalidValue: the key is malformed, or the package `cryptography` is not installed.
    """
    if not re.fullmatch(r"[0-9a-fA-F]{64}", key):
        raise InvalidValue("expected public_key to be 64 hexadecimal digits")
    load_ed25519(bytes.fromhex(key))
    return key


def is_from_discord(headers: Mapping[str, str], body: bytes, key: str, now: float) -> bool:
    """Return whether Discord signed a request, not long ago.

    Args:
        headers: with names in small letters.
        key: the application's public key, hexadecimal; see `check_discord_key`.
        now: Unix seconds.

    Raises:
        InvalidValue: the package `cryptography` is not installed.
    """
    sent_at = headers.get("x-signature-timestamp", "")
    try:
        public, signature = bytes.fromhex(key), bytes.fromhex(headers["x-signature-ed25519"])
    except (KeyError, ValueError):
        return False
    return _is_fresh(sent_at, now) and verify_ed25519(public, sent_at.encode() + body, signature)


def is_from_feishu(headers: Mapping[str, str], body: bytes, key: str, now: float) -> bool:
    """Return whether Feishu signed a request, not long ago.

    Args:
        headers: with names in small letters.
        body: as it came, still encrypted.
        key: the app's Encrypt Key.
        now: Unix seconds.
    """
    sent_at = headers.get("x-lark-request-timestamp", "")
    if not key or not _is_fresh(sent_at, now):
        return False
    nonce = headers.get("x-lark-request-nonce", "")
    signed = (sent_at + nonce + key).encode("utf-8", "replace") + body
    given = headers.get("x-lark-signature", "")
    return hmac.compare_digest(given.encode(), hashlib.sha256(signed).hexdigest().encode())


def is_from_dingtalk(headers: Mapping[str, str], secret: str, now: float) -> bool:
    """Return whether a request has a signature of DingTalk, made not long ago.

    DingTalk does not sign the body. So a recorded signature is good for any body, for as long as it
    is fresh: only TLS protects the body.

    Args:
        headers: with names in small letters.
        secret: the app's secret.
        now: Unix seconds.
    """
    sent_at = headers.get("timestamp", "")
    if not secret or len(sent_at) != _MILLISECOND_DIGITS or not _is_fresh(sent_at[:-3], now):
        return False
    signed = hmac.new(secret.encode(), f"{sent_at}\n{secret}".encode(), hashlib.sha256).digest()
    return hmac.compare_digest(headers.get("sign", "").encode(), base64.b64encode(signed))


def sign_for_mattermost(secret: str, channel: str, callback: str) -> str:
    """Return the signature that a button of Mattermost sends back.

    Mattermost does not show what a button holds, so only Mattermost can know it.

    Args:
        secret: ours; not empty.
        channel: the id of the channel with the button.
        callback: what the button sends.
    """
    signed = f"{channel}\n{callback}".encode("utf-8", "replace")
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def is_from_mattermost(body: object, secret: str, token: str) -> bool:
    """Return whether Mattermost sent what a pressed button sends, or a text of an outgoing webhook.

    Args:
        body: the JSON, or the form.
        secret: signs what buttons send.
        token: of the outgoing webhook; with an empty one no text is taken.
    """
    found = body if isinstance(body, dict) else {}
    context = found.get("context")
    if not isinstance(context, dict):
        given = str(found.get("token", "")).encode("utf-8", "replace")
        return bool(token) and hmac.compare_digest(given, token.encode())
    signature = str(context.get("signature", "")).encode("utf-8", "replace")
    channel, callback = str(found.get("channel_id", "")), str(context.get("callback", ""))
    expected = sign_for_mattermost(secret, channel, callback) if secret else ""
    return bool(secret) and hmac.compare_digest(signature, expected.encode())


def _is_fresh(sent_at: str, now: float) -> bool:
    is_time = sent_at.isascii() and sent_at.isdigit() and len(sent_at) <= 12
    return is_time and abs(now - int(sent_at)) <= MAX_AGE_S
