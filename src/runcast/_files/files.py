"""The files of runs: inputs, workspaces, outputs, and their removal."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterable, Mapping
from functools import partial
from typing import Any, Final

from runcast._clock import ClockSteps
from runcast._files.bucket import Bucket
from runcast._files.bucket_runs import BucketRuns
from runcast._files.bucket_uploads import BucketUploads
from runcast._files.collecting import Collected
from runcast._files.content import FileContent
from runcast._files.data_dir import DataDir
from runcast._files.elsewhere import check_elsewhere, is_shared, name_of_node
from runcast._files.fair_threads import Steps, Stopped
from runcast._files.inputs import GivenFiles, Inputs
from runcast._files.making import is_shortage
from runcast._files.model import Content, Download, FilesOfRun, StoredFile, Upload
from runcast._files.network import Stop
from runcast._files.removing import removing
from runcast._files.run_files import RunFiles, addressed
from runcast._files.sent import Claim, SentFiles
from runcast._files.threads import FileThreads
from runcast._files.uploads import Uploads
from runcast._files.workspace import Life, Workspace, Workspaces
from runcast._functions.file_groups import FileGroup
from runcast._hub.cache import Cache
from runcast._hub.hub import Hub
from runcast._logs import get_logger
from runcast.errors import BackendError, InvalidValue, NotFound, Overloaded, RuncastError
from runcast.events.outcome import Outcome
from runcast.events.position import RUN, kind_of
from runcast.stores.base import LogInfo

__all__ = ("Files", "RunFiles")

_log: Final = get_logger("runcast.runs")

_MOST_LISTED: Final = 1000
_LISTED_BYTES: Final = 8 * 1024 * 1024
"""Most runs whose lists of files are cached, and most bytes of the lists."""
_ENTRY_BYTES: Final = 600
"""About how many bytes a file takes in a list, besides its path."""


class Files:
    """The files of one hub's runs. Open it after the hub; all coroutines belong to the hub's
    loop."""

    def __init__(self, hub: Hub, root: DataDir, bucket: Bucket | None = None) -> None:
        self._hub = hub
        self._root = root
        self._bucket = bucket
        self._settings = settings = hub.settings
        self._threads = threads = FileThreads(settings)
        self._node = node = ""
        if bucket is None and is_shared(hub.store):
            self._node = node = name_of_node(settings)
        self.workspaces = Workspaces(root, hub.clock, settings, keeps_outputs=bucket is None)
        self.uploads: Uploads
        self._in_bucket: BucketRuns | None = None
        if bucket is None:
            self.uploads = Uploads(root, hub.clock, settings, threads.call, node=node)
        else:
            self.uploads = BucketUploads(bucket, root, hub.clock, settings, threads)
            self._in_bucket = BucketRuns(bucket, settings.keep_files_s)
        self._inputs = Inputs(self.workspaces, self.uploads, hub.clock, hub.settings)
        self._sent = SentFiles(root, self.workspaces, threads, settings, node, self._in_bucket)
        self._is_open = False
        self._sweeping: asyncio.Task[None] | None = None
        self._one_sweep = asyncio.Lock()
        self._listed: Cache[tuple[str, str], Mapping[str, StoredFile]] = Cache(
            _MOST_LISTED, _LISTED_BYTES
        )
        self._steps = ClockSteps(hub.clock)
        hub.when_deleted(self._remove)

    @property
    def has_lasting_folder(self) -> bool:
        """Whether other processes may find the runs' workspaces, because their folder has a
        name."""
        return self._root.is_lasting

    async def open(self, *, sweeps: bool = True) -> None:
        """Begin to manage files. Idempotent. May be called again after `close`.

        Args:
            sweeps: False leaves the files of other processes alone.

        Raises:
            InvalidValue: the bucket has files of another store, or the store is in memory.
            BackendError: the bucket cannot be reached.
        """
        if not self._is_open:
            self._is_open = True
            self._root.open()
            self._threads.open()
            if self._bucket is not None:
                store = self._hub.store.identity
                if not store:
                    raise InvalidValue(
                        "expected a store that lasts, such as sqlite:///runs.db or redis://host, "
                        "for files in a bucket (files), got one whose runs go away"
                    )
                await self._threads.remote(self._bucket.claim, store)
            if sweeps:
                self._sweeping = asyncio.create_task(self._sweep_for_ever(), name="runcast-sweep")

    def hurry(self) -> None:
        """From now on do only little file work for each ending run, because the hub will close."""
        self._threads.hurry()

    async def close(self) -> None:
        """Stop all running work, and remove temporary files. Idempotent."""
        self._is_open = False
        if self._sweeping is not None:
            self._sweeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeping
            self._sweeping = None
        await self._threads.close()
        await self._threads.call(self.workspaces.discard_ready)
        await self._threads.call(self._root.close)

    async def stage(
        self, groups: Mapping[str, FileGroup], given: GivenFiles, workspace: str
    ) -> Workspace | None:
        """Gather the files for a run that is about to begin; see `Inputs.staging`.

        Raises:
            Overloaded: files are fetched for `max_fetches` runs, or the hub closes.
        """
        needs_inputs = any(group.kind == "input" for group in groups.values())
        if not (given or workspace or needs_inputs):
            return None

        def staging(stop: Stop | None = None) -> Steps[Workspace | None]:
            return self._inputs.staging(groups, given, workspace, stop)

        try:
            if any(file.url for files in given.values() for file in files):
                return await self._threads.fetch(staging, self._drop)
            return await self._threads.copy(staging(), self._drop)
        except Stopped:
            raise Overloaded("the server is shutting down; try another or again later") from None

    def _drop(self, staged: Workspace | None) -> None:
        """Remove the files gathered for a caller that has left."""
        self._threads.in_background(self.discard(staged))

    def for_run(
        self,
        run_id: str,
        epoch: str,
        groups: Mapping[str, FileGroup],
        staged: Workspace | None = None,
        *,
        is_resumed: bool = False,
    ) -> RunFiles:
        """Return the object for a run's files.

        Args:
            staged: the workspace gathered for the run.
            is_resumed: an earlier attempt may already have files.
        """
        return RunFiles(
            self.workspaces,
            self._threads,
            run_id,
            epoch,
            groups,
            max_event_bytes=self._settings.max_event_bytes,
            staged=staged,
            is_resumed=is_resumed,
            bucket=self._in_bucket,
            node=self._node,
        )

    async def discard(self, staged: Workspace | None) -> None:
        """Remove the files gathered for a run that was not begun."""
        if staged is not None:
            with contextlib.suppress(Stopped, Overloaded):  # a later sweep removes it
                await self._threads.remove(partial(removing, staged.folder))

    async def receive(
        self, name: str, media_type: str, pieces: AsyncIterable[bytes], owner: str = ""
    ) -> Upload:
        """Receive a file for a later run; see `Uploads.receive`."""
        return await self.uploads.receive(name, media_type, pieces, owner)

    async def receive_for(
        self, run_id: str, epoch: str, path: str, pieces: AsyncIterable[bytes], claim: Claim
    ) -> tuple[StoredFile, bool]:
        """Receive a file of a run from its remote writer; see `SentFiles.receive`."""
        file, is_known = await self._sent.receive(run_id, epoch, path, pieces, claim)
        return addressed(file, run_id), is_known

    async def collect_sent(
        self, run_id: str, epoch: str, label: str, ending: Outcome
    ) -> tuple[Outcome, dict[str, Any] | None]:
        """Collect the files that a remote writer has sent; see `SentFiles.collect`."""
        files = self.for_run(run_id, epoch, {}, is_resumed=True)
        return await self._sent.collect(files, run_id, epoch, label, ending)

    async def owner_of(self, upload_id: str) -> str:
        """Return the owner of an uploaded file, or "". Raises `NotFound`."""
        upload, _ = await asyncio.to_thread(self.uploads.find, upload_id)
        return upload.owner

    async def of(self, run_id: str, epoch: str = "") -> FilesOfRun:
        """Return the files that a run made; the list is empty before its end.

        Args:
            epoch: the epoch that made them; "" is any epoch.

        Raises:
            NotFound: the run does not exist.
            Stale: the run is in another epoch.
            BackendError: the files are on another node, which is named, or cannot be listed.
        """
        info = await self._hub.info(run_id, epoch)
        found = Collected()
        if info.closed:  # only a run's ending lists its files
            found = await self._find(info)
        return FilesOfRun(
            [addressed(file, run_id) for file in found.files], found.skipped, found.skipped_count
        )

    async def download(self, run_id: str, path: str, epoch: str = "") -> Download:
        """Open one of the files that a run made; the caller closes its content.

        Args:
            epoch: the epoch that made the file; "" is any epoch.

        Raises:
            NotFound: the run does not exist, or has no such file.
            Stale: the run is in another epoch.
            BackendError: the file is on another node, which is named, or cannot be opened at
                present.
        """
        info = await self._hub.info(run_id, epoch)
        unknown = NotFound(f"the run {run_id!r} has no file {path[:200]!r}")
        # Only collected files are opened, by exactly their collected paths.
        files = await self._by_path(info) if info.closed else {}
        if path not in files:
            raise unknown
        file = files[path]
        content: Content
        try:
            if self._in_bucket is not None:
                content = await self._threads.remote(self._in_bucket.open, run_id, info.epoch, file)
            else:
                descriptor = await self._threads.call(self._open, run_id, info.epoch, path)
                content = FileContent(descriptor)
        except OSError as error:
            if is_shortage(error):
                why = os.strerror(error.errno or 0)
                raise BackendError(f"the file cannot be opened at present: {why}") from None
            raise unknown from None
        return Download(addressed(file, run_id), content)

    async def _by_path(self, info: LogInfo) -> Mapping[str, StoredFile]:
        """Return the files of an ended run; the list is read once and cached."""
        whose = info.log_id, info.epoch
        known = self._listed.get(whose)
        if known is None:
            found = await self._find(info)
            known = {file.path: file for file in found.files}
            size = sum(_ENTRY_BYTES + len(path) for path in known)
            self._listed.keep(whose, known, size)
        return known

    async def _find(self, info: LogInfo) -> Collected:
        """Return the files of an ended run."""
        whose = info.log_id, info.epoch
        if self._in_bucket is not None:
            found = await self._threads.remote(self._in_bucket.collected, *whose)
        else:
            found = await self._threads.call(self._collected, *whose)
        if found is None and is_shared(self._hub.store):
            await check_elsewhere(self._hub, info)
        return found or Collected()

    def _collected(self, run_id: str, epoch: str) -> Collected | None:
        workspace = self.workspaces.find(run_id, epoch)
        return workspace.collected() if workspace is not None else None

    def _open(self, run_id: str, epoch: str, path: str) -> int:
        workspace = self.workspaces.find(run_id, epoch)
        if workspace is None:
            raise FileNotFoundError(path)
        return workspace.open(path)

    async def read(self, content: Content, size: int, offset: int) -> bytes:
        """Return a piece of an open file; fewer bytes, or none, at its end."""
        if isinstance(content, FileContent):
            return await self._threads.call(content.read, size, offset)
        return await self._threads.remote(content.read, size, offset)

    async def sweep(self) -> int:
        """Remove files that nobody needs any more, and return the number of removed files and
        folders.

        When this returns, the work of another running sweep of this hub is also done. Nothing is
        removed if the clock was just set forward.
        """
        async with self._one_sweep:
            time = self._steps.trusted_time()
            if time is None:
                return 0
            known = await self._threads.end(self.workspaces.known())
            if self._in_bucket is not None:
                known |= await self._threads.remote(self._in_bucket.known)
            lives = {whose: await self._life_of(*whose) for whose in known}
            swept = await self._threads.end(self._sweep(lives, time))
            if self._in_bucket is not None:
                swept += await self._threads.send(self._sweep_bucket(self._in_bucket, lives, time))
            return swept

    def _sweep(self, lives: Mapping[tuple[str, str], Life], time: float) -> Steps[int]:
        # A workspace that is newer than the list of lives belongs to a live run.
        swept = yield from self.workspaces.sweeping(lambda *run: lives.get(run, "live"), time)
        return swept if self._in_bucket is not None else swept + self.uploads.sweep(time)

    def _sweep_bucket(
        self, in_bucket: BucketRuns, lives: Mapping[tuple[str, str], Life], time: float
    ) -> Steps[int]:
        swept = yield from in_bucket.sweeping(lambda *run: lives.get(run, "live"), time)
        return swept + self.uploads.sweep(time)

    async def _life_of(self, run_id: str, epoch: str) -> Life:
        try:
            info = await self._hub.info(run_id)
        except NotFound:
            return "gone"
        except RuncastError:
            return "live"  # as far as known
        if info.epoch != epoch:
            return "gone"
        return "ended" if info.closed else "live"

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                await self.sweep()
            except Stopped:
                return
            except (OSError, RuncastError) as error:
                _log.warning("old files could not be removed and will be tried again: %s", error)
            await asyncio.sleep(self._settings.sweep_every_s)

    def forget(self, run_id: str, epoch: str) -> None:
        """Remove the files of a replaced epoch, in the background."""
        self._threads.in_background(self._remove(run_id, epoch))

    async def _remove(self, run_id: str, epoch: str) -> None:
        """Remove the files of a deleted epoch. A later epoch of the run keeps its files."""
        if kind_of(run_id) != RUN:
            return  # other logs have no files
        with contextlib.suppress(Stopped, Overloaded):  # a later sweep removes it
            hidden = await self._threads.call(self.workspaces.hide, run_id, epoch)
            if hidden is not None:
                await self._threads.remove(partial(removing, hidden))
            if self._in_bucket is not None:
                await self._threads.send(self._in_bucket.removing(run_id, epoch))
