"""The `flat3` dialect: `flat` in the shorter vocabulary of that format's newer clients.

    id: 01hq3v5k2m-7
    data: {"message_type":"processing","content":"…","node":"research","timestamp":1703123456.789,
           "progress":25,"original_type":"step_progress"}

| `message_type` of `flat` | of `flat3` |
|---|---|
| `step_start` `step_progress` `step_complete` `node_complete` | `processing` |
| `content_streaming` `content_complete` | `content` |
| `thinking` `reasoning` | `thinking` |
| `interrupt_request` `interrupt_waiting` | `interrupt` |
| any other | the same |

If the type changes, `original_type` has the old type, because four types cannot distinguish the
beginning of a step from its end. Everything else is as in `flat`, whose table also applies here.

Source: the vocabulary is the newer clients'; `original_type` is ours.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final

from runcast._wire.dialects.flat import Flat
from runcast.events.model import Event

__all__ = ("NEWER_TYPES", "Flat3", "to_newer")

NEWER_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "step_start": "processing",
        "step_progress": "processing",
        "step_complete": "processing",
        "node_complete": "processing",
        "content_streaming": "content",
        "content_complete": "content",
        "reasoning": "thinking",
        "interrupt_request": "interrupt",
        "interrupt_waiting": "interrupt",
    }
)
"""The newer names of `message_type`s."""


def to_newer(message: Mapping[str, object]) -> dict[str, object]:
    """Return a message of the `flat` format in the newer vocabulary, as a copy."""
    old = message.get("message_type")
    new = NEWER_TYPES.get(old) if isinstance(old, str) else None
    if new is None:
        return dict(message)
    renamed = {**message, "message_type": new}
    name = "original_type"
    while name in renamed:  # a user's field keeps its name
        name += "_"
    renamed[name] = old
    return renamed


class Flat3(Flat):
    """Flat messages in the newer vocabulary, unnamed."""

    name: ClassVar[str] = "flat3"

    def message(self, event: Event) -> dict[str, object]:
        """Return the message for an event."""
        return to_newer(super().message(event))
