"""The stream of one task, for its producers and readers."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Self

from runcast import OpenHub, Position, RuncastError, Settings, Writer
from runcast._clock import Clock, SystemClock
from runcast._hub.forks import Home, make_lock
from runcast._hub.inlets import Inlet
from runcast._hub.owned_log import OwnedLog
from runcast._logs import get_logger
from runcast._wire.dialects import LogRef
from runcast.compat.hubs import opened, settings_in_use
from runcast.compat.log_reader import LogReader
from runcast.compat.stream_manager.task_stream import (
    CLOSED_AFTER_ERROR,
    Said,
    StreamEvent,
    is_silent_end,
    read_event,
    said_by,
)
from runcast.errors import EventTooLarge, InvalidValue, NotFound, RunClosed, Stale
from runcast.events.model import as_stored, encode_record
from runcast.events.outcome import Outcome
from runcast.events.vocabulary import as_text

__all__ = ("PUT_WAIT_S", "TaskStreamQueue")

PUT_WAIT_S: Final = 5.0
"""Longest that `put` waits for room."""

_MAX_CHARS: Final = 1000
"""Most characters of an error repeated in its stream's ending; the error itself has all."""

_log: Final = get_logger("runcast.compat")


class TaskStreamQueue:
    """Puts events into a task's log and reads them back. Put from any thread.

    `put` and `put_nowait` return True once the event is accepted: it will be stored, in order, and
    every reader will see it. False means that the event was refused: the stream is closed, or there
    is no room. An event that JSON cannot hold raises `InvalidValue`; an event larger than the hub's
    `max_event_bytes` raises `EventTooLarge`. If the run is cancelled, an event put in the same
    moment is logged as refused.

    Reading removes nothing: each `stream_events` gives all events from the first. Only callers of
    `get` share their events among them.

    Args:
        max_size: most events that may wait until the log is begun, besides the hub's bound on
            bytes. Afterwards it has no meaning, because readers are cursors.
        hub: the log's hub; None is the hub in use.
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
        self._clock = clock or SystemClock()
        self._now = self._clock.monotonic
        self.used_at = self._now()
        """When the last event was put, or the stream was closed; monotonic seconds."""
        self._lock = make_lock()
        self._home = Home()
        self._settings: Settings | None = None
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._error: tuple[str, str] | None = None
        """The text and agent of the last event, if it was an error."""
        self._accepted = self._got = 0
        self._writer: Writer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beginning: asyncio.Task[OpenHub] | None = None
        self._ending, self._ending_agent = Outcome("done", {}), ""
        self._closing = asyncio.Event()
        self._ended = asyncio.Event()
        self._end_task: asyncio.Task[None] | None = None
        self._start = Position("", 0)
        self._reader: LogReader | None = None
        self._taken: deque[StreamEvent] = deque()
        self._getting = asyncio.Lock()

    @property
    def queue(self) -> Self:
        """The stream itself, for `queue.qsize()` and `queue.empty()`."""
        return self

    def qsize(self) -> int:
        """Return how many events `get` has not yet returned."""
        return self._accepted - self._got

    def empty(self) -> bool:
        """Return whether `get` has returned every event."""
        return self.qsize() <= 0

    # The log.

    async def begin(self) -> OpenHub:
        """Begin the log, in place of an older log of this task, and return its hub. Idempotent.

        Raises what `Hub.create` raises; the next call tries again.
        """
        self._home.check("the use of a stream")
        if self._beginning is None:
            self._beginning = asyncio.create_task(self._begin(), name=f"stream-{self.task_id}")
        return await asyncio.shield(self._beginning)

    async def _begin(self) -> OpenHub:
        try:
            hub = self._hub or await opened()
            log = await hub.hub.begin(
                self.task_id,
                labels={"function": "stream"},
                ttl_s=hub.settings.keep_runs_s or None,
                replace=True,
            )
        except BaseException:
            self._beginning = None
            raise
        self._start = Position(log.epoch, 0)
        self._reader = self._reading(hub)
        self._end_task = asyncio.create_task(self._end_when_closed(log))
        await self._append_early(hub, log.inlet)
        return hub

    async def _append_early(self, hub: OpenHub, inlet: Inlet) -> None:
        """Append the events put so far; later events are then put directly."""
        while True:
            with self._lock:
                early, self._early, self._early_bytes = self._early, [], 0
                if not early:
                    self._settings = hub.settings
                    self._writer = Writer(inlet, hub.clock, hub.settings.max_event_bytes)
                    self._loop = asyncio.get_running_loop()
                    if self.is_closed:
                        self._closing.set()
                    return
            try:
                # Appended together, because these events were accepted and no bound may refuse them
                # now.
                await inlet.append(early)
            except RuncastError as error:  # the run was ended or begun again by somebody else
                count = len(early)
                _log.warning("%d events of task %s were not taken: %s", count, self.task_id, error)
                self.close()

    async def _end_when_closed(self, log: OwnedLog) -> None:
        """Wait until the stream is closed, and end the log."""
        await self._closing.wait()
        try:
            await log.end(self._ending, agent=self._ending_agent)
        except RuncastError as error:
            _log.warning("the stream of task %s was not ended: %s", self.task_id, error)
        finally:
            self._ended.set()

    # Producers.

    async def put(self, event: StreamEvent) -> bool:
        """Put an event; wait up to `PUT_WAIT_S` for room."""
        try:
            async with asyncio.timeout(PUT_WAIT_S):
                await self.begin()
                assert self._writer is not None
                with suppress(RuncastError):  # raised in a moment
                    await self._writer.drain()
        except TimeoutError:
            return False
        return self.put_nowait(event)

    def put_nowait(self, event: StreamEvent) -> bool:
        """Put an event. On the event loop it never waits; a thread waits while there is no room."""
        said = said_by(event)
        self._home.check("put_nowait()")
        with self._lock:
            if self.is_closed:
                return False
            if said.type == "done":
                most = self._limits().max_event_bytes
                stored = as_stored(said.type, said.data, place=said.place, max_bytes=most)
                self._accepted += 1
                self._close(Outcome("done", stored.data), said.agent)
                return True
            writer = self._writer
            if writer is None:
                return self._put_early(said)
        try:
            writer.emit(said.type, said.data, agent=said.agent)
        except (InvalidValue, EventTooLarge):
            raise
        except RuncastError as error:
            _log.warning("an event of task %s was not taken: %s", self.task_id, error)
            if isinstance(error, RunClosed | Stale | NotFound):  # cancelled, deleted or begun again
                self.close()
            return False
        with self._lock:
            self._was_put(said)
        return True

    def _put_early(self, said: Said) -> bool:
        """Keep an event until the log is begun. Call with the lock held."""
        settings = self._limits()
        time = self._clock.time()
        record = encode_record(said.type, said.data, time, said.place, settings.max_event_bytes)
        size = self._early_bytes + len(record)
        is_full = self._early and size > settings.pending_bytes_per_run
        if len(self._early) >= self.max_size or is_full:
            return False
        self._early.append(record)
        self._early_bytes = size
        self._was_put(said)
        return True

    def _limits(self) -> Settings:
        """Return the settings of the log's hub, or before the beginning of the hub to be used."""
        if self._settings is None:
            self._settings = self._hub.settings if self._hub else settings_in_use()
        return self._settings

    def _was_put(self, said: Said) -> None:
        self._accepted += 1
        self._error = None
        if said.type == "error":
            self._error = as_text(said.data["message"])[:_MAX_CHARS], said.agent
        self.used_at = self._now()

    # The end.

    def close(self) -> None:
        """End the stream; readers get the remaining events and the end at once. Idempotent."""
        with self._lock:
            if self._error is None:
                self._close(Outcome("done", {}))
            else:
                message, agent = self._error
                data = {"message": message, "code": CLOSED_AFTER_ERROR, "retryable": False}
                self._close(Outcome("failed", data), agent)

    def abandon(self) -> None:
        """End a stream that was not ended. Idempotent."""
        with self._lock:
            data = {"message": "the stream was abandoned", "code": "abandoned", "retryable": True}
            self._close(Outcome("failed", data))

    async def wait_closed(self) -> None:
        """Wait until the end is stored; only after `close`."""
        # On another loop there is nothing to wait for
        if self._loop in (None, asyncio.get_running_loop()):
            await self.begin()
            await self._ended.wait()

    def _close(self, ending: Outcome, agent: str = "") -> None:
        """Call with the lock held."""
        if self.is_closed:
            return
        self.is_closed = True
        self.used_at = self._now()
        self._ending, self._ending_agent = ending, agent
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: no task waits
                self._loop.call_soon_threadsafe(self._closing.set)

    # Readers.

    async def get(self) -> StreamEvent | None:
        """Return the next event for `get`; None at the end of the stream."""
        await self.begin()
        assert self._reader is not None
        async with self._getting:
            while not self._taken:
                events = await self._read(self._reader)
                if events is None:
                    return None
                self._taken += events
            self._got += 1
            return self._taken.popleft()

    async def stream_events(self) -> AsyncIterator[StreamEvent]:
        """Yield all events from the first, present and future, until the end of the stream."""
        hub = await self.begin()
        with self.being_read(), self._reading(hub) as reader:
            while (events := await self._read(reader)) is not None:
                for event in events:
                    yield event

    @contextmanager
    def being_read(self) -> Iterator[None]:
        """Count a reader inside the block."""
        self.subscribers += 1
        try:
            yield
        finally:
            self.subscribers -= 1
            self.used_at = self._now()

    def _reading(self, hub: OpenHub) -> LogReader:
        # A stream that replaces this one is not followed.
        return LogReader(hub, self.task_id, self._start, follows=False)

    async def _read(self, reader: LogReader) -> list[StreamEvent] | None:
        """Return the next events, maybe none; None if nothing can follow."""
        chunk = await reader.next()
        if chunk is None:
            return None
        log = LogRef(self.task_id, chunk.position.epoch)
        return [read_event(log, event) for event in chunk.events() if not is_silent_end(event)]
