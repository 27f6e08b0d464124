"""The files of one running run: its workspace, and collecting its files at the end."""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote

import msgspec

from runcast._files.bucket_runs import BucketRuns
from runcast._files.collecting import Collected
from runcast._files.fair_threads import Stopped
from runcast._files.model import StoredFile
from runcast._files.threads import FileThreads
from runcast._files.workspace import Workspace, Workspaces
from runcast._functions.file_groups import FileGroup, check_outputs
from runcast._hub.forks import Home, elsewhere, make_lock
from runcast._logs import get_logger
from runcast.errors import RunClosed
from runcast.events.outcome import Outcome, failed

__all__ = ("RunFiles", "addressed")

_log: Final = get_logger("runcast.runs")

_ENVELOPE_BYTES: Final = 200
"""Bytes of an event besides its data."""

_MAX_TOLD: Final = 20
"""Most problems with outputs in an ending."""


class RunFiles:
    """The files of one run that runs here. It costs nothing until a workspace is needed."""

    def __init__(
        self,
        workspaces: Workspaces,
        threads: FileThreads,
        run_id: str,
        epoch: str,
        groups: Mapping[str, FileGroup],
        *,
        max_event_bytes: int,
        staged: Workspace | None = None,
        is_resumed: bool = False,
        bucket: BucketRuns | None = None,
        node: str = "",
    ) -> None:
        self._bucket = bucket
        self._node = node
        self._workspaces = workspaces
        self._threads = threads
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
        """Return the run's working directory; the first call creates it. Blocks briefly.

        Raises:
            RunClosed: the run has ended.
            BackendError: the directory cannot be created.
            InvalidValue: the directory does not exist yet, and this is a forked process: the end of
                the run would not find a directory that was created here.
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
        """Return the run's working directory; the first call creates it. Raises as `workspace`."""
        path = await self._threads.call(self.workspace)
        if self._staged is None:  # it has taken the one that was ready
            self._threads.in_background(self._threads.call(self._workspaces.make_ready))
        return path

    async def prepare(self) -> None:
        """Put the run's input files into its workspace, if it has any.

        Raises what `workspace` raises.
        """
        if self._staged is not None:
            await self.open()

    async def collect(self, ending: Outcome) -> tuple[Outcome, dict[str, Any] | None]:
        """Collect the files that the run made, after its code has ended.

        Returns:
            The run's outcome: `ending`, or `failed` if it would be done without its declared
            outputs. And the data of its `files` event; None if there is nothing to report.
        """
        try:
            found = await self._collect()
        except Stopped:
            if ending.type == "done":
                what = "the server shut down before the files of the run were collected"
                ending = failed(what, "interrupted", retryable=True)
            return ending, None
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the run must end
            is_deleted = isinstance(error, FileNotFoundError) and await self._is_gone()
            if not is_deleted:  # else the run was deleted meanwhile, with its files
                _log.error("the files of run %s cannot be collected", self._run_id, exc_info=error)
            found = Collected(problems=["the files cannot be collected"])
        if found.problems and ending.type == "done":
            what = "; ".join(found.problems[:_MAX_TOLD])
            ending = failed(f"the outputs are not what they should be: {what}", "invalid_outputs")
        return ending, self._event(found)

    async def _is_gone(self) -> bool:
        if self._workspace is None:
            return False
        with contextlib.suppress(Stopped):
            return not await self._threads.call(self._workspace.folder.exists)
        return False

    async def _collect(self) -> Collected:
        await self._end()
        if self._workspace is None and self._is_resumed:  # an attempt before may have made one
            find = self._workspaces.find
            self._workspace = await self._threads.call(find, self._run_id, self._epoch)
            known = await self._known()
            if known is not None:
                return known
        if self._workspace is None:
            return Collected(problems=check_outputs(self._groups, ()))
        found = await self._threads.end(self._workspace.collecting(self._groups))
        if self._bucket is not None and (found.files or found.skipped):
            storing = self._bucket.storing(self._run_id, self._epoch, self._workspace, found)
            await self._threads.send(storing)
        # The files are collected; the rest is swept later
        with contextlib.suppress(Stopped, OSError):
            await self._threads.remove(self._workspace.tidying, is_awaited=False)
        return found

    async def _known(self) -> Collected | None:
        """Return what an attempt on another node has stored completely in the bucket."""
        if self._bucket is None:
            return None
        return await self._threads.remote(self._bucket.collected, self._run_id, self._epoch)

    async def _end(self) -> None:
        """Prevent new workspaces from now on; wait for one that is being created."""
        if self._lock.acquire(blocking=False):
            self._is_over = True
            self._lock.release()
        else:
            # Shielded, so that it ends even if the waiting task is cancelled.
            await asyncio.shield(self._threads.call(self._end_in_thread))

    def _end_in_thread(self) -> None:
        with self._lock:
            self._is_over = True

    def _event(self, found: Collected) -> dict[str, Any] | None:
        """Return the data of the `files` event, with as many files as fit."""
        if not found.files and not found.skipped:
            return None
        listed = [addressed(file, self._run_id) for file in found.files]
        skipped = list(found.skipped)
        data: dict[str, Any] = {"files": listed}
        if self._node:
            data["node"] = self._node
        if skipped:
            data |= {"skipped": skipped, "skipped_count": found.skipped_count}
        room = self._max_bytes - _ENVELOPE_BYTES
        while (listed or skipped) and len(msgspec.json.encode(data)) > room:
            if listed:
                del listed[len(listed) // 2 :]
                data |= {"total": len(found.files), "all": f"/runs/{quote(self._run_id)}/files"}
            else:
                del skipped[len(skipped) // 2 :]
        return cast("dict[str, Any]", msgspec.to_builtins(data))


def addressed(file: StoredFile, run_id: str) -> StoredFile:
    """Return a file with the path of its URL below the path of runcast."""
    url = f"/runs/{quote(run_id)}/files/{quote(file.path)}"
    return msgspec.structs.replace(file, url=url)
