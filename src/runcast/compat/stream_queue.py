"""The stream of one task, as its producers and readers hold it."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

from runcast import OpenHub, RuncastError, Writer
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
from runcast.errors import EventTooLarge, InvalidValue
from runcast.hub.subscription import Chunk, Subscription
from runcast.runs.protocols import Ending
from runcast.runs.run import end_log
from runcast.wire.dialects import Stream

if TYPE_CHECKING:
    from runcast.hub.inlets import Inlet

__all__ = ("PUT_WAIT_S", "TaskStreamQueue")

PUT_WAIT_S: Final = 5.0
"""Longest that `put` waits for room."""

_log: Final = logging.getLogger("runcast.compat")


class TaskStreamQueue:
    """Puts events into a task's log and reads them back. Put from any thread.

    `put` and `put_nowait` return True once the event is accepted: it will be stored, in order, and
    every reader will see it. False means that it was not taken and never will be: the stream is
    closed, or there is no room. What JSON cannot hold raises `InvalidValue`.

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
        self._accepted = self._got = 0
        self._in_flight = 0
        self._is_last_an_error = False
        self._writer: Writer | None = None
        self._inlet: Inlet | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beginning: asyncio.Task[OpenHub] | None = None
        self._ending: Ending | None = None
        self._ending_agent = ""
        self._finishing: asyncio.Task[None] | None = None
        self._quiet = asyncio.Event()
        self._cursor: Subscription | None = None
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
        hub = await opened(self._hub)
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
            self._hub, self._inlet, self._loop = hub, inlet, asyncio.get_running_loop()
            self._writer = writer
            ending = self._ending
        if ending is not None:
            self._schedule(self._finish(ending))
        return hub

    # Producers.

    async def put(self, event: StreamEvent) -> bool:
        """Put an event; wait a while if there is no room."""
        await self.begin()
        if self._writer is not None and not self.is_closed:
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
            self._in_flight += 1  # the end waits for what is on its way
        is_taken = False
        try:
            writer.emit(said.type, said.data, agent=said.agent)
            is_taken = True
        except (InvalidValue, EventTooLarge):
            raise
        except RuncastError as error:
            _log.warning("an event of task %s was not taken: %s", self.task_id, error)
        finally:
            with self._lock:
                self._in_flight -= 1
                if is_taken:
                    self._was_put(said)
                if self.is_closed and not self._in_flight:
                    self._call_loop(self._quiet.set)
        return is_taken

    def _was_put(self, said: Said) -> None:
        self._accepted += 1
        self._is_last_an_error = said.type == "error"
        self.used_at = self._now()

    # The end.

    def close(self) -> None:
        """End the stream; its readers get what was put, then the end, at once. Idempotent."""
        with self._lock:
            if self.is_closed:
                return
            if self._is_last_an_error:
                told = {
                    "message": "the stream was closed after an error",
                    "code": CLOSED_AFTER_ERROR,
                    "retryable": False,
                }
                self._close(Ending("failed", told))
            else:
                self._close(Ending("done", {}))

    def abandon(self) -> None:
        """End a stream that nobody ended. Idempotent."""
        with self._lock:
            if not self.is_closed:
                told = {"message": "the stream was abandoned", "code": "abandoned"}
                self._close(Ending("failed", {**told, "retryable": True}))

    def supersede(self) -> None:
        """Take nothing more: another stream of the same task takes its place."""
        with self._lock:
            self.is_closed = True

    async def wait_closed(self) -> None:
        """Wait until the end is stored; only after `close`."""
        await self.begin()
        finishing = self._finishing
        if finishing is not None and finishing.get_loop() is asyncio.get_running_loop():
            await asyncio.shield(finishing)

    def _close(self, ending: Ending, agent: str = "") -> None:
        """Call with the lock held."""
        self.is_closed = True
        self.used_at = self._now()
        self._ending, self._ending_agent = ending, agent
        if not self._in_flight:
            self._call_loop(self._quiet.set)
        if self._writer is not None:
            self._schedule(self._finish(ending))

    async def _finish(self, ending: Ending) -> None:
        while self._in_flight:
            await self._quiet.wait()
        assert self._inlet is not None
        assert self._hub is not None
        try:
            await end_log(
                self._inlet,
                ending,
                self._hub.clock,
                self._hub.settings.max_event_bytes,
                agent=self._ending_agent,
            )
        except RuncastError as error:
            _log.warning("the stream of task %s was not ended: %s", self.task_id, error)

    def _schedule(self, coroutine: Coroutine[Any, Any, None]) -> None:
        def start() -> None:
            self._finishing = asyncio.ensure_future(coroutine)

        if self._is_on_loop():
            start()
        elif not self._call_loop(start):
            coroutine.close()

    def _is_on_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _call_loop(self, call: Any) -> bool:
        if self._loop is None:
            call()
            return True
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(call)
            return True
        return False

    # Readers.

    async def get(self) -> StreamEvent | None:
        """Return the next event that `get` has not given; None once the stream is at its end."""
        hub = await self.begin()
        async with self._getting:
            if self._cursor is None:
                self._cursor = await hub.hub.subscribe(self.task_id)
            while not self._taken:
                chunk = await anext(self._cursor, None)
                if chunk is None or chunk.gap is not None:
                    self._cursor.close()
                    self._cursor.ended = True
                    return None
                self._taken += self._events(chunk)
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
