"""What belongs to the whole process and is handed on to child processes, as it was at the start.

A function in a thread or on the loop may change any of it, for everybody. So what a child gets is
noted when the hub opens.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Self

__all__ = ("Surroundings",)


class Surroundings(NamedTuple):
    """The environment, where modules are searched for, the folder for temporary files, the umask.

    Paths are absolute.
    """

    environment: Mapping[str, str]
    search_path: tuple[str, ...]
    folder: str
    umask: int

    @classmethod
    def note(cls) -> Self:
        """Return what this process has now."""
        # The only way to learn it is to set it. Meanwhile others make files for their owner alone.
        umask = os.umask(0o077)
        os.umask(umask)
        folder = os.path.abspath(tempfile.gettempdir())
        return cls(dict(os.environ), tuple(_absolute(sys.path)), folder, umask)

    def current_search_path(self) -> list[str]:
        """Return where modules are searched for: first as noted, then what was added since, for
        functions of modules that were imported since."""
        added = (entry for entry in sys.path if os.path.isabs(entry))
        return list(dict.fromkeys((*self.search_path, *added)))


def _absolute(entries: Iterable[str]) -> Iterator[str]:
    for entry in entries:
        with contextlib.suppress(OSError):  # the working directory is gone
            yield os.path.abspath(entry)
