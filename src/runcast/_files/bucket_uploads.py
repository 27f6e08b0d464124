"""Uploads in a bucket, which every node may use.

    <prefix>/uploads/<upload_id>.json    the description; it is rewritten with each use
    <prefix>/uploads/<upload_id>         the file

A node receives a file on its disk, as without a bucket, and then stores it. A node that uses an
upload of another node copies it to its disk first.
"""

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

import msgspec

from runcast._clock import Clock
from runcast._files.bucket import Bucket
from runcast._files.data_dir import DataDir
from runcast._files.model import Upload
from runcast._files.tally import Totals
from runcast._files.threads import FileThreads
from runcast._files.uploads import UPLOAD_ID, Arrival, Uploads
from runcast._settings import Settings
from runcast.errors import BackendError, NotFound

__all__ = ("BucketUploads",)


class BucketUploads(Uploads):
    """The uploaded files of one store, in a bucket. Calls block, and may come from any thread.

    The bounds count what the bucket holds, so they are those of all nodes together. Uploads that
    end at the same moment on several nodes may exceed them, by one each.
    """

    def __init__(
        self, bucket: Bucket, root: DataDir, clock: Clock, settings: Settings, threads: FileThreads
    ) -> None:
        super().__init__(root, clock, settings, threads.remote)
        self._bucket = bucket

    def _kept(self) -> Totals:
        sizes = [
            each.size for each in self._bucket.objects("uploads") if not each.name.endswith(".json")
        ]
        return Totals(len(sizes), sum(sizes))

    def _keep(self, arrival: Arrival, upload: Upload, now: float) -> None:
        kept = self._kept()
        self._check_count(kept.files + 1)
        self._check_room(kept.bytes + upload.size)
        # The description first: a file without one could be neither used nor swept by its age.
        self._describe(upload)
        self._bucket.store(f"uploads/{upload.upload_id}", arrival.part)

    def _describe(self, upload: Upload) -> None:
        self._bucket.save(f"uploads/{upload.upload_id}.json", msgspec.json.encode(upload))

    def find(self, upload_id: str) -> tuple[Upload, Path]:
        """Return an uploaded file and the path of its copy here, which `open` makes."""
        unknown = NotFound(f"there is no upload {upload_id[:80]!r}; it may have expired")
        if not UPLOAD_ID.fullmatch(upload_id):
            raise unknown
        described = self._bucket.load(f"uploads/{upload_id}.json")
        if described is None:
            raise unknown
        try:
            known = msgspec.json.decode(described, type=Upload)
        except (msgspec.DecodeError, ValueError):
            raise unknown from None
        now = self._clock.time()
        if known.expires_at < now:
            raise unknown
        known.expires_at = self._expiry(now)
        self._describe(known)
        return known, self._folder() / upload_id

    def open(self, upload_id: str) -> int:
        """Return a descriptor of an uploaded file; the caller must close it.

        Copies the file here first, unless a copy is here.
        """
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        path = self._folder() / upload_id
        now = self._clock.time()
        with contextlib.suppress(OSError):
            os.utime(path, (now, now))
            return os.open(path, flags)
        upload, path = self.find(upload_id)
        arriving = path.with_suffix(f".{secrets.token_hex(4)}.part")
        try:
            self._bucket.fetch(f"uploads/{upload_id}", arriving)
            with arriving.open("rb") as copy:
                if hashlib.file_digest(copy, "sha256").hexdigest() != upload.sha256:
                    raise BackendError(
                        f"the upload {upload_id!r} is not complete in the bucket, or was changed"
                    )
            os.utime(arriving, (now, now))
            os.rename(arriving, path)
            return os.open(path, flags)
        except FileNotFoundError:
            raise NotFound(f"there is no upload {upload_id[:80]!r}; it may have expired") from None
        finally:
            with contextlib.suppress(OSError):
                arriving.unlink()

    def sweep(self, time: float) -> int:
        """Remove expired files from the bucket, and copies here that are as old; return the number
        of removed files."""
        removed = 0
        oldest = time - self._settings.keep_uploads_s
        found = {each.name: each for each in self._bucket.objects("uploads")}
        for name, each in found.items():
            used = found.get(f"{name.removesuffix('.json')}.json", each)
            if used.changed_at < oldest:
                self._bucket.remove(name)
                removed += not name.endswith(".json")
        for path in self._paths():
            with contextlib.suppress(OSError):
                if path.stem not in self._arriving and path.stat().st_mtime < oldest:
                    path.unlink()
        return removed
