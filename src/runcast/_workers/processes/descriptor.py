"""A descriptor of ours in a process where foreign code runs, which may close any descriptor."""

import os
from typing import Final

__all__ = ("Descriptor",)


class Descriptor:
    """A descriptor's number, and what was open under it at first.

    Code that closes all descriptors, as daemons do, closes ours, too. The next file that it opens
    gets our number, and what we wrote would be in that file.
    """

    def __init__(self, number: int) -> None:
        self.number: Final = number
        self._opened = self._open_now()

    @property
    def is_ours(self) -> bool:
        """Whether the number still names what was open at first."""
        return self._opened is not None and self._open_now() == self._opened

    def _open_now(self) -> tuple[int, int] | None:
        try:
            found = os.fstat(self.number)
        except OSError:
            return None
        return found.st_dev, found.st_ino
