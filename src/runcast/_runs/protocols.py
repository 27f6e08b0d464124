"""What the edges (HTTP, channels) need of runs, independent of how they run."""

from collections.abc import AsyncIterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from runcast._files.model import Content, Download, FileReference, FilesOfRun, StoredFile, Upload
from runcast._hub.hub import Hub
from runcast._runs.counts import CountedRunner
from runcast.events.position import Position
from runcast.stores.base import LogInfo

__all__ = (
    "BegunDelivery",
    "Deliveries",
    "DescribedFunction",
    "Files",
    "LinkedQuestion",
    "RemoteRun",
    "RemoteWriters",
    "Replies",
    "Runs",
    "SentMessage",
    "StartedRun",
    "Written",
)


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

    async def of(self, run_id: str, epoch: str = "") -> FilesOfRun:
        """Return the files that a run made; the list is empty before its end. Raises `NotFound`,
        and `Stale` if the run is in another epoch than a given one."""
        ...

    async def download(self, run_id: str, path: str, epoch: str = "") -> Download:
        """Open one of the files that a run made. Raises as `of` does."""
        ...

    async def read(self, content: Content, size: int, offset: int) -> bytes:
        """Return a piece of an open file; fewer bytes, or none, at its end. Raises `OSError`,
        `BackendError`."""
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


class RemoteRun(NamedTuple):
    """A run that a remote writer began; `lease_id` is the secret by which it writes."""

    run_id: str
    position: Position
    lease_id: str
    lease_s: float
    repeated: bool


class Written(NamedTuple):
    """The answer to a remote writer: where the log is, and why the run shall end, if it shall."""

    position: Position
    lease_s: float
    cancel: str | None
    repeated: bool = False


class RemoteWriters(Protocol):
    """The runs of writers outside."""

    async def begin(
        self,
        name: str,
        *,
        run_id: str = "",
        labels: Mapping[str, str] | None = None,
        ttl_s: float | None = None,
        lease_s: float | None = None,
        lease_id: str = "",
        replace: bool | str = False,
    ) -> RemoteRun:
        """Begin a run. It is stored, and has started, when this returns.

        Args:
            name: lists show it as the run's function.
            ttl_s: how long the run is kept after its end, at most `keep_runs_s`.
            lease_s: how long the run stays open without a sign of its writer.
            lease_id: a secret of the writer; made if missing. The same again returns the run that
                it began.
            replace: begin an existing run again, or only this epoch of it.

        Raises:
            Conflict: the run exists, and `replace` is False or another epoch.
            InvalidValue: an argument is malformed.
            Overloaded: as many runs are open as may be.
        """
        ...

    async def append(
        self,
        run_id: str,
        lease_id: str,
        events: Sequence[object],
        *,
        producer_id: str,
        number: int,
    ) -> Written:
        """Append a batch of events, once, and end the run if the last event is terminal.

        Args:
            producer_id: who sends the batch, of the writer's choice.
            number: 1, 2, 3, … for the batches of this producer. A batch that is sent again has the
                same number.

        Raises:
            NotFound, Forbidden: there is no such run, or it has another lease.
            RunClosed, Stale: the run has ended, or was taken over.
            InvalidEvent: names the event that cannot be written; none was.
            OutOfSequence: the batch is not the next one.
            Conflict: another batch had this number.
            RunTooLarge: the run has reached its limits.
        """
        ...

    async def renew(self, run_id: str, lease_id: str) -> Written:
        """Renew the lease. Raises `NotFound`, `Forbidden`, `RunClosed`, `Stale`."""
        ...

    async def receive(
        self, run_id: str, lease_id: str, path: str, pieces: AsyncIterable[bytes]
    ) -> tuple[StoredFile, bool]:
        """Store a file of the run, completely or not at all; one of the same path is replaced.

        Args:
            path: below the run's outputs, with `/`.

        Returns:
            The file, which is listed and can be downloaded once the run has ended; and whether
            there was one of this path before.

        Raises:
            NotFound, Forbidden: there is no such run, or it has another lease.
            RunClosed, Stale: the run has ended, or was taken over.
            InvalidValue: the path is malformed.
            FileTooLarge, RunTooLarge: a limit of files is reached.
            BackendError: the files of the run are on another node, which is named.
        """
        ...

    async def expire(
        self, run_id: str, lease_id: str, interrupt_id: str
    ) -> tuple[Mapping[str, Any], bool]:
        """Close a question of the run that nobody has answered in time.

        Returns the decision on the question, and whether somebody was faster.
        """
        ...


class BegunDelivery(Protocol):
    """A delivery of a run to a chat."""

    @property
    def delivery_id(self) -> str: ...

    @property
    def target(self) -> str:
        """The target, without secrets."""
        ...


class Deliveries(Protocol):
    """Deliveries to the targets that the channels file names."""

    async def check_names(self, names: Sequence[str]) -> None:
        """Raise `InvalidValue` if the channels file does not have all of these targets."""
        ...

    async def begin_by_name(
        self, run_id: str, name: str, *, shows: Any = None, finish: Any = None, epoch: str = ""
    ) -> BegunDelivery:
        """Deliver a run to a target of the channels file.

        Args:
            shows, finish: as for `OpenHub.deliver`; checked here.
            epoch: the epoch to deliver; "" is any epoch.

        Raises:
            NotFound: there is no such run.
            Stale: the run is in another epoch.
            InvalidValue: the channels file has no such target, or there is no such choice.
            Conflict: another process delivers the run there, or its text may be there already.
        """
        ...

    async def states(self, run: LogInfo, delivery_id: str = "") -> Sequence[object]:
        """Return the deliveries of a run, newest first, for JSON; or only one, by its id."""
        ...

    async def wait(self, run: LogInfo, delivery_id: str = "") -> None:
        """Wait until those of these deliveries have ended that go on now."""
        ...


class LinkedQuestion(Protocol):
    """The question of a signed link, for a page."""

    @property
    def message(self) -> str: ...

    @property
    def details(self) -> str: ...

    @property
    def answers(self) -> Sequence[tuple[str, str]]: ...

    @property
    def takes_text(self) -> bool: ...

    @property
    def notice(self) -> str:
        """Why it cannot be answered; "" if it can."""
        ...


class Replies(Protocol):
    """What people do in chats."""

    async def receive(
        self, name: str, headers: Mapping[str, str], body: bytes, query: Mapping[str, str]
    ) -> object:
        """Take a platform's callback, and return its answer as JSON; None for an empty one.

        Args:
            name: a platform, or a target of the channels file.
            headers: with names in small letters.

        Raises:
            Unauthorized: the platform did not send it, or there is no such channel.
            Overloaded, StoreUnavailable: the platform shall send it again.
        """
        ...

    async def question_of_link(self, token: str) -> LinkedQuestion:
        """Return the question of a signed link. Raises `NotFound`."""
        ...

    async def answer_link(self, token: str, answer: str, text: str = "") -> str:
        """Answer the question of a signed link; return a notice for the person.

        Raises:
            NotFound: the link is not valid, or has expired.
        """
        ...


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
    def runner(self) -> CountedRunner: ...

    @property
    def functions(self) -> Mapping[str, DescribedFunction]: ...

    @property
    def files(self) -> Files: ...

    @property
    def writers(self) -> RemoteWriters: ...

    @property
    def deliveries(self) -> Deliveries: ...

    @property
    def replies(self) -> Replies: ...

    async def open(self) -> object: ...

    async def close(self) -> None: ...

    async def start(
        self,
        function: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str = "",
        labels: Mapping[str, str] | None = None,
        replace: bool | str = False,
        secrets: Mapping[str, str] = ...,
        digest: str = "",
        files: Mapping[str, Sequence[FileReference]] = ...,
        workspace: str = "",
    ) -> StartedRun:
        """Begin a run of a function by name; see `Runner.start`."""
        ...

    async def answer(
        self, run_id: str, interrupt_id: str, answer: object, *, epoch: str = ""
    ) -> tuple[Mapping[str, Any], bool]:
        """Answer a question; return the decision and whether it was made before."""
        ...

    async def inputs(self, run_id: str) -> object:
        """Return what is kept of a run's inputs, for JSON; None if nothing is."""
        ...

    async def send(
        self,
        run_id: str,
        data: object,
        *,
        message_id: str = "",
        sender: str = "",
        epoch: str = "",
    ) -> SentMessage:
        """Send a message into a run; see `OpenHub.send`."""
        ...

    def queue_position(self, run_id: str) -> int:
        """Return a run's place in the queue, from 1; 0 if it does not wait here for room."""
        ...

    async def cancel(self, run_id: str, reason: str = "cancelled", *, epoch: str = "") -> None:
        """Cancel a run; see `Runner.cancel`."""
        ...
