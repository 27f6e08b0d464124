"""A push service and the browser behind it, for tests: it checks who sends, and decrypts.

Nothing of the channel is used here: the encryption and the signature are read after the standards.
It needs the package `cryptography`.

Source: RFC 8030, RFC 8188, RFC 8291, RFC 8292.
"""

import base64
import hashlib
import hmac
import json
import os
import re
from typing import Any, Final

from runcast._clock import Clock
from runcast.testing.chats.faults import ChatMessage
from runcast.testing.chats.server import ChatReply, ChatServer, Request

__all__ = ("FakeWebPush",)

_MAX_BYTES: Final = 4096
_MAX_SIGNED_S: Final = 24 * 3600
_HEAD: Final = 21
"""Bytes of the header of a message, without the sender's key."""


class FakeWebPush(ChatServer):
    """A push service with one browser.

        with FakeWebPush() as push:
            channel = WebPush(push.subscription, private_key=push.private_key, …)

    Args:
        key: the private key of the browser, 32 bytes; made up if it is not given.
        auth: the secret of the browser, 16 bytes; made up if it is not given.
    """

    def __init__(self, *, key: bytes = b"", auth: bytes = b"", clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._key = _private(key or os.urandom(31).rjust(32, b"\x01"))
        self._auth = auth or os.urandom(16)
        self.private_key: Final = _encoded(os.urandom(31).rjust(32, b"\x01"))
        """The application server's key, with which the browser has subscribed."""
        self.notifications: Final[list[dict[str, Any]]] = []
        """What the browser got, oldest first."""
        self.headers: Final[list[dict[str, str]]] = []
        """The headers of these requests, with names in small letters."""
        self.is_gone = False
        """Whether the person has unsubscribed."""

    @property
    def subscription(self) -> str:
        """What the browser gives to the page, as JSON."""
        keys = {"p256dh": _encoded(_public_of(self._key)), "auth": _encoded(self._auth)}
        return json.dumps({"endpoint": f"{self.url}/push/SECRETENDPOINT", "keys": keys})

    def method_of(self, request: Request) -> str:
        return "push"

    def scope_of(self, method: str, request: Request) -> str:
        return "push"

    def limited(self, wait_s: float) -> ChatReply:
        return ChatReply(429, None, {"Retry-After": str(max(1, -int(-wait_s // 1)))})

    def do(self, method: str, request: Request, now: float) -> ChatReply:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if request.path != "/push/SECRETENDPOINT":
            return ChatReply(404)
        if self.is_gone:
            return ChatReply(410)
        if not headers.get("ttl", "").isdecimal() or headers.get("content-encoding") != "aes128gcm":
            return ChatReply(400)
        if len(request.body) > _MAX_BYTES:
            return ChatReply(413)
        if not self._is_signed(headers.get("authorization", "")):
            return ChatReply(403)
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", headers.get("topic", "t")):
            return ChatReply(400)
        self._show(json.loads(self.decrypt(request.body)))
        self.headers.append(headers)
        return ChatReply(201, None, {"Location": f"{self.url}/message/{len(self.notifications)}"})

    def _show(self, notification: dict[str, Any]) -> None:
        """Show a notification as a service worker does: an equal tag takes the place."""
        self.notifications.append(notification)
        tag, text = str(notification.get("tag", "")), str(notification.get("title", ""))
        known = self.find("browser", tag) if tag else None
        if known is None:
            self.messages.append(ChatMessage("browser", tag, text))
        else:
            known.text, known.edits = text, known.edits + 1

    def _is_signed(self, authorization: str) -> bool:
        """Return whether the application server has signed the request (RFC 8292)."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

        found = re.fullmatch(r"vapid t=([^,]+), ?k=([A-Za-z0-9_-]+)", authorization)
        if found is None or found[1].count(".") != 2:
            return False
        signed, _, signature = found[1].rpartition(".")
        head, claims = (json.loads(_decoded(part)) for part in signed.split("."))
        expected = _public_of(_private(_decoded(self.private_key)))
        left_s = claims.get("exp", 0) - self.clock.time()
        if (
            head.get("alg") != "ES256"
            or _decoded(found[2]) != expected
            or claims.get("aud") != self.url
            or not 0 < left_s <= _MAX_SIGNED_S
            or not str(claims.get("sub", "")).startswith(("mailto:", "https:"))
        ):
            return False
        raw = _decoded(signature)
        numbers = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), expected)
        try:
            public.verify(
                encode_dss_signature(*numbers), signed.encode(), ec.ECDSA(hashes.SHA256())
            )
        except InvalidSignature:
            return False
        return True

    def decrypt(self, message: bytes) -> bytes:
        """Return the text of a message to the browser (RFC 8291, section 3.4; RFC 8188)."""
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        salt, length = message[:16], message[20]
        sender, sealed = message[_HEAD : _HEAD + length], message[_HEAD + length :]
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
        shared = self._key.exchange(ec.ECDH(), point)
        about = b"WebPush: info\0" + _public_of(self._key) + sender
        input_key = _derived(self._auth, shared, about, 32)
        key = _derived(salt, input_key, b"Content-Encoding: aes128gcm\0", 16)
        nonce = _derived(salt, input_key, b"Content-Encoding: nonce\0", 12)
        padded = AESGCM(key).decrypt(nonce, sealed, None).rstrip(b"\0")
        if not padded.endswith(b"\2"):
            raise ValueError("the last record has no delimiter")
        return padded[:-1]


def _derived(salt: bytes, secret: bytes, about: bytes, length: int) -> bytes:
    """Return the first block of HKDF with SHA-256 (RFC 5869)."""
    extracted = hmac.new(salt, secret, hashlib.sha256).digest()
    return hmac.new(extracted, about + b"\1", hashlib.sha256).digest()[:length]


def _private(key: bytes) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.derive_private_key(int.from_bytes(key, "big"), ec.SECP256R1())


def _public_of(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    encoded: bytes = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return encoded


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
