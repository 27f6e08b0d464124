"""What is sent, and what comes back, with the documented fields."""

from dataclasses import dataclass
from typing import Any

__all__ = ("MessageResponse", "Notification")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A message to a person."""

    channel: str | None = None
    source: str | None = None
    userid: str | None = None
    username: str | None = None
    title: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageResponse:
    """What became of a sent message."""

    message_id: Any = None
    chat_id: Any = None
    channel: Any = None
    source: Any = None
    success: bool = False
