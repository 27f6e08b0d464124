"""The HTTP server that answers as a model would."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, Self

from runcast.errors import InvalidValue
from runcast.testing.models import chat, messages, responses
from runcast.testing.models.turns import Api, Frame, ModelCall, ModelTurn

__all__ = ("ModelServer",)

_MAX_REQUEST_BYTES: Final = 32 * 2**20
"""Largest request; OpenAI and Anthropic allow about as much."""

_LOOK_S: Final = 0.01
"""How often a waiting answer looks whether its client has left, seconds."""

_APIS: Final[dict[str, Api]] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
}
_WIRES: Final[dict[str, Any]] = {"chat": chat, "responses": responses, "messages": messages}

_REASONS: Final = {
    400: "The request is malformed",
    401: "The API key is wrong",
    404: "There is no such thing here",
    413: "The request is too large",
    429: "The rate limit is reached",
}


class ModelServer:
    """A model that says what a test wants, for the clients of OpenAI and Anthropic.

        with ModelServer([ModelTurn(text="It is sunny.")]) as server:
            client = openai.OpenAI(base_url=server.openai_url, api_key="test")
            ...  # or anthropic.Anthropic(base_url=server.url, api_key="test")

    It answers chat completions, Responses and messages, streamed or whole, on a free port of
    127.0.0.1. API keys are not checked. Call it from any thread. Coroutines use `async with`.

    Args:
        turns: one turn for each call, in the order of the calls; or a function that returns the
            turn for a call. None echoes the user's last message.
        delay_s: time between two pieces of a streamed answer, seconds.

    Raises:
        InvalidValue: an argument is malformed.
    """

    def __init__(
        self,
        turns: Iterable[ModelTurn] | Callable[[ModelCall], ModelTurn] | None = None,
        *,
        delay_s: float = 0.0,
    ) -> None:
        if not isinstance(delay_s, int | float) or not 0 <= delay_s < 3600:
            raise InvalidValue(f"expected delay_s to be seconds from 0, got {delay_s!r:.80}")
        self.delay_s: Final = delay_s
        self.calls: Final[list[ModelCall]] = []
        """The calls so far, oldest first."""
        self.closing: Final = threading.Event()
        self.released: Final = threading.Event()
        self._choose = _chooser(turns)
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._answering: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._thread = threading.Thread(target=self._accept, name="runcast-model", daemon=True)
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
        """The server's address, which is the base URL of Anthropic's clients."""
        if self._listener is None or self.closing.is_set():
            raise InvalidValue("expected an open server: use it in a `with` block")
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def openai_url(self) -> str:
        """The base URL of OpenAI's clients."""
        return f"{self.url}/v1"

    def release(self) -> None:
        """Let the answers continue that stall, now and later."""
        self.released.set()

    def close(self) -> None:
        """End all answers, and the server. May be called again."""
        if self._listener is None or self.closing.is_set():
            return
        self.closing.set()
        with suppress(OSError):  # this connection wakes `accept`, which closing it may not do
            socket.create_connection(self._listener.getsockname()).close()
        if self._thread is not None:
            self._thread.join()
        self._listener.close()
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._answering:
            thread.join()

    def begin(self, api: Api, body: dict[str, Any]) -> ModelCall:
        """Note a call."""
        with self._lock:
            number = len(self.calls) + 1
            call = ModelCall(number=number, api=api, model=str(body.get("model", "")), body=body)
            self.calls.append(call)
        return call

    def turn_for(self, call: ModelCall) -> ModelTurn:
        """Return the turn that answers a call. Raises what the test's function raises."""
        turn = self._choose(call)
        if not isinstance(turn, ModelTurn):
            raise InvalidValue(f"expected `turns` to return a ModelTurn, got {turn!r:.80}")
        return turn

    def _accept(self) -> None:
        assert self._listener is not None
        while True:
            try:
                connection, address = self._listener.accept()
            except OSError:
                return
            if self.closing.is_set():
                connection.close()
                return
            thread = threading.Thread(
                target=self._serve, args=(connection, address), name="runcast-model", daemon=True
            )
            with self._lock:
                self._connections.add(connection)
            thread.start()
            self._answering = [it for it in self._answering if it.is_alive()] + [thread]

    def _serve(self, connection: socket.socket, address: object) -> None:
        try:
            with suppress(OSError):  # the client left
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _Handler(connection, address, self)  # type: ignore[arg-type]
        finally:
            with self._lock:
                self._connections.remove(connection)
            connection.close()


def _chooser(
    turns: Iterable[ModelTurn] | Callable[[ModelCall], ModelTurn] | None,
) -> Callable[[ModelCall], ModelTurn]:
    if turns is None:
        return lambda call: ModelTurn(text=call.prompt)
    if callable(turns):
        return turns
    script = [*turns]
    for turn in script:
        if not isinstance(turn, ModelTurn):
            raise InvalidValue(f"expected turns to be ModelTurn, got {turn!r:.80}")

    def choose(call: ModelCall) -> ModelTurn:
        # A client tries a 501 once, as the header of every refusal asks it to.
        return script[call.number - 1] if call.number <= len(script) else ModelTurn(status=501)

    return choose


class _Left(Exception):
    """The client closed the connection."""


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    server: ModelServer  # type: ignore[assignment]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Print nothing."""

    def do_GET(self) -> None:
        """List the models, for clients that ask for them."""
        if self.path == "/v1/models":
            model = {"id": "test", "object": "model", "created": 0, "owned_by": "runcast"}
            self._reply(200, {"object": "list", "data": [model]})
        else:
            self._reply(404, chat.refusal(404, _REASONS[404]))

    def do_POST(self) -> None:
        """Answer a call."""
        api = _APIS.get(self.path.partition("?")[0])
        wire = messages if api == "messages" else chat
        body = self._body()
        if not isinstance(body, dict) or api is None:
            status = 404 if api is None else body if isinstance(body, int) else 400
            self._reply(status, wire.refusal(status, _REASONS[status]))
            return
        call = self.server.begin(api, body)
        try:
            turn = self.server.turn_for(call)
        except Exception as error:  # noqa: BLE001 - a test's function; its client shows the error
            call.end("refused")
            self._reply(501, wire.refusal(501, f"`turns` failed: {error!r:.500}"))
            return
        try:
            if turn.status != 200:
                call.end("refused")
                reason = _REASONS.get(turn.status, "The model failed")
                if turn.status == 501:
                    reason = "The script of this ModelServer has no turn left"
                self._reply(turn.status, wire.refusal(turn.status, reason))
            elif call.is_streamed:
                self._stream(turn, call)
            else:
                self._reply(200, _WIRES[api].whole(turn, call))
                call.end("complete")
        except (_Left, OSError):
            call.end("left")
            self.close_connection = True

    def _body(self) -> object:
        """Return the request's JSON; a status if there is none to return."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self.close_connection = True
            return 400
        if int(length) > _MAX_REQUEST_BYTES:
            self.close_connection = True
            return 413
        try:
            return json.loads(self.rfile.read(int(length)))
        except ValueError:
            return 400

    def _reply(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status in (429, 500, 502, 503, 529):
            self.send_header("retry-after-ms", "1")  # so that tests of retries are fast
        elif status == 501:
            self.send_header("x-should-retry", "false")
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, turn: ModelTurn, call: ModelCall) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for frame in self._faulty(turn, call):
            self._check_client()
            data = _encode(frame)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            if frame.is_piece:
                call.sent += 1
                self._pause(self.server.delay_s)
        if call.ending == "cut":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        with suppress(OSError):  # a client may leave once it has the last event
            self.wfile.write(b"0\r\n\r\n")
        call.end("complete")

    def _faulty(self, turn: ModelTurn, call: ModelCall) -> Iterator[Frame]:
        """Yield the events of an answer up to its fault, or to its end."""
        wire = _WIRES[call.api]
        is_due, number = bool(turn.fault), 0
        for frame in wire.frames(turn, call):
            if is_due and call.sent >= turn.after and (frame.is_piece or call.sent):
                is_due = False
                if turn.fault != "stall":
                    yield from self._fail(turn, call, number)
                    return
                self._stall()
            yield frame
            number += 1
        if is_due and turn.fault != "stall":
            yield from self._fail(turn, call, number)

    def _fail(self, turn: ModelTurn, call: ModelCall, number: int) -> Iterator[Frame]:
        if turn.fault == "cut":
            call.end("cut")
        else:
            yield _WIRES[call.api].error_frame(turn, call, number)
            call.end("error")

    def _stall(self) -> None:
        while not self.server.released.wait(_LOOK_S):
            self._check_client()

    def _pause(self, seconds: float) -> None:
        while seconds > 0:
            self.server.closing.wait(min(seconds, _LOOK_S))
            self._check_client()
            seconds -= _LOOK_S

    def _check_client(self) -> None:
        """Raise `_Left` if the client has closed the connection, or the server is closing."""
        try:
            has_left = not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            has_left = False
        if has_left or self.server.closing.is_set():
            raise _Left


def _encode(frame: Frame) -> bytes:
    data = frame.data if isinstance(frame.data, str) else json.dumps(frame.data)
    name = f"event: {frame.name}\n" if frame.name else ""
    return f"{name}data: {data}\n\n".encode()
