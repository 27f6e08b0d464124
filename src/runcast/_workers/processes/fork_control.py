"""The messages between a hub's process and its fork servers, as frames; see `control`.

| from the fork server | |
|---|---|
| `Preloaded` | the module was imported, and whether the process can be forked |
| `Forked` | a child was forked, or why it was not |
| `Reaped` | the exit code of a child |

`Fork` and `Reap` go the other way. `Fork` comes with three descriptors: the child's end of its
socket, its standard output and its standard error.
"""

import os
from typing import Final, Self

import msgspec

from runcast._workers.processes.control import decode, encode_frame
from runcast.errors import PeerError

__all__ = (
    "DESCRIPTORS",
    "Command",
    "Fork",
    "Forked",
    "Preloaded",
    "Reap",
    "Reaped",
    "SourceFile",
    "decode_command",
    "decode_report",
    "encode",
)

DESCRIPTORS: Final = 3
"""How many descriptors come with a `Fork`."""

_COMMAND: Final = ord("C")


class Fork(msgspec.Struct, frozen=True, tag="fork"):
    """Fork a child. Answered by `Forked` with the same number."""

    number: int


class Reap(msgspec.Struct, frozen=True, tag="reap"):
    """Reap a child that is dead. Until this is sent, no other process gets its id."""

    pid: int


Command = Fork | Reap


class SourceFile(msgspec.Struct, frozen=True, array_like=True):
    """A file that was imported, as it was then."""

    path: str
    modified_ns: int
    size: int

    @classmethod
    def now(cls, path: str) -> Self:
        """Return a file as it is now; its size is -1 if there is none."""
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            return cls(path, 0, -1)
        return cls(path, found.st_mtime_ns, found.st_size)


class Preloaded(msgspec.Struct, frozen=True):
    """Why the process cannot be forked, or ""; and the files that were imported, without those of
    installed packages."""

    problem: str = ""
    files: list[SourceFile] = []


class Forked(msgspec.Struct, frozen=True):
    """A child's process id, or why there is none, and whether there can be none any more."""

    number: int
    pid: int = 0
    problem: str = ""
    is_final: bool = False


class Reaped(msgspec.Struct, frozen=True):
    """The exit code of a child, or the negative signal number."""

    pid: int
    code: int


def encode(message: Command | Preloaded | Forked | Reaped) -> bytes:
    """Return a message as a frame."""
    return encode_frame(_KINDS.get(type(message), _COMMAND), _encode(message))


def decode_report(kind: int, body: bytes) -> Preloaded | Forked | Reaped:
    """Decode a message from a fork server. Raises `PeerError`."""
    for report, known in _KINDS.items():
        if known == kind:
            decoded: Preloaded | Forked | Reaped = decode(body, report)
            return decoded
    raise PeerError(f"expected a frame of a known kind from a fork server, got {kind}")


def decode_command(body: bytes) -> Command:
    """Decode a command, which our own process sent."""
    command: Command = _decode_command(body)
    return command


_KINDS: Final[dict[type, int]] = {
    Preloaded: ord("P"),
    Forked: ord("O"),
    Reaped: ord("W"),
}

_encode: Final = msgspec.json.Encoder().encode
_decode_command: Final = msgspec.json.Decoder(Command).decode
