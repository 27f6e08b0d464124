"""Follow a stream of a server across lost connections: each event once, in order.

`reconnect` decides what happens after each answer, event and cut; this module does it. `polling`
asks for pages where the network holds streams back.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from runcast._clock import Clock, SystemClock
from runcast._wire.sse import Decoder
from runcast.client import reconnect
from runcast.client.polling import Poll, poll_run
from runcast.client.reconnect import ReconnectOptions, State, react
from runcast.client.transport import Stream, Transport
from runcast.errors import PeerError, RuncastError, ServerUnavailable
from runcast.events.model import Event, decode_event

__all__ = ("Cut", "ReadFrame", "Received", "follow", "ignore_cut", "pause_after", "watch")

_STREAM: Final = "text/event-stream"


T = TypeVar("T")


class Received(NamedTuple):
    """An event as it arrived: itself, its canonical JSON on one line, and the position after it."""

    event: Event
    text: str
    position: str


ReadFrame: TypeAlias = Callable[[str], tuple[T, reconnect.Received | reconnect.Gap]]
"""Returns what a frame's data is, and what it means for the position."""

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
    read: ReadFrame[T],
    poll: Poll | None = None,
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
        poll: asks for what follows a position instead, if the network holds streams back.

    Raises:
        NotFound, Unauthorized, Forbidden, …: the server refuses the stream.
        ServerUnavailable: `options.attempts` connections failed.
        PeerError: the answer is not a stream of runcast.
    """
    clock = clock or SystemClock()
    if transport.is_inside:
        poll = None
    following = _Following(transport, path, read, State(position=after), options)
    must_poll = False
    while not following.is_over:
        begun = clock.monotonic()
        following.begin()
        if poll is not None and (must_poll or begun < transport.polls_until):
            pages = following.polled(poll, clock)
        else:
            pages = following.streamed(has_poll=poll is not None)
        must_poll = False
        error: RuncastError | None = None
        try:
            async with aclosing(pages):
                async for page in pages:
                    yield page
        except RuncastError as raised:
            error = raised
        if following.is_over or (error is None and following.is_polling):
            continue  # it has polled for long enough: a stream may pass again
        action = following.lose(error, clock.monotonic() - begun, has_poll=poll is not None)
        error = error or ServerUnavailable(f"the stream of {transport.url} ended early")
        if isinstance(action, reconnect.Stop):
            raise error
        must_poll = isinstance(action, reconnect.Poll)
        if isinstance(action, reconnect.Connect):
            on_cut(error, following.state.failures, following.was_open)
            await asyncio.sleep(action.wait_s)


class _Following(Generic[T]):
    """A client's progress across connections: streams, and pages that it asks for."""

    def __init__(
        self,
        transport: Transport,
        path: str,
        read: ReadFrame[T],
        state: State,
        options: ReconnectOptions,
    ) -> None:
        self.state = state
        self.was_open = False
        self.is_over = False
        """Whether nothing follows."""
        self.is_polling = False
        self._transport = transport
        self._path = path
        self._read = read
        self._options = options
        self._silence: reconnect.Silence | None = None
        self._retry_ms: int | None = None

    def begin(self) -> None:
        """Forget how the last connection ended."""
        self._silence, self.is_polling = None, False

    async def streamed(self, *, has_poll: bool) -> AsyncGenerator[list[tuple[T, str]], None]:
        """Read one stream. Raises what `follow` raises."""
        async with AsyncExitStack() as opened:
            stream, chunks, chunk = await self._open(opened, has_poll=has_poll)
            if stream.status == 204:
                self.is_over = True
                return
            kind = stream.headers.get("content-type", "")
            if kind.partition(";")[0].strip().lower() != _STREAM:
                raise PeerError(
                    f"expected a stream of events from {self._transport.url}, got {kind[:80]!r}"
                )
            self._opened()
            decoder = Decoder(last_event_id=self.state.position)
            try:
                while chunk:
                    frames = [(frame.data, frame.id) for frame in decoder.feed(chunk)]
                    page = self._take(frames)
                    if not self.is_over:  # an id may come without data
                        self._move(decoder.last_event_id)
                    if decoder.retry_ms not in (None, self._retry_ms):
                        self._retry_ms = decoder.retry_ms or 0
                        self.state, _ = react(self.state, reconnect.Retry(self._retry_ms))
                    if page:
                        yield page
                    if self.is_over:
                        return
                    chunk = await anext(chunks, b"")
            except ServerUnavailable:
                if stream.is_silent:
                    self._silence = reconnect.Silence()
                raise

    async def _open(
        self, opened: AsyncExitStack, *, has_poll: bool
    ) -> tuple[Stream, AsyncGenerator[bytes, None], bytes]:
        """Return a stream with its first bytes. Some networks hold back its head, too."""
        fields = {"accept": _STREAM}
        if self.state.position:
            fields["last-event-id"] = self.state.position
        first_s = min(self._options.buffered_s, self._transport.timeout_s) if has_poll else None
        deadline = asyncio.timeout(first_s)
        try:
            async with deadline:
                stream = await opened.enter_async_context(
                    self._transport.stream("GET", self._path, headers=fields)
                )
                chunks = await opened.enter_async_context(aclosing(stream.chunks()))
                return stream, chunks, await anext(chunks, b"")
        except (TimeoutError, ServerUnavailable) as error:
            if deadline.expired():
                self._silence = reconnect.Silence(is_beginning=True)
            if isinstance(error, TimeoutError):
                raise ServerUnavailable(
                    f"the server at {self._transport.url} does not answer in time"
                ) from None
            raise

    async def polled(self, poll: Poll, clock: Clock) -> AsyncGenerator[list[tuple[T, str]], None]:
        """Ask for pages, until a stream should be tried again. Raises what `follow` raises."""
        until = max(self._transport.polls_until, clock.monotonic() + self._options.poll_s)
        while clock.monotonic() < until and not self.is_over:
            answer = await poll(self.state.position)
            self._transport.polls_until = until
            self.is_polling = True
            self._opened()
            page = self._take(answer.frames)
            if not self.is_over:
                self.state = replace(self.state, position=answer.position, void_id="", failures=0)
                self.is_over = answer.is_closed
            if page:
                yield page

    def _opened(self) -> None:
        self.state, self.was_open = replace(self.state, has_moved=False), True

    def _take(self, frames: Iterable[tuple[str, str]]) -> list[tuple[T, str]]:
        page: list[tuple[T, str]] = []
        for data, id in frames:  # noqa: A001 - the name of the field
            item, happened = self._read(data)
            if isinstance(happened, reconnect.Received):
                happened = replace(happened, id=id)
            self.state, action = react(self.state, happened)
            page.append((item, self.state.position))
            if isinstance(action, reconnect.Stop):
                self.is_over = True
                break
        return page

    def _move(self, last_event_id: str) -> None:
        if last_event_id not in ("", self.state.position, self.state.void_id):
            self.state, _ = react(self.state, reconnect.Received(last_event_id, ""))

    def lose(
        self, error: RuncastError | None, lasted_s: float, *, has_poll: bool
    ) -> reconnect.Action:
        """Return what to do after the end of a connection."""
        happened: reconnect.Happened = reconnect.Cut(lasted_s)
        if self._silence is not None and has_poll:
            happened = replace(self._silence, lasted_s=lasted_s)
        elif error is not None:
            happened = _happened(error, lasted_s)
        self.state, action = react(self.state, happened, random.random(), self._options)
        return action


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
    *,
    clock: Clock | None = None,
) -> AsyncGenerator[list[Received], None]:
    """Yield a run's events as they arrive, until its end, each once, whatever happens to
    connections.

    Args:
        path: of the run's events, with a query.

    A loss is an event of type `gap` with `seq` 0. Raises what `follow` raises.
    """
    pages = follow(
        *(transport, path),
        after=after,
        options=options,
        read=_read_event,
        poll=poll_run(transport, path),
        on_cut=on_cut,
        clock=clock,
    )
    async with aclosing(pages):
        async for page in pages:
            yield [Received(event, text, position) for (event, text), position in page]


def pause_after(failures: int, options: ReconnectOptions, error: RuncastError) -> float:
    """Return how long to wait before a request is sent again, after some failures in a row."""
    answer = reconnect.Answer(503, retry_after_s=error.retry_after_s, retryable=True)
    _, action = react(State(failures=failures), answer, random.random(), options)
    return action.wait_s if isinstance(action, reconnect.Connect) else options.longest_s
