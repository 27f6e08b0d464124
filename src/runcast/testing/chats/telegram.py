"""A Telegram for tests: the methods of the Bot API that a delivery needs, with its rules.

Source: https://core.telegram.org/bots/api, https://core.telegram.org/bots/faq, and the texts of
errors that the server of the Bot API gives. How Telegram limits private chats is not published:
here a chat takes 60 calls in a minute.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from runcast._clock import Clock
from runcast.testing.chats.faults import ChatMessage
from runcast.testing.chats.server import ChatCallback, ChatReply, ChatServer, Request, Window

__all__ = ("FakeTelegram",)

_LIMIT: Final = 4096
_MAX_CALLBACK_BYTES: Final = 64
_ADDRESS: Final = re.compile(r"(?:https?|tg)://[^\s/]|mailto:.")
_SIMPLE: Final = {"bold", "italic", "underline", "strikethrough", "spoiler"}
_KINDS: Final = _SIMPLE | {"code", "pre", "text_link", "blockquote", "expandable_blockquote"}
_OF_MESSAGES: Final = ("sendMessage", "editMessageText", "editMessageReplyMarkup")


class FakeTelegram(ChatServer):
    """Telegram with one bot.

        with FakeTelegram(chats=[42, -100123]) as telegram:
            bot = Bot(telegram.TOKEN, base_url=telegram.url + "/bot")  # python-telegram-bot's

    A text has at most 4096 UTF-16 units. The places of entities are checked. An edit that changes
    nothing is refused. A group takes 20 messages and edits in a minute. `parse_mode` is refused,
    because the fake parses nothing: send `entities`.

    Args:
        chats: the chats that the bot may write to; numbers below 0 are groups.
        group_limit: messages and edits in one group in a minute.
    """

    TOKEN: Final = "123456:TEST-token-of-the-fake-telegram"
    SECRET: Final = "TEST-secret-of-the-webhook"
    """What a webhook gets in its header, as if `setWebhook` had been given it."""

    def __init__(
        self,
        chats: Iterable[int] = (42, -100123),
        *,
        group_limit: int = 20,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(clock)
        self.chats: Final = set(chats)
        self.blocked_by: Final[set[int]] = set()
        """Private chats whose people have blocked the bot."""
        self.updates: Final[list[dict[str, Any]]] = []
        """What `getUpdates` returns until an `offset` confirms it: put updates here."""
        self.notices: Final[dict[str, str]] = {}
        """The texts that pressed buttons showed, by the callback's id."""
        self.entities: Final[dict[str, list[dict[str, Any]]]] = {}
        """The entities of each message, by its id."""
        self._group_limit = group_limit
        self._windows: dict[str, Window] = {}
        self._callbacks: set[str] = set()
        self._last_update = 0

    def press(self, message_id: str | int, label: str, user: int = 42) -> str:
        """Press a button, as a person does; return the callback's id."""
        with self._lock:
            message, data = self.pressed(message_id, label)
            number = self._next_update()
            query = {
                "id": f"callback{number}",
                "from": {"id": user, "is_bot": False, "first_name": "Ada"},
                "chat_instance": "1",
                "data": data,
                "message": _message(message),
            }
            self._callbacks.add(str(query["id"]))
            self.updates.append({"update_id": number, "callback_query": query})
            self._answered.notify_all()
            return str(query["id"])

    def say(
        self, text: str, chat: int = 42, *, user: int = 42, reply_to: str | int = ""
    ) -> dict[str, Any]:
        """Write a text, as a person does; return the update, which `getUpdates` has, too."""
        with self._lock:
            number = self._next_update()
            message: dict[str, Any] = {
                **_message(ChatMessage(str(chat), str(1_000_000 + number), text)),
                "from": {"id": user, "is_bot": False, "first_name": "Ada"},
            }
            replied = self.find(chat, reply_to)
            if replied is not None:
                message["reply_to_message"] = _message(replied)
            self.updates.append({"update_id": number, "message": message})
            self._answered.notify_all()
            return self.updates[-1]

    def sign(self, update: dict[str, Any]) -> ChatCallback:
        """Return an update as a webhook gets it."""
        headers = {
            "content-type": "application/json",
            "x-telegram-bot-api-secret-token": self.SECRET,
        }
        return ChatCallback(headers, json.dumps(update).encode())

    def _next_update(self) -> int:
        self._last_update += 1
        return self._last_update

    def method_of(self, request: Request) -> str:
        return request.path.rpartition("/")[2]

    def scope_of(self, method: str, request: Request) -> str:
        return str(request.values.get("chat_id", ""))

    def limited(self, wait_s: float) -> ChatReply:
        seconds = max(1, -int(-wait_s // 1))  # whole seconds, rounded up
        return _refusal(
            429,
            f"Too Many Requests: retry after {seconds}",
            {"retry_after": seconds},
            {"Retry-After": str(seconds)},
        )

    def failed(self) -> ChatReply:
        return _refusal(500, "Internal Server Error")

    def do(self, method: str, request: Request, now: float) -> ChatReply:
        if not request.path.startswith("/bot"):
            return _refusal(404, "Not Found")
        if request.path != f"/bot{self.TOKEN}/{method}":
            return _refusal(401, "Unauthorized")
        values = {
            name: value if name == "text" else _parsed(value)
            for name, value in request.values.items()
        }
        match method:
            case "getMe":
                return _ok(_BOT)
            case "getUpdates":
                return self._updates(values)
            case "answerCallbackQuery":
                return self._confirm(values)
            case "setWebhook" | "deleteWebhook":
                return _ok(True)
        found = self._chat(values.get("chat_id"))
        if isinstance(found, ChatReply):
            return found
        if method in _OF_MESSAGES:
            window = self._windows.get(str(found))
            if window is None:
                window = Window(self._group_limit if found < 0 else 60, 60.0)
                self._windows[str(found)] = window
            if wait_s := window.wait_s(now):
                return self.block(str(found), wait_s, now)
            window.count(now)
        match method:
            case "sendMessage":
                return self._send(found, values)
            case "editMessageText" | "editMessageReplyMarkup":
                return self._edit(method, found, values)
            case "deleteMessage":
                return self._delete(found, values)
            case "sendChatAction":
                return _ok(True)
        return _refusal(404, "Not Found: method not found")

    def _chat(self, chat: object) -> int | ChatReply:
        if not isinstance(chat, int) or chat not in self.chats:
            return _refusal(400, "Bad Request: chat not found")
        if chat in self.blocked_by:
            return _refusal(403, "Forbidden: bot was blocked by the user")
        return chat

    def _updates(self, values: dict[str, Any]) -> ChatReply:
        offset = values.get("offset") or 0
        self.updates[:] = [each for each in self.updates if each["update_id"] >= offset]
        wait_s = float(values.get("timeout") or 0)
        if not self.updates and wait_s:
            self._answered.wait_for(lambda: self.updates or self.closing.is_set(), wait_s)
        return _ok(list(self.updates))

    def _confirm(self, values: dict[str, Any]) -> ChatReply:
        query = str(values.get("callback_query_id"))
        if query not in self._callbacks:
            return _refusal(
                400,
                "Bad Request: query is too old and response timeout expired or query ID is invalid",
            )
        self.notices[query] = str(values.get("text") or "")
        return _ok(True)

    def _send(self, chat: int, values: dict[str, Any]) -> ChatReply:
        content = _content(values)
        if isinstance(content, ChatReply):
            return content
        text, entities, buttons = content
        message = ChatMessage(str(chat), str(len(self.messages) + 1), text, buttons)
        self.messages.append(message)
        self.entities[message.message_id] = entities
        return _ok(_message(message))

    def _edit(self, method: str, chat: int, values: dict[str, Any]) -> ChatReply:
        message = self.find(chat, values.get("message_id"))
        if message is None:
            return _refusal(400, "Bad Request: message to edit not found")
        if method == "editMessageReplyMarkup":
            values = {**values, "text": message.text}
            values["entities"] = self.entities[message.message_id]
        content = _content(values)
        if isinstance(content, ChatReply):
            return content
        text, entities, buttons = content
        before = (message.text, self.entities[message.message_id], message.buttons)
        if before == (text, entities, buttons):
            return _refusal(
                400,
                "Bad Request: message is not modified: specified new message content and reply "
                "markup are exactly the same as a current content and reply markup of the message",
            )
        message.text, message.buttons = text, buttons
        self.entities[message.message_id] = entities
        message.edits += 1
        return _ok(_message(message))

    def _delete(self, chat: int, values: dict[str, Any]) -> ChatReply:
        message = self.find(chat, values.get("message_id"))
        if message is None:
            return _refusal(400, "Bad Request: message to delete not found")
        message.is_deleted = True
        return _ok(True)


_BOT: Final = {"id": 123456, "is_bot": True, "first_name": "Bot", "username": "test_bot"}

_Content = tuple[str, list[dict[str, Any]], tuple[tuple[str, str], ...]]


def _content(values: dict[str, Any]) -> _Content | ChatReply:
    if values.get("parse_mode"):
        return _refusal(400, "Bad Request: the fake knows no parse_mode: send entities")
    text = str(values.get("text") or "")
    entities = values.get("entities") or []
    wrong = _wrong_entities(text, entities)
    if wrong:
        return _refusal(400, f"Bad Request: {wrong}")
    if not text.strip():
        return _refusal(400, "Bad Request: message text is empty")
    if _units(text) > _LIMIT:
        return _refusal(400, "Bad Request: message is too long")
    buttons = _buttons(values.get("reply_markup"))
    if buttons is None:
        return _refusal(400, "Bad Request: BUTTON_DATA_INVALID")
    return text.strip(), entities, buttons


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _wrong_entities(text: str, entities: Any) -> str:
    """Return what is wrong with entities, or nothing."""
    if not isinstance(entities, list) or not all(isinstance(each, dict) for each in entities):
        return "can't parse entities: expected an array of objects"
    encoded = text.encode("utf-16-le", "surrogatepass")
    whole = len(encoded) // 2
    spans = []
    for entity in entities:
        start, length, kind = entity.get("offset"), entity.get("length"), entity.get("type")
        if not isinstance(start, int) or not isinstance(length, int) or start < 0 or length <= 0:
            return "entity with incorrect offset or length"
        if kind not in _KINDS:
            return f"can't parse entities: unsupported type {kind!r}"
        if start + length > whole:
            return (
                f"entity beginning at UTF-16 offset {start} ends after the end of the text "
                f"at UTF-16 offset {whole}"
            )
        for at in (start, start + length):
            if 0xDC <= (encoded[at * 2 + 1] if at < whole else 0) <= 0xDF:
                return f"entity at UTF-16 offset {start} cuts a UTF-16 symbol"
        if kind == "text_link" and not _ADDRESS.match(str(entity.get("url"))):
            return "can't parse entities: wrong URL"
        spans.append((start, -(start + length), str(kind)))
    return _wrong_nesting(spans)


def _wrong_nesting(spans: list[tuple[int, int, str]]) -> str:
    for at, (start, negative, kind) in enumerate(sorted(spans)):
        for other, other_negative, inner in sorted(spans)[at + 1 :]:
            end, other_end = -negative, -other_negative
            if other >= end:
                continue
            if other_end > end:
                return f"entities overlap at UTF-16 offset {start}"
            kinds = {kind, inner}
            is_code = kinds & {"code", "pre"}
            if (kind in ("code", "pre") or kinds & _SIMPLE or "text_link" in kinds) and is_code:
                return f"an entity is inside code, or has code inside, at UTF-16 offset {other}"
            if kind == inner and (kind == "text_link" or "quote" in kind):
                return f"an entity of the same type is inside one at UTF-16 offset {other}"
    return ""


def _buttons(markup: Any) -> tuple[tuple[str, str], ...] | None:
    rows = markup.get("inline_keyboard", []) if isinstance(markup, dict) else []
    buttons = []
    for button in (button for row in rows for button in row):
        data = str(button.get("callback_data") or button.get("url") or "")
        if not button.get("text") or not 1 <= len(data.encode()) <= _MAX_CALLBACK_BYTES:
            return None
        buttons.append((str(button["text"]), data))
    return tuple(buttons)


def _parsed(value: Any) -> Any:
    """Return a value of a form, whose numbers and objects are JSON."""
    if isinstance(value, str) and (value[:1] in ("{", "[") or value.lstrip("-").isdecimal()):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _message(message: ChatMessage) -> dict[str, Any]:
    number = int(message.chat)
    kind = {"type": "private", "first_name": "Ada"}
    if number < 0:
        kind = {"type": "supergroup", "title": "Group"}
    return {
        "message_id": int(message.message_id),
        "date": 1_763_715_600,
        "chat": {"id": number, **kind},
        "from": _BOT,
        "text": message.text,
    }


def _ok(result: Any) -> ChatReply:
    return ChatReply(200, {"ok": True, "result": result})


def _refusal(
    status: int,
    description: str,
    parameters: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> ChatReply:
    body: dict[str, Any] = {"ok": False, "error_code": status, "description": description}
    if parameters:
        body["parameters"] = parameters
    return ChatReply(status, body, headers or {})
