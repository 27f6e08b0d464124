"""Record a run as it is now, event by event, so that nothing unredacted is ever written."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TypeAlias

import msgspec

from runcast.client.model import RunState
from runcast.client.threads import Client
from runcast.errors import Conflict, InvalidValue
from runcast.events.model import Event, encode_event
from runcast.events.position import Position
from runcast.events.recordings import RecordingHead, encode_head
from runcast.events.vocabulary import TERMINAL

__all__ = ("Redact", "record_run")

Redact: TypeAlias = Callable[[Event], Event | None]
"""Returns what is written instead of an event; None leaves out its data. `seq`, and whether it ends
the run, stay. It also gets the inputs, as an event of the type `inputs` with `seq` 0."""


def record_run(
    client: Client,
    run_id: str,
    *,
    with_inputs: bool = False,
    with_labels: bool = False,
    redact: Redact | None = None,
) -> Iterator[bytes]:
    """Yield the lines of a recording of a run, up to its present end.

    Raises:
        NotFound: there is no such run.
        Conflict: the run began again meanwhile.
        InvalidValue: `redact` failed, or returned something else than an event. Nothing of the
            event is yielded.
    """
    state = client.snapshot(run_id)
    end = Position.parse(state.position)
    inputs = state.inputs if with_inputs else None
    if inputs is not None:
        inputs = _redacted(Event(time=state.created_at, type="inputs", data=inputs), redact).data
    yield encode_head(_head(state, end, inputs, with_labels=with_labels)) + b"\n"
    pages = client.watch_pages(run_id, view="none") if end.seq else iter(())
    try:
        for received in chain.from_iterable(pages):
            event = received.event
            if event.type == "gap" and not event.seq:
                _check_gap(event, run_id, end.epoch)
                yield encode_event(event) + b"\n"
                continue
            yield _encoded(_redacted(event, redact)) + b"\n"
            if event.seq >= end.seq:
                return
    finally:
        if end.seq:
            pages.close()  # type: ignore[attr-defined]


def _head(state: RunState, end: Position, inputs: object, *, with_labels: bool) -> RecordingHead:
    return RecordingHead(
        run_id=state.run_id,
        epoch=end.epoch,
        function=state.function,
        status=state.status,
        created_at=state.created_at,
        ended_at=state.ended_at,
        events=end.seq,
        position=state.position,
        labels=state.labels if with_labels else None,
        inputs=inputs,
    )


def _check_gap(gap: Event, run_id: str, epoch: str) -> None:
    if not str(gap.data.get("after", "")).startswith(epoch):
        raise Conflict(f"the run {run_id!r} began again while it was recorded; record it again")


def _redacted(event: Event, redact: Redact | None) -> Event:
    if redact is None:
        return event
    what = f"event {event.seq}" if event.seq else "the inputs"
    try:
        found: object = redact(event)
    except Exception as error:
        raise InvalidValue(f"redacting {what} failed: {type(error).__name__}") from error
    if found is None:
        found = msgspec.structs.replace(event, data=None)
    if not isinstance(found, Event):
        raise InvalidValue(
            f"expected the redacted form of {what} to be an Event or None, got {type(found)!r}"
        )
    if (found.type in TERMINAL or event.type in TERMINAL) and found.type != event.type:
        raise InvalidValue(f"expected {what} to stay of the type {event.type!r}")
    return msgspec.structs.replace(found, seq=event.seq)


def _encoded(event: Event) -> bytes:
    try:
        return encode_event(event)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidValue(
            f"expected the redacted form of event {event.seq} to be JSON: {error!s:.200}"
        ) from None
