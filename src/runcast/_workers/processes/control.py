"""The messages between a hub's process and its child process: frames on a socket.

A frame is four bytes of length (big-endian, of what follows), one byte for its kind, and JSON.

| from the child | |
|---|---|
| `LOADED` | the module was imported, or the traceback of the error |
| `EVENT` | an event: canonical JSON as `encode_record` makes it |
| `ASK` | a question to the watchers; answered by `Reply` |
| `KEEP` | a value for the next attempt; answered by `Reply` |
| `FLUSH` | a request to report the commit of all earlier events; answered by `Reply` |
| `STREAM` | the function returned an iterator of events, which was not known before |
| `TRACE` | the traceback of the function's exception, for the server's log |
| `RETURNED` | the function's outcome, as an event; the first one counts |
| `END` | nothing follows; the functions registered with `atexit` are done |

Commands go the other way: `Load`, `Serve`, `Call`, `Cancel`, `Interrupt`, `Reply`.
"""

from collections.abc import Iterator
from typing import Any, Final, TypeVar

import msgspec

from runcast._functions.function import Source
from runcast._workers.continuation import Continuation
from runcast.errors import PeerError

__all__ = (
    "ASK",
    "END",
    "EVENT",
    "FLUSH",
    "KEEP",
    "LOADED",
    "RECEIVE",
    "RETURNED",
    "STREAM",
    "TRACE",
    "Ask",
    "Call",
    "Cancel",
    "Command",
    "Flush",
    "Frames",
    "Interrupt",
    "Keep",
    "Load",
    "Loaded",
    "Receive",
    "Reply",
    "Report",
    "Serve",
    "Stream",
    "Trace",
    "decode",
    "decode_command",
    "encode",
    "encode_frame",
)

LOADED: Final = ord("L")
EVENT: Final = ord("E")
ASK: Final = ord("A")
KEEP: Final = ord("K")
FLUSH: Final = ord("F")
STREAM: Final = ord("S")
TRACE: Final = ord("T")
RECEIVE: Final = ord("M")
RETURNED: Final = ord("R")
END: Final = ord("X")

_COMMAND: Final = ord("C")
_LENGTH_BYTES: Final = 4

_T = TypeVar("_T")


class Load(msgspec.Struct, frozen=True, tag="load"):
    """Import a module ahead of its call."""

    source: Source


class Serve(msgspec.Struct, frozen=True, tag="serve"):
    """Become a fork server that has imported a module, or only runcast; see `fork_control`."""

    source: Source | None


class Call(msgspec.Struct, frozen=True, tag="call"):
    """Run a function. `inputs` are the original JSON; the child converts them, unless `is_plain`.

    `attribute` may be dotted; `environment` is added to the child's own. A handler has a
    `continuation` instead of inputs.
    """

    source: Source
    attribute: str
    inputs: dict[str, Any]
    is_plain: bool
    run_id: str
    folder: str
    environment: dict[str, str]
    max_event_bytes: int
    max_events: int = 0
    max_bytes: int = 0
    memory_bytes: int = 0
    continuation: Continuation | None = None


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """End the function as soon as it allows."""

    reason: str


class Interrupt(msgspec.Struct, frozen=True, tag="interrupt"):
    """End the cancelled function wherever it is: a person waits for its end."""


class Reply(msgspec.Struct, frozen=True, tag="reply"):
    """The result of an `ASK` or `FLUSH`: a value, or the code and message of an error."""

    number: int
    value: Any = None
    code: str = ""
    message: str = ""


Command = Load | Serve | Call | Cancel | Interrupt | Reply


class Loaded(msgspec.Struct, frozen=True):
    """Whether the module was imported; `error` names the class of the exception."""

    error: str = ""
    trace: str = ""


class Ask(msgspec.Struct, frozen=True):
    """The arguments of `Writer.ask`."""

    number: int
    message: str
    action: str = ""
    args: Any = None
    config: dict[str, Any] | None = None
    timeout_s: float | None = None
    interrupt_id: str = ""
    node: str = ""
    agent: str = ""
    keep: Any = None


class Keep(msgspec.Struct, frozen=True):
    """The value of `Writer.keep`."""

    number: int
    value: Any = None


class Receive(msgspec.Struct, frozen=True):
    """The arguments of `Mailbox.next`."""

    number: int
    after: int = 0
    read: list[str] = []
    wait: bool = False


class Flush(msgspec.Struct, frozen=True):
    """Asks for a report of the commit."""

    number: int


class Stream(msgspec.Struct, frozen=True):
    """Reports that the function streams."""


class Trace(msgspec.Struct, frozen=True):
    """A traceback."""

    text: str


Report = Loaded | Ask | Keep | Receive | Flush | Stream | Trace


class Frames:
    """Splits a socket's data into frames.

    Args:
        max_bytes: longest frame; a longer one is refused.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the kind and the JSON of each frame that is now complete.

        Raises:
            PeerError: a length is invalid.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= _LENGTH_BYTES:
                length = int.from_bytes(buffer[start : start + _LENGTH_BYTES])
                if not 1 <= length <= self._max_bytes:
                    raise PeerError(f"expected frames of 1 to {self._max_bytes} bytes: {length}")
                end = start + _LENGTH_BYTES + length
                if len(buffer) < end:
                    break
                body = start + _LENGTH_BYTES
                start = end
                yield buffer[body], bytes(buffer[body + 1 : end])
        finally:
            del buffer[:start]


def encode_frame(kind: int, body: bytes) -> bytes:
    """Return a frame."""
    return (len(body) + 1).to_bytes(_LENGTH_BYTES) + bytes((kind,)) + body


def encode(message: Command | Report) -> bytes:
    """Return a message as a frame."""
    return encode_frame(_KINDS.get(type(message), _COMMAND), _encode(message))


def decode(body: bytes, kind: type[_T]) -> _T:
    """Decode a message from the child. Raises `PeerError`."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise PeerError(f"expected {kind.__name__} from a child process: {error!s:.300}") from None


def decode_command(body: bytes) -> Command:
    """Decode a command, which our own process sent."""
    command: Command = _decode_command(body)
    return command


_KINDS: Final[dict[type, int]] = {
    Loaded: LOADED,
    Ask: ASK,
    Keep: KEEP,
    Receive: RECEIVE,
    Flush: FLUSH,
    Stream: STREAM,
    Trace: TRACE,
}

_encode: Final = msgspec.json.Encoder().encode
_decode_command: Final = msgspec.json.Decoder(Command).decode
