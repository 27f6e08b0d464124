"""What the edges (HTTP, channels) need of runs, without knowing how they are run."""

from collections.abc import AsyncIterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from runcast._hub.hub import Hub
from runcast.stores.base import MAX_LABELS

__all__ = (
    "DIGEST_LABEL",
    "MAX_GIVEN_LABELS",
    "DescribedFunction",
    "Download",
    "Ending",
    "FileReference",
    "Files",
    "FilesOfRun",
    "Runs",
    "Skipped",
    "StartedRun",
    "StoredFile",
    "Upload",
)


DIGEST_LABEL: Final = "runcast.digest"
"""Set on a log whose run was begun under an idempotency key: what tells that from other requests
under the same key."""


MAX_GIVEN_LABELS: Final = MAX_LABELS - 6
"""Most labels that a run is given: those that a log can have, without those that are ours."""


class Ending(NamedTuple):
    """How a run ended: the type and data of its terminal event."""

    type: str
    data: dict[str, Any]


class FileReference(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A file that a run is to be given: one of `upload_id`, `path` (in the invocation's workspace)
    and `url`. `name` is what it is to be called, if not as it is called there."""

    upload_id: str = ""
    path: str = ""
    url: str = ""
    name: str = ""


class Upload(msgspec.Struct):
    """A file that was uploaded. `expires_at` (Unix seconds) is put off by each use."""

    upload_id: str
    name: str
    size: int
    sha256: str
    type: str
    expires_at: float


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


class Files(Protocol):
    """The files of runs."""

    async def receive(self, name: str, media_type: str, pieces: AsyncIterable[bytes]) -> Upload:
        """Take a file for a later run; see `Uploads.receive`."""
        ...

    async def of(self, run_id: str) -> FilesOfRun:
        """Return the files that a run made: none before its end. Raises `NotFound`."""
        ...

    async def download(self, run_id: str, path: str) -> Download:
        """Open one of the files that a run made. Raises `NotFound`."""
        ...


class StartedRun(Protocol):
    """A run of this process."""

    @property
    def run_id(self) -> str: ...

    @property
    def epoch(self) -> str: ...

    async def wait(self) -> object:
        """Wait for the end. Returns something that is true."""
        ...


class DescribedFunction(Protocol):
    """A function, as far as callers need to know it."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def is_streaming(self) -> bool: ...

    @property
    def schema(self) -> Mapping[str, Any]: ...

    @property
    def events(self) -> Mapping[str, Mapping[str, Any]]: ...

    @property
    def dialect(self) -> str: ...

    @property
    def files(self) -> Mapping[str, object]: ...

    @property
    def secrets(self) -> Sequence[object]: ...


class Runs(Protocol):
    """A hub and what runs on it. `app.OpenHub` is one."""

    @property
    def hub(self) -> Hub: ...

    @property
    def functions(self) -> Mapping[str, DescribedFunction]: ...

    @property
    def files(self) -> Files: ...

    async def open(self) -> object: ...

    async def close(self) -> None: ...

    async def start(
        self,
        function: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str = "",
        labels: Mapping[str, str] | None = None,
        replace: bool = False,
        secrets: Mapping[str, str] = ...,
        digest: str = "",
        files: Mapping[str, Sequence[FileReference]] = ...,
        workspace: str = "",
    ) -> StartedRun:
        """Begin a run of a function known by name; see `Runner.start`."""
        ...

    async def answer(
        self, run_id: str, interrupt_id: str, answer: object
    ) -> tuple[Mapping[str, Any], bool]:
        """Answer a question; return the decision and whether it was taken before."""
        ...

    def queue_position(self, run_id: str) -> int:
        """Return a run's place in the queue, from 1; 0 if it does not wait here for room."""
        ...

    async def cancel(self, run_id: str, reason: str = "cancelled") -> None:
        """Cancel a run; see `Runner.cancel`."""
        ...
