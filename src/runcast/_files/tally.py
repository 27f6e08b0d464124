"""How much waits in a folder that several processes use, without a look through the folder.

A small file holds the count; each change to it is made under a lock, which is released by the
system if its process dies. A process that is killed between the file that it adds or removes and
the count leaves a count that is too high, never one that is too low; `correct` mends that.
"""

import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ("Tally", "Totals")

_FORM: Final = struct.Struct("<qqq")


class Totals(NamedTuple):
    """Files, the bytes in them, and how often that has changed."""

    files: int
    bytes: int
    changes: int = 0


class Tally:
    """The count of a folder. Its methods block, for a few system calls, and any thread may call
    them; they raise `OSError`.

    Args:
        path: of the file that holds the count; in another folder than the one that is counted.
        look: looks through the folder; asked once, where there is no count yet.
    """

    def __init__(self, path: Path, look: Callable[[], Totals]) -> None:
        self._path = path
        self._look = look

    def read(self) -> Totals:
        """Return the count."""
        with self._locked() as descriptor:
            return self._load(descriptor)

    @contextmanager
    def changing(self, files: int, size: int) -> Iterator[Totals]:
        """Count files in before the block adds them; or out (negative) after it removed them.

        Yields the count as it was before. Whatever the block raises, the count stays as it was.
        """
        with self._locked() as descriptor:
            before = self._load(descriptor)
            after = Totals(before.files + files, before.bytes + size, before.changes + 1)
            if files > 0:
                _save(descriptor, after)
            try:
                yield before
            except BaseException:
                _save(descriptor, before)
                raise
            _save(descriptor, after)

    def correct(self, found: Totals) -> bool:
        """Replace the count by what a look through the folder has found.

        Args:
            found: with the `changes` that were read before the look, and those made since by the
                process that looked.

        Returns:
            False if the folder has changed since, so that the look is out of date.
        """
        with self._locked() as descriptor:
            if self._load(descriptor).changes != found.changes:
                return False
            _save(descriptor, found)
            return True

    @contextmanager
    def _locked(self) -> Iterator[int]:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _load(self, descriptor: int) -> Totals:
        stored = os.pread(descriptor, _FORM.size, 0)
        if len(stored) == _FORM.size:
            return Totals(*_FORM.unpack(stored))
        found = self._look()  # the folder is of a version that kept no count, or this is the first
        _save(descriptor, found)
        return found


def _save(descriptor: int, totals: Totals) -> None:
    os.pwrite(descriptor, _FORM.pack(*totals), 0)
