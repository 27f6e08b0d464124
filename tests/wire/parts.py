"""A dialect that remembers, as those of other protocols must: for tests of whatever carries it.

    data: {"n":0,"type":"begin","run":"r"}              the prelude
    data: {"n":1,"type":"part_start","id":"content-3"}
    data: {"n":2,"type":"part_delta","id":"content-3","delta":"Hel"}
    id: …-5
    data: {"n":3,"type":"part_end","id":"content-3","text":"Hello"}     another part begins
    data: {"n":9,"type":"finish","outcome":"done","seen":17,"digest":"…"}
    data: [DONE]                                         the end

Frames are numbered. A text is one part until another begins; its last frame has all of it. A call
of a tool is open until it has a result; whatever is open is closed at the end. Other events show
nothing, but are counted and digested, so that a state that missed one, or saw it twice, differs.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, NamedTuple

from runcast._wire.dialects import Dialect, Encoder, LogRef
from runcast._wire.dialects.base import frame
from runcast.events.model import Event
from runcast.events.vocabulary import DELTA_TYPES, TERMINAL

__all__ = ("PARTS", "Parts")


class _Part(NamedTuple):
    key: tuple[str, ...]
    id: str
    text: str = ""


class PartsEncoder(Encoder):
    """What is open, and how much there was."""

    def __init__(self, log: LogRef, since: int = 0) -> None:
        super().__init__(log, since)
        self.number = 1  # behind the prelude
        self.part: _Part | None = None
        self.calls: tuple[str, ...] = ()
        self.seen = 0
        self.digest = b""

    @property
    def size(self) -> int:
        return len(self.part.text) if self.part is not None else 0

    def feed(self, event: Event) -> Sequence[bytes]:
        self.seen += 1
        told = f"{event.seq} {event.type} {event.data!r}".encode()
        self.digest = hashlib.blake2b(self.digest + told, digest_size=8).digest()
        data = event.data if isinstance(event.data, dict) else {}
        if event.type in TERMINAL:
            closing = [*self._close_part(), *self._close_calls()]
            totals = {"seen": self.seen, "digest": self.digest.hex()}
            return [*closing, self._frame("finish", outcome=event.type, **totals)]
        if event.type in DELTA_TYPES:
            return self._delta(event, str(data.get("text", "")))
        if event.type == "content_complete":
            return self._close_part()
        if event.type == "tool_call":
            call = f"call-{event.seq}"
            self.calls = (*self.calls, call)[-8:]
            closing = self._close_part()
            return [*closing, self._frame("call_start", id=call)]
        if event.type == "tool_result":
            return self._close_calls()
        return []

    def _delta(self, event: Event, text: str) -> list[bytes]:
        frames: list[bytes] = []
        key = (event.type, event.node, event.agent)
        if self.part is None or self.part.key != key:
            frames += self._close_part()
            self.part = _Part(key, f"{event.type}-{event.seq}")
            frames.append(self._frame("part_start", id=self.part.id))
        self.part = self.part._replace(text=self.part.text + text)
        return [*frames, self._frame("part_delta", id=self.part.id, delta=text)]

    def _close_part(self) -> list[bytes]:
        if self.part is None:
            return []
        part, self.part = self.part, None
        return [self._frame("part_end", id=part.id, text=part.text)]

    def _close_calls(self) -> list[bytes]:
        calls, self.calls = self.calls, ()
        return [self._frame("call_end", id=call) for call in calls]

    def _frame(self, kind: str, **more: object) -> bytes:
        number, self.number = self.number, self.number + 1
        return frame({"n": number, "type": kind, **more})

    def end(self, event: Event) -> bytes:
        return b"data: [DONE]\n\n"


class Parts(Dialect):
    """Numbered parts, opened and closed."""

    name: ClassVar[str] = "parts"

    def start(self, log: LogRef, since: int = 0) -> PartsEncoder:
        return PartsEncoder(log, since)

    def prelude(self, log: LogRef) -> bytes:
        return frame({"n": 0, "type": "begin", "run": log.run_id})

    def gap(self, log: LogRef, gap: Mapping[str, object]) -> bytes:
        return frame({"type": "gap", "data": dict(gap)})


PARTS: Final = Parts()
