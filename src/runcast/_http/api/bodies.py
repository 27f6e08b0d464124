"""Bodies of requests: JSON, read as events are, and the one file of a `multipart/form-data` body.

python-multipart takes bodies apart, piece by piece. The parameters of headers are read here: it
knows no `filename*`, which may name a file that is the whole body, and the standard library's
reader takes quadratic time.

Source: RFC 7578, RFC 6266 and RFC 2046 §5.1; names of files as HTML's forms write them.
"""

import codecs
import json
import logging
import re
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from starlette.requests import Request

from runcast.errors import InvalidValue
from runcast.events.vocabulary import is_deeper, mend

__all__ = ("MAX_BODY_DEPTH", "FormFile", "boundary_of", "check_json", "filename_of", "parse_json")

MAX_BODY_DEPTH: Final = 500
"""Most levels of lists and objects in a body. Python's stack is 1,000 deep. A body that can be
parsed here must not exhaust the stack later, where the application around us uses more stack."""

_ESCAPE: Final = b"\\u"


def check_json(request: Request) -> None:
    """Refuse bodies that a web page could send without asking first (a form, plain text).

    Raises:
        InvalidValue: the content type is neither JSON nor absent.
    """
    given = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if given != "application/json" and not given.endswith("+json"):
        raise InvalidValue(f"expected a body of type application/json, got {given[:80]!r}")


def parse_json(body: bytes, example: str) -> Any:
    """Return the value of a JSON body.

    A byte order mark before the value is ignored (RFC 8259 §8.1). Half a surrogate pair becomes
    U+FFFD, as in events; JavaScript writes one if a string was cut inside an emoji.

    Args:
        example: a correct body, for the message.

    Raises:
        InvalidValue: the body is not JSON, or is nested more than `MAX_BODY_DEPTH` deep.
    """
    value = _decode(body.removeprefix(codecs.BOM_UTF8), example)
    if body.count(b"[") + body.count(b"{") > MAX_BODY_DEPTH and is_deeper(value, MAX_BODY_DEPTH):
        raise _too_deep()
    return value


def _too_deep() -> InvalidValue:
    return InvalidValue(f"expected a body nested at most {MAX_BODY_DEPTH} deep, got more")


def _decode(body: bytes, example: str) -> Any:
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.DecodeError, ValueError) as error:
        if _ESCAPE in body:
            try:
                return _mended(body)
            except RecursionError:
                raise _too_deep() from None
            except ValueError:
                pass
        if body[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise InvalidValue("expected the body in UTF-8, got UTF-16") from None
        try:
            body.decode()
        except UnicodeDecodeError as wrong:  # which not all versions of msgspec say
            raise InvalidValue(f"expected the body in UTF-8: {wrong!s:.300}") from None
        raise InvalidValue(f"expected a body like {example}: {error!s:.300}") from None


def _mended(body: bytes) -> Any:
    """Return the value of JSON that only Python's lenient parser reads. Raises `ValueError`."""
    lenient = json.dumps(json.loads(body), ensure_ascii=False)
    return msgspec.json.decode(mend(lenient))


_MAX_HEADER_BYTES: Final = 16 * 1024
"""Longest header of a part."""

_MAX_HEADERS: Final = 16
"""Most headers of a part; browsers write two."""

_MAX_OTHER_BYTES: Final = 64 * 1024
"""Most bytes besides the file: other fields, headers, and the text around the parts. This also
bounds the number of parts."""

_NOWHERE: Final = logging.Logger("nowhere", logging.CRITICAL)
"""Errors in a body go to its sender; in our log, clients could fill the disk with them."""

_PARAMETER: Final = re.compile(r';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s"]*))')
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")


def boundary_of(content_type: str) -> bytes:
    """Return the boundary of a `multipart/form-data` body. Raises `InvalidValue`."""
    boundary = _parameters(content_type).get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise InvalidValue("expected multipart/form-data to have a boundary of 1 to 70 characters")
    return boundary.encode("ascii")


def filename_of(disposition: str) -> str | None:
    """Return the file's name in a `Content-Disposition`, or None."""
    parameters = _parameters(disposition)
    charset, _, encoded = parameters.get("filename*", "").partition("'")
    if charset.lower() in ("utf-8", "iso-8859-1"):
        return unquote(encoded.partition("'")[2], charset.lower(), "replace")
    name = parameters.get("filename")
    return None if name is None else re.sub("(?i)%(22|0d|0a)", lambda m: unquote(m[0]), name)


def _parameters(value: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(value):
        # Any other backslash is literal: some browsers sent whole Windows paths.
        found.setdefault(name.lower(), re.sub(r'\\(["\\])', r"\1", quoted) or plain)
    return found


class FormFile:
    """Finds the file in a form that is fed in pieces of any size.

    Other fields are ignored. Every method raises `InvalidValue` if the body is malformed or
    holds another file.
    """

    def __init__(self, boundary: bytes) -> None:
        self.name: str | None = None
        """The file's name; None before its headers."""
        self.media_type = ""
        self._content: list[bytes] = []
        self._other_bytes = 0
        self._header = bytearray()
        self._value = bytearray()
        self._headers: dict[bytes, str] = {}
        self._is_file = False
        self._has_ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": self._take_header,
                "on_header_value": self._take_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin_part,
                "on_part_data": self._take_content,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
            max_header_count=_MAX_HEADERS,
            max_header_size=_MAX_HEADER_BYTES,
        )
        self._parser.logger = _NOWHERE

    def feed(self, data: bytes) -> list[bytes]:
        """Return the file's bytes in this piece of the body."""
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise InvalidValue(f"expected a form: {error!s:.300}") from None
        content, self._content = self._content, []
        self._other_bytes += len(data) - sum(map(len, content))
        if self._other_bytes > _MAX_OTHER_BYTES:
            raise InvalidValue(
                f"expected at most {_MAX_OTHER_BYTES} bytes besides the file in the form"
            )
        return content

    def end(self) -> None:
        """Check that the body was complete and had a file."""
        if not self._has_ended:
            raise InvalidValue("expected the form to end with its boundary; it was cut off")
        if self.name is None:
            raise InvalidValue("expected a form with a file")

    def _take_header(self, data: bytes, begin: int, end: int) -> None:
        self._header += data[begin:end]

    def _take_value(self, data: bytes, begin: int, end: int) -> None:
        self._value += data[begin:end]

    def _end_header(self) -> None:
        self._headers[bytes(self._header).lower()] = self._value.decode("utf-8", "replace").strip()
        self._header.clear()
        self._value.clear()

    def _begin_part(self) -> None:
        headers, self._headers = self._headers, {}
        filename = filename_of(headers.get(b"content-disposition", ""))
        self._is_file = filename is not None
        if filename is not None:
            if self.name is not None:
                raise InvalidValue("expected one file in the form; send each in its own request")
            self.name = filename
            self.media_type = headers.get(b"content-type", "").partition(";")[0].strip().lower()

    def _take_content(self, data: bytes, begin: int, end: int) -> None:
        if self._is_file:
            self._content.append(data[begin:end])

    def _end_part(self) -> None:
        self._is_file = False

    def _end(self) -> None:
        self._has_ended = True
