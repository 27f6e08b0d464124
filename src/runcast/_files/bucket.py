"""Objects in a bucket that speaks S3's protocol. The only module that imports s3fs.

Names of objects are made by us alone, of letters, digits, `_.:-` and `/`, so no file's name can
reach another object.
"""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from runcast.errors import BackendError, InvalidValue, RuncastError

if TYPE_CHECKING:
    from s3fs import S3FileSystem

__all__ = ("Bucket", "Object")

_STORE: Final = "store"
"""The object that names the store whose files are below the prefix."""

_CONNECT_S: Final = 10
_READ_S: Final = 60
"""How long the bucket may take to connect, and to send the next bytes, seconds."""

_ATTEMPTS: Final = 4
"""How often a request is made: S3 asks clients to try again after 503, which is a throttle."""


class Object(NamedTuple):
    """An object of a list: its name below the prefix, its size, and Unix seconds of its change."""

    name: str
    size: int
    changed_at: float


class Bucket:
    """The objects below one prefix. All methods block, and may be called from any thread.

    Every method raises `BackendError` if the bucket cannot be reached, or refuses.

    Args:
        url: `s3://bucket[/prefix][?endpoint=https://…]`. Credentials come from the environment, as
            AWS's own tools take them.

    Raises:
        InvalidValue: the URL is malformed, or the package s3fs is missing.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        endpoint = options.pop("endpoint", "")
        if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc or options:
            raise InvalidValue(
                "expected files to be kept in s3://bucket/prefix or in "
                f"s3://bucket/prefix?endpoint=https://…, got {_shown(url)!r:.200}"
            )
        try:
            import s3fs  # noqa: F401 - a missing package is reported before anything begins
        except ImportError:
            raise InvalidValue(
                "files in a bucket need the package s3fs: pip install 'runcast[s3]'"
            ) from None
        self.shown = f"s3://{parts.netloc}{parts.path.rstrip('/')}"
        """The URL for messages."""
        self._root = f"{parts.netloc}{parts.path.rstrip('/')}"
        self._endpoint = endpoint or None
        self._lock = threading.Lock()
        self._system: S3FileSystem | None = None

    def claim(self, store: str) -> None:
        """Note whose files these are. Raises `InvalidValue` if they are another store's."""
        found = self.load(_STORE)
        if found is None:
            self.save(_STORE, store.encode())
            found = self.load(_STORE)
        if found != store.encode():
            raise InvalidValue(
                f"{self.shown} holds files of another store; give each store a prefix of its own, "
                f"or delete {self.shown}/{_STORE} if the store was moved"
            )

    def load(self, name: str) -> bytes | None:
        """Return an object; None if it does not exist."""
        with self._explained(), contextlib.suppress(FileNotFoundError):
            return bytes(self._open().cat_file(self._path(name)))
        return None

    def piece(self, name: str, begin: int, end: int) -> bytes:
        """Return a part of an object. Raises `FileNotFoundError` if it does not exist."""
        with self._explained():
            return bytes(self._open().cat_file(self._path(name), start=begin, end=end))

    def save(self, name: str, content: bytes) -> None:
        """Create or replace an object."""
        with self._explained():
            self._open().pipe_file(self._path(name), content)

    def store(self, name: str, path: Path) -> None:
        """Create or replace an object with a file's content; large files are sent in parts."""
        with self._explained():
            self._open().put_file(str(path), self._path(name))

    def fetch(self, name: str, path: Path) -> None:
        """Write an object into a file. Raises `FileNotFoundError` if it does not exist."""
        with self._explained():
            self._open().get_file(self._path(name), str(path))

    def remove(self, name: str) -> None:
        """Remove an object. Idempotent."""
        with self._explained(), contextlib.suppress(FileNotFoundError):
            self._open().rm_file(self._path(name))

    def objects(self, folder: str) -> Iterator[Object]:
        """Return all objects whose names begin with `<folder>/`; a thousand cost one request."""
        with self._explained():
            found = self._open().find(self._path(folder), detail=True)
        for path, about in found.items():
            name = str(path).removeprefix(f"{self._root}/")
            if name.startswith(f"{folder}/"):
                yield Object(name, int(about["size"] or 0), about["LastModified"].timestamp())

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _open(self) -> "S3FileSystem":
        with self._lock:
            if self._system is None:
                from s3fs import S3FileSystem

                self._system = S3FileSystem(
                    client_kwargs={}
                    if self._endpoint is None
                    else {"endpoint_url": self._endpoint},
                    config_kwargs=_config(),
                    use_listings_cache=False,  # other nodes change the bucket, too
                    skip_instance_cache=True,
                )
            return self._system

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, RuncastError):
            raise
        except Exception as error:  # noqa: BLE001 - botocore has errors of many kinds for a network
            what = "the bucket for files failed"
            raise BackendError(
                f"{self.shown}: {what}: {type(error).__name__}: {error!s:.200}", what
            ) from None


def _config() -> dict[str, Any]:
    return {
        "connect_timeout": _CONNECT_S,
        "read_timeout": _READ_S,
        "retries": {"max_attempts": _ATTEMPTS, "mode": "standard"},
    }


def _shown(url: str) -> str:
    """Return a URL without anything that may be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
