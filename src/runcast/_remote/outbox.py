"""The outbox: records of a remote run that wait to be stored by the server.

A put costs a lock, a list append, and at most one wake-up of the link's loop however many records
wait. The waiting bytes are bounded. Records leave in their order, and only when the server has
stored them.
"""

import asyncio
import copy
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, TypeVar

from runcast._hub.bridge import await_on, wait_on
from runcast._hub.forks import elsewhere, make_rlock, when_forked
from runcast.errors import Overloaded, RuncastError, RunTooLarge, ServerUnavailable
from runcast.events.position import Position
from runcast.stores.base import Appended

__all__ = ("Outbox", "OutboxStatistics")

T = TypeVar("T")

_EVENT_BYTES: Final = 16
"""What a record costs beside its bytes, about."""


class OutboxStatistics(NamedTuple):
    """What waits now, and what was done so far.

    Attributes:
        waiting: events that the server has not stored yet.
        waiting_bytes: their size.
        stored: events that it has stored.
        refused: events that it has refused, each of which is named in the run's log.
    """

    waiting: int
    waiting_bytes: int
    stored: int
    refused: int


class Outbox:
    """Takes the records of one run. `put` may be called in any thread, the rest on the loop.

    Args:
        run_id: the run.
        position: where its log is now.
        bound: most bytes that wait.
        wait_s: how long a thread waits for room.
    """

    def __init__(self, run_id: str, position: Position, *, bound: int, wait_s: float) -> None:
        self.run_id = run_id
        self.position = position
        """The position of the last event that the server has stored."""
        self.loop = asyncio.get_running_loop()
        self.wake = asyncio.Event()
        """Set when there is something to send."""
        self.is_failing = False
        """Whether the server has not answered for longer than `wait_s`: nobody waits for room."""
        self.before_refusal: Callable[[], None] = lambda: None
        """Called, in the thread that puts, before the error that ended the run is raised."""
        self._bound = bound
        self._wait_s = wait_s
        self._lock = make_rlock()
        self._room = threading.Condition(self._lock)
        self._records: deque[bytes] = deque()
        self._size = 0
        self._put = self._stored = self._refused = 0
        self._error: RuncastError | None = None
        self.is_over = False
        """Whether nothing is sent any more."""
        self._is_woken = self._is_forked = False
        self._flushes: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._drainers: deque[asyncio.Future[None]] = deque()
        when_forked(self)

    def handle_fork(self) -> None:
        """Refuse every put in a forked process."""
        self._is_forked = True

    def statistics(self) -> OutboxStatistics:
        """Return the present numbers."""
        with self._lock:
            return OutboxStatistics(
                self._put - self._stored, self._size, self._stored - self._refused, self._refused
            )

    @property
    def error(self) -> RuncastError | None:
        """The error that ended the run for its writer; None while records are taken."""
        return self._error

    def put(self, record: bytes) -> None:
        """Take a record, after all earlier records of this thread.

        At the bound a thread waits for room; a thread with an event loop must not wait.

        Raises:
            RunClosed, Stale, Forbidden, …: the server takes nothing more for this run.
            Overloaded: there is no room, and waiting is impossible or did not help.
            InvalidValue: called in a fork of the process.
        """
        size = len(record) + _EVENT_BYTES
        with self._lock:
            if self._is_forked or self._error is not None:
                self._refuse()
            if self._size and self._size + size > self._bound:
                self._wait_for_room(size)
            self._add(record, size)

    def put_anyway(self, record: bytes) -> None:
        """Take a record that needs no room: the last words of a run."""
        with self._lock:
            self._add(record, len(record) + _EVENT_BYTES)

    def _add(self, record: bytes, size: int) -> None:
        self._records.append(record)
        self._size += size
        self._put += 1
        if not self._is_woken:
            self._is_woken = True
            try:
                self.loop.call_soon_threadsafe(self.wake.set)
            except RuntimeError:
                raise ServerUnavailable("the run was left, so nothing is sent any more") from None

    def _refuse(self) -> None:
        if self._is_forked:
            raise elsewhere("emit()")
        if self._error is not None:
            self.before_refusal()
            raise copy.copy(self._error)

    def _fits(self, size: int) -> bool:
        return not self._size or self._size + size <= self._bound

    def _wait_for_room(self, size: int) -> None:
        may_wait = asyncio._get_running_loop() is None and not self.is_failing
        if may_wait:
            self._room.wait_for(
                lambda: self._error is not None or self.is_failing or self._fits(size),
                self._wait_s,
            )
            self._refuse()
        if not self._fits(size):
            raise Overloaded(
                f"{self._size} bytes of run {self.run_id!r} wait for the server to store them; "
                "await drain() between events, or emit less"
            )

    # The loop's side.

    def take(self, most: int, most_bytes: int) -> list[bytes]:
        """Return the oldest records, at least one if there is any. They stay until `settle`."""
        with self._lock:
            taken: list[bytes] = []
            size = 0
            for record in self._records:
                size += len(record) + _EVENT_BYTES
                if taken and (len(taken) >= most or size > most_bytes):
                    break
                taken.append(record)
            if not taken:
                self._is_woken = False
                self.wake.clear()
            return taken

    def settle(self, count: int, position: Position) -> None:
        """Forget the oldest records, which are stored now."""
        with self._lock:
            for _ in range(count):
                self._size -= len(self._records.popleft()) + _EVENT_BYTES
            self._stored += count
            self._room.notify_all()
        self.position = position
        self._call_waiters()

    def replace(self, index: int, record: bytes) -> None:
        """Put a record in the place of one that the server refuses."""
        with self._lock:
            self._size += len(record) - len(self._records[index])
            self._records[index] = record
            self._refused += 1
            self._room.notify_all()

    def fail(self) -> None:
        """Let nobody wait for room any more: the server has not answered for long."""
        with self._lock:
            self.is_failing = True
            self._room.notify_all()

    def end(self, error: RuncastError) -> None:
        """Refuse every put from now on, drop what waits, and send nothing more. Idempotent."""
        with self._lock:
            self.is_over = True
            if self._error is None or isinstance(self._error, RunTooLarge):
                self._error = error
            self._records.clear()
            self._size = 0
            self._room.notify_all()
        self.wake.set()
        self._call_waiters()

    def fill(self, error: RunTooLarge) -> None:
        """Refuse every put from now on, and drop what waits; the end of the run is still sent."""
        with self._lock:
            self._error = error
            self._stored += len(self._records)
            self._refused += len(self._records)
            self._records.clear()
            self._size = 0
            self._room.notify_all()
        self._call_waiters()

    def _call_waiters(self) -> None:
        error = self._error if self.is_over else None
        while self._flushes and (error is not None or self._flushes[0][0] <= self._stored):
            count, future = self._flushes.popleft()
            if future.done():
                continue
            if count <= self._stored:
                future.set_result(None)
            elif error is not None:
                future.set_exception(copy.copy(error))
        while self._drainers and (self._error is not None or self._fits(self._bound // 2)):
            drainer = self._drainers.popleft()
            if not drainer.done():
                drainer.set_result(None)

    # What a writer needs of it; from any loop.

    async def append(self) -> Appended:
        """Return once all earlier records are stored.

        Raises:
            ServerUnavailable: the server does not answer for long; nothing is lost.
        """
        await await_on(self.loop, self.flushed(self._wait_s))
        return Appended(self.position.epoch, self.position.seq, self.position.seq)

    async def flushed(self, wait_s: float) -> None:
        """Wait until everything put so far is stored. Raises what `append` raises."""
        with self._lock:
            count = self._put
            if count <= self._stored:
                return
            if self.is_over and self._error is not None:
                raise copy.copy(self._error)
        future = self.loop.create_future()
        self._flushes.append((count, future))
        try:
            async with asyncio.timeout(wait_s):
                await future
        except TimeoutError:
            raise ServerUnavailable(
                f"the server has not stored the events of run {self.run_id!r} within {wait_s:g} s; "
                "they are sent again"
            ) from None

    async def drain(self) -> None:
        """Return once there is room for more events."""
        await await_on(self.loop, self._drained())

    async def _drained(self) -> None:
        while self._error is None and not self._fits(self._bound // 2):
            drainer: asyncio.Future[None] = self.loop.create_future()
            self._drainers.append(drainer)
            await drainer

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait in a thread without a loop for a coroutine on the link's loop."""
        return wait_on(self.loop, coroutine)
