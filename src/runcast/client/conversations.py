"""Read what a stream of all runs of a thread says."""

import msgspec

from runcast.client import reconnect
from runcast.errors import PeerError
from runcast.events.model import decode_event
from runcast.events.thread import ThreadEvent, ThreadNotice

__all__ = ("read_thread_event",)

_OF_RUNS: tuple[ThreadNotice, ...] = ("deleted", "left", "left_out")


def read_thread_event(data: str) -> tuple[ThreadEvent, reconnect.Received]:
    """Return a frame as an event, and what it means for the position.

    Raises:
        PeerError: the frame is something else.
    """
    try:
        given = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        given = None
    event = _event_of(given) if isinstance(given, dict) else None
    if event is None:
        raise PeerError(f"expected a frame of a thread of runcast, got {data[:80]!r}")
    return event, reconnect.Received("", "")


def _event_of(given: dict[str, object]) -> ThreadEvent | None:
    run_id, gap = given.get("run"), given.get("gap")
    if isinstance(run_id, str) and isinstance(given.get("event"), dict):
        event = decode_event(msgspec.json.encode(given["event"]))
        return ThreadEvent(run_id=run_id, event=event)
    if isinstance(gap, dict):
        return ThreadEvent(notice="gap", reason=str(gap.get("reason", "")))
    if "earlier" in given:
        return ThreadEvent(notice="earlier")
    for notice in _OF_RUNS:
        if isinstance(run_id := given.get(notice), str):
            return ThreadEvent(run_id=run_id, notice=notice)
    return None
