"""The number and size of files in a folder that several processes share, without reading the
folder.

A small file holds the count. Each change is made under a lock, which the system releases if the
process dies. A process that is killed between the change and the count leaves a count that is too
high, never too low; `correct` repairs that.
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
    """The number of files, their bytes, and the number of changes."""

    files: int
    bytes: int
    changes: int = 0


class Tally:
    """The count of a folder. Its methods block briefly, raise `OSError`, and may be called from any
    thread.

    Args:
        path: the file with the count; in another folder than the counted one.
        look: counts the folder's files; called once, if there is no count yet.
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
        """Add files to the count before the block adds them, or (negative) after it removed them.

        Yields the earlier count. If the block raises, the count does not change.
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
        """Replace the count by the result of counting the folder.

        Args:
            found: with the `changes` read before the counting, plus the changes made since by the
                counting process.

        Returns:
            False if the folder has changed since, so that the result is out of date.
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
        found = self._look()  # no count yet: an older version's folder, or the first use
        _save(descriptor, found)
        return found


def _save(descriptor: int, totals: Totals) -> None:
    os.pwrite(descriptor, _FORM.pack(*totals), 0)
