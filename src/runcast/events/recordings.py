"""Recordings: a run's log as a file of lines, each a JSON value.

    {"runcast":"recording","version":1,"run_id":"r","epoch":"01hq3v5k2m",…}
    {"seq":1,"time":1763715600.0,"type":"started","data":{"function":"plan_trip"}}
    …

The first line is the head. Each further line is an event in canonical form, or a gap, which says
that events are missing between the lines around it. Source: ours.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from runcast.errors import InvalidValue, PeerError
from runcast.events.lifecycle import Status
from runcast.events.model import Event, decode_event
from runcast.events.plain import encode_line
from runcast.events.vocabulary import TERMINAL

__all__ = ("VERSION", "Recording", "RecordingHead", "encode_head", "read_recording")

VERSION: Final = 1
"""The version of the format; a reader refuses later ones."""

_KIND: Final = "recording"


class RecordingHead(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a recording: the run when it was recorded. Times are Unix seconds.

    `events` counts the run's events, `position` is that of the last one. `inputs` and `labels` are
    None if they were left out.
    """

    runcast: str = _KIND
    version: int = VERSION
    run_id: str
    epoch: str
    function: str = ""
    status: Status = "queued"
    created_at: float = 0.0
    ended_at: float | None = None
    events: int = 0
    position: str = ""
    labels: dict[str, str] | None = None
    inputs: Any = None


class Recording(NamedTuple):
    """A recorded run."""

    head: RecordingHead
    events: list[Event]
    """In order. A gap has the type `gap` and `seq` 0."""

    @property
    def has_ended(self) -> bool:
        """Whether the terminal event is there."""
        return bool(self.events) and self.events[-1].type in TERMINAL


def encode_head(head: RecordingHead) -> bytes:
    """Return the first line of a recording, without its line feed."""
    return encode_line(msgspec.to_builtins(head))


def read_recording(lines: Iterable[str | bytes], name: str = "the recording") -> Recording:
    """Return a recording.

    Args:
        name: of the file, for errors.

    Raises:
        InvalidValue: it is not a recording of this version; the message names the line.
    """
    given = ((number, line.strip()) for number, line in enumerate(lines, 1))
    filled = ((number, line) for number, line in given if line)
    head = _read_head(next(filled, (1, ""))[1], name)
    events: list[Event] = []
    last = 0
    for number, line in filled:
        try:
            event = decode_event(line)
        except PeerError as error:
            raise InvalidValue(f"{name}, line {number}: {error.message}") from None
        is_gap = event.type == "gap" and not event.seq
        if not is_gap and event.seq <= last:
            raise InvalidValue(
                f"{name}, line {number}: expected a seq after {last}, got {event.seq}"
            )
        if events and events[-1].type in TERMINAL:
            raise InvalidValue(f"{name}, line {number}: expected nothing after the end of the run")
        last = last if is_gap else event.seq
        events.append(event)
    return Recording(head, events)


def _read_head(line: str | bytes, name: str) -> RecordingHead:
    try:
        head = msgspec.json.decode(line, type=RecordingHead)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        head = None
    if head is None or head.runcast != _KIND:
        raise InvalidValue(
            f"expected {name} to begin with the head of a recording, as `runcast export` writes "
            f"it; got {line[:80]!r}"
        )
    if head.version > VERSION:
        raise InvalidValue(
            f"{name} is of version {head.version}, and this runcast reads versions up to {VERSION}"
        )
    return head
