"""Files over HTTP: uploads for later runs, and downloads of files that runs made."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import quote

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from runcast._files.model import Content, Download
from runcast._http.api.batches import LEASE_HEADER
from runcast._http.api.bodies import FormFile, boundary_of, filename_of
from runcast._http.api.responses import SAFE_HEADERS, json_response, problem
from runcast._http.api.serving import Serving
from runcast._http.streaming.direct import CONNECTION_KEY, Connection, unsent_bytes
from runcast._http.streaming.waits import read_pieces, send_on, wait_with
from runcast.errors import BackendError, FileTooLarge, InvalidValue, Overloaded, RangeNotSatisfiable

__all__ = ("FileTransfers",)

_PIECE_BYTES: Final = 64 * 1024
"""Read and sent at once. Under a server other than ours only the end of a send shows that the
client takes data: a larger piece could take a slow client longer than `stall_s`."""

_FORM_BYTES: Final = 128 * 1024
"""Most bytes of a form besides its file."""

_NOT_A_TYPE: Final = ("", "application/x-www-form-urlencoded")
"""Content types that clients send without knowing the file's type."""

_RANGE: Final = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*")

_FILE_HEADERS: Final = {
    **SAFE_HEADERS,
    # The browser may keep a copy, but must ask each time whether the copy is still valid.
    "cache-control": "private, no-cache",
    # Whatever the file holds, it must not act as one of our pages.
    "content-security-policy": "sandbox; default-src 'none'",
    "accept-ranges": "bytes",
}


class FileTransfers:
    """Uploads and downloads, a bounded number at once."""

    def __init__(self, serving: Serving) -> None:
        self._files = serving.runs.files
        self._writers = serving.runs.writers
        self._gate = serving.gate
        self._settings = serving.hub.settings
        self._clock = serving.hub.clock
        self._closing = serving.closing
        self._count = 0

    async def upload(self, request: Request) -> Response:
        """Take a file: the whole body, or the only file of a form."""
        self._gate.check_action(request.scope, "upload")
        owner = self._gate.access(request.scope).subject
        with self._transfer():
            self._check_announced(request, _FORM_BYTES)
            pieces = read_pieces(request, self._settings, self._clock, self._closing)
            given = request.headers.get("content-type", "")
            media_type = given.partition(";")[0].strip().lower()
            if media_type == "multipart/form-data":
                form = FormFile(boundary_of(given))
                contents = _of_form(form, pieces)
                first = await anext(contents, b"")
                name, media_type = form.name or "", form.media_type
                upload = await self._files.receive(name, media_type, _chain(first, contents), owner)
            else:
                if media_type in _NOT_A_TYPE:
                    media_type = ""
                upload = await self._files.receive(_name_of(request), media_type, pieces, owner)
        return json_response(msgspec.structs.replace(upload, owner=""), 201)

    def _check_announced(self, request: Request, more: int = 0) -> None:
        """Raise `FileTooLarge` if a body will be too long for a file and `more` bytes."""
        most = self._settings.max_upload_bytes
        announced = request.headers.get("content-length", "0")
        if announced.isdigit() and len(announced) < 20 and int(announced) > most + more:
            raise FileTooLarge(f"expected a file of at most {most} bytes (max_upload_bytes)")

    async def put(self, request: Request) -> Response:
        """Take a file of a run from the run's writer."""
        run_id = request.path_params["run_id"]
        await self._gate.check(request, run_id, "write")
        with self._transfer():
            self._check_announced(request)
            pieces = read_pieces(request, self._settings, self._clock, self._closing)
            lease_id = request.headers.get(LEASE_HEADER, "")
            file, is_known = await self._writers.receive(
                run_id, lease_id, _path_of(request), pieces
            )
        return json_response(file, 200 if is_known else 201)

    async def list_files(self, request: Request) -> Response:
        """Answer with the list of files that a run made."""
        run_id = request.path_params["run_id"]
        async with self._gate.passing(request, run_id) as epoch:
            found = await self._files.of(run_id, epoch)
        body = {
            "files": found.files,
            "skipped": found.skipped,
            "skipped_count": found.skipped_count,
        }
        return json_response(body)

    async def download(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send one of the files that a run made, or a part."""
        request = Request(scope, receive)
        run_id, path = request.path_params["run_id"], _path_of(request)
        async with self._gate.passing(request, run_id, "download") as epoch:
            with self._transfer():
                found = await self._files.download(run_id, path, epoch)
                try:
                    await self._give(found, request, send)
                finally:
                    found.content.close()

    async def _give(self, found: Download, request: Request, send: Send) -> None:
        etag = f'"{found.file.sha256}"'
        headers = {
            **_FILE_HEADERS,
            "etag": etag,
            "content-type": found.file.type,
            "content-disposition": _disposition(found.file.name),
        }
        if _names(request.headers.get("if-none-match", ""), etag):
            await Response(status_code=304, headers=headers)(request.scope, request.receive, send)
            return
        # Only GET has ranges. Source: RFC 9110 §14.2.
        asked = request.headers.get("range", "") if request.method == "GET" else ""
        if request.headers.get("if-range", etag) != etag:
            asked = ""
        try:
            part = _parse_range(asked, found.file.size)
        except RangeNotSatisfiable as error:
            refused = problem(error, {"content-range": f"bytes */{found.file.size}"})
            await refused(request.scope, request.receive, send)
            return
        begin, end = part or (0, found.file.size)
        headers["content-length"] = str(end - begin)
        if part is not None:
            headers["content-range"] = f"bytes {begin}-{end - 1}/{found.file.size}"
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        status = 200 if part is None else 206
        await send({"type": "http.response.start", "status": status, "headers": raw})
        if request.method == "HEAD":
            await send({"type": "http.response.body"})
            return
        connection: Connection | None = request.scope.get("state", {}).get(CONNECTION_KEY)
        transport = None if connection is None else connection.transport
        is_whole = False

        async def send_piece(message: Message) -> None:
            nonlocal is_whole
            await send(message)
            # Noted here, because uvicorn reports a disconnect as soon as the answer is complete,
            # and then the pump may not return that all was sent.
            is_whole = not message.get("more_body", False)

        with suppress(ClientDisconnect, TimeoutError, OSError, BackendError):
            pumping = self._pump(found.content, begin, end, send_piece, transport)
            await wait_with(request, pumping, self._closing)
        if not is_whole and connection is not None:
            # The response has begun, so only hanging up can show that the rest is missing. It is
            # left unfinished on purpose; that is not an error to log.
            connection.park()
            connection.transport.abort()

    async def _pump(
        self,
        content: Content,
        begin: int,
        end: int,
        send: Send,
        transport: asyncio.Transport | None,
    ) -> None:
        """Send a part of a file, as much as exists."""

        def unsent() -> int:
            return 0 if transport is None else unsent_bytes(transport)

        while begin < end:
            most = min(_PIECE_BYTES, end - begin)
            piece = await self._files.read(content, most, begin)
            if not piece:
                return
            begin += len(piece)
            message = {"type": "http.response.body", "body": piece, "more_body": begin < end}
            await send_on(send, message, self._settings.stall_s, unsent)
        if not end:
            await send({"type": "http.response.body"})

    @contextmanager
    def _transfer(self) -> Iterator[None]:
        if self._count >= self._settings.max_transfers:
            raise Overloaded(
                f"{self._count} files arrive or are downloaded (max_transfers); try again later"
            )
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


def _disposition(name: str) -> str:
    """Return a `Content-Disposition` that makes browsers save a file under a name. Source: RFC
    6266."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Return the part of a file that a `Range` asks for, as (begin, end); None for the whole file.

    Anything but a single range of bytes is ignored, as the RFC allows. Source: RFC 9110 §14.2.

    Raises:
        RangeNotSatisfiable: the file has no such part.
    """
    found = _RANGE.fullmatch(header)
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        begin, end = max(0, size - int(found[2])), size
    else:
        begin = int(found[1])
        end = min(size, int(found[2]) + 1) if found[2] else size
        if found[2] and int(found[2]) < begin:
            return None
    if begin >= end:
        raise RangeNotSatisfiable(f"expected a range of a file of {size} bytes, got {header}")
    return begin, end


def _names(header: str, etag: str) -> bool:
    """Return whether an `If-None-Match` contains a file's tag."""
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return etag in tags or "*" in tags


def _path_of(request: Request) -> str:
    """Return the path of a file of a run."""
    path = str(request.path_params["path"])
    # A line feed at the end is one that the router took for the end.
    return path if request.scope["path"].endswith(f"/{path}") else f"{path}\n"


def _name_of(request: Request) -> str:
    """Return the name of a file that was sent as the whole body."""
    name = request.query_params.get("name")
    if name is None:
        name = filename_of(request.headers.get("content-disposition", ""))
    if not name:
        raise InvalidValue("expected the file's name: ?name=report.pdf, or send it as a form")
    return name


async def _of_form(form: FormFile, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    async for piece in pieces:
        for content in form.feed(piece):
            yield content
    form.end()


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for piece in rest:
        yield piece
