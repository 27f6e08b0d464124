"""Giving files to a run: from uploads, from the invocation's workspace, from URLs.

All of a run's files are copied before the run is begun: what is wrong with them is told to whoever
invokes, and a run in the store has all that it was given. Copied, not linked: a function may change
its files without changing anybody else's.
"""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final
from urllib.parse import unquote

from runcast._clock import Clock
from runcast._files.collecting import open_beneath
from runcast._files.making import new_file
from runcast._files.model import FileReference
from runcast._files.names import is_plain_path
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
"""The files that a run is given, by their groups."""

_COPY_BYTES: Final = 1024 * 1024
_INPUTS: Final = "data/inputs"


class Inputs:
    """Gathers the files that runs are given. `stage` blocks; any thread may call it."""

    def __init__(
        self, workspaces: Workspaces, uploads: Uploads, clock: Clock, settings: Settings
    ) -> None:
        self._workspaces = workspaces
        self._uploads = uploads
        self._clock = clock
        self._settings = settings
        self._fetcher = _make_fetcher(settings, clock) if settings.url_allow else None

    def close(self) -> None:
        """Break off what is being fetched."""
        if self._fetcher is not None:
            self._fetcher.close()

    def stage(
        self, groups: Mapping[str, FileGroup], given: GivenFiles, workspace: str
    ) -> Workspace | None:
        """Return a workspace with the files in it; None where there are none.

        Args:
            groups: what the function declares.
            workspace: the folder that paths are meant in. Without other files, what is in its
                `data/inputs` is given; where `workspace_roots` is empty it is ignored then.

        Raises:
            InvalidInputs: the files are not those that are declared, or not there.
            InvalidValue: a reference is malformed.
            Forbidden: a folder or a URL is not allowed.
            FileTooLarge: too many or too much.
            PeerError: a URL cannot be fetched.
            BackendError: they cannot be copied.
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
            self._fill(staged, given, base)
        except OSError as error:
            self._workspaces.discard(staged)
            raise BackendError(f"the files cannot be copied: {_reason(error)}") from None
        except BaseException:
            self._workspaces.discard(staged)
            raise
        return staged

    def _check(self, reference: FileReference, base: "_Base | None") -> None:
        """Refuse what can be refused before anything is copied."""
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

    def _fill(self, staged: Workspace, given: GivenFiles, base: "_Base | None") -> None:
        left = self._settings.max_input_bytes
        deadline = self._clock.monotonic() + self._settings.fetch_wait_s
        for key, references in given.items():
            for number, reference in enumerate(references):
                try:
                    left -= self._copy(staged, key, reference, base, left, deadline)
                except (NotFound, FileNotFoundError) as error:
                    problem = f"files.{key}[{number}]: {_missing(reference, error)}"
                    raise InvalidInputs(problem, (problem,)) from None
                except CallerError as error:
                    error.args = (f"files.{key}[{number}]: {error.message}", *error.args[1:])
                    raise
        staged.settle()

    def _copy(
        self,
        staged: Workspace,
        key: str,
        reference: FileReference,
        base: "_Base | None",
        left: int,
        deadline: float,
    ) -> int:
        """Copy one file and return its size."""
        name = reference.name
        if reference.url:
            fetcher = self._allowed_fetcher
            path = fetcher.check(reference.url).path
            with new_file(staged.place(key, name or unquote(path))) as target:
                return fetcher.fetch(reference.url, target, left, deadline)
        if reference.upload_id:
            upload, uploaded = self._uploads.find(reference.upload_id)
            name = name or upload.name
            descriptor = os.open(uploaded, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        else:
            assert base is not None
            name = name or reference.path
            descriptor = base.open(reference.path)
        with open(descriptor, "rb") as source, new_file(staged.place(key, name)) as target:
            return _copy(source, target, left)


class _Base:
    """The folder that an invocation calls its workspace, if it may."""

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
        # Opened from the root on: what is put into its place after this is not followed.
        self._root = next((root for root in allowed if found.is_relative_to(root)), None)
        if self._root is None or not found.is_dir():
            raise refused
        self._below = "" if found == self._root else found.relative_to(self._root).as_posix()

    def open(self, path: str) -> int:
        """Return a descriptor of a file. Raises `FileNotFoundError`, for links as well."""
        assert self._root is not None
        try:
            return open_beneath(self._root, f"{self._below}/{path}".lstrip("/"))
        except OSError:
            raise FileNotFoundError(path) from None

    def inputs(self, most: int) -> dict[str, list[FileReference]]:
        """Return what lies in `data/inputs`: folders are groups, single files are of `input`."""
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
        except OSError:
            return []
        try:
            with os.scandir(descriptor) as entries:
                names = [entry.name for entry, _ in zip(entries, range(most + 1), strict=False)]
            modes = {
                name: os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
                for name in sorted(names)
            }
        except OSError:
            return []
        finally:
            os.close(descriptor)
        return [
            (name, stat.S_ISDIR(mode))
            for name, mode in modes.items()
            if stat.S_ISDIR(mode) or stat.S_ISREG(mode)
        ]


def _make_fetcher(settings: Settings, clock: Clock) -> "Fetcher":
    # To import it takes a tenth of the time to start, and most have no use for it.
    from runcast._files.fetching import Fetcher

    return Fetcher(settings.url_allow, clock)


def _copy(source: BinaryIO, target: BinaryIO, most: int) -> int:
    size = 0
    while piece := source.read(_COPY_BYTES):
        size += len(piece)
        if size > most:
            raise FileTooLarge("expected fewer or smaller files (max_input_bytes)")
        target.write(piece)
    return size


def _all(given: GivenFiles) -> Iterator[FileReference]:
    for references in given.values():
        yield from references


def _has_paths(given: GivenFiles) -> bool:
    return any(reference.path for reference in _all(given))


def _missing(reference: FileReference, error: Exception) -> str:
    if isinstance(error, NotFound):
        return error.message
    return f"there is no file {reference.path[:200]!r} in the workspace"


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else type(error).__name__
