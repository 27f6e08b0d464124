"""The files of ended runs, in a bucket.

    <prefix>/lists/<run>/<epoch>             the list of the files; empty until all are stored
    <prefix>/files/<run>/<epoch>/<sha256>    the content of each file
    <prefix>/sent/<run>/<epoch>/<sha256>     a file of a remote writer, by the hash of its path

A list is stored before its files, empty, so that files of a killed process are found by their list.
Ids of runs differ by case alone at times, as names of objects may. Everything here blocks, and may
be called from any thread.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from runcast._files.bucket import Bucket, Object
from runcast._files.collecting import Collected
from runcast._files.content import ObjectContent
from runcast._files.fair_threads import Steps
from runcast._files.model import StoredFile
from runcast._files.removing import ENTRY_WORK
from runcast._files.workspace import Life, Workspace
from runcast.errors import BackendError

__all__ = ("BucketRuns",)

_LISTS = "lists"
_FILES = "files"
_SENT = "sent"


class BucketRuns:
    """What the runs of one store made."""

    def __init__(self, bucket: Bucket, keep_files_s: float) -> None:
        self._bucket = bucket
        self._keep_s = keep_files_s

    def storing(
        self, run_id: str, epoch: str, workspace: Workspace, found: Collected
    ) -> Steps[None]:
        """Store the collected files of a workspace, and then their list. May be repeated."""
        listed = _list_of(run_id, epoch)
        self._bucket.save(listed, b"")
        for file in found.files:
            self._bucket.store(_file_of(run_id, epoch, file), workspace.kept(file.path))
            yield file.size + ENTRY_WORK
        self._bucket.save(listed, msgspec.json.encode(found))

    def sent(self, run_id: str, epoch: str) -> tuple[int, int]:
        """Return how many files a run's remote writer has sent, and their bytes."""
        files = self._bucket.objects(f"{_SENT}/{run_id}/{epoch}")
        contents = self._bucket.objects(f"{_FILES}/{run_id}/{epoch}")
        return sum(1 for _ in files), sum(each.size for each in contents)

    def has_sent(self, run_id: str, epoch: str, path: str) -> bool:
        """Return whether a remote writer has sent a file of this path."""
        return self._bucket.load(_sent_of(run_id, epoch, path)) is not None

    def store_sent(self, run_id: str, epoch: str, file: StoredFile, content: Path) -> None:
        """Store a file that a run's remote writer has sent. May be repeated."""
        listed = _list_of(run_id, epoch)
        if self._bucket.load(listed) is None:
            self._bucket.save(listed, b"")
        self._bucket.store(_file_of(run_id, epoch, file), content)
        self._bucket.save(_sent_of(run_id, epoch, file.path), msgspec.json.encode(file))

    def collecting_sent(self, run_id: str, epoch: str) -> Steps[Collected]:
        """Store the list of the files that a remote writer has sent. A second call returns the
        first result."""
        known = self.collected(run_id, epoch)
        if known is not None:
            return known
        found = Collected()
        for each in list(self._bucket.objects(f"{_SENT}/{run_id}/{epoch}")):
            described = self._bucket.load(each.name)
            if described is not None:
                found.files.append(msgspec.json.decode(described, type=StoredFile))
            yield ENTRY_WORK
        found.files.sort(key=lambda file: file.path)
        self._bucket.save(_list_of(run_id, epoch), msgspec.json.encode(found))
        return found

    def collected(self, run_id: str, epoch: str) -> Collected | None:
        """Return the list of a run's files; None if there is none, or it is not complete."""
        known = self._bucket.load(_list_of(run_id, epoch))
        if not known:
            return None
        try:
            return msgspec.json.decode(known, type=Collected)
        except (msgspec.DecodeError, ValueError) as error:
            unreadable = "the list of a run's files cannot be read"
            raise BackendError(f"{unreadable}: {error}", unreadable) from None

    def open(self, run_id: str, epoch: str, file: StoredFile) -> ObjectContent:
        """Return the content of a listed file. Raises `FileNotFoundError` if it is gone."""
        content = ObjectContent(self._bucket, _file_of(run_id, epoch, file), file.size)
        if file.size:
            content.read(1, 0)  # a missing object is reported before the answer has begun
        return content

    def removing(self, run_id: str, epoch: str) -> Steps[None]:
        """Remove the files of one epoch of a run, and then their list."""
        for folder in (_FILES, _SENT):
            for each in self._bucket.objects(f"{folder}/{run_id}/{epoch}"):
                self._bucket.remove(each.name)
                yield ENTRY_WORK
        self._bucket.remove(_list_of(run_id, epoch))

    def known(self) -> set[tuple[str, str]]:
        """Return the runs and epochs that have a list."""
        return {_whose(each.name) for each in self._lists()}

    def _lists(self) -> Iterator[Object]:
        """Return the lists of files. What others put beside them is left alone."""
        return (each for each in self._bucket.objects(_LISTS) if each.name.count("/") == 2)

    def sweeping(self, life_of: Callable[[str, str], Life], time: float) -> Steps[int]:
        """Remove what is no longer needed, as `Workspaces.sweeping` does; return the number of
        runs."""
        removed = 0
        for each in list(self._lists()):
            yield ENTRY_WORK
            run_id, epoch = _whose(each.name)
            life = life_of(run_id, epoch)
            is_old = bool(self._keep_s) and time - each.changed_at > self._keep_s
            if life == "gone" or (life == "ended" and (not each.size or is_old)):
                with contextlib.suppress(FileNotFoundError):  # another node also sweeps
                    yield from self.removing(run_id, epoch)
                removed += 1
        return removed


def _list_of(run_id: str, epoch: str) -> str:
    return f"{_LISTS}/{run_id}/{epoch}"


def _file_of(run_id: str, epoch: str, file: StoredFile) -> str:
    # Named by content: a path may hold anything, and be longer than an object's name.
    return f"{_FILES}/{run_id}/{epoch}/{file.sha256}"


def _sent_of(run_id: str, epoch: str, path: str) -> str:
    return f"{_SENT}/{run_id}/{epoch}/{hashlib.sha256(path.encode()).hexdigest()}"


def _whose(name: str) -> tuple[str, str]:
    _, run_id, epoch = name.split("/")
    return run_id, epoch
