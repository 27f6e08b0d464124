"""The working directories of runs: creating, filling, collecting, sweeping.

    <data_dir>/workspaces/<run>-<epoch>/
        run.json         the owner: run id and epoch
        work/            the run's working directory: `Workspace.path`
            data/inputs/<key>/…    its input files
            data/outputs/…         its output files
        outputs/         `data/outputs`, once the run has ended, out of its reach
        files.json       the list of these files

Everything here blocks, and may be called from any thread. A folder appears complete or not at all,
because it is filled under another name first. Leftovers of a killed process are swept.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from runcast._clock import Clock
from runcast._files.collecting import Collected, collecting, open_beneath
from runcast._files.data_dir import DataDir
from runcast._files.fair_threads import Steps, finish
from runcast._files.making import (
    UnusedNames,
    is_shortage,
    make_folder,
    make_new_folder,
    new_file,
    write_file,
)
from runcast._files.removing import ENTRY_WORK, removing
from runcast._functions.file_groups import FileGroup, check_key
from runcast._logs import get_logger
from runcast._settings import Settings
from runcast.errors import BackendError
from runcast.events.position import is_run_id

__all__ = ("Life", "Workspace", "Workspaces")

_log: Final = get_logger("runcast.runs")

_WORK: Final = "work"
_OUTPUTS: Final = "outputs"
_LIST: Final = "files.json"
_WHOSE: Final = "run.json"
_STAGED: Final = ".staged-"
_GOING: Final = ".going-"

_LEFT_S: Final = 3600.0
"""Age at which an unfinished folder counts as left by a killed process."""

Life = Literal["live", "ended", "gone"]
"""A run's life: running (or its log is unreadable), ended, or deleted or begun again."""


class _Whose(msgspec.Struct):
    run_id: str
    epoch: str


class Workspace:
    """One run's folder. Its `path` is the working directory of the run's code."""

    def __init__(self, folder: Path, clock: Clock, settings: Settings) -> None:
        self.folder = folder
        self.path = folder / _WORK
        """Holds `data/inputs` and `data/outputs`; the working directory of a child process."""
        self._clock = clock
        self._settings = settings
        self._names: dict[str, UnusedNames] = {}

    @property
    def inputs(self) -> Path:
        """The folder of the run's input files."""
        return self.path / "data" / "inputs"

    @property
    def outputs(self) -> Path:
        """The folder where the run leaves files to keep."""
        return self.path / "data" / "outputs"

    def place(self, key: str, name: str) -> Path:
        """Return the path for an input file: in `data/inputs/<key>/`, with a safe name.

        Args:
            key: the file's group.
            name: the owner's name for the file. Folders and unsafe characters are removed, and a
                name that is taken gets a number.

        Raises:
            InvalidValue: the group's name is malformed.
        """
        folder = self.inputs / check_key(key)
        names = self._names.get(key.casefold())
        if names is None:
            make_folder(folder, 0o755)
            names = self._names[key.casefold()] = UnusedNames(os.listdir(folder))
        return folder / names.take(name)

    def settle(self) -> None:
        """If `input` is the only group, show its files in `data/inputs/` itself, too."""
        groups = list(self.inputs.iterdir())
        if [group.name for group in groups] != ["input"]:
            return
        for file in groups[0].iterdir():
            if file.name.casefold() != "input":  # the group's own folder has that name
                os.link(file, self.inputs / file.name)

    def collecting(self, groups: Mapping[str, FileGroup]) -> Steps[Collected]:
        """Move the run's outputs out of its reach, and collect them.

        Call it after the run's code has ended. A second call, even in another process, returns the
        first result. Files that the run no longer needs remain in `path`.
        """
        known = self.collected()
        if known is not None:
            return known
        problem = self._take_outputs()
        found = yield from collecting(self.folder / _OUTPUTS, groups, self._settings)
        if problem:
            found.problems.insert(0, problem)
        temporary = self.folder / f"{_LIST}.{secrets.token_hex(4)}"
        with new_file(temporary) as file:
            file.write(msgspec.json.encode(found))
            if self._settings.sqlite_full_sync:
                os.fsync(file.fileno())
        os.rename(temporary, self.folder / _LIST)
        self.touch()
        return found

    def tidying(self) -> Steps[None]:
        """Remove everything that only the run's code needed. The folder's age does not change."""
        try:
            changed_at = self.folder.stat().st_mtime
        except FileNotFoundError:
            return  # the run was deleted meanwhile
        try:
            yield from removing(self.path)
        finally:
            with contextlib.suppress(OSError):  # the folder was deleted meanwhile
                os.utime(self.folder, (changed_at, changed_at))

    def collected(self) -> Collected | None:
        """Return the result of `collecting`; None if the files were not collected yet."""
        try:
            return msgspec.json.decode((self.folder / _LIST).read_bytes(), type=Collected)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, ValueError) as error:
            unreadable = "the list of a run's files cannot be read"
            raise BackendError(f"{unreadable}: {error}", unreadable) from None

    def open(self, path: str) -> int:
        """Return a descriptor of a collected file; the caller must close it.

        Raises:
            OSError: the file no longer exists, or was replaced.
        """
        return open_beneath(self.folder / _OUTPUTS, path)

    def kept(self, path: str) -> Path:
        """Return where a collected file lies, out of reach of the run's code."""
        return self.folder / _OUTPUTS / path

    def touch(self) -> None:
        """Restart the folder's age."""
        now = self._clock.time()
        os.utime(self.folder, (now, now))

    def _take_outputs(self) -> str:
        """Move `data/outputs` out of reach of the run's code; return the error, or ""."""
        target = self.folder / _OUTPUTS
        if target.exists():
            return ""  # a killed process had already done this
        try:
            data = open_beneath(self.folder, f"{_WORK}/data", flags=os.O_DIRECTORY)
        except OSError as error:
            if is_shortage(error):
                raise
            return "data: not a folder any more"
        try:
            os.rename(_OUTPUTS, target, src_dir_fd=data)
        except FileNotFoundError:
            return ""  # the run removed the folder: no outputs
        except OSError as error:
            return f"data/outputs: cannot be collected: {os.strerror(error.errno or errno.EIO)}"
        finally:
            os.close(data)
        return ""


class Workspaces:
    """The workspaces of one store's runs.

    Args:
        root: the folder for them. Nothing is created before it is needed.
        keeps_outputs: whether the files of ended runs stay here.
    """

    def __init__(
        self, root: DataDir, clock: Clock, settings: Settings, *, keeps_outputs: bool = True
    ) -> None:
        self._root = root
        self._clock = clock
        self._settings = settings
        self._keeps_outputs = keeps_outputs
        self._ready: deque[Workspace] = deque(maxlen=1)
        """A staged workspace for the next run that needs one at once, if there is one."""
        self._making = threading.Lock()

    def make(self, run_id: str, epoch: str) -> Workspace:
        """Return a run's workspace, and create it if needed. Idempotent.

        Raises:
            BackendError: the workspace cannot be created.
        """
        found = self.find(run_id, epoch)
        if found is not None:
            return found
        with contextlib.suppress(IndexError, BackendError):  # a sweep may have removed it
            return self.adopt(self._ready.pop(), run_id, epoch)
        return self.adopt(self.stage(), run_id, epoch)

    def make_ready(self) -> None:
        """Stage a workspace for the next run, if none is ready. Does not raise."""
        if not self._making.acquire(blocking=False):
            return  # another thread stages it; a second one would be left behind
        try:
            if not self._ready:
                with contextlib.suppress(BackendError):
                    self._ready.append(self.stage())
        finally:
            self._making.release()

    def discard_ready(self) -> None:
        """Remove the workspace that is ready, if there is one; blocks until that is done."""
        with contextlib.suppress(IndexError):
            self.discard(self._ready.pop())

    def stage(self) -> Workspace:
        """Create a workspace for a run that does not exist yet; later `adopt` or `discard` it."""
        folder = self._folder() / f"{_STAGED}{secrets.token_hex(8)}"
        with _explained("a workspace cannot be made"):
            staged = Workspace(folder, self._clock, self._settings)
            data = staged.path / "data"
            for each in (folder, staged.path, data, staged.inputs, staged.outputs):
                make_new_folder(each, 0o755)
            staged.touch()
        return staged

    def adopt(self, staged: Workspace, run_id: str, epoch: str) -> Workspace:
        """Give a staged workspace to a run and return it under its new path."""
        made = Workspace(self._folder() / _name(run_id, epoch), self._clock, self._settings)
        with _explained("a workspace cannot be made"):
            write_file(staged.folder / _WHOSE, msgspec.json.encode(_Whose(run_id, epoch)))
            try:
                os.rename(staged.folder, made.folder)
            except OSError:
                if not made.folder.is_dir():
                    raise
                self.discard(staged)  # another thread of the run was first
            else:
                made.touch()
        return made

    def discard(self, staged: Workspace) -> None:
        """Remove a workspace; blocks until that is done."""
        finish(self._removing(staged.folder))

    def find(self, run_id: str, epoch: str) -> Workspace | None:
        """Return a run's workspace if it has one."""
        root = self._root.existing
        if root is None:
            return None
        folder = root / "workspaces" / _name(run_id, epoch)
        return Workspace(folder, self._clock, self._settings) if folder.is_dir() else None

    def hide(self, run_id: str, epoch: str) -> Path | None:
        """Rename the workspace of one epoch of a run; return the folder to be removed."""
        # Found by name: searching all workspaces would take longer the more there are.
        workspace = self.find(run_id, epoch)
        return None if workspace is None else self._hide(workspace.folder)

    def known(self) -> Steps[set[tuple[str, str]]]:
        """Return the run ids and epochs of all kept workspaces."""
        found = set()
        for folder in self._all():
            if not folder.name.startswith(".") and (whose := _whose(folder)) is not None:
                found.add((whose.run_id, whose.epoch))
            yield ENTRY_WORK
        return found

    def sweeping(self, life_of: Callable[[str, str], Life], time: float) -> Steps[int]:
        """Remove everything that is no longer needed; return the number of folders.

        That is: workspaces of deleted runs; of ended runs, everything that was not collected, and
        after `keep_files_s` the rest; and unfinished folders of killed processes.

        Args:
            life_of: returns the present life of a run id and epoch.
            time: Unix seconds by which ages count.
        """
        removed = 0
        for folder in self._all():
            yield ENTRY_WORK
            with contextlib.suppress(OSError):  # another process also sweeps
                age_s = time - folder.stat().st_mtime
                if folder.name.startswith("."):
                    if folder.name.startswith(_GOING) or age_s > _LEFT_S:
                        yield from self._removing(folder)
                        removed += 1
                    continue
                whose = _whose(folder)
                life = "gone" if whose is None else life_of(whose.run_id, whose.epoch)
                if self._is_useless(folder, life, age_s):
                    yield from self._removing(folder)
                    removed += 1
                elif life == "ended" and (folder / _WORK).exists():
                    # The process was killed after it wrote the list of files.
                    yield from Workspace(folder, self._clock, self._settings).tidying()
        return removed

    def _is_useless(self, folder: Path, life: Life, age_s: float) -> bool:
        keep_s = self._settings.keep_files_s
        return life == "gone" or (
            life == "ended"
            and (
                not self._keeps_outputs
                or not (folder / _LIST).exists()
                or bool(keep_s and age_s > keep_s)
            )
        )

    def _removing(self, folder: Path) -> Steps[None]:
        """Remove a folder: rename it first, then delete it."""
        hidden = self._hide(folder)
        yield from removing(hidden)
        if hidden.exists():
            _log.warning("%s cannot be removed", hidden)

    def _hide(self, folder: Path) -> Path:
        hidden = folder.with_name(f"{_GOING}{secrets.token_hex(8)}")
        try:
            os.rename(folder, hidden)
        except OSError:
            return folder
        return hidden

    def _all(self) -> Iterator[Path]:
        root = self._root.existing
        if root is not None:
            with contextlib.suppress(FileNotFoundError):
                yield from list((root / "workspaces").iterdir())

    def _folder(self) -> Path:
        folder = self._root.ready() / "workspaces"
        with _explained("workspaces cannot be made"):
            make_folder(folder)
        return folder


def _whose(folder: Path) -> _Whose | None:
    """Return the run of a workspace; None if the folder is not a workspace.

    Raises `OSError` if the owner cannot be read at present, so that the folder is not removed.
    """
    try:
        return msgspec.json.decode((folder / _WHOSE).read_bytes(), type=_Whose)
    except (msgspec.DecodeError, ValueError):
        return None
    except OSError as error:
        if is_shortage(error):
            raise
        return None


def _name(run_id: str, epoch: str) -> str:
    """Return the name of a run's folder. Ids may differ only by case, which some file systems
    ignore, and may be longer than a name."""
    assert is_run_id(run_id)
    return f"{hashlib.sha256(run_id.encode()).hexdigest()[:40]}-{epoch}"


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackendError(f"{what}: {error}", f"{what}: {os.strerror(error.errno or 0)}") from None
