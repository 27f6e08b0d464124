"""Names of files that come from others, made safe to be used as names on a disk and in a URL."""

import re
from pathlib import Path, PurePosixPath
from typing import Final

__all__ = ("MAX_NAME_BYTES", "is_plain_path", "safe_name", "unused_name")

MAX_NAME_BYTES: Final = 200
"""Longest name of a file; file systems take 255, and a number may be added."""

_MAX_PATH_BYTES: Final = 1024
_MAX_DEPTH: Final = 32

_UNWANTED: Final = re.compile(
    r'[\x00-\x1f\x7f-\x9f<>:"|?*\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]'
)
"""Control characters, what some file systems refuse, and what makes a name look like another."""


def safe_name(given: str) -> str:
    """Return a file's name without folders, control characters and what file systems refuse.

    Never empty, hidden, `.` or `..`, and at most `MAX_NAME_BYTES` of UTF-8; its ending is kept.
    """
    name = given.encode("utf-8", "replace").decode()
    name = _UNWANTED.sub("_", name.replace("\\", "/").rpartition("/")[2])
    name = name.strip(" .") or "file"
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending.encode()) > 20:
        stem, dot, ending = name, "", ""
    room = MAX_NAME_BYTES - len((dot + ending).encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + dot + ending


def unused_name(given: str, folder: Path) -> str:
    """Return a safe name that nothing in a folder has yet, whatever the case."""
    name = safe_name(given)
    taken = {entry.name.casefold() for entry in folder.iterdir()}
    stem, dot, ending = name.rpartition(".")
    if not stem:
        stem, dot, ending = name, "", ""
    number = 2
    while name.casefold() in taken:
        name = f"{stem}-{number}{dot}{ending}"
        number += 1
    return name


def is_plain_path(path: str) -> bool:
    """Tell whether a relative path means what it says: no `..`, no backslash, nothing odd."""
    parts = path.split("/")
    return (
        0 < len(path.encode("utf-8", "surrogatepass")) <= _MAX_PATH_BYTES
        and len(parts) <= _MAX_DEPTH
        and not any(part in ("", ".", "..") for part in parts)
        and not re.search(r"[\x00-\x1f\x7f\\\ud800-\udfff]", path)
        and str(PurePosixPath(path)) == path
    )
