"""The one file of a `multipart/form-data` body, piece by piece: pure, and bounded in what it keeps.

Source: RFC 7578 and RFC 2046 §5.1; names of files as HTML's forms write them.
"""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from runcast.errors import InvalidValue

__all__ = ("FormFile", "boundary_of", "filename_of")

_MAX_HEAD_BYTES: Final = 16 * 1024
"""Longest headers of a part."""

_MAX_OTHER_BYTES: Final = 64 * 1024
"""Most bytes of other fields and of what stands around the parts."""

_PARAMETER: Final = re.compile(r';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s"]*))')
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")


def boundary_of(content_type: str) -> bytes:
    """Return the boundary of a `multipart/form-data` body. Raises `InvalidValue`."""
    boundary = _parameters(content_type).get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise InvalidValue("expected multipart/form-data to have a boundary of 1 to 70 characters")
    return boundary.encode("ascii")


def filename_of(disposition: str) -> str | None:
    """Return the file's name that a `Content-Disposition` has; None if it has none."""
    parameters = _parameters(disposition)
    charset, _, encoded = parameters.get("filename*", "").partition("'")
    if charset.lower() in ("utf-8", "iso-8859-1"):
        return unquote(encoded.partition("'")[2], charset.lower(), "replace")
    name = parameters.get("filename")
    return None if name is None else re.sub("(?i)%(22|0d|0a)", lambda m: unquote(m[0]), name)


def _parameters(value: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(value):
        # A backslash before anything else is one: some browsers sent whole paths of Windows.
        found.setdefault(name.lower(), re.sub(r'\\(["\\])', r"\1", quoted) or plain)
    return found


class FormFile:
    """Finds the file in a form that is fed to it, whatever pieces it comes in.

    Other fields are left out. Every method raises `InvalidValue` where the body is malformed or
    holds another file.
    """

    def __init__(self, boundary: bytes) -> None:
        self.name: str | None = None
        """The file's name; None until its headers have come."""
        self.media_type = ""
        self._delimiter = b"\r\n--" + boundary
        self._buffer = bytearray(b"\r\n")  # so that the first delimiter is like all others
        self._state = "before"
        self._is_file = False
        self._other_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what of the file has come with this piece of the body."""
        self._buffer += data
        while True:
            if self._state in ("before", "body"):
                at = self._buffer.find(self._delimiter)
                # What could be the beginning of a delimiter waits for the rest of it.
                end = at if at >= 0 else max(0, len(self._buffer) - len(self._delimiter) + 1)
                content = bytes(self._buffer[:end])
                del self._buffer[: end if at < 0 else at + len(self._delimiter)]
                if self._is_file and content:
                    yield content
                elif content:
                    self._count(len(content))
                if at < 0:
                    return
                self._is_file = False
                self._state = "delimiter"
            elif self._state == "delimiter":
                if not self._after_delimiter():
                    return
            elif self._state == "head":
                if not self._after_head():
                    return
            else:
                self._count(len(self._buffer))
                self._buffer.clear()
                return

    def end(self) -> None:
        """Check that the body was complete and had a file."""
        if self._state != "after":
            raise InvalidValue("expected the form to end with its boundary; it was cut off")
        if self.name is None:
            raise InvalidValue("expected a form with a file")

    def _after_delimiter(self) -> bool:
        """Look whether a part follows; False if that cannot be told yet."""
        if self._buffer.startswith(b"--"):
            self._state = "after"
            return True
        line, end, _ = bytes(self._buffer[:1024]).partition(b"\r\n")
        if not end and len(self._buffer) < 1024:
            return False
        if not end or line.strip(b" \t"):
            raise InvalidValue("expected a line's end behind the form's boundary")
        # The line's end stays: the headers' end may be no more than it and the next one.
        del self._buffer[: len(line)]
        self._state = "head"
        return True

    def _after_head(self) -> bool:
        """Read the headers of a part; False if they are not complete yet."""
        end = self._buffer.find(b"\r\n\r\n")
        if end > _MAX_HEAD_BYTES or (end < 0 and len(self._buffer) > _MAX_HEAD_BYTES):
            raise InvalidValue(f"expected headers of at most {_MAX_HEAD_BYTES} bytes in a form")
        if end < 0:
            return False
        head = bytes(self._buffer[:end]).decode("utf-8", "replace")
        del self._buffer[: end + 4]
        headers = {}
        for line in filter(None, head.split("\r\n")):
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        filename = filename_of(headers.get("content-disposition", ""))
        self._is_file = filename is not None
        if filename is not None:
            if self.name is not None:
                raise InvalidValue("expected one file in the form; send each in its own request")
            self.name = filename
            self.media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        self._state = "body"
        return True

    def _count(self, size: int) -> None:
        self._other_bytes += size
        if self._other_bytes > _MAX_OTHER_BYTES:
            raise InvalidValue(
                f"expected at most {_MAX_OTHER_BYTES} bytes besides the file in the form"
            )
