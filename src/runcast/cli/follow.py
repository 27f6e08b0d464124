"""Following a run from a terminal: its events, resumed when the connection is lost."""

import http.client
import time
from collections.abc import Iterator
from typing import Final

from runcast.cli.remote import Remote
from runcast.errors import PeerError
from runcast.events.model import Event, decode_event
from runcast.events.vocabulary import TERMINAL
from runcast.wire.sse import Decoder

__all__ = ("follow",)

_READ_BYTES: Final = 64 * 1024

_ATTEMPTS: Final = 20
"""Connections tried in vain, one after another, before the server is given up."""

_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 5.0


def follow(remote: Remote, path: str, after: str = "") -> Iterator[Event]:
    """Yield a run's events until the terminal one, each once, however often the connection breaks.

    Args:
        path: of the run, like `/runs/…`.
        after: the position to begin behind; "" begins with the first event.

    Raises:
        NotFound: there is no such run.
        PeerError: the server could not be reached again.
    """
    cursor, failures = after, 0
    while True:
        try:
            for position, event in _connected(remote, f"{path}/events", cursor):
                cursor, failures = position, 0
                yield event
                if event.type in TERMINAL:
                    return
        except (PeerError, OSError, http.client.HTTPException) as error:
            failures += 1
            if failures >= _ATTEMPTS:
                raise PeerError(f"the server cannot be reached any more: {error}") from error
        else:
            if remote.ask("GET", path)["position"] == cursor and _is_over(remote, path):
                return
        time.sleep(min(_PAUSE_S * 2 ** min(failures, 8), _LONGEST_PAUSE_S))


def _is_over(remote: Remote, path: str) -> bool:
    return remote.ask("GET", path)["ended_at"] is not None


def _connected(remote: Remote, path: str, cursor: str) -> Iterator[tuple[str, Event]]:
    """Yield the positions behind events and the events, as long as one connection lasts."""
    decoder = Decoder()
    with remote.open("GET", path, {"last-event-id": cursor} if cursor else {}) as response:
        while chunk := response.read1(_READ_BYTES):
            for frame in decoder.feed(chunk):
                yield frame.id or cursor, decode_event(frame.data)
