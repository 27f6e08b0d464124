"""Save the files that a run made: below one folder, under their announced paths.

Existing files are not overwritten. The paths come from others, so no file is opened by its whole
path. Each folder is opened from the one above it, and a symbolic link on the way is refused.
"""

import hashlib
import os
import secrets
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from runcast._cli.terminal import meter
from runcast._files.making import is_plain_path
from runcast._files.model import StoredFile
from runcast.errors import InvalidValue, PeerError

if TYPE_CHECKING:
    from runcast.client.asynchronous import AsyncClient

__all__ = ("Folder",)

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Folder:
    """A folder for saved files; it is created if missing.

    Args:
        force: replace existing files that differ.

    Raises:
        InvalidValue: the folder cannot be created or written to.
    """

    def __init__(self, path: str, *, force: bool = False) -> None:
        self.path = Path(path).expanduser()
        self._force = force
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from None
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise InvalidValue(f"the folder {str(self.path)!r} may not be written to")

    async def save(
        self, client: "AsyncClient", run_id: str, announced: Iterable[Any]
    ) -> list[Path]:
        """Save a run's files under their own paths; return their local paths.

        Args:
            announced: the files in the run's `files` event.

        Raises:
            InvalidValue: other files exist there, or the folder cannot be written to.
            PeerError: a path leads elsewhere, or the content differs from the announced file.
        """
        files = [_checked(each) for each in announced]
        try:
            missing = [file for file in files if not self._has(file)]
            for file in missing:
                await self._fetch(client, run_id, file)
        except OSError as error:
            raise self._unusable(error) from None
        return [self.path / file.path for file in files]

    def _has(self, file: StoredFile) -> bool:
        """Return whether a file exists already. Raises `InvalidValue` if another file is in its
        place."""
        with suppress(FileNotFoundError), self._parent(file.path, make=False) as parent:
            if _is_same(file, parent):
                return True
            if not self._force:
                raise InvalidValue(
                    f"{str(self.path / file.path)!r} exists already and differs; take another "
                    "--out, or replace it with --force"
                )
        return False

    async def _fetch(self, client: "AsyncClient", run_id: str, file: StoredFile) -> None:
        name, part = _name(file.path), f".runcast-{secrets.token_hex(8)}.part"
        with self._parent(file.path, make=True) as parent:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                with (
                    os.fdopen(os.open(part, flags, 0o666, dir_fd=parent), "wb") as out,
                    meter("saving", file.path, file.size) as passed,
                ):
                    await _receive(client.contents(run_id, file.path), file, out, passed)
                if not self._force:
                    # Reserve the name. A file that was created meanwhile is not overwritten.
                    os.close(os.open(name, flags, 0o666, dir_fd=parent))
                os.replace(part, name, src_dir_fd=parent, dst_dir_fd=parent)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(part, dir_fd=parent)

    @contextmanager
    def _parent(self, path: str, *, make: bool) -> Iterator[int]:
        """Yield the folder of a file. Raises `OSError`, also for a symbolic link on the way."""
        descriptor = os.open(self.path, _FOLDER)
        try:
            for name in path.split("/")[:-1]:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(name, dir_fd=descriptor)
                inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def _unusable(self, error: OSError) -> InvalidValue:
        what = f" ({error.filename!r})" if error.filename not in (None, str(self.path)) else ""
        return InvalidValue(f"cannot save files in {str(self.path)!r}{what}: {error.strerror}")


def _is_same(file: StoredFile, parent: int) -> bool:
    """Return whether the existing file is this file. Raises `FileNotFoundError` if none exists."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with open(os.open(_name(file.path), flags, dir_fd=parent), "rb") as found:
            same_size = os.fstat(found.fileno()).st_size == file.size
            return same_size and hashlib.file_digest(found, "sha256").hexdigest() == file.sha256
    except FileNotFoundError:
        raise
    except OSError:
        return False  # a folder, a link, or not readable


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _checked(announced: Any) -> StoredFile:
    try:
        file = msgspec.convert(announced, StoredFile)
    except msgspec.ValidationError as error:
        raise PeerError(f"the run does not announce its files as runcast does: {error}") from None
    if not is_plain_path(file.path):
        raise PeerError(f"a file of the run is called {file.path!r:.200}: it is not saved")
    return file


async def _receive(
    pieces: AsyncGenerator[bytes, None],
    file: StoredFile,
    out: IO[bytes],
    passed: Callable[[int], None],
) -> None:
    """Write a file's content. Raises `PeerError` if it is not what was announced."""
    digest, done = hashlib.sha256(), 0
    async with aclosing(pieces):
        async for piece in pieces:
            done += len(piece)
            if done > file.size:
                break  # the file may never end
            digest.update(piece)
            out.write(piece)
            passed(len(piece))
    if done != file.size or digest.hexdigest() != file.sha256:
        raise PeerError(f"{file.path!r} is not what the run announced; it is not saved")
