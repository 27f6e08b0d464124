"""Any server that takes a POST: `https://host/path`, or `webhook:NAME`.

Each message is one request with this JSON. A request that is sent again has the same `id`.

    {"id": "…", "text": "…", "is_final": true, "question": {"interrupt_id": "…", "answers": […]}}

With the option `secret` the header `X-Runcast-Signature` has `sha256=` and the HMAC of the body.
Private addresses are refused, unless the option `allow` names their networks, joined by commas.

Source: ours.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from runcast._addresses import Network
from runcast.channels.actions import Send
from runcast.channels.calls import Caller, seconds_of
from runcast.channels.capability import Capability
from runcast.channels.outcome import CallOutcome
from runcast.channels.platforms.options import digest_of, networks_for, optional
from runcast.errors import InvalidValue

__all__ = ("Webhook", "make_channel")

_CAPABILITY: Final = Capability(
    limit=60_000, can_edit=False, can_delete=False, is_idempotent=True, interval_s=0.0
)


class Webhook:
    """A URL that takes messages."""

    capability = _CAPABILITY

    def __init__(self, url: str, *, secret: str = "", networks: Iterable[Network] = ()) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise InvalidValue("expected a webhook like https://example.org/hook")
        self.scope = f"webhook:{parts.hostname}"
        self.place = f"{self.scope}#{digest_of(url)}"
        self._secret = secret.encode()
        path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        # Whoever knows the path of a webhook may post to it, so it is a secret.
        base = f"{parts.scheme}://{parts.netloc}"
        self._caller = Caller(base, secrets=(), secret_path=path, networks=networks)

    async def send(self, message: Send) -> CallOutcome:
        """Post a message."""
        body: dict[str, object] = {
            "id": message.key,
            "text": message.text,
            "is_final": message.is_final,
        }
        if message.question_id:
            body["question"] = _question(message)
        content = msgspec.json.encode(body)
        headers = {"content-type": "application/json"}
        if self._secret:
            digest = hmac.new(self._secret, content, hashlib.sha256).hexdigest()
            headers["X-Runcast-Signature"] = f"sha256={digest}"
        answer = await self._caller.request("POST", "", content, headers=headers)
        if isinstance(answer, CallOutcome):
            return answer
        if answer.is_ok:
            return CallOutcome("ok", message.key)
        if answer.status in (429, 503):
            seconds = seconds_of(answer.headers.get("retry-after")) or 1.0
            return CallOutcome("limited", retry_after_s=seconds)
        if answer.status == 413:
            return CallOutcome("too_long", reason="HTTP 413")
        if answer.status in (401, 403, 404, 410) or 300 <= answer.status < 400:
            return CallOutcome("forbidden", reason=f"HTTP {answer.status}")
        kind = "uncertain" if answer.status >= 500 else "rejected"
        return CallOutcome(kind, reason=f"HTTP {answer.status}")  # type: ignore[arg-type]

    async def close(self) -> None:
        """Close the connections."""
        await self._caller.close()


def _question(message: Send) -> dict[str, object]:
    answers = [button.answer for button in message.answers if button.answer in _DECISIONS]
    asked: dict[str, object] = {"interrupt_id": message.question_id, "answers": answers}
    choices = [button.label for button in message.answers if button.answer not in _DECISIONS]
    if choices:
        asked["choices"] = choices
    if message.answer_url:
        asked["url"] = message.answer_url
    return asked


_DECISIONS: Final = ("accept", "reject")


def make_channel(address: str, options: Mapping[str, str]) -> Webhook:
    """Return the channel of a target."""
    return Webhook(address, secret=optional(options, "secret"), networks=networks_for(options))
