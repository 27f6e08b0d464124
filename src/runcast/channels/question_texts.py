"""How a question is written in a chat, and how people there can answer it."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from runcast.channels.capability import Capability
from runcast.events.asking import allows, choices_of
from runcast.events.vocabulary import as_text, pick

__all__ = (
    "Button",
    "LinkOf",
    "buttons_of",
    "choice_of",
    "how_to_answer",
    "no_link",
    "question_text",
    "takes_text_alone",
)

_CHOICE: Final = "choice:"
_MAX_LABEL_CHARS: Final = 60
"""Most characters of a choice's label: Slack allows 75, Discord 80."""

LinkOf = Callable[[str, float, float | None], str]
"""Returns the address that answers a question, from its id, when it was asked, and when it expires;
"" if there is none."""


def no_link(question_id: str, asked_at: float, expires_at: float | None) -> str:
    """Return no address: see `LinkOf`."""
    return ""


class Button(msgspec.Struct, frozen=True):
    """A button of a question: what it answers, and its label.

    `answer` is `accept`, `reject`, or `choice:` and the place of a choice, from 0.
    """

    answer: str
    label: str


def buttons_of(config: object) -> tuple[Button, ...]:
    """Return the buttons of a question, in their order: those of its `config`."""
    choices = tuple(
        Button(f"{_CHOICE}{at}", _label(choice)) for at, choice in enumerate(choices_of(config))
    )
    accept = (Button("accept", "Approve"),) if allows(config, "accept") else ()
    return (*choices, *accept, Button("reject", "Reject"))


def choice_of(config: object, answer: str) -> tuple[Any, ...]:
    """Return the value that a button of a choice stands for, alone in a tuple; () if there is none.

    Args:
        answer: of the button, which people can forge.
    """
    place = answer.removeprefix(_CHOICE)
    is_place = answer.startswith(_CHOICE) and place.isascii() and place.isdigit()
    return tuple(choices_of(config)[int(place) :][:1]) if is_place and len(place) < 4 else ()


def takes_text_alone(config: object) -> bool:
    """Return whether a question asks for a text, and neither for a decision nor for a choice."""
    is_open = allows(config, "response") and not choices_of(config)
    return is_open and not allows(config, "accept")


def question_text(data: dict[str, Any], capability: Capability, link: str) -> str:
    """Return a question as Markdown, with how to answer what no button answers.

    Args:
        data: of the event.
        link: an address that answers it, or "".
    """
    said = as_text(pick(data, "message", "action")) or "The run asks for a decision."
    lines = [f"❓ {said}"]
    if data.get("args") not in (None, {}, [], ""):
        lines.append(f"```json\n{as_text(data.get('args'))[:1500]}\n```")
    if how := how_to_answer(data.get("config"), capability, link):
        lines.append(how)
    return "\n\n".join(lines)


def how_to_answer(config: object, capability: Capability, link: str) -> str:
    """Return how people answer a question here, as Markdown; "" if its buttons say it all."""
    is_text = takes_text_alone(config)
    if capability.has_buttons:
        is_open = allows(config, "response") and not choices_of(config)
        if link and is_open:
            return f"[Write an answer]({link})."
        if not is_text:
            return ""
    if is_text and (where := _where_heard(capability)):
        return f"{where} your answer, or the word *reject*."
    labels = [button.label for button in buttons_of(config)]
    if where := _where_heard(capability):
        numbered = [f"{number} ({_shown(label)})" for number, label in enumerate(labels, 1)]
        return f"{where} {_listed(numbered)}."
    choices = _listed([*(["a text"] if is_text else []), *map(_shown, labels)])
    if link:
        return f"[Answer it here]({link}): {choices}."
    return f"Answer it ({choices}) on the page of runcast, or with `runcast answer`."


def _where_heard(capability: Capability) -> str:
    if capability.takes_replies:
        return "Reply to this message with"
    return "Write to the bot:" if capability.hears_texts else ""


def _shown(label: str) -> str:
    return label.lower() if label in ("Approve", "Reject") else label


def _listed(names: list[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def _label(choice: object) -> str:
    text = " ".join(as_text(choice).split()) or "(empty)"
    return text if len(text) <= _MAX_LABEL_CHARS else f"{text[: _MAX_LABEL_CHARS - 1]}…"
