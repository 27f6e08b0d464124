"""Give files to a run: from uploads, from the invocation's workspace, from URLs.

All files are copied before the run begins. So the client gets every error, and a stored run has all
of its files. The files are copied, not linked: a function may change its files without changing the
originals.
"""

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from runcast._clock import Clock
from runcast._files.collecting import open_beneath
from runcast._files.fair_threads import Steps
from runcast._files.making import is_plain_path, is_shortage, new_file
from runcast._files.model import FileReference
from runcast._files.network import Stop
from runcast._files.removing import ENTRY_WORK
from runcast._files.uploads import Uploads
from runcast._files.workspace import Workspace, Workspaces
from runcast._functions.file_groups import FileGroup, check_inputs, check_key
from runcast._settings import Settings
from runcast.errors import (
    BackendError,
    CallerError,
    FileTooLarge,
    Forbidden,
    InvalidInputs,
    InvalidValue,
    NotFound,
)

if TYPE_CHECKING:
    from runcast._files.fetching import Fetcher

__all__ = ("GivenFiles", "Inputs")

GivenFiles = Mapping[str, Sequence[FileReference]]
"""The files for a run, by group."""

_COPY_BYTES: Final = 1024 * 1024

_STEP_BYTES: Final = 8 * 1024 * 1024
"""Bytes copied in one step, some milliseconds."""

_INPUTS: Final = "data/inputs"


class Inputs:
    """Gathers the files for runs. Any thread may run the steps of `staging`."""

    def __init__(
        self, workspaces: Workspaces, uploads: Uploads, clock: Clock, settings: Settings
    ) -> None:
        self._workspaces = workspaces
        self._uploads = uploads
        self._clock = clock
        self._settings = settings
        self._fetcher = _make_fetcher(settings, clock) if settings.url_allow else None

    def staging(
        self,
        groups: Mapping[str, FileGroup],
        given: GivenFiles,
        workspace: str,
        stop: Stop | None = None,
    ) -> Steps[Workspace | None]:
        """Return a workspace with the files; None without files.

        Files from URLs are fetched in one step, which may take `fetch_wait_s`.

        Args:
            groups: the function's groups of files.
            workspace: the folder for `path` references. Without any reference, the files in its
                `data/inputs` are given; if `workspace_roots` is empty, it is then ignored.
            stop: stops the fetch.

        Raises:
            InvalidInputs: the files do not match the declared groups, or do not exist.
            InvalidValue: a reference is malformed.
            Forbidden: a folder or a URL is not allowed.
            FileTooLarge: too many files or bytes.
            PeerError: a URL cannot be fetched.
            BackendError: the files cannot be copied.
        """
        base: _Base | None = None
        if workspace and (self._settings.workspace_roots or _has_paths(given)):
            base = _Base(workspace, self._settings.workspace_roots)
            given = given or base.inputs(self._settings.max_files)
        check_inputs(groups, {check_key(key): len(files) for key, files in given.items()})
        count = sum(map(len, given.values()))
        if count > self._settings.max_files:
            raise FileTooLarge(f"expected at most {self._settings.max_files} files (max_files)")
        if not count:
            return None
        for reference in _all(given):
            self._check(reference, base)
        staged = self._workspaces.stage()
        try:
            yield from self._fill(staged, given, base, stop)
        except OSError as error:
            self._workspaces.discard(staged)
            raise BackendError(f"the files cannot be copied: {_reason(error)}") from None
        except BaseException:
            self._workspaces.discard(staged)
            raise
        return staged

    def _check(self, reference: FileReference, base: "_Base | None") -> None:
        """Refuse a bad reference before anything is copied."""
        named = [name for name in ("upload_id", "path", "url") if getattr(reference, name)]
        if len(named) != 1:
            raise InvalidValue(
                f"expected a file to be one of upload_id, path and url, got {named or 'none'}"
            )
        if reference.url:
            self._allowed_fetcher.check(reference.url)
        elif reference.path and base is None:
            raise InvalidValue("expected a workspace for the files that are given as paths")
        elif reference.path and not is_plain_path(reference.path):
            raise InvalidValue(
                f"expected a path within the workspace, got {reference.path[:200]!r}"
            )

    @property
    def _allowed_fetcher(self) -> "Fetcher":
        if self._fetcher is None:
            raise Forbidden("files cannot be given as URLs here: the setting url_allow is empty")
        return self._fetcher

    def _fill(
        self, staged: Workspace, given: GivenFiles, base: "_Base | None", stop: Stop | None
    ) -> Steps[None]:
        left = self._settings.max_input_bytes
        deadline = self._clock.monotonic() + self._settings.fetch_wait_s
        for key, references in given.items():
            for number, reference in enumerate(references):
                try:
                    if reference.url:
                        left -= self._fetch(staged, key, reference, left, deadline, stop)
                    else:
                        source, name = self._source(reference, base)
                        target = staged.place(key, reference.name or name)
                        size = yield from _copying(source, target, left)
                        left -= size
                        yield size % _STEP_BYTES + ENTRY_WORK
                except (NotFound, FileNotFoundError) as error:
                    problem = f"files.{key}[{number}]: {_missing(reference, error)}"
                    raise InvalidInputs(problem, (problem,)) from None
                except CallerError as error:
                    error.args = (f"files.{key}[{number}]: {error.message}", *error.args[1:])
                    raise
        staged.settle()

    def _fetch(
        self,
        staged: Workspace,
        key: str,
        reference: FileReference,
        left: int,
        deadline: float,
        stop: Stop | None,
    ) -> int:
        """Fetch one file and return its size."""
        fetcher = self._allowed_fetcher
        path = fetcher.check(reference.url).path
        with new_file(staged.place(key, reference.name or unquote(path))) as target:
            return fetcher.fetch(reference.url, target, left, deadline, stop)

    def _source(
        self, reference: FileReference, base: "_Base | None"
    ) -> tuple[Callable[[], int], str]:
        """Return a function that opens the file (callable repeatedly), and the file's name."""
        if reference.path:
            assert base is not None
            return partial(base.open, reference.path), reference.path

        open_upload = partial(self._uploads.open, reference.upload_id)
        return open_upload, self._uploads.find(reference.upload_id)[0].name


class _Base:
    """The folder that an invocation names as its workspace, if allowed."""

    def __init__(self, workspace: str, roots: Sequence[str]) -> None:
        if not roots:
            raise Forbidden(
                "files cannot be given as paths here: the setting workspace_roots is empty"
            )
        refused = Forbidden(f"expected a workspace below workspace_roots, got {workspace[:200]!r}")
        if not os.path.isabs(workspace) or "\0" in workspace:
            raise refused
        try:
            found = Path(workspace).resolve(strict=True)
            allowed = [Path(root).resolve(strict=True) for root in roots if os.path.isdir(root)]
        except (OSError, RuntimeError, UnicodeError):
            raise refused from None
        # Opened from the root on, so that a folder replaced after this check is not followed.
        self._root = next((root for root in allowed if found.is_relative_to(root)), None)
        if self._root is None or not found.is_dir():
            raise refused
        self._below = "" if found == self._root else found.relative_to(self._root).as_posix()

    def open(self, path: str) -> int:
        """Return a descriptor of a file. Raises `FileNotFoundError`, also for links."""
        assert self._root is not None
        try:
            return open_beneath(self._root, f"{self._below}/{path}".lstrip("/"))
        except OSError as error:
            if is_shortage(error):
                raise
            raise FileNotFoundError(path) from None

    def inputs(self, most: int) -> dict[str, list[FileReference]]:
        """Return the files in `data/inputs`: folders are groups, single files belong to `input`."""
        found: dict[str, list[FileReference]] = {}
        for name, is_folder in self._list(_INPUTS, most):
            if is_folder:
                inner = self._list(f"{_INPUTS}/{name}", most)
                paths = [f"{_INPUTS}/{name}/{file}" for file, is_deeper in inner if not is_deeper]
                found.setdefault(name, []).extend(FileReference(path=path) for path in paths)
        if "input" not in found:
            files = [name for name, is_folder in self._list(_INPUTS, most) if not is_folder]
            found["input"] = [FileReference(path=f"{_INPUTS}/{name}") for name in files]
        return {key: files for key, files in found.items() if files}

    def _list(self, path: str, most: int) -> list[tuple[str, bool]]:
        assert self._root is not None
        try:
            below = f"{self._below}/{path}".lstrip("/")
            descriptor = open_beneath(self._root, below, flags=os.O_DIRECTORY)
        except OSError as error:
            return _no_entries(error)
        try:
            with os.scandir(descriptor) as entries:
                names = [entry.name for entry, _ in zip(entries, range(most + 1), strict=False)]
            modes = {
                name: os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
                for name in sorted(names)
            }
        except OSError as error:
            return _no_entries(error)
        finally:
            os.close(descriptor)
        return [
            (name, stat.S_ISDIR(mode))
            for name, mode in modes.items()
            if stat.S_ISDIR(mode) or stat.S_ISREG(mode)
        ]


def _make_fetcher(settings: Settings, clock: Clock) -> "Fetcher":
    # Imported late: the import takes a tenth of the start, and most servers do not need it.
    from runcast._files.fetching import Fetcher

    return Fetcher(settings.url_allow, clock)


def _copying(open_source: Callable[[], int], target: Path, most: int) -> Steps[int]:
    """Copy a file and return its size. No descriptor is open between two steps."""
    size = 0
    node: tuple[int, int] | None = None
    while True:
        source = open_source()
        try:
            status = os.fstat(source)
            if node not in (None, (status.st_dev, status.st_ino)):
                raise InvalidValue("expected a file that does not change while it is copied")
            node = (status.st_dev, status.st_ino)
            with target.open("ab") if size else new_file(target) as file:
                until = size + _STEP_BYTES
                while size < until and (piece := os.pread(source, _COPY_BYTES, size)):
                    size += len(piece)
                    if size > most:
                        raise FileTooLarge("expected fewer or smaller files (max_input_bytes)")
                    file.write(piece)
        finally:
            os.close(source)
        if size < until:
            return size
        yield _STEP_BYTES


def _all(given: GivenFiles) -> Iterator[FileReference]:
    for references in given.values():
        yield from references


def _has_paths(given: GivenFiles) -> bool:
    return any(reference.path for reference in _all(given))


def _missing(reference: FileReference, error: Exception) -> str:
    if isinstance(error, NotFound):
        return error.message
    return f"there is no file {reference.path[:200]!r} in the workspace"


def _no_entries(error: OSError) -> list[tuple[str, bool]]:
    """Return the entries of a missing folder: none.

    Raises `BackendError` if it may exist, because the run would begin without its files.
    """
    if is_shortage(error):
        raise BackendError(f"the workspace cannot be read: {_reason(error)}") from None
    return []


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else type(error).__name__
