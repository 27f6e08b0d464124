"""A Mattermost for tests: the calls of its REST API that a delivery needs, with its rules.

Source: https://developers.mattermost.com/api-documentation/,
https://developers.mattermost.com/integrate/plugins/interactive-messages/,
https://docs.mattermost.com/administration-guide/configure/rate-limiting-configuration-settings.html
and the server's source: model/post.go, model/integration_action.go, channels/api4/post.go,
channels/app/post.go.
"""

import itertools
import json
import re
from base64 import b64encode
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from runcast._clock import Clock
from runcast.testing.chats.faults import ChatMessage
from runcast.testing.chats.server import ChatCallback, ChatReply, ChatServer, Request, Window

__all__ = ("FakeMattermost",)

_MAX_CHARS: Final = 16_383
_PENDING_S: Final = 30.0
_FORM: Final = {"content-type": "application/x-www-form-urlencoded"}
_ROUTE: Final = re.compile(r"/api/v4/(posts|users)(?:/([^/]+))?(?:/(patch|typing))?")
_METHODS: Final = {
    ("POST", "posts", ""): "posts.create",
    ("PUT", "posts", "patch"): "posts.patch",
    ("GET", "posts", ""): "posts.get",
    ("DELETE", "posts", ""): "posts.delete",
    ("POST", "users", "typing"): "users.typing",
    ("GET", "users", ""): "users.get",
}


class FakeMattermost(ChatServer):
    """Mattermost with one bot.

        with FakeMattermost() as mattermost:
            channel = mattermost.channels[0]

    A post has at most 16 383 characters. A `pending_post_id` makes one post in thirty seconds. An
    edit of a deleted post is forbidden, as one of somebody else's. A token makes ten calls in a
    second, and a hundred at once.

    Args:
        channels: how many channels the bot is in.
        edit_window_s: how long a post can be edited; 0: no limit.
    """

    TOKEN: Final = "test0token0of0the0fake0mm0"
    USER: Final = "u" * 26
    WEBHOOK_TOKEN: Final = "test0token0of0the0webhook0"
    COMMAND_TOKEN: Final = "test0token0of0the0command0"

    def __init__(
        self, channels: int = 1, *, edit_window_s: float = 0.0, clock: Clock | None = None
    ) -> None:
        super().__init__(clock)
        self.channels: Final = [f"{n:0>26}" for n in range(1, channels + 1)]
        self.edit_window_s = edit_window_s
        self.called_back: Final[list[str]] = []
        """The addresses to which pressed buttons were sent, oldest first."""
        self.typed: Final[list[str]] = []
        """The channels in which somebody was seen writing, oldest first."""
        self._roots: dict[str, str] = {}
        self._made_at: dict[str, float] = {}
        self._props: dict[str, dict[str, Any]] = {}
        self._people: dict[str, str] = {}
        """By post, who wrote it, if it was a person."""
        self._pending: dict[str, tuple[float, ChatMessage]] = {}
        self._triggers = itertools.count()
        self._window = Window(100, 10.0)

    def press(self, message_id: str, label: str, user: str = "p" * 26) -> ChatCallback:
        """Press a button, as a person does; return what Mattermost sends to the last of
        `called_back`."""
        actions = self._props[message_id]["attachments"][0]["actions"]
        action = next(each for each in actions if each["name"] == label)
        message = next(each for each in self.messages if each.message_id == message_id)
        body = {
            "user_id": user,
            "user_name": "ada",
            "channel_id": message.chat,
            "post_id": message_id,
            "trigger_id": self._trigger(user),
            "type": "",
            "context": action["integration"]["context"],
        }
        self.called_back.append(str(action["integration"]["url"]))
        return ChatCallback({"content-type": "application/json"}, json.dumps(body).encode())

    def write(
        self, text: str, *, channel: str = "", root: str = "", trigger: str = "", user: str = ""
    ) -> ChatCallback:
        """Write a post, as a person does; return what an outgoing webhook sends.

        Args:
            root: the post whose thread it is in.
            trigger: the word of the webhook with which the text begins.
        """
        with self._lock:
            message = ChatMessage(channel or self.channels[0], self._next_id(), text)
            self.messages.append(message)
            self._roots[message.message_id] = root
            self._people[message.message_id] = user or "p" * 26
            said = {
                "token": self.WEBHOOK_TOKEN,
                "channel_id": message.chat,
                "timestamp": str(int(self.clock.time())),
                "user_id": user or "p" * 26,
                "user_name": "ada",
                "post_id": message.message_id,
                "text": text,
                "trigger_word": trigger,
            }
        return ChatCallback(_FORM, urlencode(said).encode())

    def command(self, text: str, *, channel: str = "", user: str = "") -> ChatCallback:
        """Return what a slash command sends, which a person has written."""
        said = {
            "token": self.COMMAND_TOKEN,
            "channel_id": channel or self.channels[0],
            "command": "/run",
            "response_url": f"{self.url}/hooks/commands/x",
            "text": text,
            "trigger_id": self._trigger(user or "p" * 26),
            "user_id": user or "p" * 26,
            "user_name": "ada",
        }
        return ChatCallback(_FORM, urlencode(said).encode())

    def _trigger(self, user: str) -> str:
        """Return what triggers name: a number, who and when, and a signature."""
        sent_at = int(self.clock.time() * 1000)
        said = f"trigger{next(self._triggers)}:{user}:{sent_at}:c2lnbmVk"
        return b64encode(said.encode()).decode()

    def method_of(self, request: Request) -> str:
        found = _ROUTE.fullmatch(request.path)
        named = ("", "", "") if found is None else (request.verb, found[1], found[3] or "")
        return _METHODS.get(named, "")

    def scope_of(self, method: str, request: Request) -> str:
        return "token"

    def limited(self, wait_s: float) -> ChatReply:
        seconds = str(max(1, -int(-wait_s // 1)))
        headers = {
            "X-Ratelimit-Limit": "101",
            "X-Ratelimit-Remaining": "0",
            "X-Ratelimit-Reset": str(int(seconds) + 10),
            "Retry-After": seconds,
        }
        return ChatReply(429, "limit exceeded", headers)

    def failed(self) -> ChatReply:
        return _no(500, "app.internal.app_error", "Internal error.")

    def do(self, method: str, request: Request, now: float) -> ChatReply:
        sent = {name.lower(): value for name, value in request.headers.items()}
        if sent.get("authorization", "").lower() != f"bearer {self.TOKEN}":
            return _no(401, "api.context.session_expired.app_error", "Invalid or expired session.")
        if wait_s := self._window.wait_s(now):
            return self.block("token", wait_s, now)
        self._window.count(now)
        if not method:
            return _no(404, "api.context.404.app_error", "Sorry, we could not find the page.")
        if method == "users.get":
            return ChatReply(200, {"id": self.USER, "username": "bot"})
        if method == "users.typing":
            self.typed.append(str(request.values.get("channel_id")))
            return ChatReply(200, {"status": "OK"})
        if method == "posts.create":
            return self._create(request.values, now)
        found = _ROUTE.fullmatch(request.path)
        post_id = str(found[2]) if found is not None else ""
        if not re.fullmatch(r"[a-z0-9]{26}", post_id):
            return _no(400, "api.context.invalid_url_param.app_error", "Invalid post_id.")
        posts = [each for each in self.messages if each.message_id == post_id]
        if not posts or posts[0].is_deleted:
            if method == "posts.get":
                return _no(404, "app.post.get.app_error", "Unable to get the post.")
            return _no(403, "api.context.permissions.app_error", "You do not have permissions.")
        return self._act(method, posts[0], request.values, now)

    def _act(
        self, method: str, message: ChatMessage, values: dict[str, Any], now: float
    ) -> ChatReply:
        if method == "posts.delete":
            message.is_deleted = True
            return ChatReply(200, {"status": "OK"})
        if method == "posts.patch":
            is_old = (
                self.edit_window_s and now > self._made_at[message.message_id] + self.edit_window_s
            )
            if is_old:
                named = "api.post.update_post.permissions_time_limit.app_error"
                return _no(400, named, "Post edit is only allowed for a few seconds.")
            merged = {"message": message.text, **values}
            wrong = _wrong_post(merged)
            if wrong is not None:
                return wrong
            self._write(message, merged)
            message.edits += 1
        return ChatReply(200, self._post(message))

    def _create(self, values: dict[str, Any], now: float) -> ChatReply:
        channel, root = str(values.get("channel_id")), str(values.get("root_id") or "")
        pending = str(values.get("pending_post_id") or "")
        known = self._pending.get(pending) if pending else None
        if known is not None and now < known[0] + _PENDING_S:
            return ChatReply(201, self._post(known[1]))
        if channel not in self.channels:
            return _no(403, "api.context.permissions.app_error", "You do not have permissions.")
        is_root = root in self._roots and not self._roots[root]
        if root and (not is_root or self.find(channel, root) is None):
            return _no(400, "api.post.create_post.root_id.app_error", "Invalid RootId.")
        wrong = _wrong_post(values)
        if wrong is not None:
            return wrong
        message = ChatMessage(channel, self._next_id(), "")
        self.messages.append(message)
        self._made_at[message.message_id], self._roots[message.message_id] = now, root
        self._write(message, values)
        if pending:
            self._pending[pending] = now, message
        return ChatReply(201, self._post(message))

    def _next_id(self) -> str:
        return f"{'post':0<18}{len(self.messages) + 1:0>8}"

    def _write(self, message: ChatMessage, values: dict[str, Any]) -> None:
        message.text = str(values.get("message", "")).replace("\u200b", "")
        if values.get("props") is None:
            return
        props = self._props[message.message_id] = values["props"]
        message.buttons = tuple(
            (str(action["name"]), str(action["integration"]["context"].get("callback", "")))
            for attachment in props.get("attachments") or ()
            for action in attachment.get("actions") or ()
        )

    def _post(self, message: ChatMessage) -> dict[str, Any]:
        return {
            "id": message.message_id,
            "channel_id": message.chat,
            "root_id": self._roots[message.message_id],
            "user_id": self._people.get(message.message_id, self.USER),
            "message": message.text,
            "props": {},
            "delete_at": 0,
        }

    def _delete_named(self, request: Request) -> None:
        found = _ROUTE.fullmatch(request.path)
        if found is not None and found[2]:
            self.delete(found[2])


def _wrong_post(values: dict[str, Any]) -> ChatReply | None:
    text, props = str(values.get("message") or ""), values.get("props") or {}
    attachments = props.get("attachments") or []
    if len(text) > _MAX_CHARS:
        return _no(400, "model.post.is_valid.message_length.app_error", "Post Message is too long.")
    if not text.strip() and not attachments:
        return _no(400, "api.context.invalid_body_param.app_error", "Invalid or missing message.")
    actions = [action for each in attachments for action in each.get("actions") or ()]
    if not all(map(_is_action, actions)):
        return _no(400, "model.post.is_valid.props.app_error", "Invalid props.")
    return None


def _is_action(action: dict[str, Any]) -> bool:
    integration = action.get("integration") or {}
    url = urlsplit(str(integration.get("url", "")))
    is_named = re.fullmatch(r"[A-Za-z0-9]+", str(action.get("id", ""))) is not None
    return is_named and bool(action.get("name")) and url.scheme in ("http", "https")


def _no(status: int, named: str, message: str) -> ChatReply:
    body = {"id": named, "message": message, "request_id": "r", "status_code": status}
    return ChatReply(status, body)
