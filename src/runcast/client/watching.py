"""Follow a stream of a server across lost connections: each event once, in order.

`reconnect` decides what happens after each answer, event and cut; this module does it.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from runcast._clock import Clock, SystemClock
from runcast._wire.sse import Decoder, SSEvent
from runcast.client import reconnect
from runcast.client.reconnect import Options, State, react
from runcast.client.transport import Stream, Transport
from runcast.errors import PeerError, RuncastError, ServerUnavailable
from runcast.events.model import Event, decode_event

__all__ = ("Frame", "follow", "pause_after", "watch")

_STREAM: Final = "text/event-stream"


class Frame(NamedTuple):
    """A frame of a stream: its data, and the last id of the stream at its end."""

    data: str
    id: str


async def follow(
    transport: Transport,
    path: str,
    *,
    after: str = "",
    options: Options = Options(),  # noqa: B008 - frozen
    what: Callable[[str], reconnect.Received | reconnect.Gap],
    clock: Clock | None = None,
) -> AsyncGenerator[Frame, None]:
    """Yield the frames of a stream until the server has said that nothing follows.

    Args:
        path: the path and the query of the stream.
        after: the position after which to begin; "" begins with the first event.
        what: returns what the data of a frame means for the position; its `id` is filled in.

    Raises:
        NotFound, Unauthorized, Forbidden, …: the server refuses the stream.
        ServerUnavailable: `options.attempts` connections failed.
        PeerError: the answer is not a stream of runcast.
    """
    clock = clock or SystemClock()
    state = State(position=after)
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
                if not stream.headers.get("content-type", "").startswith(_STREAM):
                    raise PeerError(f"{transport.url} does not answer with a stream")
                state = msgspec.structs.replace(state, has_moved=False)
                frames = await opened.enter_async_context(aclosing(_frames(stream, state.position)))
                async for frame in frames:
                    if isinstance(frame, int):
                        state, _ = react(state, reconnect.Retry(frame))
                        continue
                    happened = what(frame.data)
                    if isinstance(happened, reconnect.Received):
                        happened = msgspec.structs.replace(happened, id=frame.id)
                    state, action = react(state, happened)
                    yield Frame(frame.data, frame.id)
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
            await asyncio.sleep(action.wait_s)


def _happened(error: RuncastError, lasted_s: float) -> reconnect.Happened:
    """Return what an error says: the server has refused, or the connection broke."""
    if type(error) is ServerUnavailable and error.retry_after_s is None:
        return reconnect.Cut(lasted_s)
    return reconnect.Answer(
        error.status, retry_after_s=error.retry_after_s, retryable=error.retryable
    )


async def _frames(stream: Stream, position: str) -> AsyncGenerator[SSEvent | int, None]:
    """Yield the frames of one connection, and the numbers of its `retry` fields."""
    decoder = Decoder(last_event_id=position)
    retry_ms: int | None = None
    async with aclosing(stream.chunks()) as chunks:
        async for chunk in chunks:
            events = decoder.feed(chunk)
            if decoder.retry_ms is not None and decoder.retry_ms != retry_ms:
                retry_ms = decoder.retry_ms
                yield retry_ms
            for event in events:
                yield event


def _of_run(data: str) -> reconnect.Received | reconnect.Gap:
    event = _event_of(data)
    if event.type == "gap" and not event.seq:
        fields: Mapping[str, Any] = event.data if isinstance(event.data, dict) else {}
        return reconnect.Gap(str(fields.get("after", "")))
    return reconnect.Received("", event.type)


def _event_of(data: str) -> Event:
    return decode_event(data)


async def watch(
    transport: Transport,
    run_id: str,
    after: str = "",
    query: str = "",
    options: Options = Options(),  # noqa: B008 - frozen
) -> AsyncGenerator[Event, None]:
    """Yield a run's events until its end, each once, whatever happens to connections.

    A loss is an event of type `gap` with `seq` 0. Raises what `follow` raises.
    """
    path = f"/runs/{quote(run_id, safe='')}/events"
    path += f"?{query}" if query else ""
    frames = follow(transport, path, after=after, options=options, what=_of_run)
    try:
        async for frame in frames:
            yield _event_of(frame.data)
    finally:
        await frames.aclose()


def pause_after(failures: int, options: Options, error: RuncastError) -> float:
    """Return how long to wait before a request is sent again, after some failures in a row."""
    answer = reconnect.Answer(503, retry_after_s=error.retry_after_s, retryable=True)
    _, action = react(State(failures=failures), answer, random.random(), options)
    return action.wait_s if isinstance(action, reconnect.Connect) else options.longest_s
