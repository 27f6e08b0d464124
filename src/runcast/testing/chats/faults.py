"""What goes wrong with a call to a chat platform."""

from dataclasses import dataclass
from typing import Literal

from runcast.errors import InvalidValue

__all__ = ("ChatFault", "ChatMessage")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFault:
    """What goes wrong with one call.

    | kind | what happens |
    |---|---|
    | `limited` | the platform refuses this call and the following ones for `retry_after_s` |
    | `error` | the platform answers with the status 500, and does nothing |
    | `lost` | the platform does nothing, and no answer comes |
    | `late` | the platform does what it was asked, and no answer comes |
    | `deleted` | somebody deletes the message before the call edits or deletes it |

    Raises:
        InvalidValue: the penalty is negative.
    """

    kind: Literal["limited", "error", "lost", "late", "deleted"]
    retry_after_s: float = 1.0
    is_cut: bool = True
    """For `lost` and `late`: whether the connection breaks at once. Else it stays silent until the
    client leaves."""
    method: str = ""
    """The method whose next call fails; empty: the next call of any method."""

    def __post_init__(self) -> None:
        if self.retry_after_s < 0:
            raise InvalidValue(f"expected retry_after_s >= 0, got {self.retry_after_s!r}")


@dataclass(slots=True)
class ChatMessage:
    """A message as the people of a chat see it."""

    chat: str
    message_id: str
    text: str
    """Without marks, where the platform has formatting as data."""
    buttons: tuple[tuple[str, str], ...] = ()
    """Label and value of each button."""
    edits: int = 0
    is_deleted: bool = False
