"""The seam for what people do in chats: how a platform's callback is checked, read and answered.

A platform whose people can answer has a second function in its module, beside `make_channel`:

    def make_receiver(options: Mapping[str, str]) -> Receiver

A platform that is asked instead has `make_poller(options) -> Poller`. Both are found in the module
that an entry point names, too: see `channel`.

`options` are those of the channels file, with the secret that proves where a callback comes from.
The route `POST /channels/{name}` calls the receiver. Which run is meant, whether its question is
still open, and who may answer, is decided behind the seam, for all platforms alike.

Source: ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from runcast.channels.inbound import Inbound
from runcast.channels.outcome import CallOutcome

__all__ = ("Callback", "CanComplete", "CanTell", "Knows", "Poller", "Receiver", "is_at")


@dataclass(frozen=True, slots=True)
class Callback:
    """A request that claims to come from a platform."""

    headers: Mapping[str, str]
    """With names in small letters."""
    body: bytes = field(repr=False)
    """The bytes that came. Their length is bounded."""
    now: float
    """The present time, Unix seconds."""
    query: Mapping[str, str] = field(default_factory=dict, repr=False)


class Knows(Protocol):
    """Knows the chats of its platform."""

    def is_in(self, inbound: Inbound, address: str) -> bool:
        """Return whether it happened in the chat that a target's address names: see `is_at`.

        If a message's id is unique on the whole platform, an address that does not tell, like
        `#name`, may pass.
        """
        ...


@runtime_checkable
class Receiver(Knows, Protocol):
    """Reads the callbacks of one app of a platform. Its methods call nobody; see `CanComplete`
    and `CanTell`.

    One callback is one thing that a person did.
    """

    def read(self, callback: Callback) -> Inbound | None:
        """Return what a person did; None for what does not concern runs.

        A body may be anything: what is not understood is None. If the platform repeats a callback,
        the `key` of the result is the same.

        Raises:
            Unauthorized: the platform did not send this, or it did so long ago. The message says no
                more than that.
        """
        ...

    def reply(self, inbound: Inbound, notice: str) -> object:
        """Return the answer to a callback, as JSON; None for an empty one.

        Args:
            notice: a short text for the person, if the platform shows it; "" only acknowledges. The
                answer to a `ping` is what the platform wants back.
        """
        ...


@runtime_checkable
class CanComplete(Protocol):
    """A receiver whose platform leaves out what a text replies to, but can be asked for it."""

    async def complete(self, inbound: Inbound) -> Inbound | None:
        """Return a text with the `message_id` that it replies to; as it is if it replies to
        nothing, or if the platform cannot be asked. None if the platform was asked and did not say:
        then the text is not taken."""
        ...

    async def close(self) -> None:
        """Close connections. Idempotent."""
        ...


@runtime_checkable
class CanTell(Protocol):
    """A receiver whose platform shows a notice only through its API."""

    async def tell(self, inbound: Inbound, notice: str) -> CallOutcome:
        """Show a short text to the person alone, or take the sign of waiting off a button."""
        ...

    async def close(self) -> None:
        """Close connections. Idempotent."""
        ...


@runtime_checkable
class Poller(Knows, Protocol):
    """Asks a platform what people did. A module offers it as `make_poller(options) -> Poller`, and
    the option `poll` in the channels file turns it on. One process at a time asks for a bot."""

    mark: str
    """Where to go on, for another process; set before the first poll to what it was last. It stays
    "" if the platform remembers by itself what was confirmed."""

    async def poll(self) -> list[Inbound] | CallOutcome:
        """Return what people did since the last poll, within half a minute; or why not.

        What this returns is done before the next poll, which may confirm it to the platform.
        """
        ...

    async def tell(self, inbound: Inbound, notice: str) -> CallOutcome:
        """Show a short text to the person, or take the sign of waiting off a button."""
        ...

    async def close(self) -> None:
        """Close connections. Idempotent."""
        ...


def is_at(inbound: Inbound, address: str) -> bool:
    """Return whether an address, without what stands behind its first `/`, is the place."""
    return inbound.place != "" and address.removeprefix("//").partition("/")[0] == inbound.place
