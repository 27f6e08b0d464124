"""Files as callers and watchers see them: given, uploaded, stored, skipped."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

__all__ = (
    "Content",
    "Download",
    "FileReference",
    "FilesOfRun",
    "Skipped",
    "StoredFile",
    "Upload",
)


class FileReference(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A file for a run: one of `upload_id`, `path` (in the invocation's workspace) and `url`.
    `name` is the name that the file gets; by default it keeps its own."""

    upload_id: str = ""
    path: str = ""
    url: str = ""
    name: str = ""


class Upload(msgspec.Struct, omit_defaults=True):
    """An uploaded file. Each use extends `expires_at` (Unix seconds).

    `owner` is the subject that uploaded the file, if the application distinguishes subjects; others
    cannot use it.
    """

    upload_id: str
    name: str
    size: int
    sha256: str
    type: str
    expires_at: float
    owner: str = ""


class StoredFile(msgspec.Struct, omit_defaults=True):
    """A file that a run made. `path` is below `data/outputs`, with `/`; `key` is its group."""

    path: str
    name: str
    size: int
    sha256: str
    type: str
    key: str = ""
    url: str = ""


class Skipped(msgspec.Struct):
    """An output of a run that was not kept, and the reason."""

    path: str
    reason: str


class FilesOfRun(NamedTuple):
    """A run's kept files, and those not kept; `skipped` names only the first of these."""

    files: Sequence[StoredFile]
    skipped: Sequence[Skipped]
    skipped_count: int


class Content(Protocol):
    """Bytes that are read by offset. One call at a time, in any thread; the calls block."""

    def read(self, size: int, offset: int) -> bytes:
        """Return at most `size` bytes; fewer, or none, at the end. Raises `OSError`,
        `BackendError`."""
        ...

    def close(self) -> None:
        """Give back what the content holds. Idempotent."""
        ...


class Download(NamedTuple):
    """A run's file, opened for reading; the caller must close the content."""

    file: StoredFile
    content: Content
