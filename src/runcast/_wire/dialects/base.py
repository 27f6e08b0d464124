"""What a dialect is: how the events of a log look to watchers who expect another format.

An event is encoded once for all watchers of a dialect, and each by itself: what a dialect writes
depends on the log and the event alone, so that a watcher may begin anywhere.
"""

from abc import ABC, abstractmethod
from collections.abc import Container, Mapping
from typing import ClassVar, Final, NamedTuple

import msgspec

from runcast._wire import sse
from runcast.events.model import Event
from runcast.events.position import Position

__all__ = ("Dialect", "LogRef", "encode_json", "flatten", "frame_event")


class LogRef(NamedTuple):
    """The log that is being encoded."""

    run_id: str
    epoch: str


class Dialect(ABC):
    """One way to write a log's events as Server-Sent Events.

    Guarantees: whatever an event's data holds, it cannot end a frame, name an event or replace a
    field that the dialect itself sets. No method raises for an event read from a log.
    """

    name: ClassVar[str]

    @abstractmethod
    def encode(self, log: LogRef, event: Event) -> bytes:
        """Return an event's frames, in order; `b""` if the dialect does not show it.

        The last frame, and only that, carries the event's position as its id.
        """

    @abstractmethod
    def gap(self, log: LogRef, gap: Mapping[str, object]) -> bytes:
        """Return the notice that events were lost, for example `{"reason": "trimmed"}`; no id."""

    def end(self, log: LogRef, event: Event) -> bytes:
        """Return what follows the frames of the terminal event; no id."""
        return b""


def frame_event(log: LogRef, event: Event, payload: object, name: str | None = None) -> bytes:
    """Return one frame with a JSON payload and the event's position."""
    position = Position(log.epoch, event.seq)
    return sse.encode(encode_json(payload), id=str(position), event=name)


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
