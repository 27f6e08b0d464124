"""What became of one call to a platform, in the few classes that call for different reactions, and
of a delivery in the end."""

from dataclasses import dataclass
from typing import Literal

import msgspec

__all__ = ("CallKind", "CallOutcome", "Receipt", "ReceiptStatus")

CallKind = Literal[
    "ok",
    "same",
    "limited",
    "too_long",
    "unparsable",
    "gone",
    "frozen",
    "forbidden",
    "rejected",
    "not_started",
    "uncertain",
]

ReceiptStatus = Literal["delivered", "uncertain", "failed"]


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """What became of a call.

    | kind | meaning | what the engine does |
    |---|---|---|
    | `ok` | done | goes on |
    | `same` | the message has this text already | as `ok` |
    | `limited` | too many calls; nothing was done | waits `retry_after_s`, with the whole scope |
    | `too_long` | the text is longer than the platform takes | makes shorter pages |
    | `unparsable` | the platform cannot read the formatting | sends plain text, once |
    | `gone` | the message was deleted | sends a new one |
    | `frozen` | the message takes no more edits | continues in a new one |
    | `forbidden` | the target refuses us: blocked, removed, no permission, bad token | gives up |
    | `rejected` | refused for another reason, and nothing was done | tries again, a few times |
    | `not_started` | the server was not reached, so nothing was done | tries again |
    | `uncertain` | the server may have done it or not | repeats an edit; see the engine for sends |

    A transport that cannot tell says `uncertain`. It never says `not_started` unless the request
    cannot have reached the server.
    """

    kind: CallKind
    message_id: str = ""
    """The message that a successful send made. Empty if the platform names none: then the message
    cannot be edited."""
    retry_after_s: float = 0.0
    """For `limited`: how long the server refuses. For `ok`: how long it will refuse, because it
    said that this was the last call for now."""
    reason: str = ""
    """For people: what the platform said. Never with a token or an address that holds one."""


class Receipt(msgspec.Struct, frozen=True):
    """What became of a delivery.

    `delivered`: all of the text is there, each part once. `uncertain`: a message may be missing or
    there twice, and the platform cannot say. `failed`: some of the text is not there.
    """

    status: ReceiptStatus
    message_ids: tuple[str, ...] = ()
    """The messages that show the text, in order."""
    reason: str = ""
    """Why it is not `delivered`."""
    strays: int = 0
    """Messages that may remain although others have replaced them."""
    may_be_shown: bool = True
    """Whether a message of the delivery is in the chat, or may be. Only if it is certain that there
    is none, the same delivery can be begun again."""
