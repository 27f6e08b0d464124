"""Runs in chats: one message that grows while a run works, and its answer exactly once.

This module has what a channel of another package needs: the protocols, what a channel can do as
data (`Capability`), what it is asked (`Send`, `Edit`), and what became of it (`CallOutcome`).
"""

from runcast.channels.actions import Edit, Find, Send
from runcast.channels.capability import Capability, Unit
from runcast.channels.channel import CanDelete, CanEdit, CanFind, CanType, Channel, HasPlace
from runcast.channels.deliveries import Delivery
from runcast.channels.document import Button, Shows
from runcast.channels.engine import Finish, Receipt, ReceiptStatus
from runcast.channels.outcome import CallKind, CallOutcome

__all__ = (
    "Button",
    "CallKind",
    "CallOutcome",
    "CanDelete",
    "CanEdit",
    "CanFind",
    "CanType",
    "Capability",
    "Channel",
    "Delivery",
    "Edit",
    "Find",
    "Finish",
    "HasPlace",
    "Receipt",
    "ReceiptStatus",
    "Send",
    "Shows",
    "Unit",
)
