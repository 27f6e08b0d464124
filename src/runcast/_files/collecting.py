"""Look through a folder with untrusted content, without leaving it.

Symbolic links are never followed, and special files are never read. The number of files and bytes
is bounded. Anything that is not taken is named, with the reason.
"""

import hashlib
import mimetypes
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from runcast._files.fair_threads import Steps
from runcast._files.making import is_plain_path
from runcast._files.model import Skipped, StoredFile
from runcast._files.removing import ENTRY_WORK
from runcast._functions.file_groups import FileGroup, check_outputs, group_of
from runcast._settings import Settings

__all__ = ("Collected", "collecting", "content_type", "open_beneath")

_MAX_SKIPPED: Final = 100
"""Most skipped files that are named; all are counted."""

_MAX_ENTRIES_PER_FILE: Final = 10
"""Most folders and other entries examined, per file of the limit."""

_READ_BYTES: Final = 1024 * 1024

_STEP_BYTES: Final = 4 * 1024 * 1024
"""Bytes hashed in one step: 10 ms on a slow processor, so opening the file costs little."""
_STEP_ENTRIES: Final = 256
"""Entries of a folder examined in one step."""


class Collected(msgspec.Struct):
    """The result: files by path, skipped entries, and errors against the declared groups."""

    files: list[StoredFile] = []
    skipped: list[Skipped] = []
    skipped_count: int = 0
    problems: list[str] = []

    def skip(self, path: str, reason: str) -> None:
        """Note a skipped entry."""
        self.skipped_count += 1
        if len(self.skipped) < _MAX_SKIPPED:
            shown = path.encode("utf-8", "replace").decode()
            self.skipped.append(Skipped(shown[:256], reason))


def collecting(root: Path, groups: Mapping[str, FileGroup], settings: Settings) -> Steps[Collected]:
    """Return the files under a folder, with their sizes, hashes and types.

    A folder that is missing, or is not a folder, has no files. No descriptor is open between two
    steps.
    """
    found = Collected()
    found_bytes = 0
    if not os.path.lexists(root):
        return found
    for entry in (yield from _walking(root, found, settings)):
        if len(found.files) >= settings.max_files:
            reason = f"more than {settings.max_files} files (max_files)"
        elif found_bytes + entry.size > settings.max_output_bytes:
            reason = f"more than {settings.max_output_bytes} bytes (max_output_bytes)"
        else:
            try:
                digest = yield from _hashing(root, entry, fsync=settings.sqlite_full_sync)
                reason = "" if digest else "changed while it was read"
            except OSError:
                reason = "cannot be read"
        if reason:
            found.skip(entry.path, reason)
            if "(max_" in reason and not any("(max_" in text for text in found.problems):
                found.problems.append(f"data/outputs holds {reason}")
            continue
        yield entry.size % _STEP_BYTES + ENTRY_WORK
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
    """Return the media type guessed from a file's name."""
    guessed, encoding = mimetypes.guess_type(name, strict=False)
    return guessed if guessed and not encoding else "application/octet-stream"


def open_beneath(root: Path, path: str, *, flags: int = 0) -> int:
    """Return a descriptor of a file below a folder, for reading; without following links on the
    way.

    Args:
        path: relative; "" is the folder itself.
        flags: `os.O_DIRECTORY` for folders.

    Raises:
        OSError: the file does not exist, a link is on the way, or it is a special file.
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
    # Without O_NONBLOCK, opening a pipe would wait for a writer.
    flags |= os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    return os.open(name, flags, dir_fd=folder)


class _Entry(NamedTuple):
    """A regular file as found: `node` distinguishes it from a later file with its name."""

    path: str
    size: int
    node: tuple[int, int]


def _walking(root: Path, found: Collected, settings: Settings) -> Steps[list[_Entry]]:
    """Return the regular files below a folder; note all other entries as skipped."""
    entries: list[_Entry] = []
    left = settings.max_files * _MAX_ENTRIES_PER_FILE + 1000
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        try:
            names = _list(root, prefix, left + 1)
            if len(names) > left:
                found.skip(prefix or ".", "too many files and folders to look at all of them")
                found.problems.append("data/outputs holds too many files and folders")
            left -= len(names)
            for start in range(0, len(names), _STEP_ENTRIES):
                some = names[start : start + _STEP_ENTRIES]
                folders, files = _sort_out(root, prefix, some, found)
                waiting += folders
                entries += files
                yield len(some) * ENTRY_WORK
        except OSError:
            found.skip(prefix or ".", "cannot be read")
    return entries


def _list(root: Path, path: str, most: int) -> list[str]:
    folder = open_beneath(root, path, flags=os.O_DIRECTORY)
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry, _ in zip(entries, range(most), strict=False))
    finally:
        os.close(folder)


def _sort_out(
    root: Path, prefix: str, names: list[str], found: Collected
) -> tuple[list[str], list[_Entry]]:
    """Return the folders (by path) and the files among a folder's names."""
    folders: list[str] = []
    files: list[_Entry] = []
    folder = open_beneath(root, prefix, flags=os.O_DIRECTORY)
    try:
        for name in names:
            path = f"{prefix}/{name}" if prefix else name
            if not is_plain_path(path):
                found.skip(path, "its path is too long, too deep or has control characters")
            elif (status := _look(folder, name, path, found)) is None:
                pass
            elif stat.S_ISDIR(status.st_mode):
                folders.append(path)
            else:
                files.append(_Entry(path, status.st_size, (status.st_dev, status.st_ino)))
    finally:
        os.close(folder)
    return folders, files


def _look(folder: int, name: str, path: str, found: Collected) -> os.stat_result | None:
    """Return the status of a regular file or folder; note anything else as skipped, return None."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        found.skip(path, "cannot be read")
        return None
    if stat.S_ISLNK(status.st_mode):
        found.skip(path, "a symbolic link")
    elif not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        found.skip(path, "neither a file nor a folder")
    else:
        return status
    return None


def _hashing(root: Path, entry: _Entry, *, fsync: bool) -> Steps[str]:
    """Return the SHA-256 of a file; "" if the file was replaced or changed its size."""
    hashed = hashlib.sha256()
    done = 0
    while True:
        descriptor = open_beneath(root, entry.path)
        try:
            until = min(entry.size, done + _STEP_BYTES)
            while done < until:
                piece = os.pread(descriptor, min(until - done, _READ_BYTES), done)
                if not piece:
                    return ""
                hashed.update(piece)
                done += len(piece)
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) != entry.node or status.st_size != entry.size:
                return ""
            if fsync and done == entry.size:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if done == entry.size:
            return hashed.hexdigest()
        yield _STEP_BYTES
