"""What the edges (HTTP, channels) need of runs, independent of how they run."""

from collections.abc import AsyncIterable, Mapping, Sequence
from typing import Any, Protocol

from runcast._files.model import Download, FileReference, FilesOfRun, Upload
from runcast._hub.hub import Hub

__all__ = ("DescribedFunction", "Files", "Runs", "SentMessage", "StartedRun")


class Files(Protocol):
    """The files of runs."""

    async def receive(
        self, name: str, media_type: str, pieces: AsyncIterable[bytes], owner: str = ""
    ) -> Upload:
        """Receive a file for a later run; see `Uploads.receive`."""
        ...

    async def owner_of(self, upload_id: str) -> str:
        """Return the owner of an uploaded file, or "". Raises `NotFound`."""
        ...

    async def of(self, run_id: str) -> FilesOfRun:
        """Return the files that a run made; the list is empty before its end. Raises `NotFound`."""
        ...

    async def download(self, run_id: str, path: str) -> Download:
        """Open one of the files that a run made. Raises `NotFound`."""
        ...

    async def read(self, descriptor: int, size: int, offset: int) -> bytes:
        """Return a piece of an open file; fewer bytes, or none, at its end. Raises `OSError`."""
        ...


class StartedRun(Protocol):
    """A run of this process."""

    @property
    def run_id(self) -> str: ...

    @property
    def epoch(self) -> str: ...

    async def wait(self) -> object:
        """Wait for the end. Returns a true value."""
        ...

    async def streams(self) -> bool:
        """Wait until it is known whether the function streams; see `Run.streams`."""
        ...


class SentMessage(Protocol):
    """A message that is stored."""

    @property
    def message_id(self) -> str: ...

    @property
    def position(self) -> object: ...

    @property
    def repeated(self) -> bool: ...


class DescribedFunction(Protocol):
    """A function, as callers see it."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def is_streaming(self) -> bool: ...

    @property
    def is_certain(self) -> bool:
        """Whether `is_streaming` is certain before the function returns."""
        ...

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
    """A hub and its runs, for example `OpenHub`."""

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
        """Begin a run of a function by name; see `Runner.start`."""
        ...

    async def answer(
        self, run_id: str, interrupt_id: str, answer: object
    ) -> tuple[Mapping[str, Any], bool]:
        """Answer a question; return the decision and whether it was made before."""
        ...

    async def inputs(self, run_id: str) -> object:
        """Return what is kept of a run's inputs, for JSON; None if nothing is."""
        ...

    async def send(
        self, run_id: str, data: object, *, message_id: str = "", sender: str = ""
    ) -> SentMessage:
        """Send a message into a run; see `OpenHub.send`."""
        ...

    def queue_position(self, run_id: str) -> int:
        """Return a run's place in the queue, from 1; 0 if it does not wait here for room."""
        ...

    async def cancel(self, run_id: str, reason: str = "cancelled") -> None:
        """Cancel a run; see `Runner.cancel`."""
        ...
