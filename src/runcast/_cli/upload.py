"""Upload the files for a run."""

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO
from urllib.parse import quote

from runcast._cli.remote import Remote, field_of
from runcast._cli.terminal import meter
from runcast._functions.file_groups import check_key
from runcast.errors import InvalidValue, PeerError

__all__ = ("parse_files", "upload")


def parse_files(pairs: Iterable[str]) -> list[tuple[str, Path]]:
    """Return the group and the path of each file in the options.

    Raises:
        InvalidValue: an option is malformed, or its file does not exist.
    """
    found = []
    for pair in pairs:
        key, equals, path = pair.partition("=")
        if not equals or not path:
            raise InvalidValue(f"expected --file KEY=PATH, got {pair[:200]!r}")
        file = Path(path).expanduser()
        if not file.is_file():
            raise InvalidValue(f"there is no file {str(file)!r}")
        if not os.access(file, os.R_OK):
            raise InvalidValue(f"the file {str(file)!r} may not be read")
        found.append((check_key(key), file))
    return found


def upload(remote: Remote, files: Iterable[tuple[str, Path]]) -> dict[str, list[dict[str, str]]]:
    """Upload files; return the references for an invocation.

    Raises:
        InvalidValue: the server refuses a file, or a file cannot be read.
        PeerError: the server cannot be reached, or got another file than was sent.
    """
    groups: dict[str, list[dict[str, str]]] = {}
    for key, path in files:
        groups.setdefault(key, []).append({"upload_id": _upload(remote, path)})
    return groups


def _upload(remote: Remote, path: Path) -> str:
    name = os.fsencode(path.name).decode("utf-8", "replace")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            with meter("sending", name, size) as passed:
                body = _Reader(file, size, passed)
                reply = remote.send(f"/uploads?name={quote(name, safe='')}", body)
    except OSError as error:
        raise InvalidValue(f"the file {str(path)!r} cannot be read: {error.strerror}") from None
    if body.sha256 != field_of(reply, "sha256"):
        raise PeerError(f"{str(path)!r} did not arrive as it was sent; try again")
    return str(field_of(reply, "upload_id"))


class _Reader:
    """A file during its upload: its first `length` bytes, and their SHA-256."""

    def __init__(self, file: IO[bytes], length: int, passed: Callable[[int], None]) -> None:
        self._file = file
        self._left = self.length = length
        self._passed = passed
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(min(size, self._left) if size >= 0 else self._left)
        if not piece and self._left:
            raise InvalidValue("a file became shorter while it was sent; nothing was begun")
        self._left -= len(piece)
        self._digest.update(piece)
        self._passed(len(piece))
        return piece
