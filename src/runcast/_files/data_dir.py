"""The folder for files: beside the store, or a temporary one that is removed with the process.

A temporary folder is locked while its process lives. The next process that needs a temporary folder
removes unlocked ones, whose processes were killed.
"""

import contextlib
import fcntl
import os
import secrets
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from runcast._files.making import make_folder, new_file, write_file
from runcast._files.removing import remove_folder
from runcast.errors import BackendError, InvalidValue

__all__ = ("DataDir",)

_PREFIX: Final = "runcast-"
_LOCK: Final = "in-use"
_STORE: Final = "store"
_PLACE: Final = "place"


class _OfAnotherStore(InvalidValue):
    """The folder belongs to another store: the operator's error, not the client's."""

    code = BackendError.code
    status = BackendError.status

    @property
    def public(self) -> str:
        return "the folder for files (data_dir) holds files of another store"


class DataDir:
    """A folder that is created when it is first needed. Call its methods from any thread.

    Args:
        path: the folder; None for a temporary one, in `parent` or in the system's temporary folder.
        store: the store that the folder belongs to, or what returns it once the store is open.
            Another store's files would look like leftovers, so a folder marked with another store
            is refused; "" skips this check.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        parent: str = "",
        store: str | Callable[[], str] = "",
    ) -> None:
        # Absolute, because a function may change the working directory.
        self._path = path.absolute() if path is not None else None
        self._parent = Path(parent or tempfile.gettempdir()).absolute()
        self._store = store
        self._lock = threading.Lock()
        self._held = -1
        self._ready: Path | None = None
        self._is_closed = False

    @property
    def is_lasting(self) -> bool:
        """Whether the folder outlives the process, unlike a temporary one."""
        return self._path is not None

    @property
    def existing(self) -> Path | None:
        """The folder if it exists; None if nothing was ever kept."""
        if self._ready is None and self._path is not None and self._path.is_dir():
            return self.ready()
        return self._ready

    def ready(self) -> Path:
        """Return the folder, and create it if needed; blocks.

        Raises:
            InvalidValue: the folder belongs to another store.
            BackendError: the folder cannot be created, or was closed.
        """
        with self._lock:
            if self._is_closed:
                raise BackendError("no more files can be kept: the hub is closed")
            if self._ready is None:
                try:
                    self._ready = self._temporary() if self._path is None else self._given()
                except OSError as error:
                    place = self._path or self._parent
                    raise BackendError(
                        f"no files can be kept in {place} (data_dir): {error}",
                        "no files can be kept in the folder for them (data_dir)",
                    ) from None
            return self._ready

    def place(self) -> str:
        """Return the folder's own random id, the same for all processes that share the folder;
        blocks.

        Raises what `ready` raises.
        """
        root = self.ready()
        try:
            made = root / f"{_PLACE}.{secrets.token_hex(8)}"
            if not (root / _PLACE).exists():
                write_file(made, secrets.token_hex(8).encode())
                with contextlib.suppress(FileExistsError):  # another process was first
                    os.link(made, root / _PLACE)
                made.unlink()
            return (root / _PLACE).read_text("ascii")
        except OSError as error:
            what = "the folder for files (data_dir) cannot be used"
            raise BackendError(f"{root}: {what}: {error}", what) from None

    def open(self) -> None:
        """Allow its use, also after `close`."""
        with self._lock:
            self._is_closed = False

    def close(self) -> None:
        """Refuse further use, and remove a temporary folder; blocks. Idempotent."""
        with self._lock:
            self._is_closed = True
            if self._path is None and self._ready is not None:
                remove_folder(self._ready)
                os.close(self._held)
                self._ready = None

    def _given(self) -> Path:
        assert self._path is not None
        path = self._path
        make_folder(path)
        store = self._store if isinstance(self._store, str) else self._store()
        if store:
            with contextlib.suppress(FileExistsError), new_file(path / _STORE) as file:
                file.write(store.encode())
            found = (path / _STORE).read_text("utf-8")
            if found != store:
                raise _OfAnotherStore(
                    f"{path} (data_dir) holds files of the store {found}, not of {store}; "
                    f"give each store its own, or correct {path / _STORE} if the store was moved"
                )
        return path

    def _temporary(self) -> Path:
        make_folder(self._parent)
        for left in self._parent.glob(f"{_PREFIX}*/{_LOCK}"):
            _remove_if_left(left)
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._parent))
        path.chmod(0o700)
        # Child processes must not inherit the lock: they would hold it after our death.
        held = os.open(path / "making", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        os.fchmod(held, 0o600)
        fcntl.flock(held, fcntl.LOCK_EX)
        os.rename(path / "making", path / _LOCK)  # the lock is visible only once it is locked
        self._held = held
        return path


def _remove_if_left(lock: Path) -> None:
    """Remove the temporary folder of a process that was killed."""
    try:
        if lock.parent.lstat().st_uid != os.getuid():
            return
        held = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return  # another user's, or gone meanwhile
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_folder(lock.parent)
    except OSError:
        pass  # its process is alive
    finally:
        os.close(held)
