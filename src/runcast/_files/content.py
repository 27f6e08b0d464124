"""The content of a file that is downloaded: in an open file here, or in a bucket."""

import os
from typing import Final

from runcast._files.bucket import Bucket

__all__ = ("FileContent", "ObjectContent")

_AHEAD_BYTES: Final = 1024 * 1024
"""Fetched at once by a client that reads on. A request costs milliseconds, so fewer bytes would be
slow; each of `max_transfers` downloads may hold as many."""


class FileContent:
    """The content of an open file, which it closes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, size: int, offset: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class ObjectContent:
    """The content of an object. It is read ahead once a client reads on."""

    def __init__(self, bucket: Bucket, name: str, size: int) -> None:
        self._bucket = bucket
        self._name = name
        self._size = size
        self._held = b""
        self._begin = -1

    def read(self, size: int, offset: int) -> bytes:
        ahead = offset - self._begin
        if self._begin < 0 or not 0 <= ahead < len(self._held):
            reads_on = self._begin >= 0 and ahead == len(self._held)
            wanted = max(size, _AHEAD_BYTES) if reads_on else size
            end = min(self._size, offset + wanted)
            self._held = self._bucket.piece(self._name, offset, end) if offset < end else b""
            self._begin, ahead = offset, 0
        return self._held[ahead : ahead + size]

    def close(self) -> None:
        self._held = b""
