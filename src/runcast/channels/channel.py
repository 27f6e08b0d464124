"""The seam that a chat platform fills: what a channel is, and what it is asked.

A channel is a file that knows one platform. It holds the token, speaks HTTP, and classifies every
answer as a `CallOutcome`. It decides nothing else: when to call, what to repeat and what to give up
is the engine's.

A package offers a channel through an entry point. Its name is the scheme of targets:

    [project.entry-points."runcast.channels"]
    pager = "runcast_pager"

The module has `make_channel(target: str, options: Mapping[str, str]) -> Channel`, which gets what
stands behind `pager:` and the options of the target, among them its token. If people can answer
there, the module also has `make_receiver` or `make_poller`: see `receiver`.
"""

from typing import Protocol, runtime_checkable

from runcast.channels.actions import Edit, Find, Send
from runcast.channels.capability import Capability
from runcast.channels.outcome import CallOutcome

__all__ = ("CanDelete", "CanEdit", "CanFind", "CanIdentify", "CanType", "Channel", "HasPlace")


@runtime_checkable
class Channel(Protocol):
    """One target on one platform.

    Every method returns within a time of its own, and never raises because of the platform: what
    goes wrong is an outcome. Cancelling a call leaves its outcome unknown.
    """

    @property
    def capability(self) -> Capability:
        """What the channel can do. Constant."""
        ...

    @property
    def scope(self) -> str:
        """What the platform counts together: the chat, the group with its topics, the workspace.
        Channels with equal scopes share a budget. It holds no token."""
        ...

    async def send(self, message: Send) -> CallOutcome:
        """Send a new message; `ok` with its id."""
        ...

    async def close(self) -> None:
        """Close connections. Idempotent."""
        ...


@runtime_checkable
class HasPlace(Protocol):
    """A channel whose scope has several targets, such as the channels of a workspace."""

    @property
    def place(self) -> str:
        """The target: two channels with equal places write to the same people. It holds no secret.
        Without a place, the scope is the target."""
        ...


@runtime_checkable
class CanEdit(Protocol):
    """A channel whose capability says `can_edit`."""

    async def edit(self, message: Edit) -> CallOutcome:
        """Replace a message's whole text and buttons."""
        ...


@runtime_checkable
class CanDelete(Protocol):
    """A channel whose capability says `can_delete`."""

    async def delete(self, message_id: str) -> CallOutcome:
        """Delete a message; `gone` if there is none."""
        ...


@runtime_checkable
class CanFind(Protocol):
    """A channel whose capability says `can_find`."""

    async def find(self, message: Find) -> CallOutcome:
        """Find a message by the key of its send: `ok` with its id; `gone` if it is certainly not
        there now; `rejected` if the platform does not let us look."""
        ...


@runtime_checkable
class CanIdentify(Protocol):
    """A channel whose platform says whose token it has. `runcast doctor --online` asks."""

    async def identify(self) -> CallOutcome:
        """Ask the platform, and change nothing: `ok`, whose `reason` names the account; `forbidden`
        if the platform refuses the token."""
        ...


@runtime_checkable
class CanType(Protocol):
    """A channel whose capability says `can_type`."""

    async def show_typing(self, is_on: bool) -> CallOutcome:
        """Show that somebody writes, or take it back."""
        ...
