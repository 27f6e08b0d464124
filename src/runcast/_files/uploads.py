"""Files that callers upload before the runs that use them.

    <data_dir>/uploads/
        <upload_id>.part     an upload in progress
        <upload_id>.json     its description
        <upload_id>          the file; it exists only once it is complete
    <data_dir>/uploads.total
                             the number of files and their total size

A file is kept until no run has used it for `keep_uploads_s`. Its id is as hard to guess as a key:
any client with the id may use the file.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import AsyncIterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from runcast._clock import Clock
from runcast._files.collecting import content_type
from runcast._files.data_dir import DataDir
from runcast._files.fair_threads import InThread
from runcast._files.making import is_shortage, make_folder, safe_name, write_file
from runcast._files.model import Upload
from runcast._files.tally import Tally, Totals
from runcast._settings import Settings
from runcast.errors import BackendError, FileTooLarge, NotFound, Overloaded

__all__ = ("UPLOAD_ID", "Arrival", "Uploads")

UPLOAD_ID: Final = re.compile(r"([0-9a-f]{32})(?:@([A-Za-z0-9_.-]{1,64}))?")
"""An upload's id. Behind the `@` is the node that has the file, if not all nodes have it."""
_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]{1,80}/[\w!#$&^.+-]{1,80}", re.ASCII)

_WRITE_BYTES: Final = 1024 * 1024
"""Bytes gathered before they are passed to a thread that hashes and writes them."""


class Uploads:
    """The uploaded files of one store. Its coroutines belong to one loop; `find` and `sweep` block
    and may be called from any thread."""

    def __init__(
        self,
        root: DataDir,
        clock: Clock,
        settings: Settings,
        in_thread: InThread = asyncio.to_thread,
        *,
        node: str = "",
    ) -> None:
        self._root = root
        self._clock = clock
        self._settings = settings
        self._in_thread = in_thread
        self._node = node
        self._arriving: set[str] = set()
        self._arriving_bytes = 0
        self._finished_bytes = 0

    async def receive(
        self, name: str, media_type: str, pieces: AsyncIterable[bytes], owner: str = ""
    ) -> Upload:
        """Write a file to the disk as it arrives, and return its description.

        The file is stored completely or not at all, whatever `pieces` raises.

        Args:
            name: the client's name for the file; it is made safe.
            media_type: the client's media type; "" if unknown.
            owner: stored with the file, see `owner_of`.

        Raises:
            FileTooLarge: the file is larger than `max_upload_bytes`.
            Overloaded: too many or too large files are waiting.
            BackendError: the file cannot be written.
        """
        name_here = secrets.token_hex(16)
        self._arriving.add(name_here)
        arrival: Arrival | None = None
        # Read before the count, so that an upload that ends meanwhile counts twice rather than
        # never.
        finished_bytes = self._finished_bytes
        try:
            kept = await self._in_thread(self._kept)
            self._check_count(kept.files + len(self._arriving))
            arrival = Arrival(await self._in_thread(self._folder), name_here, self._in_thread)
            await arrival.write()
            async for piece in pieces:
                arrival.add(piece)
                self._arriving_bytes += len(piece)
                ended_bytes = self._finished_bytes - finished_bytes
                self._check_size(arrival.size + arrival.waiting, kept.bytes + ended_bytes)
                if arrival.waiting >= _WRITE_BYTES:
                    await arrival.write()
            await arrival.write()
            upload = await self._in_thread(
                self._finish, arrival, safe_name(name), media_type, owner
            )
            self._finished_bytes += upload.size
            return upload
        finally:
            self._arriving.discard(name_here)
            if arrival is not None:
                self._arriving_bytes -= arrival.size + arrival.waiting
                await asyncio.shield(self._in_thread(arrival.close))

    def _finish(self, arrival: "Arrival", name: str, media_type: str, owner: str) -> Upload:
        if not _MEDIA_TYPE.fullmatch(media_type):
            media_type = content_type(name)  # in a thread, because it may read the system's table
        now = self._clock.time()
        upload = Upload(
            upload_id=arrival.name + (self._node and f"@{self._node}"),
            name=name,
            size=arrival.size,
            sha256=arrival.sha256,
            type=media_type,
            expires_at=self._expiry(now),
            owner=owner,
        )
        self._keep(arrival, upload, now)
        return upload

    def _keep(self, arrival: "Arrival", upload: Upload, now: float) -> None:
        with _explained():
            arrival.describe(upload, now)
            with self._tally.changing(1, upload.size) as kept:
                # Check again, because other processes also take uploads.
                self._check_count(kept.files + 1)
                self._check_room(kept.bytes + upload.size)
                arrival.finish()

    def find(self, upload_id: str) -> tuple[Upload, Path]:
        """Return an uploaded file and its path, and extend its life.

        Raises:
            NotFound: the file does not exist, or has expired.
            BackendError: the file cannot be read at present.
        """
        unknown = NotFound(f"there is no upload {upload_id[:80]!r}; it may have expired")
        root = self._root.existing
        form = UPLOAD_ID.fullmatch(upload_id)
        if form is not None and form[2] and form[2] != self._node:
            unknown = NotFound(
                f"the upload {upload_id[:80]!r} is not here but on the node {form[2]}: "
                "invoke there, or have the nodes share their files (files, data_dir)"
            )
        if root is None or form is None:
            raise unknown
        path = root / "uploads" / form[1]
        now = self._clock.time()
        try:
            if path.stat().st_mtime + self._settings.keep_uploads_s < now:
                raise unknown
            os.utime(path, (now, now))
            known = msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=Upload)
        except (OSError, msgspec.DecodeError, ValueError) as error:
            if isinstance(error, OSError) and is_shortage(error):
                why = os.strerror(error.errno or 0)
                raise BackendError(f"an upload cannot be read at present: {why}") from None
            raise unknown from None
        known.expires_at = self._expiry(now)
        return known, path

    def open(self, upload_id: str) -> int:
        """Return a descriptor of an uploaded file; the caller must close it. Extends its life.

        Raises what `find` raises, and `OSError`.
        """
        _, path = self.find(upload_id)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def sweep(self, time: float) -> int:
        """Remove expired files and leftovers of killed processes; return their number.

        Args:
            time: Unix seconds by which ages count.
        """
        root = self._root.existing
        if root is None or not (root / "uploads").is_dir():
            return 0
        removed = 0
        files = size = 0
        oldest = time - self._settings.keep_uploads_s
        changes = self._tally.read().changes
        for path in self._paths():
            if path.stem in self._arriving:
                continue
            with contextlib.suppress(OSError):  # another process also sweeps
                status = path.stat()
                # A description is removed only after its file.
                is_known = path.suffix == ".json" and path.with_suffix("").exists()
                if not is_known and status.st_mtime < oldest:
                    if path.suffix:
                        path.unlink()
                        continue
                    with self._tally.changing(-1, -status.st_size):
                        path.unlink()
                    removed += 1
                elif not path.suffix:
                    files += 1
                    size += status.st_size
        self._tally.correct(Totals(files, size, changes + removed))
        return removed

    def _expiry(self, now: float) -> float:
        return now + self._settings.keep_uploads_s

    def _check_count(self, count: int) -> None:
        if count > self._settings.max_uploads:
            raise Overloaded(f"{count - 1} uploaded files wait for their runs (max_uploads)")

    def _check_size(self, size: int, kept_bytes: int) -> None:
        if size > self._settings.max_upload_bytes:
            raise FileTooLarge(
                f"expected a file of at most {self._settings.max_upload_bytes} bytes "
                "(max_upload_bytes)"
            )
        self._check_room(kept_bytes + self._arriving_bytes)

    def _check_room(self, size: int) -> None:
        if size > self._settings.upload_bytes:
            raise Overloaded("there is no room for more uploaded files now (upload_bytes)")

    @property
    def _tally(self) -> Tally:
        return Tally(self._root.ready() / "uploads.total", self._look)

    def _kept(self) -> Totals:
        """Return the number of waiting files and their total size."""
        if self._root.existing is None:
            return Totals(0, 0)
        with _explained():
            return self._tally.read()

    def _look(self) -> Totals:
        sizes = []
        for path in self._paths():
            if not path.suffix:
                with contextlib.suppress(OSError):
                    sizes.append(path.stat().st_size)
        return Totals(len(sizes), sum(sizes))

    def _paths(self) -> Iterator[Path]:
        root = self._root.existing
        if root is not None:
            with contextlib.suppress(OSError):
                yield from list((root / "uploads").iterdir())

    def _folder(self) -> Path:
        folder = self._root.ready() / "uploads"
        with _explained():
            make_folder(folder)
        return folder


class Arrival:
    """An upload in progress. Blocking work runs in threads, one call at a time."""

    def __init__(self, folder: Path, name: str, in_thread: InThread) -> None:
        self.name = name
        self._in_thread = in_thread
        self._path = folder / name
        self.part = folder / f"{name}.part"
        self._pieces: list[bytes] = []
        self._hash = hashlib.sha256()
        self._descriptor = -1
        self.waiting = 0
        self.size = 0

    @property
    def sha256(self) -> str:
        """The hash of the written bytes."""
        return self._hash.hexdigest()

    def add(self, piece: bytes) -> None:
        """Keep a piece until `write`."""
        self._pieces.append(piece)
        self.waiting += len(piece)

    async def write(self) -> None:
        """Write the pieces added since the last call."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        self.waiting = 0
        self.size += len(data)
        # A thread cannot be stopped. Even if its task is cancelled, only one may use the file.
        writing = asyncio.ensure_future(self._in_thread(self._write, data))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait({writing})
            raise

    def _write(self, data: bytes) -> None:
        with _explained():
            if self._descriptor < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
                self._descriptor = os.open(self.part, flags, 0o600)
                os.fchmod(self._descriptor, 0o600)
            self._hash.update(data)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def describe(self, upload: Upload, now: float) -> None:
        """Write the file's description."""
        about = self._path.with_suffix(".json")
        write_file(about, msgspec.json.encode(upload))
        for path in (about, self.part):
            os.utime(path, (now, now))

    def finish(self) -> None:
        """Publish the file under its id."""
        os.rename(self.part, self._path)

    def close(self) -> None:
        """Remove an unfinished upload. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        with contextlib.suppress(OSError):
            self.part.unlink()
            self._path.with_suffix(".json").unlink()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackendError(f"an upload cannot be kept: {os.strerror(error.errno or 0)}") from None
