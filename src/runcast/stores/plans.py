"""A ledger's plans: the state of a log inside a plan, and the commands that a plan leads to.

Commands are the changes of logs, as they are made durable and applied. Their form is that of the
journal's rows: a field may be added at the end, with a default for the rows of earlier versions,
and none may be taken away.
"""

from typing import Final, Literal

import msgspec

from runcast.errors import RuncastError, RunClosed, Stale
from runcast.events.lifecycle import Standing
from runcast.events.position import describe_log
from runcast.stores.base import Append, Page, Producer
from runcast.stores.changes import Noted, Point
from runcast.stores.producers import Turn, Use

__all__ = (
    "VERSION",
    "AppendCommand",
    "CheckpointCommand",
    "ClaimCommand",
    "Command",
    "CreateCommand",
    "DeleteCommand",
    "Draft",
    "OnceUse",
    "TrimCommand",
    "not_open",
)

VERSION: Final = 2
"""The version of these commands."""


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
    """The journal's version: in version 1 the status was a label that every writer had to set."""
    attachment: bytes = b""


class AppendCommand(msgspec.Struct, array_like=True, tag="a", gc=False):
    log_id: str
    pages: tuple[Page, ...]
    closed_at: float | None = None
    labels: dict[str, str] | None = None
    once: tuple[str, str, int, int] | None = None
    standing: Standing | Literal["unsaid"] | None = "unsaid"
    """The log's standing after the records; None if they do not change it. Version 1 of the journal
    does not have it."""
    producer_id: str = ""
    use: Use | None = None
    """What the log remembers of this producer."""
    attachment: bytes = b""
    """Replaces the log's attachment, unless it is empty."""


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
    """All commands before this one are in the store's tables; they need not be kept.

    It names the logs that changed last, for processes that missed rows or open the store later.
    """

    noted: tuple[Noted, ...] = ()
    since: Point | None = None
    """`noted` has all changes after this point; None in rows of versions without `noted`."""


Command = CreateCommand | AppendCommand | ClaimCommand | TrimCommand | DeleteCommand


class Draft(msgspec.Struct, gc=False):
    """A log's state within a plan, after the appends planned so far."""

    epoch: str
    head: int
    closed: bool
    fence: int
    labels: dict[str, str]
    standing: Standing
    once: dict[str, OnceUse]
    producer: Producer | None = None
    """The first append's producer, if the append was in sequence. `use` has its result."""
    use: Use | None = None
    turns: dict[str, Turn] | None = None
    """The turns of all producers; made at the second append, because most plans have only one."""

    def begin_turns(self) -> None:
        """Make `turns` if they are missing."""
        if self.turns is None:
            self.turns = {}
            if self.producer is not None:
                self.turns[self.producer.producer_id] = Turn(self.producer.number, self.use)


def not_open(draft: Draft, append: Append) -> RuncastError:
    """Return the error for an append to a log that is closed or not in this state."""
    if append.fence is not None and append.fence != draft.fence:
        return Stale(
            f"the {describe_log(append.log_id)} has another owner (fence {draft.fence}, not "
            f"{append.fence})"
        )
    return RunClosed(f"the {describe_log(append.log_id)} has ended; nothing can be appended to it")
