"""A Discord for tests: the routes of the REST API that a delivery needs, with its rules.

Source: https://docs.discord.com/developers/resources/message,
https://docs.discord.com/developers/topics/rate-limits. Discord does not publish the rates of its
routes: here a channel takes 5 messages in 5 seconds, and 5 edits beside them, as it has for years.
Sends and edits name the same bucket in their answers, and are counted apart all the same.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from runcast._clock import Clock
from runcast.testing.chats.faults import ChatMessage
from runcast.testing.chats.server import ChatCallback, ChatReply, ChatServer, Request, Window

__all__ = ("FakeDiscord",)

_LIMIT: Final = 2000
_NONCE_S: Final = 300.0
_ROUTE: Final = re.compile(
    r"/api/v10/(?:channels/(\d+)|webhooks/(\d+)/([^/]+))(?:/(messages|typing))?(?:/(\d+))?"
)
_VIA: Final = {"Via": "1.1 google"}
"""Without it, discord.py takes a refusal for one of the network before Discord."""

_BOT: Final = {"id": "1", "username": "bot", "discriminator": "0", "bot": True, "avatar": None}
_APPLICATION: Final = {
    **{"id": "2", "name": "app", "description": "", "icon": None, "owner": _BOT, "flags": 0},
    **{"bot_public": False, "bot_require_code_grant": False, "verify_key": "00" * 32},
}


class FakeDiscord(ChatServer):
    """Discord with one bot and one webhook.

        with FakeDiscord([7]) as discord:
            discord_py.http.Route.BASE = discord.api_url

    A text has at most 2000 characters. Every answer has the headers of its bucket. A nonce that is
    enforced makes one message in five minutes.

    Args:
        channels: the channels that the bot may write to.
        webhook: the number of the webhook, which writes to the first channel.
        rate: messages in one channel in five seconds; edits are as many beside them.
    """

    TOKEN: Final = "TEST.token.of-the-fake-discord"
    WEBHOOK_TOKEN: Final = "TEST-token-of-the-webhook"

    def __init__(
        self,
        channels: Iterable[int] = (7,),
        *,
        webhook: int = 9,
        rate: int = 5,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(clock)
        self.channels: Final = [str(each) for each in channels]
        self.webhook = str(webhook)
        self._rate = rate
        self._sent = 0
        self._nonces: dict[str, tuple[float, ChatMessage]] = {}
        self._windows: dict[str, Window] = {}

    def press(
        self,
        message_id: str,
        label: str,
        sign: Callable[[bytes], bytes],
        user: str = "5",
    ) -> ChatCallback:
        """Press a button, as a person does; return what Discord sends.

        Args:
            sign: makes the Ed25519 signature of bytes: the fake has no cryptography of its own.
        """
        message, value = self.pressed(message_id, label)
        self._sent += 1
        interaction = {
            "type": 3,
            "id": str(900 + self._sent),
            "token": "interaction",
            "channel_id": message.chat,
            "data": {"custom_id": value, "component_type": 2},
            "message": {"id": message.message_id},
            "member": {"user": {"id": user, "username": "ada"}},
        }
        return self.sign(interaction, sign)

    def sign(self, interaction: object, sign: Callable[[bytes], bytes]) -> ChatCallback:
        """Return an interaction as Discord sends it; see `press`."""
        body, sent_at = json.dumps(interaction).encode(), str(int(self.clock.time()))
        headers = {
            "content-type": "application/json",
            "x-signature-timestamp": sent_at,
            "x-signature-ed25519": sign(sent_at.encode() + body).hex(),
        }
        return ChatCallback(headers, body)

    @property
    def api_url(self) -> str:
        """The base of all routes, with the version of the API."""
        return f"{self.url}/api/v10"

    def method_of(self, request: Request) -> str:
        found = _ROUTE.fullmatch(request.path)
        what = "" if found is None else found[4] or ("messages" if found[2] else "")
        return f"{request.verb} {what or request.path.rpartition('/')[2]}"

    def scope_of(self, method: str, request: Request) -> str:
        found = _ROUTE.fullmatch(request.path)
        place = "" if found is None else str(found[1] or self.channels[0])
        return f"{method} {place}"

    def limited(self, wait_s: float) -> ChatReply:
        said = {"message": "You are being rate limited.", "retry_after": wait_s, "global": False}
        headers = {
            **_VIA,
            "Retry-After": str(max(1, -int(-wait_s // 1))),
            "X-RateLimit-Scope": "user",
            "X-RateLimit-Limit": str(self._rate),
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset-After": f"{wait_s:.3f}",
            "X-RateLimit-Bucket": "fake",
        }
        return ChatReply(429, said, headers)

    def failed(self) -> ChatReply:
        return ChatReply(500, {"message": "500: Internal Server Error", "code": 0})

    def do(self, method: str, request: Request, now: float) -> ChatReply:
        found = _ROUTE.fullmatch(request.path)
        refused = self._check(request, found)
        if refused is not None:
            return refused
        if found is None:
            is_bot = request.path.endswith("/users/@me")
            return ChatReply(200, _BOT if is_bot else _APPLICATION)
        channel = str(found[1] or self.channels[0])
        if method == "POST typing":
            return ChatReply(204)
        window = self._windows.setdefault(self.scope_of(method, request), Window(self._rate, 5.0))
        if wait_s := window.wait_s(now):
            return self.block(self.scope_of(method, request), wait_s, now)
        window.count(now)
        reply = self._act(request, channel, found[5], now)
        left, wait_s = window.left(now), window.wait_s(now) or window.seconds
        headers = {
            **_VIA,
            "X-RateLimit-Limit": str(self._rate),
            "X-RateLimit-Remaining": str(left),
            "X-RateLimit-Reset": f"{self.clock.time() + wait_s:.3f}",
            "X-RateLimit-Reset-After": f"{wait_s:.3f}",
            "X-RateLimit-Bucket": "fake",
        }
        return reply._replace(headers=headers)

    def _check(self, request: Request, found: re.Match[str] | None) -> ChatReply | None:
        if found is not None and found[2]:
            is_known = (found[2], found[3]) == (self.webhook, self.WEBHOOK_TOKEN)
            return None if is_known else _refusal(401, 50027, "Invalid Webhook Token")
        sent = {name.lower(): value for name, value in request.headers.items()}
        if sent.get("authorization") != f"Bot {self.TOKEN}":
            return _refusal(401, 0, "401: Unauthorized")
        if not sent.get("user-agent", "").startswith("DiscordBot ("):
            return _refusal(403, 0, "expected a User-Agent like DiscordBot (url, version)")
        if found is None:
            known = ("/api/v10/users/@me", "/api/v10/oauth2/applications/@me")
            return None if request.path in known else _refusal(404, 0, "404: Not Found")
        return None if found[1] in self.channels else _refusal(404, 10003, "Unknown Channel")

    def _act(self, request: Request, channel: str, number: str | None, now: float) -> ChatReply:
        if request.verb == "POST":
            return self._send(request, channel, now)
        message = self.find(channel, number)
        if message is None:
            return _refusal(404, 10008, "Unknown Message")
        if request.verb == "DELETE":
            message.is_deleted = True
            return ChatReply(204)
        wrong = _wrong_content(request.values, message)
        if wrong is not None:
            return wrong
        self._write(message, request.values)
        message.edits += 1
        return ChatReply(200, _message(message))

    def _send(self, request: Request, channel: str, now: float) -> ChatReply:
        values = request.values
        wrong = _wrong_content(values, None)
        if wrong is not None:
            return wrong
        nonce = str(values.get("nonce") or "")
        if len(nonce) > 25:
            return _refusal(400, 50035, "Invalid Form Body", {"nonce": _TOO_LONG})
        known = self._nonces.get(nonce) if values.get("enforce_nonce") else None
        if known is not None and now < known[0] + _NONCE_S:
            return ChatReply(200, _message(known[1]))
        message = ChatMessage(channel, str(1000 + len(self.messages)), "")
        self.messages.append(message)
        self._write(message, values)
        if nonce:
            self._nonces[nonce] = now, message
        if "webhooks" in request.path and values.get("wait") != "true":
            return ChatReply(204)
        return ChatReply(200, _message(message))

    def _write(self, message: ChatMessage, values: dict[str, Any]) -> None:
        if "content" in values:
            message.text = str(values["content"] or "").strip()
        if "components" in values:
            message.buttons = tuple(
                (str(button["label"]), str(button["custom_id"]))
                for row in values["components"] or ()
                for button in row["components"]
            )


_TOO_LONG: Final = {
    "_errors": [{"code": "BASE_TYPE_MAX_LENGTH", "message": "Must be 2000 or fewer in length."}]
}


def _wrong_content(values: dict[str, Any], message: ChatMessage | None) -> ChatReply | None:
    content = values.get("content")
    text = ("" if message is None else message.text) if content is None else str(content)
    if not text.strip():
        return _refusal(400, 50006, "Cannot send an empty message")
    if len(text) > _LIMIT:
        return _refusal(400, 50035, "Invalid Form Body", {"content": _TOO_LONG})
    for row in values.get("components") or ():
        names = [str(button.get("custom_id", "")) for button in row.get("components", ())]
        if not 1 <= len(names) <= 5 or len(set(names)) < len(names):
            return _refusal(400, 50035, "Invalid Form Body", {"components": {}})
        if any(not 1 <= len(name) <= 100 for name in names):
            return _refusal(400, 50035, "Invalid Form Body", {"components": {}})
    return None


def _message(message: ChatMessage) -> dict[str, Any]:
    return {
        "id": message.message_id,
        "channel_id": message.chat,
        "author": _BOT,
        "content": message.text,
        "timestamp": "2026-01-01T00:00:00.000000+00:00",
        "edited_timestamp": None,
        "tts": False,
        "mention_everyone": False,
        "mentions": [],
        "mention_roles": [],
        "attachments": [],
        "embeds": [],
        "components": [],
        "pinned": False,
        "type": 0,
    }


def _refusal(
    status: int, code: int, message: str, errors: dict[str, Any] | None = None
) -> ChatReply:
    body: dict[str, Any] = {"message": message, "code": code}
    return ChatReply(status, {**body, "errors": errors} if errors else body)
