"""Looking through a folder whose content nobody vouches for: what is in it, without leaving it.

Symbolic links are never followed, of special files nothing is read, and there are bounds on how
many files and bytes are taken. What is not taken is named, with the reason.
"""

import hashlib
import mimetypes
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from runcast._files.model import Skipped, StoredFile
from runcast._files.names import is_plain_path
from runcast._functions.file_groups import FileGroup, check_outputs, group_of
from runcast._settings import Settings

__all__ = ("Collected", "collect", "content_type", "open_beneath")

_MAX_SKIPPED: Final = 100
"""Most files that were not taken which are named; all are counted."""

_MAX_ENTRIES_PER_FILE: Final = 10
"""Folders and others that are looked at for each file that may be taken."""

_READ_BYTES: Final = 1024 * 1024


class Collected(msgspec.Struct):
    """What was found: files by their paths; what was not taken; what breaks the declaration."""

    files: list[StoredFile] = []
    skipped: list[Skipped] = []
    skipped_count: int = 0
    problems: list[str] = []

    def skip(self, path: str, reason: str) -> None:
        """Note that something was not taken."""
        self.skipped_count += 1
        if len(self.skipped) < _MAX_SKIPPED:
            shown = path.encode("utf-8", "replace").decode()
            self.skipped.append(Skipped(shown[:256], reason))


def collect(root: Path, groups: Mapping[str, FileGroup], settings: Settings) -> Collected:
    """Return the files under a folder, with their sizes, hashes and types; blocks.

    A folder that is not there, or is none, has no files.
    """
    found = Collected()
    found_bytes = 0
    for entry in _walk(root, found, settings) if os.path.lexists(root) else ():
        try:
            if len(found.files) >= settings.max_files:
                reason = f"more than {settings.max_files} files (max_files)"
            elif found_bytes + entry.size > settings.max_output_bytes:
                reason = f"more than {settings.max_output_bytes} bytes (max_output_bytes)"
            else:
                digest = _digest(entry.descriptor, entry.size)
                reason = "" if digest else "changed while it was read"
                if settings.sqlite_full_sync:
                    os.fsync(entry.descriptor)
        except OSError:
            reason = "cannot be read"
        finally:
            os.close(entry.descriptor)
        if reason:
            found.skip(entry.path, reason)
            if "(max_" in reason and not any("(max_" in text for text in found.problems):
                found.problems.append(f"data/outputs holds {reason}")
            continue
        found_bytes += entry.size
        name = entry.path.rpartition("/")[2]
        key = group_of(groups, entry.path)
        found.files.append(
            StoredFile(entry.path, name, entry.size, digest, content_type(name), key)
        )
    found.files.sort(key=lambda file: file.path)
    found.problems += check_outputs(groups, (file.key for file in found.files))
    return found


def content_type(name: str) -> str:
    """Return the media type that a file's name suggests."""
    guessed, encoding = mimetypes.guess_type(name, strict=False)
    return guessed if guessed and not encoding else "application/octet-stream"


def open_beneath(root: Path, path: str, *, flags: int = 0) -> int:
    """Return a descriptor of a file below a folder, for reading; no link is followed on the way.

    Args:
        path: relative; "" is the folder itself.
        flags: `os.O_DIRECTORY` for folders.

    Raises:
        OSError: there is no such file, there is a link on the way, or it is a special file.
    """
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not path:
        return at
    *folders, name = path.split("/")
    try:
        for folder in folders:
            inner = _open_in(at, folder, os.O_DIRECTORY)
            os.close(at)
            at = inner
        found = _open_in(at, name, flags)
    finally:
        os.close(at)
    if not flags and not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise FileNotFoundError(f"{path} is not a regular file")
    return found


def _open_in(folder: int, name: str, flags: int) -> int:
    if name in ("", ".", ".."):
        raise FileNotFoundError(f"{name!r} names nothing below a folder")
    # Without O_NONBLOCK a pipe would keep us until somebody writes to it.
    flags |= os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    return os.open(name, flags, dir_fd=folder)


class _Entry(NamedTuple):
    """An open regular file."""

    path: str
    size: int
    descriptor: int


def _walk(root: Path, found: Collected, settings: Settings) -> Iterator[_Entry]:
    """Yield the regular files below a folder, to be closed by the caller; tell of all else."""
    left = settings.max_files * _MAX_ENTRIES_PER_FILE + 1000
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        try:
            folder = open_beneath(root, prefix, flags=os.O_DIRECTORY)
        except OSError:
            found.skip(prefix or ".", "cannot be read")
            continue
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry, _ in zip(entries, range(left + 1), strict=False)]
            if len(names) > left:
                found.skip(prefix or ".", "too many files and folders to look at all of them")
                found.problems.append("data/outputs holds too many files and folders")
            left -= len(names)
            for name in sorted(names):
                path = f"{prefix}/{name}" if prefix else name
                if not is_plain_path(path):
                    found.skip(path, "its path is too long, too deep or has control characters")
                elif (opened := _look(folder, name, path, found)) is None:
                    pass
                elif stat.S_ISDIR((status := os.fstat(opened)).st_mode):
                    os.close(opened)
                    waiting.append(path)
                else:
                    yield _Entry(path, status.st_size, opened)
        finally:
            os.close(folder)


def _look(folder: int, name: str, path: str, found: Collected) -> int | None:
    """Return a descriptor of a regular file or a folder; None for anything else, told of."""
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            found.skip(path, "a symbolic link")
        elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            found.skip(path, "neither a file nor a folder")
        else:
            return _open_in(folder, name, 0)
    except OSError:
        found.skip(path, "cannot be read")
    return None


def _digest(descriptor: int, size: int) -> str:
    """Return the SHA-256 of a file of that size; "" if it has another size by now."""
    hashed = hashlib.sha256()
    left = size
    while left and (piece := os.read(descriptor, min(left, _READ_BYTES))):
        hashed.update(piece)
        left -= len(piece)
    is_same = not left and os.fstat(descriptor).st_size == size
    return hashed.hexdigest() if is_same else ""
