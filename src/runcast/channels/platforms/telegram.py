"""Telegram: a chat, a group, or a topic of a group, through the Bot API.

A message is sent as text with entities. Telegram then parses nothing, so a text with marks that are
open cannot be refused.

Source: https://core.telegram.org/bots/api (10.3) and https://core.telegram.org/bots/faq. The limit
for groups is of the FAQ. Telegram counts edits as messages.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Unpack

from runcast.channels.actions import Edit, Send
from runcast.channels.callbacks import callback_of
from runcast.channels.calls import Answer, check_token, seconds_of
from runcast.channels.capability import Capability, measure
from runcast.channels.document import Button
from runcast.channels.inbound import Inbound, from_telegram, parse_json
from runcast.channels.markdown import Rendered, Span, render
from runcast.channels.outcome import CallKind, CallOutcome
from runcast.channels.platforms.connected import (
    ConnectedChannel,
    Login,
    Reach,
    address_of,
    reach_of,
)
from runcast.channels.platforms.options import required
from runcast.channels.receiver import Callback, is_at
from runcast.channels.signatures import is_from_telegram
from runcast.errors import InvalidValue, Unauthorized

__all__ = ("TelegramChannel", "TelegramReceiver", "entities_of", "make_channel", "make_receiver")

_URL: Final = "https://api.telegram.org"
_LIMIT: Final = 4096
_MAX_NOTICE_CHARS: Final = 200
_TOKEN: Final = re.compile(r"[0-9]{1,20}:[A-Za-z0-9_-]{1,200}")
_TARGET: Final = re.compile(r"(?:(-?[0-9]{1,20})|(@[A-Za-z][A-Za-z0-9_]{1,40}))(?:/([0-9]{1,15}))?")

_PRIVATE: Final = Capability(
    limit=_LIMIT,
    unit="utf16",
    takes_replies=True,
    can_type=True,
    typing_s=4.5,  # Telegram shows it for five seconds
    interval_s=1.1,
    slots=50,
    reserved=5,
)
_GROUP: Final = Capability(
    limit=_LIMIT,
    unit="utf16",
    takes_replies=True,
    interval_s=3.1,  # 20 messages and edits in a minute
    slots=19,
    reserved=4,
)

_NAMES: Final = {
    "bold": "bold",
    "italic": "italic",
    "strike": "strikethrough",
    "code": "code",
    "pre": "pre",
    "link": "text_link",
    "quote": "blockquote",
}

_REASONS: Final[tuple[tuple[str, CallKind], ...]] = (
    ("not modified", "same"),
    ("entit", "unparsable"),
    ("too long", "too_long"),
    ("too_long", "too_long"),
    ("message to edit not found", "gone"),
    ("message to delete not found", "gone"),
    ("message_id_invalid", "gone"),
    ("can't be edited", "frozen"),
    ("chat not found", "forbidden"),
    ("thread not found", "forbidden"),
    ("topic_closed", "forbidden"),
    ("topic_deleted", "forbidden"),
    ("not enough rights", "forbidden"),
    ("have no rights", "forbidden"),
    ("chat_write_forbidden", "forbidden"),
    ("chat_restricted", "forbidden"),
)
"""What is in a description of a refusal, in small letters, and what it means."""


def make_channel(target: str, options: Mapping[str, str]) -> "TelegramChannel":
    """Return the channel of `telegram:CHAT?token=…`; raises `InvalidValue`."""
    return TelegramChannel(
        address_of(target), options.get("token", ""), **reach_of(options, "secret_token", "poll")
    )


class TelegramChannel(ConnectedChannel):
    """One chat of Telegram.

    Args:
        target: the chat's number, or `@name` of a public group; then, perhaps, `/` and the number
            of a topic.
        token: of the bot, from @BotFather.
        reach: how a server of the Bot API is reached; see `Reach`.

    Raises:
        InvalidValue: the target or the token is malformed. The message does not show the token.
    """

    def __init__(self, target: str, token: str, **reach: Unpack[Reach]) -> None:
        found = _TARGET.fullmatch(target)
        if found is None:
            raise InvalidValue(
                f"expected a chat like 12345, -10012345, @name or -10012345/7, got {target!r:.80}"
            )
        what = "a bot's token of Telegram, like 123456:ABC-DEF"
        if not _TOKEN.fullmatch(check_token(token, what)):
            raise InvalidValue(f"expected {what}")
        self._chat: int | str = int(found[1]) if found[1] else found[2]
        self._topic = int(found[3]) if found[3] else None
        is_private = isinstance(self._chat, int) and self._chat > 0
        capability = _PRIVATE if is_private else _GROUP
        login = Login(secrets=(token, token.partition(":")[2]), secret_path=f"/bot{token}")
        super().__init__(_URL, capability, f"telegram:{self._chat}", login, **reach)
        self.place = f"telegram:{target}"

    async def send(self, message: Send) -> CallOutcome:
        """Send a new message."""
        place = {} if self._topic is None else {"message_thread_id": self._topic}
        return await self._ask("sendMessage", {**place, **_content(message)})

    async def edit(self, message: Edit) -> CallOutcome:
        """Replace a message's text and buttons."""
        number = _number(message.message_id)
        return await self._ask("editMessageText", {"message_id": number, **_content(message)})

    async def delete(self, message_id: str) -> CallOutcome:
        """Delete a message of ours."""
        return await self._ask("deleteMessage", {"message_id": _number(message_id)})

    async def show_typing(self, is_on: bool) -> CallOutcome:
        """Show that somebody writes; it goes by itself."""
        if not is_on:
            return CallOutcome("ok")
        place = {} if self._topic is None else {"message_thread_id": self._topic}
        return await self._ask("sendChatAction", {**place, "action": "typing"})

    async def identify(self) -> CallOutcome:
        """Return the bot's name."""
        answer = await self._caller.call("POST", "/getMe", {})
        if isinstance(answer, CallOutcome):
            return answer
        if answer.status == 200 and answer.field("ok") is True:
            return CallOutcome("ok", reason=f"@{answer.text('result', 'username')}")
        return self._refusal(answer)

    async def _ask(self, method: str, body: dict[str, Any]) -> CallOutcome:
        answer = await self._caller.call("POST", f"/{method}", {"chat_id": self._chat, **body})
        if isinstance(answer, CallOutcome):
            return answer
        if answer.status == 200 and answer.field("ok") is True:
            number = answer.field("result", "message_id")
            return CallOutcome("ok", str(number) if isinstance(number, int) else "")
        return self._refusal(answer)

    def _refusal(self, answer: Answer) -> CallOutcome:
        said = answer.text("description") or f"status {answer.status}"
        if answer.status == 429:
            seconds = seconds_of(
                answer.field("parameters", "retry_after") or answer.headers.get("retry-after")
            )
            return CallOutcome("limited", retry_after_s=seconds, reason=self._caller.clean(said))
        if answer.status in (401, 404):
            return self._caller.outcome("forbidden", f"Telegram does not know the bot: {said}")
        if answer.status == 403:
            return self._caller.outcome("forbidden", said)
        moved = answer.field("parameters", "migrate_to_chat_id")
        if isinstance(moved, int):
            self._chat = moved  # the group became a supergroup; the next try goes there
            return self._caller.outcome("rejected", said)
        small = said.lower()
        kind = next((kind for part, kind in _REASONS if part in small), None)
        return self._caller.outcome(kind or "rejected", said)


def entities_of(rendered: Rendered) -> list[dict[str, Any]]:
    """Return a text's formatting as Telegram takes it: places count UTF-16 units, and nothing else
    is inside code."""
    found = []
    for span in _without_code_inside(rendered.spans):
        entity: dict[str, Any] = {
            "type": _NAMES[span.kind],
            "offset": measure(rendered.text[: span.start], "utf16"),
            "length": measure(rendered.text[span.start : span.end], "utf16"),
        }
        if span.value:
            entity["url" if span.kind == "link" else "language"] = span.value
        found.append(entity)
    return found[:_MAX_ENTITIES]


_MAX_ENTITIES: Final = 100
"""Telegram shows the first hundred."""


def _without_code_inside(spans: tuple[Span, ...]) -> Iterator[Span]:
    links = [span for span in spans if span.kind == "link"]
    code = [
        span
        for span in spans
        if span.kind in ("code", "pre")
        and not any(link.start <= span.start and span.end <= link.end for link in links)
    ]
    for span in spans:
        if span.kind in ("code", "pre"):
            if span in code:
                yield span
        elif span.kind in ("link", "quote"):
            yield span
        else:
            start = span.start
            for hole in code:
                if hole.start >= start and hole.end <= span.end:
                    if hole.start > start:
                        yield span._replace(start=start, end=hole.start)
                    start = hole.end
            if start < span.end:
                yield span._replace(start=start)


def _content(message: Send | Edit) -> dict[str, Any]:
    rendered = Rendered(message.text) if message.is_plain else _trimmed(render(message.text))
    if not rendered.text:
        rendered = Rendered(message.text)
    content: dict[str, Any] = {
        "text": rendered.text.encode("utf-8", "replace").decode(),
        "link_preview_options": {"is_disabled": True},  # it would come and go while text grows
    }
    if entities := entities_of(rendered):
        content["entities"] = entities
    if message.buttons:
        rows = [[_button(button, message)] for button in message.buttons]
        content["reply_markup"] = {"inline_keyboard": rows}
    return content


def _trimmed(rendered: Rendered) -> Rendered:
    """Return a text without spaces around it, which Telegram would remove."""
    text = rendered.text
    first, end = len(text) - len(text.lstrip()), len(text.rstrip())
    spans = [
        span._replace(start=max(span.start, first) - first, end=min(span.end, end) - first)
        for span in rendered.spans
    ]
    return Rendered(text[first:end], tuple(span for span in spans if span.start < span.end))


def _button(button: Button, message: Send | Edit) -> dict[str, str]:
    return {
        "text": button.label,
        "callback_data": callback_of(message.question_id, button.answer, message.epoch),
    }


def _number(message_id: str) -> int:
    return int(message_id) if message_id.isdecimal() else 0


class TelegramReceiver:
    """Reads the updates that Telegram sends to a webhook.

    Args:
        secret: what `setWebhook` was given as `secret_token`.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def read(self, callback: Callback) -> Inbound | None:
        """Return what a person did. Raises `Unauthorized`."""
        if not is_from_telegram(callback.headers, self._secret):
            raise Unauthorized("Telegram did not send this")
        return from_telegram(parse_json(callback.body))

    def reply(self, inbound: Inbound, notice: str) -> object:
        """Return a call that Telegram makes of the answer."""
        if inbound.kind == "button":
            query = inbound.key.rpartition(":")[2]
            return {
                "method": "answerCallbackQuery",
                "callback_query_id": query,
                "text": notice[:_MAX_NOTICE_CHARS],
            }
        if not notice:
            return None
        place = {"message_thread_id": int(inbound.thread)} if inbound.thread else {}
        return {"method": "sendMessage", "chat_id": int(inbound.place), **place, "text": notice}

    def is_in(self, inbound: Inbound, address: str) -> bool:
        """Return whether it happened in the chat of an address."""
        return is_at(inbound, address)


def make_receiver(options: Mapping[str, str]) -> TelegramReceiver:
    """Return the receiver of a bot's webhook."""
    return TelegramReceiver(required(options, "secret_token", "Telegram"))
