"""Dialects: the events of a log in the format that a watcher expects.

    encoder = dialect.start(log)                    a new encoder, or a kept copy
    encoder.group([event])  ->  b"data: …"          frames; only the last one has an id

Most dialects write each event independently: they are `Stateless`. Others remember earlier events,
to number their frames or to close what they have opened. The memory of an encoder depends only on
the events fed to it: not on a clock, a watcher, or the cuts between pages. So one encoder serves
every watcher of a log. A copy is a checkpoint, from which a watcher that reconnects gets exactly
the frames of an uninterrupted watcher.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Container, Mapping, Sequence
from typing import ClassVar, NamedTuple, Self

from runcast._wire import sse
from runcast.events.model import Event
from runcast.events.plain import encode_line

__all__ = ("Dialect", "Encoder", "LogRef", "Stateless", "flatten", "frame")


class LogRef(NamedTuple):
    """The encoded log."""

    run_id: str
    epoch: str


class Encoder(ABC):
    """A dialect's encoder for one log: events in, frames out.

    A subclass keeps its memory in attributes. Their values are replaced, never changed in place,
    or copied in `copy`. The memory must stay bounded, whatever the log holds.

    Args:
        since: the `seq` after which it begins; above 0 if earlier events are lost.
    """

    __slots__ = ("log", "since")

    def __init__(self, log: LogRef, since: int = 0) -> None:
        self.log = log
        self.since = since

    @abstractmethod
    def feed(self, event: Event) -> Sequence[bytes]:
        """Return an event's frames, in order, without ids; empty if the dialect does not show it.

        Does not raise for an event read from a log.
        """

    def end(self, event: Event) -> bytes:
        """Return the bytes after the frames of the terminal event, without id. The last call."""
        return b""

    def copy(self) -> Self:
        """Return an independent copy."""
        return copy.copy(self)

    @property
    def size(self) -> int:
        """About how many characters are remembered: the cost of a copy."""
        return 0

    def group(self, events: Sequence[Event]) -> bytes:
        """Return the frames of the events shown because of one event of the log.

        Only the last frame moves the watcher's cursor. If the connection is lost between the
        frames, the watcher gets all of them again.

        Args:
            events: at least one, all with the `seq` of that event.
        """
        frames = [each for event in events for each in self.feed(event)]
        if not frames:
            return b""
        last = frames.pop()
        frames.append(b"id: %b-%d\n%b" % (self.log.epoch.encode(), events[-1].seq, last))
        return b"".join(frames)


class Dialect(ABC):
    """One way to write a log's events as Server-Sent Events.

    Guarantees: whatever an event's data holds, it cannot end a frame, name an event, or replace a
    field set by the dialect itself.
    """

    name: ClassVar[str]

    has_state: ClassVar[bool] = True
    """Whether an event's frames depend on earlier events."""

    @abstractmethod
    def start(self, log: LogRef, since: int = 0) -> Encoder:
        """Return an encoder in the state after the prelude, before the event `since` + 1."""

    def prelude(self, log: LogRef) -> bytes:
        """Return the bytes before a log's first event, for watchers that begin there; no id."""
        return b""

    @abstractmethod
    def gap(self, log: LogRef, gap: Mapping[str, object]) -> bytes:
        """Return the notice that events were lost, for example `{"reason": "trimmed"}`; no id.

        A new encoder, begun after the gap, writes the following events; first another prelude if
        the gap leads to the beginning of the log.
        """

    def skip(self, position: str) -> bytes:
        """Return a frame that moves a watcher's cursor past hidden events."""
        return sse.id_only(position)

    def rewrite(self, frames: bytes) -> bytes | None:
        """Return stored frames in this dialect, if the events need not be decoded; else None.

        For a dialect without state and without a frame at the end.
        """
        return None


class Stateless(Dialect):
    """A dialect that writes each event independently."""

    has_state: ClassVar[bool] = False

    @abstractmethod
    def encode(self, log: LogRef, event: Event) -> bytes:
        """Return the event's frame, without id; `b""` if the dialect does not show it."""

    def end(self, log: LogRef, event: Event) -> bytes:
        """Return the bytes after the frame of the terminal event; no id."""
        return b""

    def start(self, log: LogRef, since: int = 0) -> Encoder:
        return _Each(self, log)


class _Each(Encoder):
    """Writes each event independently, without memory."""

    __slots__ = ("_dialect",)

    def __init__(self, dialect: Stateless, log: LogRef) -> None:
        super().__init__(log)
        self._dialect = dialect

    def feed(self, event: Event) -> Sequence[bytes]:
        frame = self._dialect.encode(self.log, event)
        return (frame,) if frame else ()

    def end(self, event: Event) -> bytes:
        return self._dialect.end(self.log, event)

    def copy(self) -> Self:
        return self


def frame(payload: object, name: str | None = None) -> bytes:
    """Return one frame with a JSON payload, without id."""
    return sse.encode(encode_line(payload), event=name)


def flatten(
    core: dict[str, object], extras: Mapping[str, object], reserved: Container[str] = ()
) -> None:
    """Add extra fields to an object without letting them replace one of its own.

    A field whose name is taken or reserved gets underscores appended until the name is free. So the
    field is not lost, and not mistaken for the dialect's own. An equal value is left out.

    Args:
        core: the object that gets the fields.
    """
    for name, value in extras.items():
        if name in core and core[name] == value:
            continue
        while name in core or name in reserved:
            name += "_"
        core[name] = value
