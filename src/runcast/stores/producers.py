"""What a log remembers of its producers, so that an append that is sent again happens once.

A producer numbers its appends to a log from 1. The log keeps the number of the last one, and the
results of those that were committed together with it: whoever does not learn the outcome of a
commit sends the same again, and nothing else before that.

A log forgets the producer that appended longest ago when there are more than MAX_PRODUCERS. After
that an append of an unknown producer, which may have been made before, is refused instead of
guessed at.
"""

from collections.abc import Mapping, MutableMapping
from typing import Final

import msgspec

from runcast.errors import InvalidValue, OutOfSequence
from runcast.events.position import describe_log
from runcast.stores.labels import is_text
from runcast.stores.model import MAX_APPENDS_TOGETHER, MAX_PRODUCERS, Producer

__all__ = ("NO_USE", "ProducerUse", "Turn", "forgotten", "keep", "out_of_sequence", "turn_of")

_MAX_ID_CHARS: Final = 128


class ProducerUse(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The last appends of a producer: the number of the last, and (number, first, last) of each of
    those that were committed together with it."""

    number: int
    results: tuple[tuple[int, int, int], ...]

    def after(self, base: int, result: tuple[int, int, int]) -> "ProducerUse":
        """Return what is known after one more append, in a commit whose first one was `base`."""
        if base == result[0]:
            return ProducerUse(base, (result,))
        return ProducerUse(result[0], (*self.results, result)[-MAX_APPENDS_TOGETHER:])


NO_USE: Final = ProducerUse(0, ())
"""Of a producer that is not known."""


class Turn(msgspec.Struct):
    """The appends of one producer to one log within a plan."""

    use: ProducerUse
    number: int
    """Of the last append that was in its place, also if it was refused for another reason."""
    base: int = 0
    """Of the first append that was planned; 0 before that."""

    @property
    def is_unknown(self) -> bool:
        """Whether the log knows no append of this producer."""
        return not self.use.number

    def find(self, number: int) -> tuple[int, int, int] | None:
        """Return the result of an append that was made before."""
        for result in self.use.results:
            if result[0] == number:
                return result
        return None

    def take(self, number: int) -> bool:
        """Tell whether an append is in its place: the one behind it is so then, too, whatever
        becomes of this one, since both were sent before anything was known of either."""
        is_next = number == self.number + 1
        if is_next:
            self.number = number
        return is_next

    def plan(self, first: int, last: int) -> int:
        """Note that the append that was taken last is planned; return the first one's number."""
        self.base = self.base or self.number
        self.use = self.use.after(self.base, (self.number, first, last))
        return self.base


def turn_of(
    known: Mapping[str, ProducerUse], turns: MutableMapping[str, Turn], producer: Producer
) -> Turn:
    """Return a producer's turn, begun if need be. Raises `InvalidValue` if it is malformed."""
    turn = turns.get(producer.producer_id)
    if turn is None:
        producer_id, number, _ = producer
        if not (isinstance(producer_id, str) and 0 < len(producer_id) <= _MAX_ID_CHARS) or not (
            is_text(producer_id) and type(number) is int and number > 0
        ):
            raise InvalidValue(
                f"expected a producer id of 1 to {_MAX_ID_CHARS} characters and a number from 1, "
                f"got {producer_id!r:.140} and {number!r:.80}"
            )
        use = known.get(producer_id, NO_USE)
        turn = turns[producer_id] = Turn(use, use.number)
    return turn


def out_of_sequence(log_id: str, producer: Producer, turn: Turn) -> OutOfSequence:
    """Return the refusal of an append that is not in its place."""
    who = f"the producer {producer.producer_id!r} of the {describe_log(log_id)}"
    number, expected = producer.number, turn.number + 1
    if number < expected:
        return OutOfSequence(
            f"{who} sent its append {number}, which was made before, so long ago that its result "
            f"is not kept; go on with {expected}",
            expected,
        )
    return OutOfSequence(
        f"{who} sent its append {number}, but not yet {expected}; send that first", expected
    )


def forgotten(log_id: str, producer: Producer) -> OutOfSequence:
    """Return the refusal of an append that may have been made before, as nobody knows any more."""
    return OutOfSequence(
        f"the producer {producer.producer_id!r} of the {describe_log(log_id)} is not known any "
        f"more, so that its append {producer.number} may have been made before; read the log, and "
        "go on under another producer id",
        None,
    )


def keep(known: MutableMapping[str, ProducerUse], producer_id: str, use: ProducerUse) -> bool:
    """Remember what a producer did last; tell whether another one had to be forgotten for it."""
    known[producer_id] = use
    if len(known) <= MAX_PRODUCERS:
        return False
    # By what each appended last, so that every process forgets the same one.
    oldest = min(known, key=lambda name: (known[name].results[-1][2], name))
    del known[oldest]
    return True
