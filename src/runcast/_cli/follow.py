"""Follow a run: yield its events, and resume after a lost connection.

`client.reconnect` decides when to connect again, as for every client.
"""

import http.client
import time
from collections.abc import Callable, Iterator
from random import random
from typing import Final, NamedTuple

import msgspec

from runcast._cli.remote import NotNow, Remote
from runcast._clock import SystemClock
from runcast._wire.sse import Decoder
from runcast.client import reconnect
from runcast.client.reconnect import Action, Answer, Cut, Happened, State, Stop
from runcast.errors import InvalidValue, PeerError
from runcast.events.model import Event, decode_event
from runcast.events.vocabulary import TERMINAL

__all__ = ("Received", "follow", "react")

_READ_BYTES: Final = 64 * 1024
_STREAM: Final = "text/event-stream"

_PATIENCE: Final = reconnect.ReconnectOptions(first_s=0.25, longest_s=5.0, attempts=20)
"""Shorter waits than on a page, because a person watches the terminal; and a last attempt."""


class Received(NamedTuple):
    """An event as it arrived: the position after it, its canonical JSON, the decoded event."""

    position: str
    text: str
    event: Event


def react(state: State, happened: Happened) -> tuple[State, Action]:
    """Return the next state and action of a command; see `reconnect.react`."""
    return reconnect.react(state, happened, random(), _PATIENCE)


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
    state, was_connected = State(after), False
    while True:
        began, lost = clock.monotonic(), PeerError("the server has ended the stream")
        happened: Happened
        try:
            with remote.open("GET", f"{path}/events", _headers(state)) as response:
                content_type = response.headers.get("content-type", _STREAM)
                is_stream = content_type.partition(";")[0].strip().lower() == _STREAM
                state, action = react(state, Answer(response.status, is_stream))
                if isinstance(action, Stop):
                    if action.reason == "complete":
                        return
                    raise InvalidValue(
                        f"expected a stream of events from {path}/events, got {content_type:.80}"
                    )
                was_connected = True
                for led, batch in _batches(state, response):
                    state = led
                    if batch:
                        yield batch
                        if batch[-1].event.type in TERMINAL:
                            return
            happened = Cut(clock.monotonic() - began)
        except NotNow as error:
            lost, happened = error, Answer(error.answer_status, retry_after_s=error.retry_after_s)
        except PeerError as error:
            lost, happened = error, Cut()
        except (OSError, http.client.HTTPException):
            lost = PeerError("the connection to the server is lost")
            happened = Cut(clock.monotonic() - began)
        if not was_connected:
            raise lost
        state, action = react(state, happened)
        if isinstance(action, Stop):
            raise PeerError(f"the server cannot be reached any more: {lost.message}") from lost
        if state.failures == 1:
            on_lost(lost)
        if isinstance(action, reconnect.Connect):
            time.sleep(action.wait_s)


def _headers(state: State) -> dict[str, str]:
    headers = {"accept": _STREAM}
    return {**headers, "last-event-id": state.position} if state.position else headers


def _batches(
    state: State, response: http.client.HTTPResponse
) -> Iterator[tuple[State, list[Received]]]:
    """Yield the state and the events of one connection as they arrive."""
    decoder = Decoder(last_event_id=state.position)
    retry_ms: int | None = None
    while chunk := response.read1(_READ_BYTES):
        batch = []
        for frame in decoder.feed(chunk):
            event = decode_event(frame.data)
            state, action = react(state, _happened(frame.id, event))
            batch.append(Received(state.position, _on_one_line(frame.data, event), event))
            if isinstance(action, Stop):
                break
        if decoder.retry_ms is not None and decoder.retry_ms != retry_ms:
            retry_ms = decoder.retry_ms
            state, _ = react(state, reconnect.Retry(retry_ms))
        yield state, batch


def _happened(position: str, event: Event) -> Happened:
    if event.type == "gap" and not event.seq:
        after = event.data.get("after") if isinstance(event.data, dict) else None
        return reconnect.Gap(after if isinstance(after, str) else "")
    return reconnect.Received(position, event.type)


def _on_one_line(text: str, event: Event) -> str:
    return msgspec.json.encode(event).decode() if "\n" in text else text
