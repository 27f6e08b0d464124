"""What a dialect is: how the events of a log look to watchers who expect another format.

    encoder = dialect.start(log)                    a new one, or a copy kept from before
    encoder.group([event])  ->  b"data: …"          frames; only the last one has an id

Most dialects write each event by itself: they are `Stateless`. Others remember what came before, to
number their frames or to close what they have opened. What an encoder remembers depends on the
events that it was fed, and on nothing else: no clock, no watcher, no cut between pages. So one
encoder serves every watcher of a log, and a copy of it is a checkpoint, from which a watcher that
comes back gets exactly the frames that an uninterrupted watcher gets.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Container, Mapping, Sequence
from typing import ClassVar, Final, NamedTuple, Self

import msgspec

from runcast._wire import sse
from runcast.events.model import Event

__all__ = ("Dialect", "Encoder", "LogRef", "Stateless", "encode_json", "flatten", "frame")


class LogRef(NamedTuple):
    """The log that is being encoded."""

    run_id: str
    epoch: str


class Encoder(ABC):
    """A dialect at work on one log: events in, frames out.

    A subclass keeps in its attributes what it remembers: values that are replaced, never changed in
    place, or else it copies them in `copy`. It must stay bounded, whatever is in the log.

    Args:
        since: the `seq` behind which it begins: more than 0 if what came before is lost.
    """

    __slots__ = ("log", "since")

    def __init__(self, log: LogRef, since: int = 0) -> None:
        self.log = log
        self.since = since

    @abstractmethod
    def feed(self, event: Event) -> Sequence[bytes]:
        """Return an event's frames, in order, without ids; none if the dialect does not show it.

        Does not raise for an event read from a log.
        """

    def end(self, event: Event) -> bytes:
        """Return what follows the frames of the terminal event; no id. The last call."""
        return b""

    def copy(self) -> Self:
        """Return an encoder that can be fed without changing this one."""
        return copy.copy(self)

    @property
    def size(self) -> int:
        """Characters remembered, about: what a copy costs."""
        return 0

    def group(self, events: Sequence[Event]) -> bytes:
        """Return the frames of what is shown because of one event of the log.

        Only the last frame moves the watcher's cursor. If the connection is lost between two of
        them, the watcher gets all of them again.

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

    Guarantees: whatever an event's data holds, it cannot end a frame, name an event or replace a
    field that the dialect itself sets.
    """

    name: ClassVar[str]

    has_state: ClassVar[bool] = True
    """Whether what it writes of an event depends on the events before."""

    @abstractmethod
    def start(self, log: LogRef, since: int = 0) -> Encoder:
        """Return an encoder as it is behind the prelude, before the event `since` + 1."""

    def prelude(self, log: LogRef) -> bytes:
        """Return what precedes the first event of a log, for those who begin there; no id."""
        return b""

    @abstractmethod
    def gap(self, log: LogRef, gap: Mapping[str, object]) -> bytes:
        """Return the notice that events were lost, for example `{"reason": "trimmed"}`; no id.

        What follows comes from an encoder that has begun behind the gap, after another prelude if
        that is the beginning of the log.
        """

    def skip(self, position: str) -> bytes:
        """Return what moves a watcher's cursor past events that are not shown."""
        return sse.id_only(position)

    def rewrite(self, frames: bytes) -> bytes | None:
        """Return stored frames in this dialect, if that needs no look at the events; else None.

        For a dialect without state, and without anything to say at the end.
        """
        return None


class Stateless(Dialect):
    """A dialect that writes each event by itself."""

    has_state: ClassVar[bool] = False

    @abstractmethod
    def encode(self, log: LogRef, event: Event) -> bytes:
        """Return the event's frame, without id; `b""` if the dialect does not show it."""

    def end(self, log: LogRef, event: Event) -> bytes:
        """Return what follows the frame of the terminal event; no id."""
        return b""

    def start(self, log: LogRef, since: int = 0) -> Encoder:
        return _Each(self, log)


class _Each(Encoder):
    """Writes each event by itself, and remembers nothing."""

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
    return sse.encode(encode_json(payload), event=name)


def flatten(
    core: dict[str, object], extras: Mapping[str, object], reserved: Container[str] = ()
) -> None:
    """Add extra fields to an object without letting them replace one of its own.

    A field whose name is taken, or reserved, gets underscores appended until its name is free: it
    is neither lost nor mistaken for the dialect's own. One that says the same is left out.

    Args:
        core: gets the fields.
    """
    for name, value in extras.items():
        if name in core and core[name] == value:
            continue
        while name in core or name in reserved:
            name += "_"
        core[name] = value


encode_json: Final = msgspec.json.Encoder().encode
