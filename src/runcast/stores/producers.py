"""What a log remembers of its producers, so that an append that is sent again happens once.

A producer numbers its appends to a log from 1. The log keeps the number of the last append, and
the results of all appends in the same commit. A producer that does not learn the outcome of a
commit sends the same appends again before any other.

A log remembers MAX_PRODUCERS producers and forgets the one that appended longest ago. After that,
an append of an unknown producer may have been made before, so it is refused. A producer whose id
begins with `LASTING` is forgotten last: it writes the whole log, and may be silent for long while
others, each of which appends once, answer its questions.
"""

from collections.abc import MutableMapping
from typing import Final

import msgspec

from runcast.errors import InvalidValue, OutOfSequence
from runcast.events.position import describe_log
from runcast.stores.model import LASTING, MAX_APPENDS_TOGETHER, MAX_PRODUCERS, Producer, is_text

__all__ = ("Turn", "Use", "check_producer", "keep", "refuse")

_MAX_ID_CHARS: Final = 128


class Use(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The last append of a producer: its number, and its first and last `seq`.

    `before` holds the earlier appends of the same commit.
    """

    number: int
    first: int
    last: int
    before: "tuple[Use, ...]" = ()

    def find(self, number: int) -> "Use | None":
        """Return the append with this number, or None if its result is not kept."""
        if number == self.number:
            return self
        return next((each for each in self.before if each.number == number), None)

    def after(self, before: "Use | None") -> "Use":
        """Return this append as the successor of another in the same commit."""
        if before is None:
            return self
        alone = Use(before.number, before.first, before.last)
        kept = (*before.before, alone)[1 - MAX_APPENDS_TOGETHER :]
        return Use(self.number, self.first, self.last, kept)


class Turn(msgspec.Struct):
    """A producer's appends to a log so far within a plan: the number of the last append that was in
    sequence, planned or refused, and the last append that was planned."""

    number: int
    use: Use | None = None

    def find(self, number: int) -> Use | None:
        """Return the append with this number, or None if its result is not kept."""
        return None if self.use is None else self.use.find(number)


def check_producer(producer: Producer) -> None:
    """Raise `InvalidValue` if a producer is malformed."""
    producer_id, number = producer.producer_id, producer.number
    is_sound = isinstance(producer_id, str) and 0 < len(producer_id) <= _MAX_ID_CHARS
    if not is_sound or not is_text(producer_id) or type(number) is not int or number < 1:
        raise InvalidValue(
            f"expected a producer id of 1 to {_MAX_ID_CHARS} characters and a number from 1, got "
            f"{producer_id!r:.140} and {number!r:.80}"
        )


def keep(known: MutableMapping[str, Use], producer_id: str, use: Use) -> bool:
    """Remember a producer's last append; return whether another producer was forgotten."""
    known[producer_id] = use
    if len(known) <= MAX_PRODUCERS:
        return False
    # Compare the last appends, so that every process forgets the same producer.
    oldest = min(known, key=lambda name: (name.startswith(LASTING), known[name].last, name))
    del known[oldest]
    return True


def refuse(
    log_id: str, producer: Producer, expected: int, *, is_doubtful: bool = False
) -> OutOfSequence:
    """Return the error for an append that is not the next, or may have been made before."""
    who = f"the producer {producer.producer_id!r} of the {describe_log(log_id)}"
    number = producer.number
    if is_doubtful:
        return OutOfSequence(
            f"{who} is not known any more, so that its append {number} may have been made before; "
            "read the log, and go on under another producer id",
            None,
        )
    if number < expected:
        return OutOfSequence(
            f"{who} sent its append {number}, which was made before, so long ago that its result "
            f"is not kept; go on with {expected}",
            expected,
        )
    return OutOfSequence(
        f"{who} sent its append {number}, but not yet {expected}; send that first", expected
    )
