"""Numbers of appends, by which a store recognises an append that is sent again.

When a commit fails, nobody knows whether the store made it. So each append has its producer and its
number (`Producer`). It is sent again under the same number, and the store applies it once. An inlet
is a producer. Its numbers continue from the last used one. If that is unknown, the inlet becomes
another producer. A writer outside numbers its own appends (`Part.is_numbered`).
"""

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from runcast.errors import BackendError, OutOfSequence, RuncastError
from runcast.stores.base import MAX_APPENDS_TOGETHER, Appended, Producer

if TYPE_CHECKING:
    from runcast._hub.inlets import Inlet, Part

__all__ = ("Numbering",)

_TOKEN_BYTES: Final = 8
"""Randomness in the ids of a hub's producers: hubs that append to one log never share one."""


class Numbering:
    """Numbers the appends of one hub. Call from the loop's thread."""

    def __init__(self) -> None:
        self._token = ""
        self._count = 0

    def open(self) -> None:
        """Begin, or begin again in a forked process."""
        self._token, self._count = secrets.token_hex(_TOKEN_BYTES), 0

    def number(self, parts: "Sequence[Part]") -> int:
        """Number the parts that are sent for the first time.

        Returns how many of them may go into one commit.
        """
        for index, part in enumerate(parts):
            if part.is_numbered or not (part.records or part.close or part.labels):
                continue  # it has a number, or changes nothing
            inlet = part.inlet
            number = inlet.sent + 1
            if number - inlet.number > MAX_APPENDS_TOGETHER:
                return index
            inlet.sent = number
            part.producer = Producer(inlet.producer_id or self._name(inlet), number)
        return len(parts)

    def _name(self, inlet: "Inlet") -> str:
        self._count += 1
        inlet.producer_id = f"{self._token}-{self._count:x}"
        return inlet.producer_id

    def send_again(self, parts: "Sequence[Part]") -> None:
        """Note that parts are sent again under the same numbers; they may have been appended
        before."""
        for part in parts:
            if part.producer is not None:
                part.producer = replace(part.producer, retried=True)

    def renumber(
        self, parts: "Sequence[Part]", outcomes: Sequence[Appended | RuncastError]
    ) -> list[int]:
        """Give new numbers to parts that were refused only for their numbers.

        That happens if a log has forgotten an inlet, or began again while the inlet appends to any
        epoch.

        Returns the places of these parts.
        """
        renumbered: list[int] = []
        begun: set[Inlet] = set()
        for index, (part, outcome) in enumerate(zip(parts, outcomes, strict=True)):
            if not isinstance(outcome, OutOfSequence) or part.producer is None or part.is_numbered:
                continue
            if outcome.expected is None or part.producer.number <= outcome.expected:
                continue
            inlet = part.inlet
            if inlet not in begun:
                begun.add(inlet)
                inlet.sent = outcome.expected - 1
            inlet.sent += 1
            part.producer = Producer(inlet.producer_id, inlet.sent)
            renumbered.append(index)
        return renumbered

    def settle(self, part: "Part", outcome: Appended | RuncastError) -> None:
        """Note that a part was not appended now, and whether its number was used, if known."""
        if part.producer is None or part.is_numbered:
            return
        inlet = part.inlet
        if isinstance(outcome, Appended):
            if outcome.is_resent:
                inlet.number = part.producer.number
        elif isinstance(outcome, BackendError | OutOfSequence):
            inlet.producer_id, inlet.number = "", 0  # unknown: the inlet becomes another producer
        inlet.sent = inlet.number
