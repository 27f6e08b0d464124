"""What a ledger's plans lead to: the changes of logs, as they are made durable and applied.

Their form is that of the journal's rows: a field may be added at the end, with a default for the
rows of earlier versions, and none may be taken away.
"""

from typing import Final, Literal

import msgspec

from runcast.events.lifecycle import Standing
from runcast.stores.base import Page
from runcast.stores.producers import Use

__all__ = (
    "VERSION",
    "AppendCommand",
    "CheckpointCommand",
    "ClaimCommand",
    "Command",
    "CreateCommand",
    "DeleteCommand",
    "OnceUse",
    "TrimCommand",
)


VERSION: Final = 2
"""Of these commands."""


class OnceUse(msgspec.Struct, array_like=True, frozen=True):
    """The first use of an idempotency key."""

    digest: str
    first: int
    last: int


class CreateCommand(msgspec.Struct, array_like=True, frozen=True, tag="c"):
    log_id: str
    key: int
    epoch: str
    created_at: float
    labels: dict[str, str]
    ttl_s: float | None
    owner_id: str
    fence: int
    version: int = 1
    """Of the journal: in version 1 a status was a label, which every writer had to set."""


class AppendCommand(msgspec.Struct, array_like=True, tag="a", gc=False):
    log_id: str
    pages: tuple[Page, ...]
    closed_at: float | None = None
    labels: dict[str, str] | None = None
    once: tuple[str, str, int, int] | None = None
    standing: Standing | Literal["unsaid"] | None = "unsaid"
    """The log's standing after the records; None if they leave it as it is. Version 1 of the
    journal does not say."""
    producer_id: str = ""
    use: Use | None = None
    """What is to be known of this producer."""


class ClaimCommand(msgspec.Struct, array_like=True, frozen=True, tag="o"):
    log_id: str
    owner_id: str
    fence: int


class TrimCommand(msgspec.Struct, array_like=True, frozen=True, tag="t"):
    log_id: str
    first: int
    snapshot: bytes


class DeleteCommand(msgspec.Struct, array_like=True, frozen=True, tag="d"):
    log_id: str


class CheckpointCommand(msgspec.Struct, array_like=True, frozen=True, tag="k"):
    """All commands before this one are in the store's tables; none of them need be kept."""


Command = CreateCommand | AppendCommand | ClaimCommand | TrimCommand | DeleteCommand
