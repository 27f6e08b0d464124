"""NDJSON: one canonical event per line, for watchers that do not use Server-Sent Events.

    {"seq":7,"time":1.5,"type":"log","data":{"level":"info","message":"…"}}

A line has no id: a client builds its position from the `seq`. So if one event of the log leads to
several lines, only the last has a `seq`. A loss is a line without `seq`,
`{"type":"gap","data":{…}}`.

A watcher cannot select it as a dialect by name. Source: ours.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from msgspec.structs import replace

from runcast._wire.dialects.base import Dialect, Encoder, LogRef
from runcast.events.model import Event, encode_event
from runcast.events.plain import encode_line
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
        return encode_line({"type": "gap", "data": dict(gap)}) + b"\n"

    def skip(self, position: str) -> bytes:
        return b""  # a client's position moves with the lines that it sees

    def rewrite(self, frames: bytes) -> bytes:
        return b"\n".join([*split_frames(frames), b""])


NDJSON: Final = _Ndjson()
"""The only instance."""
