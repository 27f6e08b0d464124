"""How a question is written in a chat, and how people there can answer it."""

from collections.abc import Callable
from typing import Any

import msgspec

from runcast.channels.capability import Capability
from runcast.events.vocabulary import as_text, pick

__all__ = ("Button", "LinkOf", "buttons_of", "no_link", "question_text")

LinkOf = Callable[[str, float, float | None], str]
"""Returns the address that answers a question, from its id, when it was asked, and when it expires;
"" if there is none."""


def no_link(question_id: str, asked_at: float, expires_at: float | None) -> str:
    """Return no address: see `LinkOf`."""
    return ""


class Button(msgspec.Struct, frozen=True):
    """A button of a question: the answer's type, and its label."""

    answer: str
    label: str


def buttons_of(config: object) -> tuple[Button, ...]:
    """Return the buttons of a question, in their order: those of its `config`."""
    allowed = config if isinstance(config, dict) else {}
    accept = () if allowed.get("allow_accept") is False else (Button("accept", "Approve"),)
    return (*accept, Button("reject", "Reject"))


def question_text(data: dict[str, Any], capability: Capability, link: str) -> str:
    """Return a question as Markdown. Without buttons it says how to answer.

    Args:
        data: of the event.
        link: an address that answers it, or "".
    """
    said = as_text(pick(data, "message", "action")) or "The run asks for a decision."
    lines = [f"❓ {said}"]
    if data.get("args") not in (None, {}, [], ""):
        lines.append(f"```json\n{as_text(data.get('args'))[:1500]}\n```")
    if not capability.has_buttons:
        lines.append(_how_to_answer(buttons_of(data.get("config")), capability, link))
    return "\n\n".join(lines)


def _how_to_answer(buttons: tuple[Button, ...], capability: Capability, link: str) -> str:
    labels = [button.label.lower() for button in buttons]
    if capability.takes_replies:
        numbered = [f"{number} ({label})" for number, label in enumerate(labels, 1)]
        return f"Reply to this message with {' or '.join(numbered)}."
    choices = " or ".join(labels)
    if link:
        return f"[Answer it here]({link}): {choices}."
    return f"Answer it ({choices}) on the page of runcast, or with `runcast answer`."
