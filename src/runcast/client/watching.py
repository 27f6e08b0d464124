"""Follow a stream of a server across lost connections: each event once, in order.

`reconnect` decides what happens after each answer, event and cut; this module does it.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from runcast._clock import Clock, SystemClock
from runcast._wire.sse import Decoder
from runcast.client import reconnect
from runcast.client.reconnect import ReconnectOptions, State, react
from runcast.client.transport import Transport
from runcast.errors import PeerError, RuncastError, ServerUnavailable
from runcast.events.model import Event, decode_event

__all__ = ("Cut", "Received", "follow", "ignore_cut", "pause_after", "watch")

_STREAM: Final = "text/event-stream"


T = TypeVar("T")


class Received(NamedTuple):
    """An event as it arrived: itself, its canonical JSON on one line, and the position after it."""

    event: Event
    text: str
    position: str


Cut: TypeAlias = Callable[[RuncastError, int, bool], None]
"""Called before a client comes back: with the error, the number of failures in a row, and whether
the stream was ever open. It may raise to give up."""


def ignore_cut(error: RuncastError, failures: int, was_open: bool) -> None:
    """Do nothing about a lost connection."""


async def follow(
    transport: Transport,
    path: str,
    *,
    after: str = "",
    options: ReconnectOptions = ReconnectOptions(),  # noqa: B008 - frozen
    read: Callable[[str], tuple[T, reconnect.Received | reconnect.Gap]],
    on_cut: Cut = ignore_cut,
    clock: Clock | None = None,
) -> AsyncGenerator[list[tuple[T, str]], None]:
    """Yield what a stream brings, each with the position after it, as it arrives, until the server
    has said that nothing follows.

    Args:
        path: the path and the query of the stream.
        after: the position after which to begin; "" begins with the first event.
        read: returns what a frame's data is, and what it means for the position; the `id` is filled
            in.

    Raises:
        NotFound, Unauthorized, Forbidden, …: the server refuses the stream.
        ServerUnavailable: `options.attempts` connections failed.
        PeerError: the answer is not a stream of runcast.
    """
    clock = clock or SystemClock()
    state, was_open = State(position=after), False
    retry_ms: int | None = None
    while True:
        error: RuncastError
        begun = clock.monotonic()
        fields = {"accept": _STREAM}
        if state.position:
            fields["last-event-id"] = state.position
        try:
            async with AsyncExitStack() as opened:
                stream = await opened.enter_async_context(
                    transport.stream("GET", path, headers=fields)
                )
                if stream.status == 204:
                    return
                kind = stream.headers.get("content-type", "")
                if kind.partition(";")[0].strip().lower() != _STREAM:
                    raise PeerError(
                        f"expected a stream of events from {transport.url}, got {kind[:80]!r}"
                    )
                state, was_open = msgspec.structs.replace(state, has_moved=False), True
                decoder = Decoder(last_event_id=state.position)
                chunks = await opened.enter_async_context(aclosing(stream.chunks()))
                async for chunk in chunks:
                    page: list[tuple[T, str]] = []
                    action: reconnect.Action = reconnect.Read()
                    for frame in decoder.feed(chunk):
                        item, happened = read(frame.data)
                        if isinstance(happened, reconnect.Received):
                            happened = msgspec.structs.replace(happened, id=frame.id)
                        state, action = react(state, happened)
                        page.append((item, state.position))
                        if isinstance(action, reconnect.Stop):
                            break
                    if not isinstance(action, reconnect.Stop):  # an id may come without data
                        state = _moved(state, decoder.last_event_id)
                    if decoder.retry_ms not in (None, retry_ms):
                        retry_ms = decoder.retry_ms or 0
                        state, _ = react(state, reconnect.Retry(retry_ms))
                    if page:
                        yield page
                    if isinstance(action, reconnect.Stop):
                        return
            cut: reconnect.Happened = reconnect.Cut(clock.monotonic() - begun)
            error = ServerUnavailable(f"the stream of {transport.url} ended early")
        except RuncastError as raised:
            error = raised
            cut = _happened(raised, clock.monotonic() - begun)
        state, action = react(state, cut, random.random(), options)
        if isinstance(action, reconnect.Stop):
            raise error
        if isinstance(action, reconnect.Connect):
            on_cut(error, state.failures, was_open)
            await asyncio.sleep(action.wait_s)


def _moved(state: State, last_event_id: str) -> State:
    if last_event_id in ("", state.position, state.void_id):
        return state
    return react(state, reconnect.Received(last_event_id, ""))[0]


def _happened(error: RuncastError, lasted_s: float) -> reconnect.Happened:
    """Return what an error says: the server has refused, or the connection broke."""
    if type(error) is ServerUnavailable and error.retry_after_s is None:
        return reconnect.Cut(lasted_s)
    return reconnect.Answer(
        error.status, retry_after_s=error.retry_after_s, retryable=error.retryable
    )


def _read_event(data: str) -> tuple[tuple[Event, str], reconnect.Received | reconnect.Gap]:
    event = decode_event(data)
    # A proxy may break lines.
    text = data if "\n" not in data else msgspec.json.encode(event).decode()
    if event.type == "gap" and not event.seq:
        fields: Mapping[str, Any] = event.data if isinstance(event.data, dict) else {}
        return (event, text), reconnect.Gap(str(fields.get("after", "")))
    return (event, text), reconnect.Received("", event.type)


async def watch(
    transport: Transport,
    path: str,
    after: str = "",
    options: ReconnectOptions = ReconnectOptions(),  # noqa: B008 - frozen
    on_cut: Cut = ignore_cut,
) -> AsyncGenerator[list[Received], None]:
    """Yield a run's events as they arrive, until its end, each once, whatever happens to
    connections.

    Args:
        path: of the run's events, with a query.

    A loss is an event of type `gap` with `seq` 0. Raises what `follow` raises.
    """
    pages = follow(transport, path, after=after, options=options, read=_read_event, on_cut=on_cut)
    async with aclosing(pages):
        async for page in pages:
            yield [Received(event, text, position) for (event, text), position in page]


def pause_after(failures: int, options: ReconnectOptions, error: RuncastError) -> float:
    """Return how long to wait before a request is sent again, after some failures in a row."""
    answer = reconnect.Answer(503, retry_after_s=error.retry_after_s, retryable=True)
    _, action = react(State(failures=failures), answer, random.random(), options)
    return action.wait_s if isinstance(action, reconnect.Connect) else options.longest_s
