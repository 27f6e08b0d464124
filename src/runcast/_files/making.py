"""Making files and folders with the modes that they are to have.

The umask belongs to the whole process, and a function may have changed it: then nobody could read
what was made, not even who made it.
"""

import contextlib
import errno
import os
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ("is_shortage", "make_folder", "new_file", "write_file")

_SHORTAGES: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EIO, errno.EAGAIN}
)
"""What says nothing of the file that was asked for."""

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def make_folder(path: Path, mode: int = 0o700) -> None:
    """Make a folder and those that it is in; one that is there stays as it is.

    Raises `OSError`.
    """
    if path.is_dir():
        return
    make_folder(path.parent, mode)
    with contextlib.suppress(FileExistsError):  # another thread was first; or it is no folder
        path.mkdir()
        path.chmod(mode)
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is not a folder")


def is_shortage(error: OSError) -> bool:
    """Tell whether the machine lacks something at present: no sign that a file is not there."""
    return error.errno in _SHORTAGES


def new_file(path: Path, mode: int = 0o644) -> BinaryIO:
    """Open a file that is not there yet, for writing. Raises `OSError`."""
    descriptor = os.open(path, _NEW | os.O_EXCL, 0o600)
    os.fchmod(descriptor, mode)
    return open(descriptor, "wb")


def write_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file, over what is there. Raises `OSError`."""
    descriptor = os.open(path, _NEW | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
