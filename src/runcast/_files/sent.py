"""Files that remote writers send into their runs, one request each.

A file lies in the run's workspace, in `data/outputs`, as if the run's code had written it here.
With a bucket it is stored there at once, because the next file may come to another node. In both
cases the end of the run lists the files as it lists those of a function.

If nodes share a store but not their files, all files of a run must come to one node. The run has a
label that says which folder has them, and the name of that folder's node.
"""

import contextlib
import errno
import os
import secrets
from collections.abc import AsyncIterable
from typing import Any, Final, NamedTuple, Protocol, Self

from runcast._files.bucket_runs import BucketRuns
from runcast._files.collecting import content_type
from runcast._files.data_dir import DataDir
from runcast._files.fair_threads import Stopped
from runcast._files.making import is_plain_path
from runcast._files.model import StoredFile
from runcast._files.run_files import RunFiles
from runcast._files.tally import Tally, Totals
from runcast._files.threads import FileThreads
from runcast._files.uploads import Arrival
from runcast._files.workspace import Workspace, Workspaces
from runcast._logs import get_logger
from runcast._settings import Settings
from runcast.errors import BackendError, FileTooLarge, InvalidValue, RunClosed, RunTooLarge
from runcast.events.outcome import Outcome, failed

__all__ = ("Claim", "Place", "SentFiles")

_log: Final = get_logger("runcast.runs")

_WRITE_BYTES: Final = 1024 * 1024
"""Bytes gathered before they are passed to a thread that hashes and writes them."""

_IN_BUCKET: Final = "bucket"


class Claim(Protocol):
    """Where the files of a run are, for all nodes."""

    known: str
    """What is stored already; "" if nothing is."""

    async def store(self, here: str) -> str:
        """Store where the files are, unless that is stored already; return what is stored.

        Raises if the run is no longer its writer's.
        """
        ...


class Place(NamedTuple):
    """Where the files of a run are: the id of a folder, or a bucket; and a node that reaches it."""

    place: str
    node: str

    def __str__(self) -> str:
        return f"{self.place} {self.node}".rstrip()

    @classmethod
    def parse(cls, label: str) -> Self:
        """Return what a label says."""
        place, _, node = label.partition(" ")
        return cls(place, node)


class SentFiles:
    """The files that remote writers send to this node. Its coroutines belong to one loop."""

    def __init__(
        self,
        root: DataDir,
        workspaces: Workspaces,
        threads: FileThreads,
        settings: Settings,
        node: str,
        in_bucket: BucketRuns | None,
    ) -> None:
        self._root = root
        self._workspaces = workspaces
        self._threads = threads
        self._settings = settings
        self._node = node
        self._in_bucket = in_bucket

    async def _place(self) -> Place:
        if self._in_bucket is not None:
            return Place(_IN_BUCKET, self._node)
        return Place(await self._threads.call(self._root.place), self._node)

    async def receive(
        self,
        run_id: str,
        epoch: str,
        path: str,
        pieces: AsyncIterable[bytes],
        claim: Claim,
    ) -> tuple[StoredFile, bool]:
        """Store a file of a run, completely or not at all; one of the same path is replaced.

        Args:
            path: below `data/outputs`, with `/`.
            claim: stored once the whole file is here, and before the file is stored. An upload
                that is cut, or whose node dies, must not bind the run to the node.

        Returns:
            The file, and whether there was one of this path before.

        Raises:
            InvalidValue: the path is malformed, or is a folder's.
            FileTooLarge: the file is larger than `max_upload_bytes`.
            RunTooLarge: the run has as many files, or bytes in files, as it may have.
            RunClosed: the run has ended.
            BackendError: the files of the run are on another node, which is named, or the file
                cannot be written.
        """
        if not is_plain_path(path):
            raise InvalidValue(
                "expected a path like 'plots/loss.png', below data/outputs: without '..', "
                f"backslashes and control characters, got {path[:200]!r}"
            )
        here = await self._place()
        if claim.known:
            _check_here(Place.parse(claim.known), here)
        workspace = await self._threads.call(self._workspaces.make, run_id, epoch)
        name = f".arriving-{secrets.token_hex(8)}"
        arrival = Arrival(workspace.path, name, self._threads.call)
        try:
            await self._take(arrival, pieces)
            _check_here(Place.parse(await claim.store(str(here))), here)
            file = StoredFile(
                path,
                path.rpartition("/")[2],
                arrival.size,
                arrival.sha256,
                await self._threads.call(content_type, path),
            )
            if self._in_bucket is None:
                is_known = await self._threads.call(self._publish, workspace, arrival, path)
            else:
                stored = self._publish_in_bucket, run_id, epoch, file, arrival
                is_known = await self._threads.remote(*stored)
        finally:
            await self._threads.call(arrival.close)
        return file, is_known

    async def _take(self, arrival: Arrival, pieces: AsyncIterable[bytes]) -> None:
        most = self._settings.max_upload_bytes
        await arrival.write()
        async for piece in pieces:
            arrival.add(piece)
            if arrival.size + arrival.waiting > most:
                raise FileTooLarge(f"expected a file of at most {most} bytes (max_upload_bytes)")
            if arrival.waiting >= _WRITE_BYTES:
                await arrival.write()
        await arrival.write()

    def _check_room(self, files: int, size: int) -> None:
        if files > self._settings.max_files:
            raise RunTooLarge(
                f"the run has {files - 1} files already, as many as it may have (max_files)"
            )
        if size > self._settings.max_output_bytes:
            raise RunTooLarge(
                f"the files of the run together would be larger than "
                f"{self._settings.max_output_bytes} bytes (max_output_bytes)"
            )

    def _check_before(self, tally: Tally, before: int | None, size: int) -> None:
        """Check the room before a folder is made: folders of files that are refused would stay."""
        kept = tally.read()
        self._check_room(kept.files + (before is None), kept.bytes + size - (before or 0))

    def _publish(self, workspace: Workspace, arrival: Arrival, path: str) -> bool:
        """Give a file its name; return whether another one had the name. Blocks."""
        tally = Tally(workspace.path / "sent.total", lambda: _look(workspace))
        try:
            at = os.open(workspace.outputs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            raise RunClosed("the run has ended; no file can be added to it") from None
        *folders, name = path.split("/")
        try:
            self._check_before(tally, _size_of(path, at), arrival.size)
            for folder in folders:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder, 0o755, dir_fd=at)
                inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at)
                os.close(at)
                at = inner
            before = _size_of(name, at)
            grows = 1 if before is None else 0
            with tally.changing(grows, arrival.size - (before or 0)) as kept:
                self._check_room(kept.files + grows, kept.bytes + arrival.size - (before or 0))
                os.rename(arrival.part, name, dst_dir_fd=at)
        except (NotADirectoryError, IsADirectoryError):
            raise InvalidValue(
                f"expected a path where no folder or file is in the way, got {path[:200]!r}"
            ) from None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise InvalidValue(f"expected shorter names, got {path[:200]!r}") from None
            raise BackendError(
                f"the file {path[:200]!r} cannot be kept: {os.strerror(error.errno or 0)}"
            ) from None
        finally:
            os.close(at)
        return before is not None

    def _publish_in_bucket(
        self, run_id: str, epoch: str, file: StoredFile, arrival: Arrival
    ) -> bool:
        assert self._in_bucket is not None
        is_known = self._in_bucket.has_sent(run_id, epoch, file.path)
        files, size = self._in_bucket.sent(run_id, epoch)
        self._check_room(files + (not is_known), size + file.size)
        self._in_bucket.store_sent(run_id, epoch, file, arrival.part)
        return is_known

    async def collect(
        self, files: RunFiles, run_id: str, epoch: str, label: str, ending: Outcome
    ) -> tuple[Outcome, dict[str, Any] | None]:
        """Collect the files of a run that its writer ends; a second call returns the first result.

        Args:
            label: where the files are.

        Returns:
            The run's outcome: `ending`, or `failed` if the run would be done without its files. And
            the data of its `files` event; None if there is nothing to report.
        """
        try:
            here, there = await self._place(), Place.parse(label)
            if there.place != here.place:
                raise BackendError(_on_another_node(there, here))
            if self._in_bucket is not None:
                await self._threads.send(self._in_bucket.collecting_sent(run_id, epoch))
        except (BackendError, Stopped) as error:
            what = error.public if isinstance(error, BackendError) else "the server shut down"
            _log.error("the files of run %s cannot be collected: %s", run_id, error)
            if ending.type == "done":
                said = f"the outputs are not what they should be: {what}"
                ending = failed(said, "invalid_outputs")
            return ending, None
        return await files.collect(ending)


def _check_here(there: Place, here: Place) -> None:
    """Raise `BackendError` if the files of a run are on another node."""
    if there.place != here.place:
        raise BackendError(_on_another_node(there, here))


def _on_another_node(there: Place, here: Place) -> str:
    if there.node == here.node:
        return (
            f"the files of the run were in another folder of {here.node or 'this server'}, which "
            "is gone or not its folder any more: set data_dir or files, so that files last"
        )
    where = f"on the node {there.node}" if there.node else "in another folder"
    return (
        f"the files of the run are {where}, and this node, {here.node or 'this server'}, does not "
        "reach them: have the nodes share their files (data_dir, files), or let the writer talk to "
        "one node"
    )


def _size_of(name: str, folder: int) -> int | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
    except FileNotFoundError:
        return None


def _look(workspace: Workspace) -> Totals:
    sizes = [path.stat().st_size for path in workspace.outputs.rglob("*") if path.is_file()]
    return Totals(len(sizes), sum(sizes))
