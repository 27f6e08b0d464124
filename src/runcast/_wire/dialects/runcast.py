"""The `runcast` dialect: canonical JSON, unnamed, as stored.

    id: 01hq3v5k2m-7
    data: {"seq":7,"time":1.5,"type":"log","data":{"level":"info","message":"…"}}

Frames have no name, so `onmessage` sees every event, and an event of the type `error` does not
collide with EventSource's own. A loss is sent as `{"type":"gap","data":{"reason":"trimmed",…}}`. It
cannot be mistaken for an event, because it has no `seq`.

Source: ours.
"""

from collections.abc import Mapping
from typing import ClassVar

from runcast._wire.dialects.base import LogRef, Stateless, frame
from runcast.events.model import Event, encode_event

__all__ = ("Runcast",)


class Runcast(Stateless):
    """Canonical JSON, unnamed; the bytes are those of the stored frame."""

    name: ClassVar[str] = "runcast"

    def encode(self, log: LogRef, event: Event) -> bytes:
        """Return the event's one frame, without id."""
        return b"data: %b\n\n" % encode_event(event)

    def gap(self, log: LogRef, gap: Mapping[str, object]) -> bytes:
        """Return one frame without `seq` and id."""
        return frame({"type": "gap", "data": dict(gap)})

    def rewrite(self, frames: bytes) -> bytes:
        """Return the stored frames unchanged."""
        return frames
