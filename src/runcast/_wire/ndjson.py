"""NDJSON: one canonical event a line, for watchers that do not speak Server-Sent Events.

    {"seq":7,"time":1.5,"type":"log","data":{"level":"info","message":"…"}}

A line has no id: a client builds its position from the `seq`. So of the events that are shown
because of one event of the log only the last has a `seq`. A loss is a line without `seq`,
`{"type":"gap","data":{…}}`.

It is not among the dialects that a watcher can ask for by name. Source: ours.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from msgspec.structs import replace

from runcast._wire.dialects.base import Dialect, Encoder, LogRef, encode_json
from runcast.events.model import Event, encode_event
from runcast.events.position import split_frames

__all__ = ("NDJSON",)


class _Lines(Encoder):
    def feed(self, event: Event) -> Sequence[bytes]:
        return (encode_event(event) + b"\n",)

    def group(self, events: Sequence[Event]) -> bytes:
        *others, last = events
        without = (replace(event, seq=0) for event in others)
        return b"".join(line for event in (*without, last) for line in self.feed(event))


class _Ndjson(Dialect):
    name: ClassVar[str] = "ndjson"
    has_state: ClassVar[bool] = False

    def start(self, log: LogRef, since: int = 0) -> Encoder:
        return _Lines(log)

    def gap(self, log: LogRef, gap: Mapping[str, object]) -> bytes:
        return encode_json({"type": "gap", "data": dict(gap)}) + b"\n"

    def skip(self, position: str) -> bytes:
        return b""  # a client's position moves with what it sees

    def rewrite(self, frames: bytes) -> bytes:
        return b"\n".join([*split_frames(frames), b""])


NDJSON: Final = _Ndjson()
"""The one there is."""
