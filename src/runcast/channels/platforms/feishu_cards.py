"""Cards of Feishu: a text of Markdown, and buttons under it, as JSON of the version 2.0.

Feishu reads Markdown itself. Its tags, such as `<at id=all></at>`, are taken out of the text, so
that nobody is notified; images, whose keys Feishu would look up, become links.

Source: https://open.feishu.cn/document/feishu-cards/card-json-v2-structure.
"""

import json
import re
from typing import Any, Final

from runcast.channels.actions import Edit, Send
from runcast.channels.callbacks import callback_of
from runcast.channels.document import Button
from runcast.channels.platforms.native import outside_code, with_links_for_images

__all__ = ("TEXT_ELEMENT", "card_of", "markdown_of")

TEXT_ELEMENT: Final = "text"
"""The id of the element with the text."""

_PRINTING: Final = {
    "print_frequency_ms": {"default": 40},
    "print_step": {"default": 4},
    "print_strategy": "fast",
}
"""How clients show text that grows: 100 characters in a second, and at once what was left when more
text comes."""

_TAG: Final = re.compile(r"<(?=[A-Za-z/!])")
_TYPES: Final = {"accept": "primary", "reject": "danger"}


def card_of(message: Send | Edit, *, is_streaming: bool) -> str:
    """Return a message as the JSON of a card."""
    card = {
        "schema": "2.0",
        "config": {
            "update_multi": True,
            "streaming_mode": is_streaming,
            **({"streaming_config": _PRINTING} if is_streaming else {}),
        },
        "body": {"elements": [_text(message), *_buttons(message)]},
    }
    return json.dumps(card, ensure_ascii=False)


def markdown_of(text: str) -> str:
    """Return a text without Feishu's own tags and without images."""
    return outside_code(text, lambda part: with_links_for_images(_TAG.sub("&#60;", part)))


def _text(message: Send | Edit) -> dict[str, Any]:
    if message.is_plain:
        plain = message.text.encode("utf-8", "replace").decode()
        return {"tag": "div", "text": {"tag": "plain_text", "content": plain}}
    return {"tag": "markdown", "element_id": TEXT_ELEMENT, "content": markdown_of(message.text)}


def _buttons(message: Send | Edit) -> list[dict[str, Any]]:
    return [_button(button, message) for button in message.buttons]


def _button(button: Button, message: Send | Edit) -> dict[str, Any]:
    callback = callback_of(message.question_id, button.answer, message.epoch)
    return {
        "tag": "button",
        "text": {"tag": "plain_text", "content": button.label[:100]},
        "type": _TYPES.get(button.answer, "default"),
        "behaviors": [{"type": "callback", "value": {"callback": callback}}],
    }
