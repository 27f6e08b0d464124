"""Runs in chats: one message that grows while a run works, and its answer exactly once.

This module has what a channel of another package needs: the protocols, what a channel can do as
data (`Capability`), what it is asked (`Send`, `Edit`), and what became of it (`CallOutcome`). What
people do there comes back as an `Inbound`, which a `Receiver` reads.
"""

from runcast.channels.actions import Edit, Find, Send
from runcast.channels.callbacks import callback_of
from runcast.channels.capability import Capability, Unit
from runcast.channels.channel import (
    CanDelete,
    CanEdit,
    CanFind,
    CanIdentify,
    CanType,
    Channel,
    HasPlace,
)
from runcast.channels.deliveries import Delivery
from runcast.channels.document import Button, Shows
from runcast.channels.engine import Finish
from runcast.channels.inbound import Inbound, InboundKind
from runcast.channels.outcome import CallKind, CallOutcome, Receipt, ReceiptStatus
from runcast.channels.receiver import Callback, CanComplete, CanTell, Knows, Poller, Receiver, is_at

__all__ = (
    "Button",
    "CallKind",
    "CallOutcome",
    "Callback",
    "CanComplete",
    "CanDelete",
    "CanEdit",
    "CanFind",
    "CanIdentify",
    "CanTell",
    "CanType",
    "Capability",
    "Channel",
    "Delivery",
    "Edit",
    "Find",
    "Finish",
    "HasPlace",
    "Inbound",
    "InboundKind",
    "Knows",
    "Poller",
    "Receipt",
    "ReceiptStatus",
    "Receiver",
    "Send",
    "Shows",
    "Unit",
    "callback_of",
    "is_at",
)
