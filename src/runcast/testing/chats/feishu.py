"""A Feishu for tests: the calls of its API that a delivery needs, with its rules.

Source: https://open.feishu.cn/document/server-docs/im-v1/message/create, update, patch, delete,
https://open.feishu.cn/document/cardkit-v1/card-element/content, card/update, card/settings,
card/id_convert, https://open.feishu.cn/document/cardkit-v1/streaming-updates-openapi-overview, and
https://open.feishu.cn/document/server-docs/api-call-guide/frequency-control.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from runcast._clock import Clock
from runcast.testing.chats.faults import ChatMessage
from runcast.testing.chats.feishu_contents import (
    Card,
    accept,
    card_id_in,
    check_text,
    parse_card,
    refuse,
    refuse_card,
    text_in,
)
from runcast.testing.chats.server import ChatCallback, ChatReply, ChatServer, Request, Window

__all__ = ("FakeFeishu",)

_MAX_EDITS: Final = 20
_MAX_AGE_S: Final = 14 * 24 * 3600.0
_STREAM_S: Final = 600.0
_UUID_S: Final = 3600.0
_TOKEN_S: Final = 7200
_MAX_NUMBER: Final = 2**31 - 1

_ROUTES: Final = (
    ("POST", re.compile(r"/auth/v3/tenant_access_token/internal"), "token"),
    ("POST", re.compile(r"/im/v1/messages"), "messages.create"),
    ("POST", re.compile(r"/im/v1/messages/(\w+)/reply"), "messages.reply"),
    ("PUT", re.compile(r"/im/v1/messages/(\w+)"), "messages.update"),
    ("PATCH", re.compile(r"/im/v1/messages/(\w+)"), "messages.patch"),
    ("DELETE", re.compile(r"/im/v1/messages/(\w+)"), "messages.delete"),
    ("GET", re.compile(r"/im/v1/messages/(\w+)"), "messages.get"),
    ("POST", re.compile(r"/cardkit/v1/cards"), "cards.create"),
    ("POST", re.compile(r"/cardkit/v1/cards/id_convert"), "cards.id_convert"),
    ("PUT", re.compile(r"/cardkit/v1/cards/(\d+)"), "cards.update"),
    ("PATCH", re.compile(r"/cardkit/v1/cards/(\d+)/settings"), "cards.settings"),
    ("PUT", re.compile(r"/cardkit/v1/cards/(\d+)/elements/(\w+)/content"), "cards.content"),
)


class FakeFeishu(ChatServer):
    """Feishu with one app and its bot.

        with FakeFeishu(["oc_1"]) as feishu:
            client = lark_oapi.Client.builder().app_id(feishu.APP_ID).domain(feishu.url)…

    Refusals have a code and the status 400; with `has_old_errors` those of messages have 200, as
    older servers answer. A card has at most 30 KB and 200 elements; a text takes 20 edits. All
    calls to a card have rising numbers. Its streaming mode ends after ten minutes. A `uuid` makes
    one message in an hour. A chat takes 5 messages in a second, a message 5 changes, a card 10
    calls, an app 50 calls of one kind.

    Args:
        chats: the groups and people that the bot may write to.
        has_cards: whether the app may read and change cards as such.
        token_s: how long a token is good.
    """

    APP_ID: Final = "cli_test0000000000"
    APP_SECRET: Final = "TEST-secret-of-the-fake-feishu"
    VERIFICATION_TOKEN: Final = "TEST-verification-token"

    def __init__(
        self,
        chats: Iterable[str] = ("oc_1",),
        *,
        has_cards: bool = True,
        has_old_errors: bool = False,
        token_s: int = _TOKEN_S,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(clock)
        self.chats: Final = set(chats)
        self.has_cards = has_cards
        self.tokens: Final[list[str]] = []
        """The tokens that were given, oldest first."""
        self._has_old_errors = has_old_errors
        self._token_s = token_s
        self._good_until = 0.0
        self._cards: dict[str, Card] = {}
        self._of_message: dict[str, Card] = {}
        self._sent_at: dict[str, float] = {}
        self._uuids: dict[str, tuple[float, ChatMessage]] = {}
        self._windows: dict[str, Window] = {}

    @property
    def api_url(self) -> str:
        """The base of all calls."""
        return f"{self.url}/open-apis"

    def is_streaming(self, message_id: str) -> bool:
        """Return whether a message is shown as unfinished."""
        return self._of_message[message_id].streams_since is not None

    def press(self, message_id: str, label: str, user: str = "ou_1") -> ChatCallback:
        """Press a button, as a person does; return what Feishu sends to an app without a key."""
        card = self._of_message[message_id]
        buttons = [each for each in card.data["body"]["elements"] if each["tag"] == "button"]
        button = next(each for each in buttons if each["text"]["content"] == label)
        chat = "" if card.message is None else card.message.chat
        pressed = {
            "operator": {"open_id": user},
            "token": "c-1",
            "action": {"tag": "button", "value": button["behaviors"][0]["value"]},
            "host": "im_message",
            "context": {"open_message_id": message_id, "open_chat_id": chat},
        }
        event = self.event("card.action.trigger", pressed)
        return ChatCallback({"content-type": "application/json"}, json.dumps(event).encode())

    def event(self, kind: str, event: dict[str, Any]) -> dict[str, Any]:
        """Return an event of the app, before it is encrypted."""
        header = {
            **{"event_id": f"e{len(self.calls)}", "event_type": kind, "app_id": self.APP_ID},
            "token": self.VERIFICATION_TOKEN,
        }
        return {"schema": "2.0", "header": header, "event": event}

    def revoke_token(self) -> None:
        """Make the present token invalid before its time."""
        self._good_until = 0.0

    def method_of(self, request: Request) -> str:
        return self._route(request)[0]

    def scope_of(self, method: str, request: Request) -> str:
        return method

    def limited(self, wait_s: float) -> ChatReply:
        seconds = str(max(1, -int(-wait_s // 1)))
        headers = {"x-ogw-ratelimit-limit": "100", "x-ogw-ratelimit-reset": seconds}
        body = {"code": 99991400, "msg": "request trigger frequency limit"}
        return ChatReply(429, body, headers)

    def failed(self) -> ChatReply:
        return ChatReply(500, {"code": 2200, "msg": "Internal Error"})

    def do(self, method: str, request: Request, now: float) -> ChatReply:
        named = self._route(request)[1]
        if not method:
            return ChatReply(404, {"code": 99992404, "msg": "not found"})
        if method == "token":
            return self._give_token(request.values, now)
        refused = self._check(method, request, now)
        if refused is not None:
            return refused
        act = getattr(self, f"_{method.replace('.', '_')}")
        reply: ChatReply = act(named, request.values, now)
        if self._has_old_errors and method.startswith("messages.") and reply.status == 400:
            return reply._replace(status=200)
        return reply

    def _route(self, request: Request) -> tuple[str, tuple[str, ...]]:
        path = request.path.removeprefix("/open-apis")
        for verb, pattern, name in _ROUTES:
            found = pattern.fullmatch(path)
            if found is not None and verb == request.verb:
                return name, found.groups()
        return "", ()

    def _give_token(self, values: dict[str, Any], now: float) -> ChatReply:
        if values.get("app_id") != self.APP_ID:
            return refuse(10003, "invalid param")
        if values.get("app_secret") != self.APP_SECRET:
            return refuse(10014, "app secret invalid")
        if now > self._good_until - self._token_s / 4:
            self.tokens.append(f"t-TEST{len(self.tokens) + 1:08d}")
            self._good_until = now + self._token_s
        given = {"tenant_access_token": self.tokens[-1], "expire": int(self._good_until - now)}
        return ChatReply(200, {"code": 0, "msg": "ok", **given})

    def _check(self, method: str, request: Request, now: float) -> ChatReply | None:
        sent = {name.lower(): value for name, value in request.headers.items()}
        token = sent.get("authorization", "").removeprefix("Bearer ")
        if not token:
            return refuse(99991661, "Missing access token for authorization.")
        if token not in self.tokens[-1:] or now >= self._good_until:
            return refuse(99991663, "Invalid access token for authorization.")
        if method.startswith("cards.") and not self.has_cards:
            return refuse(99991672, "Access denied. One of the following scopes is required.")
        for most, seconds in ((50, 1.0), (1000, 60.0)):
            window = self._windows.setdefault(f"{method} {most}", Window(most, seconds))
            if wait_s := window.wait_s(now):
                return self.block(method, wait_s, now)
            window.count(now)
        return None

    # Messages.

    def _messages_create(self, _: Any, values: dict[str, Any], now: float) -> ChatReply:
        if values.get("receive_id_type") not in ("chat_id", "open_id", "union_id", "email"):
            return refuse(230001, "invalid receive_id_type")
        return self._add(str(values.get("receive_id")), values, now)

    def _messages_reply(self, named: tuple[str], values: dict[str, Any], now: float) -> ChatReply:
        root = self._message(named[0])
        return root if isinstance(root, ChatReply) else self._add(root.chat, values, now)

    def _add(self, chat: str, values: dict[str, Any], now: float) -> ChatReply:
        if chat not in self.chats:
            return refuse(230002, "Bot/User can NOT be out of the chat.")
        uuid = str(values.get("uuid") or "")
        if len(uuid) > 50:
            return refuse(230001, "uuid has at most 50 characters")
        known = self._uuids.get(uuid) if uuid else None
        if known is not None and now < known[0] + _UUID_S:
            return self._shown(known[1])
        window = self._windows.setdefault(f"chat {chat}", Window(5, 1.0))
        if window.wait_s(now):
            return refuse(230020, "This operation triggers the frequency limit.")
        window.count(now)
        kind, content = str(values.get("msg_type")), str(values.get("content") or "")
        message = ChatMessage(chat, f"om_{len(self.messages) + 1:08d}", "")
        if kind == "interactive":
            card = self._card_in(content, now)
            if isinstance(card, ChatReply):
                return card
            card.message = message
            self._of_message[message.message_id] = card
            card.show()
        else:
            wrong = check_text(kind, content)
            if wrong is not None:
                return wrong
            message.text = text_in(content)
        self.messages.append(message)
        self._sent_at[message.message_id] = now
        if uuid:
            self._uuids[uuid] = now, message
        return self._shown(message)

    def _messages_update(self, named: tuple[str], values: dict[str, Any], _: float) -> ChatReply:
        message = self._message(named[0])
        if isinstance(message, ChatReply):
            return message
        kind, content = str(values.get("msg_type")), str(values.get("content") or "")
        if message.message_id in self._of_message or kind == "interactive":
            return refuse(230054, "This operation is not supported for this message type.")
        if message.edits >= _MAX_EDITS:
            return refuse(230072, "The message has reached the number of times it can be edited.")
        wrong = check_text(kind, content)
        if wrong is not None:
            return wrong
        message.text = text_in(content)
        message.edits += 1
        return self._shown(message)

    def _messages_patch(self, named: tuple[str], values: dict[str, Any], now: float) -> ChatReply:
        message = self._message(named[0])
        if isinstance(message, ChatReply):
            return message
        card = self._of_message.get(message.message_id)
        if card is None:
            return refuse(230001, "This message is NOT a card.")
        if now > self._sent_at[message.message_id] + _MAX_AGE_S:
            return refuse(230031, "Message can only be modified within 14 days after sending.")
        window = self._windows.setdefault(f"patch {message.message_id}", Window(5, 1.0))
        if window.wait_s(now):
            return refuse(230020, "This operation triggers the frequency limit.")
        window.count(now)
        found = parse_card(str(values.get("content") or ""))
        if isinstance(found, ChatReply):
            return found
        card.replace(found, now)
        return accept()

    def _messages_delete(self, named: tuple[str], _: Any, now: float) -> ChatReply:
        message = self._message(named[0])
        if isinstance(message, ChatReply):
            return message
        message.is_deleted = True
        return accept()

    def _messages_get(self, named: tuple[str], _: Any, now: float) -> ChatReply:
        found = [each for each in self.messages if each.message_id == named[0]]
        if not found:
            return refuse(230001, "invalid message_id")
        item = {"message_id": named[0], "deleted": found[0].is_deleted, "chat_id": found[0].chat}
        return accept(items=[item])

    def _message(self, message_id: str) -> ChatMessage | ChatReply:
        for message in self.messages:
            if message.message_id == message_id:
                gone = refuse(230011, "The message is recalled.")
                return gone if message.is_deleted else message
        return refuse(230001, "invalid message_id")

    def _shown(self, message: ChatMessage) -> ChatReply:
        sender = {"id": self.APP_ID, "id_type": "app_id", "sender_type": "app"}
        return accept(message_id=message.message_id, chat_id=message.chat, sender=sender)

    # Cards.

    def _cards_create(self, _: Any, values: dict[str, Any], now: float) -> ChatReply:
        if values.get("type") != "card_json":
            return refuse(10002, "invalid type")
        found = parse_card(str(values.get("data") or ""))
        if isinstance(found, ChatReply):
            return found
        return accept(card_id=self._new(found, now).card_id)

    def _cards_id_convert(self, _: Any, values: dict[str, Any], now: float) -> ChatReply:
        message = self._message(str(values.get("message_id")))
        if isinstance(message, ChatReply):
            return message
        card = self._of_message.get(message.message_id)
        return refuse(10002, "not a card") if card is None else accept(card_id=card.card_id)

    def _cards_update(self, named: tuple[str], values: dict[str, Any], now: float) -> ChatReply:
        given = values.get("card")
        if not isinstance(given, dict) or given.get("type") != "card_json":
            return refuse(10002, "invalid card")
        found = parse_card(str(given.get("data") or ""))
        if isinstance(found, ChatReply):
            code = 200860 if found.body["code"] == 230025 else 200220
            return refuse(code, found.body["msg"])
        card = self._card(named[0], values, now)
        if isinstance(card, Card):
            card.replace(found, now)
            return accept()
        return card

    def _cards_settings(self, named: tuple[str], values: dict[str, Any], now: float) -> ChatReply:
        card = self._card(named[0], values, now)
        if not isinstance(card, Card):
            return card
        config = json.loads(values["settings"]).get("config", {})
        card.data["config"].update(config)
        if "streaming_mode" in config:
            card.streams_since = now if config["streaming_mode"] else None
        return accept()

    def _cards_content(
        self, named: tuple[str, ...], values: dict[str, Any], now: float
    ) -> ChatReply:
        content = values.get("content")
        if not isinstance(content, str) or not 1 <= len(content) <= 100_000:
            return refuse(10002, "invalid content")
        card = self._card(named[0], values, now)
        if not isinstance(card, Card):
            return card
        if card.streams_since is None:
            return refuse(300309, "Card streaming closed")
        if now >= card.streams_since + _STREAM_S:
            card.streams_since = None
            return refuse(200850, "Card streaming timeout")
        return card.write(named[1], content)

    def _card(self, card_id: str, values: dict[str, Any], now: float) -> Card | ChatReply:
        """Return a card whose next call this is."""
        card, number = self._cards.get(card_id), values.get("sequence")
        if card is None:
            return refuse(200740, "The card entity does not exist")
        if now > card.made_at + _MAX_AGE_S:
            return refuse(200750, "The card entity has expired")
        if not isinstance(number, int) or not 1 <= number <= _MAX_NUMBER:
            return refuse(10002, "invalid sequence")
        if number <= card.number:
            return refuse(300317, "sequence number compare failed")
        if card.calls.wait_s(now):
            return self.limited(1.0)
        card.calls.count(now)
        card.number = number
        return card

    def _card_in(self, content: str, now: float) -> Card | ChatReply:
        """Return the card that a message's content is, or names."""
        card_id = card_id_in(content)
        if card_id is not None:
            card = self._cards.get(card_id)
            return refuse_card("the card does not exist") if card is None else card
        parsed = parse_card(content)
        return parsed if isinstance(parsed, ChatReply) else self._new(parsed, now)

    def _new(self, data: dict[str, Any], now: float) -> Card:
        card = Card(str(7_355_000_000_000_000_000 + len(self._cards)), data, now)
        card.streams_since = now if data["config"].get("streaming_mode") else None
        self._cards[card.card_id] = card
        return card

    def _delete_named(self, request: Request) -> None:
        _, named = self._route(request)
        card = self._cards.get(named[0]) if named else None
        if card is not None and card.message is not None:
            self.delete(card.message.message_id)
        elif named:
            self.delete(named[0])
