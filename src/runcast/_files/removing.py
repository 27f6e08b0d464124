"""Remove folders with untrusted content, as runs leave them."""

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

from runcast._files.fair_threads import Steps, finish

__all__ = ("ENTRY_WORK", "MOST_OPEN", "begin", "remove_folder", "removing")

ENTRY_WORK: Final = 64 * 1024
"""The cost of examining or removing a file, in bytes that can be hashed in the same time."""

_ENTRIES_PER_STEP: Final = 256

_MAX_DEPTH: Final = 32
"""Depth to which folders are entered. Deeper ones are moved out first, which is slower."""

MOST_OPEN: Final = _MAX_DEPTH + 2
"""Most descriptors of one removal."""

_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_folder(folder: Path) -> None:
    """Remove a folder like `removing`, in this thread; blocks."""
    finish(removing(folder))


def removing(folder: Path) -> Steps[None]:
    """Remove a folder with everything in it, as far as possible.

    No link is followed; a link in place of the folder is removed itself. Folders may be nested
    very deep, and may be read-only for everybody. Folders that are too deep are first moved to the
    top, so that the stack, paths and the number of open files stay bounded.

    Between two steps up to `MOST_OPEN` descriptors are open, but none if the folder needs less
    than one step.
    """
    with contextlib.suppress(OSError):
        if folder.is_symlink():
            folder.unlink()
            return
        top = _open(str(folder), None)
        try:
            yield from _empty(top, _Count())
        finally:
            os.close(top)
        folder.rmdir()


def begin(steps: Steps[None]) -> Steps[bool]:
    """Do the first step of a removal; return whether that was all. Nothing stays open then."""
    try:
        work = next(steps)
    except StopIteration:
        return True
    finally:
        steps.close()
    yield work
    return False


class _Count:
    """The number of entries since the last step."""

    def __init__(self) -> None:
        self._entries = 0

    def is_full(self) -> bool:
        """Count an entry; return whether a step is due."""
        self._entries = (self._entries + 1) % _ENTRIES_PER_STEP
        return not self._entries


def _empty(top: int, count: _Count) -> Steps[None]:
    """Remove the content of an open folder."""
    waiting = yield from _clear(top, top, _MAX_DEPTH, count)
    while waiting:
        name = waiting.pop()
        with contextlib.suppress(OSError):
            waiting += yield from _remove(name, top, top, _MAX_DEPTH, count)


def _remove(name: str, folder: int, top: int, depth: int, count: _Count) -> Steps[list[str]]:
    """Remove a folder in an open one; return the names that were moved out to the top."""
    opened = _open(name, folder)
    try:
        taken_out = yield from _clear(opened, top, depth, count)
    finally:
        os.close(opened)
    with contextlib.suppress(OSError):
        os.rmdir(name, dir_fd=folder)
    return taken_out


def _clear(folder: int, top: int, depth: int, count: _Count) -> Steps[list[str]]:
    taken_out = []
    for name, is_folder in _list(folder):
        if count.is_full():
            yield _ENTRIES_PER_STEP * ENTRY_WORK
        with contextlib.suppress(OSError):  # leave entries that cannot be removed
            if not is_folder:
                os.unlink(name, dir_fd=folder)
            elif depth:
                taken_out += yield from _remove(name, folder, top, depth - 1, count)
            else:
                aside = secrets.token_hex(8)
                _move(name, folder, aside, top)
                taken_out.append(aside)
    return taken_out


def _open(name: str, folder: int | None) -> int:
    """Return a descriptor of a folder that we may read and change."""
    try:
        opened = os.open(name, _FLAGS, dir_fd=folder)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=folder)
        opened = os.open(name, _FLAGS, dir_fd=folder)
    with contextlib.suppress(OSError):
        os.fchmod(opened, 0o700)
    return opened


def _move(name: str, folder: int, aside: str, top: int) -> None:
    try:
        os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=top)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=folder)  # moving a folder changes its `..`, too
        os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=top)


def _list(folder: int) -> list[tuple[str, bool]]:
    """Return the names in an open folder, and whether they are folders."""
    with os.scandir(folder) as entries:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
