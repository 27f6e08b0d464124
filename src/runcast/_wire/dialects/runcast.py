"""The `runcast` dialect: canonical JSON, unnamed, as it is stored.

    id: 01hq3v5k2m-7
    data: {"seq":7,"time":1.5,"type":"log","data":{"level":"info","message":"…"}}

Frames have no name, so that `onmessage` sees every event, and one of the type `error` does not
meet EventSource's own. A loss is told as `{"type":"gap","data":{"reason":"trimmed",…}}`, which no
event can look like: it has no `seq`.

Source: ours.
"""

from collections.abc import Mapping
from typing import ClassVar

from runcast._wire import sse
from runcast._wire.dialects.base import Dialect, LogRef, encode_json
from runcast.events.model import Event, record_of
from runcast.events.position import frame_record

__all__ = ("Runcast",)


class Runcast(Dialect):
    """Canonical JSON, unnamed; the bytes are those of the stored frame."""

    name: ClassVar[str] = "runcast"

    def encode(self, log: LogRef, event: Event) -> bytes:
        """Return the event's one frame."""
        return frame_record(b"id: %b-" % log.epoch.encode(), event.seq, record_of(event))

    def gap(self, log: LogRef, gap: Mapping[str, object]) -> bytes:
        """Return one frame without `seq` and id."""
        return sse.encode(encode_json({"type": "gap", "data": dict(gap)}))
