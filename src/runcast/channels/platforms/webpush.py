"""Web push: notifications of a browser, also while the page is closed.

The target is what `PushManager.subscribe()` gives in the browser, as JSON. What is sent is this
JSON, encrypted for that browser alone; a service worker shows it:

    {"kind": "done", "title": "report is done", "body": "…", "tag": "…", "url": "…"}

A notification takes the place of one with the same `tag`. So the same send twice is one
notification.

Source: RFC 8030 (the request), RFC 8291 (the encryption), RFC 8292 (who sends).
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from runcast._addresses import Network
from runcast._clock import Clock, SystemClock
from runcast.channels.actions import Edit, Send
from runcast.channels.calls import Caller, seconds_of
from runcast.channels.capability import Capability
from runcast.channels.keys import is_p256, make_p256
from runcast.channels.notices import NoticeKind, read
from runcast.channels.outcome import CallKind, CallOutcome
from runcast.channels.platforms.options import digest_of, link_of, networks_for, optional, required
from runcast.errors import InvalidValue

if TYPE_CHECKING:
    from py_vapid import Vapid02

__all__ = ("WebPush", "make_channel")

_KEEP_S: Final = 24 * 3600
"""How long the push service keeps a notification for a browser that is not reached."""
_SIGNED_S: Final = 12 * 3600.0
"""How long a signature is valid: a day is the most (RFC 8292, section 2)."""
_WAIT_S: Final = 10.0
"""Pause when the service refuses for the rate and names none."""

_URGENCIES: Final[Mapping[NoticeKind, str]] = {"asks": "high", "failed": "high", "answered": "low"}

_CAPABILITY: Final = Capability(
    limit=3000,  # a message has 4096 bytes with its encryption (RFC 8030, section 7.2)
    unit="utf8",
    can_delete=False,
    is_notice=True,
    is_idempotent=True,
    interval_s=0.0,
)
_KINDS: Final[Mapping[int, CallKind]] = {
    404: "forbidden",  # the subscription has expired
    410: "forbidden",
    401: "forbidden",
    403: "forbidden",
    413: "too_long",
}


class WebPush:
    """A browser that has subscribed.

    Args:
        subscription: what the browser gave, as JSON.
        private_key: of the application server: 32 bytes or DER, base64url. The browser subscribed
            with the public one.
        contact: `mailto:…` or `https://…`, by which the push service reaches its operator.
        link: opened by a tap; `{run_id}` stands for the run's id.
        networks: private addresses outside these networks are refused: the browser names the
            address. Without networks it must begin with `https://`.

    Raises:
        InvalidValue: an argument is malformed, or the packages that encrypt are not installed. The
            message shows neither the address nor a key.
    """

    capability = _CAPABILITY

    def __init__(
        self,
        subscription: str | Mapping[str, Any],
        *,
        private_key: str,
        contact: str,
        link: str = "",
        networks: Iterable[Network] = (),
        clock: Clock | None = None,
    ) -> None:
        self._vapid = _load(private_key)
        endpoint, self._public, self._auth = _read(subscription)
        parts, networks = urlsplit(endpoint), tuple(networks)
        if not contact.startswith(("mailto:", "https://")):
            raise InvalidValue("expected contact to be like mailto:me@example.org")
        if not (parts.scheme == "https" or (parts.scheme == "http" and networks)):
            raise InvalidValue("expected a subscription whose endpoint begins with https://")
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self.scope = f"webpush:{parts.hostname}"
        self.place = f"{self.scope}#{digest_of(endpoint)}"
        self._contact, self._link = contact, link
        self._clock = clock or SystemClock()
        # Whoever knows the path may send to the browser, so it is a secret.
        path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        self._caller = Caller(self._origin, secrets=(), secret_path=path, networks=networks)

    async def send(self, message: Send) -> CallOutcome:
        """Send a notification."""
        digest = hashlib.sha256(message.key.encode("utf-8", "surrogatepass")).hexdigest()
        return await self._push(message, digest[:32])

    async def edit(self, message: Edit) -> CallOutcome:
        """Replace a notification."""
        return await self._push(message, message.message_id)

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await self._caller.close()

    async def _push(self, message: Send | Edit, tag: str) -> CallOutcome:
        notice = read(message)
        said = {"kind": notice.kind, "title": notice.title, "body": notice.body, "tag": tag}
        if message.answer_url:
            said["url"] = message.answer_url
        elif self._link:
            said["url"] = link_of(self._link, message.run_id)
        content = self._encrypted(json.dumps(said, ensure_ascii=False).encode("utf-8", "replace"))
        headers = {
            "content-type": "application/octet-stream",
            "content-encoding": "aes128gcm",
            "ttl": str(_KEEP_S),
            "urgency": _URGENCIES.get(notice.kind, "normal"),
            "topic": tag,  # the service keeps the newest of those that it could not deliver yet
            **self._signature(),
        }
        answer = await self._caller.request("POST", "", content, headers=headers)
        if isinstance(answer, CallOutcome):
            return answer
        if answer.is_ok:
            return CallOutcome("ok", tag)
        if answer.status in (429, 503):
            seconds = seconds_of(answer.headers.get("retry-after")) or _WAIT_S
            return CallOutcome("limited", retry_after_s=seconds)
        kind = _KINDS.get(answer.status, "uncertain" if answer.status >= 500 else "rejected")
        return CallOutcome(kind, reason=f"HTTP {answer.status}")

    def _encrypted(self, content: bytes) -> bytes:
        import http_ece

        # Each message has a key of its own (RFC 8291, section 3.1).
        made: bytes = http_ece.encrypt(
            content,
            private_key=make_p256(),
            dh=self._public,
            auth_secret=self._auth,
            version="aes128gcm",
        )
        return made

    def _signature(self) -> dict[str, str]:
        expires = int(self._clock.time() + _SIGNED_S)
        claims = {"aud": self._origin, "exp": expires, "sub": self._contact}
        signed: dict[str, str] = self._vapid.sign(claims)
        return signed


def _load(private_key: str) -> "Vapid02":
    try:
        from py_vapid import Vapid02

        if find_spec("http_ece") is None:
            raise ImportError
    except ImportError:
        raise InvalidValue(
            "web push needs the packages http-ece and py-vapid: pip install 'runcast[webpush]'"
        ) from None
    try:
        loaded: Vapid02 = Vapid02.from_string(private_key)
    except Exception:  # noqa: BLE001 - of several libraries; their texts may hold the key
        raise InvalidValue(
            "expected private_key to be a key of P-256: 32 bytes or DER, base64url"
        ) from None
    return loaded


def _read(subscription: str | Mapping[str, Any]) -> tuple[str, bytes, bytes]:
    """Return the address, the browser's key and its secret. Raises `InvalidValue`."""
    try:
        found = json.loads(subscription) if isinstance(subscription, str) else subscription
        endpoint, keys = found["endpoint"], found["keys"]
        public, auth = _bytes_of(keys["p256dh"]), _bytes_of(keys["auth"])
        if isinstance(endpoint, str) and is_p256(public) and len(auth) == 16:
            urlsplit(endpoint)
            return endpoint, public, auth
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error):
        pass
    raise InvalidValue(
        'expected a subscription of a browser: {"endpoint": "https://…", "keys": {"p256dh": "…", '
        '"auth": "…"}}'
    )


def _bytes_of(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def make_channel(address: str, options: Mapping[str, str]) -> WebPush:
    """Return the channel of a target."""
    return WebPush(
        address,
        private_key=required(options, "private_key", "web push"),
        contact=required(options, "contact", "web push"),
        link=optional(options, "link"),
        networks=networks_for(options),
    )
