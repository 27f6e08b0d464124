"""Removing folders whose content nobody vouches for, as runs leave them."""

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

__all__ = ("remove_folder",)

_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it, as far as that can be done; blocks.

    No link is followed; one in place of the folder is removed itself. Folders may be inside each
    other however deep, and nobody may be allowed to change them: each is taken out to the top and
    emptied there, so that neither the stack nor paths nor the number of open files grow.
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
    mark = secrets.token_hex(8)
    taken_out = 0
    waiting = ["."]
    while waiting:
        name = waiting.pop()
        with contextlib.suppress(OSError):  # what cannot be removed is left, and all else goes
            at = _open(name, top)
            try:
                for inner, is_folder in _list(at):
                    with contextlib.suppress(OSError):
                        if is_folder:
                            aside = f"{mark}-{taken_out}"
                            taken_out += 1
                            _move(inner, at, aside, top)
                            waiting.append(aside)
                        else:
                            os.unlink(inner, dir_fd=at)
            finally:
                os.close(at)
            if name != ".":
                os.rmdir(name, dir_fd=top)


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
