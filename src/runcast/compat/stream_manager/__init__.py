"""Streams by task id, for code that publishes from threads and serves `text/event-stream`.

    await stream_manager.create_stream(task_id)
    await stream_manager.publish_event(task_id, "thought", "Writer", "…")
    await stream_manager.publish_event(task_id, "end", "Writer", "…")

    return StreamingResponse(create_sse_generator(task_id), media_type="text/event-stream")

The names and their behaviour are those of the module that this one replaces. New: a stream is a run
in a hub, so that

- any number of readers see all events, also after the end;
- `sequence` is the event's place in the log: without gaps or duplicates, in the order of the wire;
- closing wakes readers at once; publishing to one stream never waits for another;
- reading creates nothing. A reader that comes before the producer waits `reader_wait_s`, and sees
  all events of a stream that is created meanwhile; otherwise it gets `connection_end`.

Call everything except `put_nowait` on the event loop of the hub in use.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, ClassVar, Final

from runcast import Event, OpenHub, Position
from runcast._clock import Clock, SystemClock
from runcast._wire import sse
from runcast._wire.dialects import LogRef, get
from runcast.compat.hubs import opened
from runcast.compat.log_reader import LogReader
from runcast.compat.stream_manager.stream_queue import TaskStreamQueue
from runcast.compat.stream_manager.task_stream import StreamEvent, is_silent_end
from runcast.errors import InvalidValue, NotFound

__all__ = (
    "IDLE_S",
    "StreamEvent",
    "StreamManager",
    "TaskStreamQueue",
    "create_sse_generator",
    "stream_manager",
)

IDLE_S: Final = 600.0
"""Least time, in seconds, after which an unused open stream counts as abandoned."""

_HEARTBEAT: Final = sse.comment("hb").decode()
_dialect: Final = get("task")


class StreamManager:
    """All streams of this process. A singleton: every call of the class returns the same object."""

    _instance: ClassVar["StreamManager | None"] = None

    streams: dict[str, TaskStreamQueue]
    clock: Clock
    reader_wait_s: float
    """How long a reader waits for a task that does not exist yet."""
    _expected: dict[str, set[asyncio.Future[None]]]

    def __new__(cls) -> "StreamManager":
        if cls._instance is None:
            made = super().__new__(cls)
            made.streams = {}
            made.clock = SystemClock()
            made.reader_wait_s = 30.0
            made._expected = {}
            cls._instance = made
        return cls._instance

    async def create_stream(self, task_id: str) -> TaskStreamQueue:
        """Begin a task's stream and return it; an older one of the same task is closed.

        Raises:
            StoreUnavailable: the stream could not be begun.
        """
        older = self.streams.get(task_id)
        stream = TaskStreamQueue(task_id, clock=self.clock)
        self.streams[task_id] = stream
        StreamEvent.reset_sequence(task_id)
        try:
            if older is not None:
                older.close()
                await older.wait_closed()  # the older stream's log must not begin after this one's
            await stream.begin()
        except BaseException:
            if self.streams.get(task_id) is stream:
                del self.streams[task_id]
            raise
        for expecting in self._expected.get(task_id, ()):
            if not expecting.done():
                expecting.set_result(None)
        return stream

    async def get_stream(self, task_id: str) -> TaskStreamQueue | None:
        """Return a task's stream; None if the stream was not created here."""
        return self.streams.get(task_id)

    async def publish_event(
        self,
        task_id: str,
        event_type: str,
        agent: str,
        content: str,
        metadata: Mapping[str, Any] | None = None,
    ) -> bool:
        """Publish an event; return whether it was accepted. False if nobody waits for the task.

        Raises:
            InvalidValue: the event cannot be stored.
        """
        stream = self.streams.get(task_id)
        if stream is None and task_id in self._expected:
            stream = await self.create_stream(task_id)
        if stream is None:
            return False
        return await stream.put(StreamEvent(event_type, agent, content, task_id, None, metadata))

    async def close_stream(self, task_id: str) -> None:
        """End a task's stream; it can be read until it is cleaned up."""
        stream = self.streams.get(task_id)
        if stream is not None:
            stream.close()
            await stream.wait_closed()

    async def cleanup_old_streams(self, max_age_seconds: float = 3600) -> None:
        """Forget streams that were closed before this age, and end streams unused for as long.

        An open stream counts as used while it is read, and for at least `IDLE_S` after the last
        event. The hub's own settings decide how long the hub keeps runs.
        """
        now = self.clock.monotonic()
        for task_id, stream in list(self.streams.items()):
            least = max_age_seconds if stream.is_closed else max(max_age_seconds, IDLE_S)
            if now - stream.used_at < least or (stream.subscribers and not stream.is_closed):
                continue
            stream.abandon()
            del self.streams[task_id]
            StreamEvent.reset_sequence(task_id)

    def list_active_streams(self) -> list[dict[str, Any]]:
        """Return each stream's `task_id` and whether it is `closed`."""
        return [
            {"task_id": task_id, "closed": stream.is_closed}
            for task_id, stream in list(self.streams.items())
        ]

    @contextmanager
    def expecting(self, task_id: str) -> Iterator[asyncio.Future[None]]:
        """Yield a future that is done once the task's stream exists."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._expected.setdefault(task_id, set())
        waiting.add(future)
        try:
            yield future
        finally:
            waiting.discard(future)
            future.cancel()
            if not waiting and self._expected.get(task_id) is waiting:
                del self._expected[task_id]


stream_manager: Final = StreamManager()


async def create_sse_generator(task_id: str, last_event_id: str = "") -> AsyncIterator[str]:
    """Yield a task's events as SSE frames, then `connection_end`; comments in between if silent.

    Args:
        last_event_id: the header `Last-Event-ID` of a browser that reconnects: it gets the events
            after this id; without it, all events from the first.

    A reader that leaves gets nothing more. A failing store raises, so that browsers reconnect.
    """
    hub = await opened()
    async for beat in _wait_for(hub, task_id):
        yield beat
    known = stream_manager.streams.get(task_id)
    last = Event(type="done", time=hub.clock.time())
    counted = known.being_read() if known is not None else nullcontext()
    after, beat_s = _position(last_event_id), hub.settings.heartbeat_s
    admitted = hub.hub.admissions.admit([task_id])
    with admitted, counted, LogReader(hub, task_id, after, wait_s=beat_s) as reader:
        while not reader.has_ended:
            try:
                chunk = await reader.next()
            except TimeoutError:
                yield _HEARTBEAT
                continue
            if chunk is None:
                break
            stream = LogRef(task_id, chunk.position.epoch)
            encoder = _dialect.start(stream)
            if chunk.gap is not None:
                yield _dialect.gap(stream, chunk.gap.data()).decode()
            for event in chunk.events():
                last = event
                if event.type != "started" and not is_silent_end(event):
                    yield encoder.group([event]).decode()
    yield _dialect.start(LogRef(task_id, "")).end(last).decode()


async def _wait_for(hub: OpenHub, task_id: str) -> AsyncIterator[str]:
    """Wait until a task's log exists, or the wait is over; yield heartbeats."""
    with stream_manager.expecting(task_id) as expected:
        stream = stream_manager.streams.get(task_id)
        if stream is not None:
            await stream.begin()
            return
        with suppress(NotFound):
            await hub.hub.info(task_id)
            return
        left_s = stream_manager.reader_wait_s
        while left_s > 0:
            wait_s = min(left_s, hub.settings.heartbeat_s)
            left_s -= wait_s
            await asyncio.wait({expected}, timeout=wait_s)
            if expected.done():
                return
            yield _HEARTBEAT


def _position(last_event_id: str) -> Position | None:
    try:
        return Position.parse(last_event_id) if last_event_id else None
    except InvalidValue:
        return None  # not one of ours: from the first event
