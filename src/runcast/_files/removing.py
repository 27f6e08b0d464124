"""Removing folders whose content nobody vouches for, as runs leave them."""

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

__all__ = ("remove_folder",)

_MAX_DEPTH: Final = 32
"""Folders inside each other that are gone down into. Others are taken out, which takes longer."""

_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it, as far as that can be done; blocks.

    No link is followed; one in place of the folder is removed itself. Folders may be inside each
    other however deep, and nobody may be allowed to change them: what is too deep is taken out to
    the top, so that neither the stack nor paths nor the number of open files grow.
    """
    with contextlib.suppress(OSError):
        if folder.is_symlink():
            folder.unlink()
            return
        top = _open(str(folder), None)
        try:
            _empty(top)
        finally:
            os.close(top)
        folder.rmdir()


def _empty(top: int) -> None:
    """Remove what is in an open folder."""
    waiting = _clear(top, top, _MAX_DEPTH)
    while waiting:
        name = waiting.pop()
        with contextlib.suppress(OSError):
            waiting += _remove(name, top, top, _MAX_DEPTH)


def _remove(name: str, folder: int, top: int, depth: int) -> list[str]:
    """Remove a folder that is in an open one; return what was taken out of it to the top."""
    opened = _open(name, folder)
    try:
        taken_out = _clear(opened, top, depth)
    finally:
        os.close(opened)
    with contextlib.suppress(OSError):
        os.rmdir(name, dir_fd=folder)
    return taken_out


def _clear(folder: int, top: int, depth: int) -> list[str]:
    taken_out = []
    for name, is_folder in _list(folder):
        with contextlib.suppress(OSError):  # what cannot be removed is left, and all else goes
            if not is_folder:
                os.unlink(name, dir_fd=folder)
            elif depth:
                taken_out += _remove(name, folder, top, depth - 1)
            else:
                aside = secrets.token_hex(8)
                _move(name, folder, aside, top)
                taken_out.append(aside)
    return taken_out


def _open(name: str, folder: int | None) -> int:
    """Return a descriptor of a folder that we may look into and change."""
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
        os.chmod(name, 0o700, dir_fd=folder)  # moving a folder changes it, too: its `..`
        os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=top)


def _list(folder: int) -> list[tuple[str, bool]]:
    """Return the names in an open folder, and whether they are folders."""
    with os.scandir(folder) as entries:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
