"""Files of a remote run: what its block leaves in `data/outputs` is sent before the run ends.

The folder is a temporary one on the machine of the block. It is looked through as a server looks
through the folder of a function, and is removed when the run has ended.
"""

import asyncio
import contextlib
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from runcast._clock import Clock
from runcast._files.collecting import Collected
from runcast._files.data_dir import DataDir
from runcast._files.fair_threads import finish
from runcast._files.model import StoredFile
from runcast._files.workspace import Workspace, Workspaces
from runcast._hub.forks import Home, elsewhere, make_lock
from runcast._remote.link import Link
from runcast._settings import Settings
from runcast.client.files import Outgoing, ignore_bytes
from runcast.errors import NotFound, RuncastError, RunClosed, Stale

__all__ = ("RemoteFiles", "SentOutputs")

_ENDED: Final = (NotFound, RunClosed, Stale)
"""Errors by which the run is over for this writer: its own end will say so."""


class SentOutputs(NamedTuple):
    """What became of a run's outputs: why some are missing, and entries that are no files."""

    problems: list[str]
    skipped: list[str]


class RemoteFiles:
    """The workspace of a remote run. It costs nothing until it is needed."""

    def __init__(self, link: Link, epoch: str, settings: Settings, clock: Clock) -> None:
        self._link = link
        self._epoch = epoch
        self._root = DataDir(parent=settings.data_dir)
        self._workspaces = Workspaces(self._root, clock, settings)
        self._home = Home()
        self._lock = make_lock()
        self._workspace: Workspace | None = None
        self._is_over = False

    def workspace(self) -> Path:
        """Return the run's working directory; the first call creates it. Call from any thread.

        Raises:
            RunClosed: the run has ended.
            BackendError: the directory cannot be created.
            InvalidValue: this is a forked process, and the directory does not exist yet.
        """
        if not self._home.is_here:
            if self._workspace is None:
                raise elsewhere("the first call of workspace()")
            return self._workspace.path
        with self._lock:
            if self._is_over:
                raise RunClosed(f"the run {self._link.begun.run_id!r} is over; its files are sent")
            if self._workspace is None:
                run_id = self._link.begun.run_id
                self._workspace = self._workspaces.make(run_id, self._epoch)
            return self._workspace.path

    async def _end(self) -> Workspace | None:
        """Prevent a workspace from now on; wait for one that is being created."""
        if self._lock.acquire(blocking=False):
            self._is_over = True
            self._lock.release()
        else:
            await asyncio.to_thread(self._end_in_thread)
        return self._workspace

    def _end_in_thread(self) -> None:
        with self._lock:
            self._is_over = True

    async def send(self) -> SentOutputs:
        """Send what is in `data/outputs`, after the code of the run has ended.

        A connection that breaks delays the files. Nothing is raised: an output that cannot be sent
        is one of the problems.
        """
        workspace = await self._end()
        if workspace is None:
            return SentOutputs([], [])
        try:
            found = await asyncio.to_thread(finish, workspace.collecting({}))
        except (OSError, RuncastError) as error:
            return SentOutputs([f"the files cannot be collected: {error}"], [])
        problems = list(found.problems)
        for file in found.files:
            try:
                await self._send_one(workspace, file)
            except _ENDED:
                break
            except RuncastError as error:
                problems.append(f"{file.path}: {error.message}")
        return SentOutputs(problems, _skipped(found))

    async def _send_one(self, workspace: Workspace, file: StoredFile) -> None:
        sent = await asyncio.to_thread(Outgoing, workspace.kept(file.path), ignore_bytes)
        path = f"/files/{quote(file.path)}"
        answer = await self._link.send_file(path, sent)
        sent.check(answer.field("sha256"))

    async def close(self) -> None:
        """Remove the workspace. Idempotent."""
        if self._workspace is not None:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._root.close)


def _skipped(found: Collected) -> list[str]:
    lines = [f"{entry.path}: {entry.reason}" for entry in found.skipped]
    more = found.skipped_count - len(lines)
    return lines + ([f"and {more} more"] if more else [])
