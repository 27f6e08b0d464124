"""Follow a run: yield its events, and resume after a lost connection."""

import http.client
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec

from runcast._cli.remote import Remote, field_of
from runcast._clock import SystemClock
from runcast._wire.sse import Decoder
from runcast.errors import PeerError
from runcast.events.model import Event, decode_event
from runcast.events.vocabulary import TERMINAL

__all__ = ("ATTEMPTS", "Received", "follow", "pause_after")

_READ_BYTES: Final = 64 * 1024

ATTEMPTS: Final = 20
"""Failed connections in a row before the command gives up."""

_STEADY_S: Final = 10.0
"""A connection that lasted so long does not count as failed, even without an event."""

_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 5.0


class Received(NamedTuple):
    """An event as it arrived: the position after it, its canonical JSON, the decoded event."""

    position: str
    text: str
    event: Event


def follow(
    remote: Remote,
    path: str,
    after: str = "",
    on_lost: Callable[[PeerError], None] = lambda error: None,
) -> Iterator[list[Received]]:
    """Yield a run's events until the terminal one, each once, even if connections break.

    Events come as they arrive, several at once if several are there. Nothing comes if the run had
    already ended at `after`.

    Args:
        path: the run's path, like `/runs/…`.
        after: begin after this position; "" begins with the first event.
        on_lost: called with the reason when an established connection is lost; called once until
            a connection is established again.

    Raises:
        NotFound, Unauthorized, InvalidValue: as the server answers.
        PeerError: the server cannot be reached, or not any more.
    """
    clock = SystemClock()
    cursor, failures, was_connected = after, 0, False
    while True:
        began = clock.monotonic()
        try:
            for batch in _connected(remote, f"{path}/events", cursor):
                was_connected = True
                if batch:
                    failures = 0
                    cursor = batch[-1].position
                    yield batch
                    if batch[-1].event.type in TERMINAL:
                        return
            # The server ended the stream: the run has ended, or the server is full or shuts down.
            run = remote.ask("GET", path)
            if field_of(run, "ended_at") is not None and field_of(run, "position") == cursor:
                return
            lost = PeerError("the server has ended the stream")
        except PeerError as error:
            lost = error
        except (OSError, http.client.HTTPException):
            lost = PeerError("the connection to the server is lost")
        if not was_connected:
            raise lost
        failures = 1 if clock.monotonic() - began > _STEADY_S else failures + 1
        if failures >= ATTEMPTS:
            raise PeerError(f"the server cannot be reached any more: {lost.message}") from lost
        if failures == 1:
            on_lost(lost)
        time.sleep(pause_after(failures))


def pause_after(failures: int) -> float:
    """Return how many seconds to wait after this many failed attempts."""
    return float(min(_PAUSE_S * 2 ** min(failures - 1, 8), _LONGEST_PAUSE_S))


def _connected(remote: Remote, path: str, cursor: str) -> Iterator[list[Received]]:
    """Yield events of one connection as they arrive; the first list is empty."""
    decoder = Decoder()
    headers = {"accept": "text/event-stream"}
    if cursor:
        headers["last-event-id"] = cursor
    with remote.open("GET", path, headers) as response:
        yield []
        while chunk := response.read1(_READ_BYTES):
            batch = []
            for frame in decoder.feed(chunk):
                cursor = frame.id or cursor
                event = decode_event(frame.data)
                batch.append(Received(cursor, _on_one_line(frame.data, event), event))
                if event.type in TERMINAL:
                    break
            if batch:
                yield batch


def _on_one_line(text: str, event: Event) -> str:
    return msgspec.json.encode(event).decode() if "\n" in text else text
