"""Which piece of its text a piece is."""

from collections.abc import Hashable
from typing import Final

__all__ = ("Pieces",)

_MAX_TEXTS: Final = 1000
"""Texts whose pieces are counted at once; the one that waited longest for its next begins anew."""


class Pieces:
    """Counts the pieces of texts, each from 0. Not for several threads at once."""

    def __init__(self) -> None:
        self._counts: dict[Hashable, int] = {}

    def number(self, text: Hashable) -> int:
        """Return the number of a text's next piece."""
        number = self._counts.pop(text, 0)
        self._counts[text] = number + 1  # last now: the first is the one that waited longest
        if len(self._counts) > _MAX_TEXTS:
            del self._counts[next(iter(self._counts))]
        return number

    def give_back(self, text: Hashable, number: int) -> None:
        """Give a number to the next piece, as this one was not taken; unless one came since."""
        if self._counts.get(text) == number + 1:
            self._counts[text] = number
