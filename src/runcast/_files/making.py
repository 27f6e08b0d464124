"""Safe names of files, and files and folders with exact modes.

A name from others is made safe for a disk and a URL. Modes are set explicitly, not left to the
umask: the umask belongs to the whole process, and a function may have changed it so that nobody can
    read
new files, not even their owner.
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

__all__ = (
    "MAX_NAME_BYTES",
    "UnusedNames",
    "is_plain_path",
    "is_shortage",
    "make_folder",
    "make_new_folder",
    "new_file",
    "safe_name",
    "write_file",
)

MAX_NAME_BYTES: Final = 200
"""Longest name of a file; file systems allow 255, and a number may be added."""

_MAX_PATH_BYTES: Final = 1024
_MAX_DEPTH: Final = 32

_UNWANTED: Final = re.compile(
    r'[\x00-\x1f\x7f-\x9f<>:"|?*\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]'
)
"""Control characters, characters that some file systems refuse, and deceptive ones."""


def safe_name(given: str) -> str:
    """Return a file's name without folders, control characters and characters that file systems
    refuse.

    Never empty, hidden, `.` or `..`, and at most `MAX_NAME_BYTES` of UTF-8; the extension is kept.
    """
    name = given.encode("utf-8", "replace").decode()
    name = _UNWANTED.sub("_", name.replace("\\", "/").rpartition("/")[2])
    name = name.strip(" .") or "file"
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending.encode()) > 20:
        stem, dot, ending = name, "", ""
    room = MAX_NAME_BYTES - len((dot + ending).encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + dot + ending


class UnusedNames:
    """Gives out safe names, each once, ignoring case.

    Args:
        taken: names that are in use already.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {name.casefold() for name in taken}
        self._numbers: dict[str, int] = {}
        """The last number used for each name, because a thousand files may have the same name."""

    def take(self, given: str) -> str:
        """Return a safe name for `given`, with a number if the name is in use."""
        name = first = safe_name(given)
        stem, dot, ending = first.rpartition(".")
        if not stem:
            stem, dot, ending = first, "", ""
        while (folded := name.casefold()) in self._taken:
            number = self._numbers.get(first.casefold(), 1) + 1
            self._numbers[first.casefold()] = number
            name = f"{stem}-{number}{dot}{ending}"
        self._taken.add(folded)
        return name


def is_plain_path(path: str) -> bool:
    """Return whether a relative path is plain: no `..`, no backslash, nothing unusual."""
    parts = path.split("/")
    return (
        0 < len(path.encode("utf-8", "surrogatepass")) <= _MAX_PATH_BYTES
        and len(parts) <= _MAX_DEPTH
        and not any(part in ("", ".", "..") for part in parts)
        and not re.search(r"[\x00-\x1f\x7f\\\ud800-\udfff]", path)
        and str(PurePosixPath(path)) == path
    )


_SHORTAGES: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EIO, errno.EAGAIN}
)
"""Errors that say nothing about the requested file."""

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def make_folder(path: Path, mode: int = 0o700) -> None:
    """Create a folder and its parents; an existing folder is not changed.

    Raises `OSError`.
    """
    if path.is_dir():
        return
    make_folder(path.parent, mode)
    with contextlib.suppress(FileExistsError):  # another thread was first, or it is not a folder
        make_new_folder(path, mode)
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is not a folder")


def make_new_folder(path: Path, mode: int = 0o700) -> None:
    """Create a folder in an existing one. Raises `OSError`, also if it exists."""
    path.mkdir()
    path.chmod(mode)


def is_shortage(error: OSError) -> bool:
    """Return whether an error means a shortage on the machine, not a missing file."""
    return error.errno in _SHORTAGES


def new_file(path: Path, mode: int = 0o644) -> BinaryIO:
    """Create a new file and open it for writing. Raises `OSError`."""
    descriptor = os.open(path, _NEW | os.O_EXCL, 0o600)
    os.fchmod(descriptor, mode)
    return open(descriptor, "wb")


def write_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file, replacing an existing one. Raises `OSError`."""
    descriptor = os.open(path, _NEW | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
