"""The HTTP server below every chat platform for tests: requests, faults, penalties."""

import asyncio
import email
import json
import socket
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Final, NamedTuple, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from runcast._clock import Clock, SystemClock
from runcast.errors import InvalidValue
from runcast.testing.chats.faults import ChatFault, ChatMessage

__all__ = ("ChatCall", "ChatCallback", "ChatReply", "ChatServer", "Request", "Window")

_MAX_REQUEST_BYTES: Final = 16 * 2**20
_LOOK_S: Final = 0.02
"""How often a silent answer looks whether its client has left, seconds."""


class ChatCall(NamedTuple):
    """One call that a client made."""

    method: str
    status: int
    """The answer's status; 0 if none was given."""
    was_blocked: bool
    """Whether the call came during a penalty."""


class ChatCallback(NamedTuple):
    """What the platform sends to a webhook when a person does something, signed."""

    headers: Mapping[str, str]
    body: bytes


class ChatReply(NamedTuple):
    """An answer of the platform."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = {}


class Request(NamedTuple):
    """What a client sent."""

    verb: str
    path: str
    headers: Mapping[str, str]
    values: dict[str, Any]
    """Of the query and of the body, whether JSON or a form."""
    body: bytes = b""
    """The bytes of the body."""


class Window:
    """Counts calls: at most `most` in `seconds`."""

    def __init__(self, most: int, seconds: float) -> None:
        self.most = most
        self.seconds = seconds
        self._times: deque[float] = deque()

    def wait_s(self, now: float) -> float:
        """Return how long the next call has to wait; 0.0 if it need not."""
        while self._times and self._times[0] <= now - self.seconds:
            self._times.popleft()
        return 0.0 if len(self._times) < self.most else self._times[0] + self.seconds - now

    def left(self, now: float) -> int:
        """Return how many calls may be made now."""
        self.wait_s(now)
        return self.most - len(self._times)

    def count(self, now: float) -> None:
        """Note a call."""
        self._times.append(now)


class ChatServer:
    """A platform on a free port of 127.0.0.1. Use it in a `with` block, or in `async with`.

    Args:
        clock: for limits and penalties; a `FakeClock` lets them pass at once.
    """

    _MESSAGES_MADE_BY: ClassVar[str] = ""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Final = clock or SystemClock()
        self.calls: Final[list[ChatCall]] = []
        """The calls so far, oldest first. Signs that somebody writes are among them."""
        self.messages: Final[list[ChatMessage]] = []
        """All messages, also deleted ones, oldest first."""
        self.closing: Final = threading.Event()
        self._lock: Final = threading.RLock()
        self._answered: Final = threading.Condition(self._lock)
        self._faults: list[ChatFault] = []
        self._blocked: dict[str, float] = {}
        self._http: _Http | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._http = _Http(self)
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(_LOOK_S,), name="runcast-chat", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    @property
    def url(self) -> str:
        """The server's address."""
        if self._http is None or self.closing.is_set():
            raise InvalidValue("expected an open server: use it in a `with` block")
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def close(self) -> None:
        """End all answers, and the server. Idempotent."""
        if self._http is None or self.closing.is_set():
            return
        with self._answered:
            self.closing.set()
            self._answered.notify_all()
        self._http.shutdown()
        self._http.close_connections()
        self._http.server_close()
        if self._thread is not None:
            self._thread.join()

    def fail(self, *faults: ChatFault) -> None:
        """Let the next calls fail, one fault for each call."""
        with self._lock:
            self._faults += faults

    def shown(self, chat: str | int) -> list[str]:
        """Return the texts that people see in a chat, oldest first."""
        with self._lock:
            wanted = str(chat)
            return [
                each.text for each in self.messages if each.chat == wanted and not each.is_deleted
            ]

    def wait_for(self, count: int, timeout_s: float = 5.0) -> list[ChatMessage]:
        """Wait until there are so many messages, and return all; in a thread of its own.

        Raises:
            TimeoutError: there are fewer.
        """
        with self._answered:
            if not self._answered.wait_for(lambda: len(self.messages) >= count, timeout_s):
                raise TimeoutError(f"expected {count} messages, got {len(self.messages)}")
            return list(self.messages)

    def delete(self, message_id: str | int) -> None:
        """Delete a message, as people can."""
        with self._lock:
            for message in self.messages:
                if message.message_id == str(message_id):
                    message.is_deleted = True

    # What a platform is.

    def method_of(self, request: Request) -> str:
        """Return the name of the method that a request calls."""
        raise AssertionError(request)  # every platform has its own

    def scope_of(self, method: str, request: Request) -> str:
        """Return what the platform counts together with a call."""
        raise AssertionError(method, request)

    def do(self, method: str, request: Request, now: float) -> ChatReply:
        """Do what a call asks for."""
        raise AssertionError(method, request, now)

    def limited(self, wait_s: float) -> ChatReply:
        """Return the refusal of a call for its rate."""
        raise AssertionError(wait_s)

    def failed(self) -> ChatReply:
        """Return the answer of a platform that failed."""
        return ChatReply(500, {"error": "internal"})

    def pressed(self, message_id: str | int, label: str) -> tuple[ChatMessage, str]:
        """Return a message, and what its button with this label sends."""
        with self._lock:
            wanted = str(message_id)
            message = next(each for each in self.messages if each.message_id == wanted)
            return message, dict(message.buttons)[label]

    # For the platforms.

    def find(self, chat: object, message_id: object) -> ChatMessage | None:
        """Return a message that is there."""
        for message in self.messages:
            if (message.chat, message.message_id) == (str(chat), str(message_id)):
                return None if message.is_deleted else message
        return None

    def block(self, scope: str, wait_s: float, now: float) -> ChatReply:
        """Refuse calls to a scope from now on."""
        self._blocked[scope] = max(self._blocked.get(scope, 0.0), now + wait_s)
        return self.limited(self._blocked[scope] - now)

    # One call.

    def answer(self, request: Request) -> ChatReply | ChatFault:
        """Return the answer to a request, or the fault that leaves it without one."""
        with self._lock:
            now = self.clock.monotonic()
            method = self.method_of(request)
            scope = self.scope_of(method, request)
            blocked_s = self._blocked.get(scope, 0.0) - now
            fault = self._take_fault(method)
            reply = self._reply(method, request, scope, now, blocked_s, fault)
            is_silent = fault is not None and fault.kind in ("lost", "late")
            status = 0 if is_silent or reply is None else reply.status
            self.calls.append(ChatCall(method, status, blocked_s > 0))
            self._answered.notify_all()
            return fault if fault is not None and is_silent else reply or self.failed()

    def _reply(
        self,
        method: str,
        request: Request,
        scope: str,
        now: float,
        blocked_s: float,
        fault: ChatFault | None,
    ) -> ChatReply | None:
        if fault is not None and fault.kind == "limited":
            return self.block(scope, fault.retry_after_s, now)
        if blocked_s > 0:
            return self.limited(blocked_s)
        if fault is not None and fault.kind in ("error", "lost"):
            return self.failed() if fault.kind == "error" else None
        if fault is not None and fault.kind == "deleted":
            self._delete_named(request)
        return self.do(method, request, now)

    def _take_fault(self, method: str) -> ChatFault | None:
        for at, fault in enumerate(self._faults):
            if fault.method in ("", method):
                return self._faults.pop(at)
        return None

    def _delete_named(self, request: Request) -> None:
        named = [request.values.get(name) for name in ("message_id", "ts")]
        named.append(request.path.rpartition("/")[2])
        for each in named:
            if each is not None:
                self.delete(each)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, platform: ChatServer) -> None:
        self.platform = platform
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: clients of tests leave at any time."""

    def close_connections(self) -> None:
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Print nothing."""

    def do_POST(self) -> None:
        """Answer a call."""
        self._answer()

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > _MAX_REQUEST_BYTES:
            self.close_connection = True
            self._send(ChatReply(413))
            return
        parts = urlsplit(self.path)
        values: dict[str, Any] = dict(parse_qsl(parts.query))
        body = self.rfile.read(length)
        values.update(_values(self.headers.get("Content-Type", ""), body))
        headers = dict(self.headers.items())
        request = Request(self.command, unquote(parts.path), headers, values, body)
        reply = self.server.platform.answer(request)
        if isinstance(reply, ChatReply):
            self._send(reply)
            return
        self.close_connection = True
        if not reply.is_cut:
            self._stay_silent()

    def _send(self, reply: ChatReply) -> None:
        data = b"" if reply.body is None else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        if data:
            self.send_header("Content-Type", "application/json")
        if reply.status != 204:
            self.send_header("Content-Length", str(len(data)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _stay_silent(self) -> None:
        self.connection.settimeout(_LOOK_S)
        while not self.server.platform.closing.is_set():
            try:
                if not self.connection.recv(1):
                    return
            except TimeoutError:
                continue
            except OSError:
                return


def _values(kind: str, body: bytes) -> dict[str, Any]:
    if not kind or kind.startswith("application/json"):
        try:
            found = json.loads(body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}
    if kind.startswith("multipart/form-data"):
        return _multipart(kind, body)
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _multipart(kind: str, body: bytes) -> dict[str, Any]:
    """Return the texts of a form; files are not taken."""
    head = f"Content-Type: {kind}\r\nMIME-Version: 1.0\r\n\r\n".encode()
    found = email.message_from_bytes(head + body)
    parts: Iterable[Any] = found.get_payload() if found.is_multipart() else ()
    values: dict[str, Any] = {}
    for part in parts:
        name = part.get_param("name", header="content-disposition")
        values[str(name)] = part.get_payload(decode=True).decode("utf-8", "replace")
    return values
