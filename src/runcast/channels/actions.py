"""What the engine asks a channel to do. One action is in flight for each target."""

from dataclasses import dataclass

from runcast.channels.document import Button

__all__ = ("Action", "Delete", "Edit", "Find", "Send", "Typing")


@dataclass(frozen=True, slots=True)
class Send:
    """Send a new message.

    Attributes:
        key: equal if the same send is repeated. A channel that `is_idempotent` passes it on.
        text: Markdown, not empty.
        buttons: to show; none if the channel's capability has no buttons.
        is_plain: show the text as it is, because the platform could not read its formatting.
        is_final: the text will not grow any more.
        run_id: of the run that is delivered, for a link to it.
        answers: what the buttons of the question are, also where none are shown.
        answer_url: a page that answers the question, or "".
        epoch: of the run, for buttons: they name it beside the question.
    """

    page: int
    key: str
    text: str
    buttons: tuple[Button, ...] = ()
    is_plain: bool = False
    is_final: bool = False
    question_id: str = ""
    run_id: str = ""
    answers: tuple[Button, ...] = ()
    answer_url: str = ""
    epoch: str = ""


@dataclass(frozen=True, slots=True)
class Edit:
    """Change a message's whole text. The attributes are those of `Send`."""

    page: int
    message_id: str
    text: str
    buttons: tuple[Button, ...] = ()
    is_plain: bool = False
    is_final: bool = False
    question_id: str = ""
    run_id: str = ""
    answers: tuple[Button, ...] = ()
    answer_url: str = ""
    epoch: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a message."""

    message_id: str


@dataclass(frozen=True, slots=True)
class Find:
    """Find the message of a send that got no answer.

    Attributes:
        key: of the send.
        age_s: how long ago the send began.
    """

    key: str
    age_s: float


@dataclass(frozen=True, slots=True)
class Typing:
    """Show, or take back, the sign that somebody writes."""

    is_on: bool


Action = Send | Edit | Delete | Find | Typing
