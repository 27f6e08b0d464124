"""Files as callers and watchers see them: given, uploaded, stored, skipped."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

__all__ = (
    "Download",
    "FileReference",
    "FilesOfRun",
    "Skipped",
    "StoredFile",
    "Upload",
)


class FileReference(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A file that a run is to be given: one of `upload_id`, `path` (in the invocation's workspace)
    and `url`. `name` is what it is to be called, if not as it is called there."""

    upload_id: str = ""
    path: str = ""
    url: str = ""
    name: str = ""


class Upload(msgspec.Struct, omit_defaults=True):
    """A file that was uploaded. `expires_at` (Unix seconds) is put off by each use.

    `owner` is the subject who uploaded it, where an application tells subjects apart; others cannot
    use it.
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
    """Something that a run left among its outputs and that was not kept, and why."""

    path: str
    reason: str


class FilesOfRun(NamedTuple):
    """What is kept of a run's files, and what is not; `skipped` names the first of those."""

    files: Sequence[StoredFile]
    skipped: Sequence[Skipped]
    skipped_count: int


class Download(NamedTuple):
    """A run's file, opened for reading; whoever gets it closes the descriptor."""

    file: StoredFile
    descriptor: int
