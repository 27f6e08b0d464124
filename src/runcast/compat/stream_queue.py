"""The stream of one task, as its producers and readers hold it."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final, Self

from runcast import OpenHub, Position, RuncastError, Writer
from runcast.clock import Clock, SystemClock
from runcast.compat.hubs import opened
from runcast.compat.task_stream import (
    CLOSED_AFTER_ERROR,
    Said,
    StreamEvent,
    is_silent_end,
    read_event,
    said_by,
)
from runcast.errors import EventTooLarge, InvalidValue, RunClosed, Stale
from runcast.hub.inlets import Inlet
from runcast.hub.subscription import Chunk
from runcast.runs.protocols import Ending
from runcast.runs.run import end_log
from runcast.wire.dialects import Stream

__all__ = ("PUT_WAIT_S", "TaskStreamQueue")

PUT_WAIT_S: Final = 5.0
"""Longest that `put` waits for room."""

_log: Final = logging.getLogger("runcast.compat")


class TaskStreamQueue:
    """Puts events into a task's log and reads them back. Put from any thread.

    `put` and `put_nowait` return True once the event is accepted: it will be stored, in order, and
    every reader will see it. False means that it was not taken and never will be: the stream is
    closed, or there is no room. What JSON cannot hold raises `InvalidValue`.
    Should somebody else end the run, by cancelling it, what is put in the same moment is logged as
    not taken.

    Nothing is taken out by reading: each `stream_events` gives all events from the first. Only the
    callers of `get` share theirs among them.

    Args:
        max_size: most events that may wait for the log to be begun; after that it has no meaning,
            since readers are cursors.
        hub: where the log is; the hub in use if None.
    """

    def __init__(
        self,
        task_id: str,
        max_size: int = 1000,
        hub: OpenHub | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.task_id = task_id
        self.max_size = max_size
        self.is_closed = False
        self.subscribers = 0
        self._hub = hub
        self._now = (clock or SystemClock()).monotonic
        self.used_at = self._now()
        """When something was put, or it was closed, last; monotonic seconds."""
        self._lock = threading.Lock()
        self._early: list[Said] = []
        self._last: Said | None = None
        self._accepted = self._got = 0
        self._writer: Writer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beginning: asyncio.Task[OpenHub] | None = None
        self._ending, self._ending_agent = Ending("done", {}), ""
        self._closing = asyncio.Event()
        self._ended = asyncio.Event()
        self._seeing_off: asyncio.Task[None] | None = None
        self._position: Position | None = None
        self._taken: deque[StreamEvent] = deque()
        self._getting = asyncio.Lock()

    @property
    def queue(self) -> Self:
        """The stream itself, for `queue.qsize()` and `queue.empty()`."""
        return self

    def qsize(self) -> int:
        """Return how many events `get` has not given yet."""
        return self._accepted - self._got

    def empty(self) -> bool:
        """Tell whether `get` has given every event."""
        return self.qsize() <= 0

    # The log.

    async def begin(self) -> OpenHub:
        """Begin the log, in place of an older one of this task, and return its hub. Idempotent."""
        if self._beginning is None:
            self._beginning = asyncio.create_task(self._begin(), name=f"stream-{self.task_id}")
        return await asyncio.shield(self._beginning)

    async def _begin(self) -> OpenHub:
        hub = self._hub or await opened()
        inlet = await hub.hub.create(
            self.task_id,
            owner_id=hub.runner.owner_id,
            labels={"function": "stream", "status": "running"},
            ttl_s=hub.settings.keep_runs_s or None,
            replace=True,
        )
        writer = Writer(inlet, hub.clock, hub.settings.max_event_bytes)
        with self._lock:
            for said in self._early:
                writer.emit(said.type, said.data, agent=said.agent)
            self._early.clear()
            self._loop = asyncio.get_running_loop()
            self._writer = writer
            if self.is_closed:
                self._closing.set()
        self._seeing_off = asyncio.create_task(self._see_off(hub, inlet))
        return hub

    async def _see_off(self, hub: OpenHub, inlet: Inlet) -> None:
        """End the log once the stream is closed."""
        await self._closing.wait()
        try:
            await end_log(
                inlet,
                self._ending,
                hub.clock,
                hub.settings.max_event_bytes,
                agent=self._ending_agent,
            )
        except RuncastError as error:
            _log.warning("the stream of task %s was not ended: %s", self.task_id, error)
        finally:
            self._ended.set()

    # Producers.

    async def put(self, event: StreamEvent) -> bool:
        """Put an event; wait a while if there is no room."""
        await self.begin()
        assert self._writer is not None
        try:
            async with asyncio.timeout(PUT_WAIT_S):
                await self._writer.drain()
        except (TimeoutError, RuncastError):
            return False
        return self.put_nowait(event)

    def put_nowait(self, event: StreamEvent) -> bool:
        """Put an event. On the event loop it never waits; a thread waits while there is no room."""
        said = said_by(event)
        with self._lock:
            if self.is_closed:
                return False
            if said.type == "done":
                self._accepted += 1
                self._close(Ending("done", said.data), said.agent)
                return True
            writer = self._writer
            if writer is None:
                if len(self._early) >= self.max_size:
                    return False
                self._early.append(said)
                self._was_put(said)
                return True
        try:
            writer.emit(said.type, said.data, agent=said.agent)
        except (InvalidValue, EventTooLarge):
            raise
        except RuncastError as error:
            _log.warning("an event of task %s was not taken: %s", self.task_id, error)
            if isinstance(error, RunClosed | Stale):  # cancelled, deleted or begun anew
                self.close()
            return False
        with self._lock:
            self._was_put(said)
        return True

    def _was_put(self, said: Said) -> None:
        self._accepted += 1
        self._last = said
        self.used_at = self._now()

    # The end.

    def close(self) -> None:
        """End the stream; its readers get what was put, then the end, at once. Idempotent."""
        with self._lock:
            if self._last is None or self._last.type != "error":
                self._close(Ending("done", {}))
            else:
                told = {"message": self._last.data["message"], "code": CLOSED_AFTER_ERROR}
                self._close(Ending("failed", {**told, "retryable": False}), self._last.agent)

    def abandon(self) -> None:
        """End a stream that nobody ended. Idempotent."""
        with self._lock:
            told = {"message": "the stream was abandoned", "code": "abandoned", "retryable": True}
            self._close(Ending("failed", told))

    async def wait_closed(self) -> None:
        """Wait until the end is stored; only after `close`."""
        if self._loop in (None, asyncio.get_running_loop()):  # of another, none is left to wait for
            await self.begin()
            await self._ended.wait()

    def _close(self, ending: Ending, agent: str = "") -> None:
        """Call with the lock held."""
        if self.is_closed:
            return
        self.is_closed = True
        self.used_at = self._now()
        self._ending, self._ending_agent = ending, agent
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._closing.set)

    # Readers.

    async def get(self) -> StreamEvent | None:
        """Return the next event that `get` has not given; None once the stream is at its end."""
        hub = await self.begin()
        async with self._getting:
            while not self._taken:
                # No cursor is held between two reads: nobody has to say that he is gone.
                with await hub.hub.subscribe(self.task_id, self._position) as subscription:
                    chunk = await anext(subscription, None)
                if chunk is None or chunk.gap is not None:
                    return None
                self._position = chunk.position
                self._taken += self._events(chunk)
                if chunk.ended and not self._taken:
                    return None
            self._got += 1
            return self._taken.popleft()

    async def stream_events(self) -> AsyncIterator[StreamEvent]:
        """Yield all events from the first, those to come too, until the stream is at its end."""
        hub = await self.begin()
        self.subscribers += 1
        try:
            with await hub.hub.subscribe(self.task_id) as subscription:
                async for chunk in subscription:
                    if chunk.gap is not None:
                        return  # another stream has taken the place of this one
                    for event in self._events(chunk):
                        yield event
        finally:
            self.subscribers -= 1
            self.used_at = self._now()

    def _events(self, chunk: Chunk) -> list[StreamEvent]:
        stream = Stream(self.task_id, chunk.position.epoch)
        return [read_event(stream, event) for event in chunk.events() if not is_silent_end(event)]
