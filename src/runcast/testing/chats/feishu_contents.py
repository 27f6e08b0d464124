"""What the messages of a Feishu for tests hold: cards and texts, with their rules; and its answers.

Source: https://open.feishu.cn/document/server-docs/im-v1/message/create and
https://open.feishu.cn/document/cardkit-v1/card-element/content.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from runcast.testing.chats.faults import ChatMessage
from runcast.testing.chats.server import ChatReply, Window

__all__ = (
    "Card",
    "accept",
    "card_id_in",
    "check_text",
    "parse_card",
    "refuse",
    "refuse_card",
    "text_in",
)

_MAX_CARD_BYTES: Final = 30 * 1024
_MAX_TEXT_BYTES: Final = 150 * 1024
_MAX_ELEMENTS: Final = 200
_CODE: Final = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
_OF_FEISHU: Final = re.compile(r"<at |!\[[^\]\n]*\]\(")
"""A mention, or an image that was not uploaded: the fake knows no people and no images."""


@dataclass(slots=True)
class Card:
    """A card, and the message that shows it."""

    card_id: str
    data: dict[str, Any]
    made_at: float
    streams_since: float | None = None
    number: int = 0
    message: ChatMessage | None = None
    calls: Window = field(default_factory=lambda: Window(10, 1.0))

    def replace(self, data: dict[str, Any], now: float) -> None:
        """Replace the whole card."""
        self.data = data
        self.streams_since = now if data["config"].get("streaming_mode") else None
        self.show(edits=1)

    def write(self, element_id: str, content: str) -> ChatReply:
        """Replace one text of the card, and return the answer."""
        elements = self.data["body"]["elements"]
        texts = [each for each in elements if each.get("element_id") == element_id]
        if not texts or texts[0]["tag"] != "markdown":
            return refuse(300310, "Only update text")
        before, texts[0]["content"] = texts[0]["content"], content
        if len(json.dumps(self.data, ensure_ascii=False).encode()) > _MAX_CARD_BYTES:
            texts[0]["content"] = before
            return refuse(200860, "Card content exceeds limit.")
        self.show(edits=1)
        return accept()

    def show(self, edits: int = 0) -> None:
        """Give the card's message the texts and buttons that people see."""
        message, elements = self.message, self.data["body"]["elements"]
        if message is None:
            return
        texts = [
            str(each.get("content") or each.get("text", {}).get("content"))
            for each in elements
            if each["tag"] in ("markdown", "div")
        ]
        message.text = "\n".join(texts).replace("&#60;", "<")
        message.buttons = tuple(
            (str(each["text"]["content"]), str(each["behaviors"][0]["value"].get("callback", "")))
            for each in elements
            if each["tag"] == "button"
        )
        message.edits += edits


def parse_card(content: str) -> dict[str, Any] | ChatReply:
    """Return the JSON of a card, or why the card is refused."""
    if len(content.encode()) > _MAX_CARD_BYTES:
        return refuse(230025, "The length of the message content reaches its limit.")
    try:
        found = json.loads(content)
    except ValueError:
        return refuse_card("parse card json err")
    if not isinstance(found, dict) or found.get("schema") != "2.0":
        return refuse_card("only cards of the version 2.0 are known here")
    config, elements = found.setdefault("config", {}), found.get("body", {}).get("elements")
    if not isinstance(elements, list) or not elements or len(elements) > _MAX_ELEMENTS:
        return refuse_card("expected 1 to 200 elements", 300305)
    names = [each["element_id"] for each in elements if "element_id" in each]
    if len(set(names)) < len(names) or not all(map(_is_name, names)):
        return refuse_card("element_id is wrong or there twice", 300301)
    if config.get("update_multi") is False:
        return refuse_card("update_multi property is false", 300302)
    if not all(map(_is_element, elements)):
        return refuse_card("an element is wrong")
    return found


def _is_name(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z]\w{0,19}", name) is not None


def _is_element(element: dict[str, Any]) -> bool:
    match element.get("tag"):
        case "markdown":
            content = element.get("content")
            return isinstance(content, str) and not _OF_FEISHU.search(_CODE.sub("", content))
        case "div":
            return isinstance(element.get("text", {}).get("content"), str)
        case "button":
            does = element.get("behaviors") or [{}]
            has_label = bool(element.get("text", {}).get("content"))
            return has_label and does[0].get("type") == "callback" and "value" in does[0]
    return element.get("tag") == "hr"


def card_id_in(content: str) -> str | None:
    """Return the id of the card that a message's content names; None if it names no card."""
    try:
        found = json.loads(content)
    except ValueError:
        return None
    if not isinstance(found, dict) or found.get("type") != "card":
        return None
    return str(found.get("data", {}).get("card_id"))


def check_text(kind: str, content: str) -> ChatReply | None:
    """Return why the content of a text is refused; None if it is accepted."""
    if kind not in ("text", "post"):
        return refuse(230001, "invalid msg_type")
    if len(content.encode()) > (_MAX_TEXT_BYTES if kind == "text" else _MAX_CARD_BYTES):
        return refuse(230025, "The length of the message content reaches its limit.")
    return None if text_in(content) else refuse(230001, "content is not a string in json format")


def text_in(content: str) -> str:
    """Return the text of a message's content; empty if the content is malformed."""
    try:
        found = json.loads(content)
    except ValueError:
        return ""
    return str(found.get("text", found)) if isinstance(found, dict) else ""


def accept(**data: Any) -> ChatReply:
    """Return the answer to a call that was done."""
    return ChatReply(200, {"code": 0, "msg": "success", "data": data})


def refuse(code: int, message: str) -> ChatReply:
    """Return the answer to a call that was refused."""
    return ChatReply(400, {"code": code, "msg": message})


def refuse_card(message: str, inner: int = 200621) -> ChatReply:
    """Return the answer to a message whose card was refused."""
    return refuse(230099, f"Failed to create card content, ext=ErrCode: {inner}; ErrMsg: {message}")
