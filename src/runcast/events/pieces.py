"""The numbers of a text's pieces."""

from collections.abc import Hashable
from typing import Final

__all__ = ("Pieces",)

_MAX_TEXTS: Final = 1000
"""Most texts counted at once; beyond it, the one without a piece for longest restarts at 0."""


class Pieces:
    """Counts the pieces of each text, from 0. Not safe for several threads at once."""

    def __init__(self) -> None:
        self._counts: dict[Hashable, int] = {}

    def number(self, text: Hashable) -> int:
        """Return the number of a text's next piece."""
        number = self._counts.pop(text, 0)
        self._counts[text] = number + 1  # last now: the first has waited longest
        if len(self._counts) > _MAX_TEXTS:
            del self._counts[next(iter(self._counts))]
        return number

    def give_back(self, text: Hashable, number: int) -> None:
        """Reuse a number, because its piece was refused; not if a later piece took the next
        number."""
        if self._counts.get(text) == number + 1:
            self._counts[text] = number
