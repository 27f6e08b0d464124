"""The files of runs: what they are given, where they work, what they leave, and when it goes."""

import asyncio
import contextlib
from collections.abc import AsyncIterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote

import msgspec

from runcast._clock import ClockSteps
from runcast._files.collecting import Collected
from runcast._files.data_dir import DataDir
from runcast._files.inputs import GivenFiles, Inputs
from runcast._files.model import Download, FilesOfRun, StoredFile, Upload
from runcast._files.uploads import Uploads
from runcast._files.workspace import Life, Workspace, Workspaces
from runcast._functions.file_groups import FileGroup, check_outputs
from runcast._hub.forks import Home, elsewhere, make_lock
from runcast._hub.hub import Hub
from runcast._logs import get_logger
from runcast.errors import NotFound, RuncastError, RunClosed
from runcast.events.outcome import Outcome, failed
from runcast.events.position import RUN, kind_of

__all__ = ("Files", "RunFiles")

_log: Final = get_logger("runcast.runs")

_ENVELOPE_BYTES: Final = 200
"""What an event is besides its data."""

_MOST_STAGED: Final = 16
"""Runs whose files are gathered at once, in threads of their own: fetching may take a minute, and
nobody else's files are to wait for that."""

_MAX_TOLD: Final = 20
"""Most problems with outputs that an ending names."""


class RunFiles:
    """The files of one run at work here. It costs nothing until somebody asks for a workspace."""

    def __init__(
        self,
        workspaces: Workspaces,
        run_id: str,
        epoch: str,
        groups: Mapping[str, FileGroup],
        max_event_bytes: int,
        *,
        staged: Workspace | None = None,
        is_resumed: bool = False,
    ) -> None:
        self._workspaces = workspaces
        self._run_id = run_id
        self._epoch = epoch
        self._groups = groups
        self._max_bytes = max_event_bytes
        self._home = Home()
        self._lock = make_lock()
        self._workspace: Workspace | None = None
        self._staged = staged
        self._is_resumed = is_resumed
        self._is_over = False

    def workspace(self) -> Path:
        """Return the run's working directory, made if need be; blocks, for a few file operations.

        Raises:
            RunClosed: the run is over.
            BackendError: it cannot be made.
            InvalidValue: it is not made yet, and this is a forked process: the end of the run would
                not find what is made here.
        """
        if not self._home.is_here:
            if self._workspace is None:
                raise elsewhere("the first call of workspace()")
            return self._workspace.path
        with self._lock:
            if self._is_over:
                raise RunClosed(f"the run {self._run_id!r} is over; its files are collected")
            if self._workspace is None and self._staged is not None:
                self._workspace = self._workspaces.adopt(self._staged, self._run_id, self._epoch)
            elif self._workspace is None:
                self._workspace = self._workspaces.make(self._run_id, self._epoch)
            return self._workspace.path

    async def open(self) -> Path:
        """Return the run's working directory, made if need be. Raises as `workspace`."""
        return await asyncio.to_thread(self.workspace)

    async def prepare(self) -> None:
        """Put what the run was given into its workspace, if it was given anything.

        Raises as `workspace`.
        """
        if self._staged is not None:
            await self.open()

    async def collect(self, ending: Outcome) -> tuple[Outcome, dict[str, Any] | None]:
        """Take what the run made, now that its code is over.

        Returns:
            How the run ends: `ending`, or `failed` if it would have been done without the outputs
            that are declared. And the data of its `files` event; None if there is nothing to tell.
        """
        try:
            found = await self._collect()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the run must end
            _log.error("the files of run %s cannot be collected", self._run_id, exc_info=error)
            found = Collected(problems=["the files cannot be collected"])
        if found.problems and ending.type == "done":
            what = "; ".join(found.problems[:_MAX_TOLD])
            ending = failed(f"the outputs are not what they should be: {what}", "invalid_outputs")
        return ending, self._event(found)

    async def _collect(self) -> Collected:
        await self._end()
        if self._workspace is None and self._is_resumed:  # an attempt before may have made one
            find = self._workspaces.find
            self._workspace = await asyncio.to_thread(find, self._run_id, self._epoch)
        if self._workspace is None:
            return Collected(problems=check_outputs(self._groups, ()))
        return await asyncio.to_thread(self._workspace.collect, self._groups)

    async def _end(self) -> None:
        """See to it that no workspace is made from now on; one that is being made is waited for."""
        if self._lock.acquire(blocking=False):
            self._is_over = True
            self._lock.release()
        else:
            await asyncio.shield(asyncio.to_thread(self._end_in_thread))  # whoever waits for it

    def _end_in_thread(self) -> None:
        with self._lock:
            self._is_over = True

    def _event(self, found: Collected) -> dict[str, Any] | None:
        """Return the data of the event that tells of the files, as many as fit into one."""
        if not found.files and not found.skipped:
            return None
        told = [_addressed(file, self._run_id) for file in found.files]
        skipped = list(found.skipped)
        data: dict[str, Any] = {"files": told}
        if skipped:
            data |= {"skipped": skipped, "skipped_count": found.skipped_count}
        room = self._max_bytes - _ENVELOPE_BYTES
        while (told or skipped) and len(msgspec.json.encode(data)) > room:
            if told:
                del told[len(told) // 2 :]
                data |= {"total": len(found.files), "all": f"/runs/{quote(self._run_id)}/files"}
            else:
                del skipped[len(skipped) // 2 :]
        return cast("dict[str, Any]", msgspec.to_builtins(data))


class Files:
    """The files of one hub's runs. `open` it after the hub; all coroutines belong to its loop."""

    def __init__(self, hub: Hub, root: DataDir) -> None:
        self._hub = hub
        self._root = root
        self._settings = hub.settings
        self.workspaces = Workspaces(root, hub.clock, hub.settings)
        self.uploads = Uploads(root, hub.clock, hub.settings)
        self._make_ready()
        self._sweeping: asyncio.Task[None] | None = None
        self._one_sweep = asyncio.Lock()
        self._steps = ClockSteps(hub.clock)
        self._removing: set[asyncio.Task[None]] = set()
        hub.when_deleted(self._remove)

    def _make_ready(self) -> None:
        self._inputs = Inputs(self.workspaces, self.uploads, self._hub.clock, self._settings)
        self._stagers = ThreadPoolExecutor(_MOST_STAGED, "runcast-stage")

    async def open(self) -> None:
        """Begin to look after files. Idempotent; it may follow `close`."""
        if self._sweeping is None:
            self._root.open()
            self._sweeping = asyncio.create_task(self._sweep_for_ever(), name="runcast-sweep")

    async def close(self) -> None:
        """Stop looking after files; temporary ones go. Idempotent."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeping
            self._sweeping = None
        if self._removing:
            await asyncio.wait(self._removing)
        self._inputs.close()
        self._stagers.shutdown(wait=False, cancel_futures=True)
        self._make_ready()
        await asyncio.to_thread(self._root.close)

    async def stage(
        self, groups: Mapping[str, FileGroup], given: GivenFiles, workspace: str
    ) -> Workspace | None:
        """Gather the files for a run that is about to begin; see `Inputs.stage`."""
        needs_inputs = any(group.kind == "input" for group in groups.values())
        if not (given or workspace or needs_inputs):
            return None
        loop = asyncio.get_running_loop()
        staging = loop.run_in_executor(self._stagers, self._inputs.stage, groups, given, workspace)
        try:
            return await asyncio.shield(staging)
        except asyncio.CancelledError:
            # A thread cannot be stopped: what it has gathered by then is nobody's.
            staging.add_done_callback(self._forget)
            raise

    def _forget(self, staging: "asyncio.Future[Workspace | None]") -> None:
        if staging.cancelled() or staging.exception() is not None:
            return
        staged = staging.result()
        if staged is not None:
            asyncio.get_running_loop().run_in_executor(None, self.workspaces.discard, staged)

    def for_run(
        self,
        run_id: str,
        epoch: str,
        groups: Mapping[str, FileGroup],
        staged: Workspace | None = None,
        *,
        is_resumed: bool = False,
    ) -> RunFiles:
        """Return what a run needs to work with files.

        Args:
            staged: what was gathered for it.
            is_resumed: an attempt before may have files already.
        """
        most = self._settings.max_event_bytes
        return RunFiles(
            self.workspaces, run_id, epoch, groups, most, staged=staged, is_resumed=is_resumed
        )

    async def discard(self, staged: Workspace | None) -> None:
        """Remove what was gathered for a run that was not begun."""
        if staged is not None:
            await asyncio.to_thread(self.workspaces.discard, staged)

    async def receive(self, name: str, media_type: str, pieces: AsyncIterable[bytes]) -> Upload:
        """Take a file for a later run; see `Uploads.receive`."""
        return await self.uploads.receive(name, media_type, pieces)

    async def of(self, run_id: str) -> FilesOfRun:
        """Return the files that a run made: none before its end. Raises `NotFound`."""
        _, found = await self._find(run_id)
        return FilesOfRun(
            [_addressed(file, run_id) for file in found.files], found.skipped, found.skipped_count
        )

    async def download(self, run_id: str, path: str) -> Download:
        """Open one of the files that a run made; the caller closes the descriptor.

        Raises:
            NotFound: there is no such run, or it made no such file.
        """
        workspace, found = await self._find(run_id)
        unknown = NotFound(f"the run {run_id!r} has no file {path[:200]!r}")
        # Only what was collected is opened, by exactly the path that it was collected under.
        file = next((file for file in found.files if file.path == path), None)
        if workspace is None or file is None:
            raise unknown
        try:
            descriptor = await asyncio.to_thread(workspace.open, path)
        except OSError:
            raise unknown from None
        return Download(_addressed(file, run_id), descriptor)

    async def _find(self, run_id: str) -> tuple[Workspace | None, Collected]:
        info = await self._hub.info(run_id)
        if not info.closed:  # only a run's ending says which files it has
            return None, Collected()

        def find() -> tuple[Workspace | None, Collected]:
            workspace = self.workspaces.find(run_id, info.epoch)
            found = workspace.collected() if workspace is not None else None
            return workspace, found or Collected()

        return await asyncio.to_thread(find)

    async def sweep(self) -> int:
        """Remove what nobody needs any more and return how many files and folders that were.

        What another sweep of this hub was removing is gone, too, when this returns. Nothing is
        removed when the clock was set forward just now.
        """
        async with self._one_sweep:
            if not self._steps.may_delete():
                return 0
            known = await asyncio.to_thread(self.workspaces.known)
            lives = {whose: await self._life_of(*whose) for whose in known}
            return await asyncio.to_thread(self._sweep, lives)

    def _sweep(self, lives: Mapping[tuple[str, str], Life]) -> int:
        # What came after the question is of a run that lives.
        return self.uploads.sweep() + self.workspaces.sweep(lambda *run: lives.get(run, "live"))

    async def _life_of(self, run_id: str, epoch: str) -> Life:
        try:
            info = await self._hub.info(run_id)
        except NotFound:
            return "gone"
        except RuncastError:
            return "live"  # as far as anybody can tell
        if info.epoch != epoch:
            return "gone"
        return "ended" if info.closed else "live"

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                await self.sweep()
            except (OSError, RuncastError) as error:
                _log.warning("old files could not be swept, which will be tried again: %s", error)
            await asyncio.sleep(self._settings.sweep_every_s)

    def forget(self, run_id: str, epoch: str) -> None:
        """Remove the files of an epoch that was replaced, which nobody waits for."""
        removing = asyncio.create_task(self._remove(run_id, epoch))
        self._removing.add(removing)
        removing.add_done_callback(self._removing.discard)

    async def _remove(self, run_id: str, epoch: str) -> None:
        """Remove the files of an epoch that is gone. What began under its run id since stays."""
        if kind_of(run_id) != RUN:
            return  # other logs have no files
        await asyncio.to_thread(self.workspaces.remove, run_id, epoch)


def _addressed(file: StoredFile, run_id: str) -> StoredFile:
    """Return a file with the path of its URL below where runcast is served."""
    url = f"/runs/{quote(run_id)}/files/{quote(file.path)}"
    return msgspec.structs.replace(file, url=url)
