"""The surroundings that child processes start with.

Surroundings belong to the whole process, and a function in a thread or on the loop may change any
of them. So the surroundings for children are noted when the hub opens.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Self

__all__ = ("Surroundings",)


class Surroundings(NamedTuple):
    """The environment, the search path of modules, the folder for temporary files, the umask.

    Paths are absolute.
    """

    environment: Mapping[str, str]
    search_path: tuple[str, ...]
    folder: str
    umask: int

    @classmethod
    def note(cls) -> Self:
        """Return this process's present surroundings."""
        # The umask can be read only by setting it. Meanwhile new files are private.
        umask = os.umask(0o077)
        os.umask(umask)
        folder = os.path.abspath(tempfile.gettempdir())
        return cls(dict(os.environ), tuple(_absolute(sys.path)), folder, umask)

    def current_search_path(self) -> list[str]:
        """Return the search path: first as noted, then the entries added since, for functions of
        modules that were imported since."""
        added = (entry for entry in sys.path if os.path.isabs(entry))
        return list(dict.fromkeys((*self.search_path, *added)))


def _absolute(entries: Iterable[str]) -> Iterator[str]:
    for entry in entries:
        with contextlib.suppress(OSError):  # the working directory was deleted
            yield os.path.abspath(entry)
