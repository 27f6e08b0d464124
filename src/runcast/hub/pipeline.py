"""From producers to the store: sequencing, group commit, and bounds.

Producers put records into **inlets**, one per run, from any thread. All inlets with something pending
are taken together and committed as one group; while a group commits, the next gathers. So the cost of
a commit is shared by whatever is happening, and an event waits for at most the commit before its own.

A put costs a lock, a list append, and at most one wake-up of the loop however many records wait.
"""

import asyncio
import copy
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from runcast.errors import BackendError, Overloaded, RuncastError, RunClosed, StoreUnavailable
from runcast.settings import Settings
from runcast.stores.base import Append, Appended, Once, Store

__all__ = ("Inlet", "Pipeline", "PipelineStatistics")


class PipelineStatistics(NamedTuple):
    """`pending_bytes` wait for their commit in `pending_inlets`; the others count since the start."""

    pending_bytes: int
    pending_inlets: int
    waiting_threads: int
    commits: int
    appended: int
    refused: int
    failed_commits: int


@dataclass(slots=True)
class _Part:
    """Records of one inlet that become one append."""

    records: list[bytes] = field(default_factory=list)
    size: int = 0
    close: bool = False
    once: Once | None = None
    labels: Mapping[str, str] | None = None
    future: asyncio.Future[Appended] | None = None

    @property
    def is_flush(self) -> bool:
        return self.future is not None and not (self.records or self.close or self.labels)


class Inlet:
    """Where one run's records go in. Made by the hub; ends with the epoch it was made for.

    Its methods but `append` may be called from any thread.
    """

    __slots__ = ("_parts", "_pipeline", "_size", "epoch", "error", "fence", "run_id")

    def __init__(self, pipeline: "Pipeline", run_id: str, epoch: str, fence: int | None) -> None:
        self._pipeline = pipeline
        self._parts: list[_Part] = []
        self._size = 0
        self.run_id = run_id
        self.epoch = epoch
        self.fence = fence
        self.error: RuncastError | None = None
        """Why nothing can be put any more; None while it can."""

    @property
    def pending_bytes(self) -> int:
        """Bytes put and not yet committed."""
        return self._size

    def put(self, record: bytes, *, may_wait: bool = True) -> None:
        """Give a record to be committed, after all that this thread put before.

        Where the bound on pending bytes is reached, a thread waits for room; the loop's own thread
        must not, and callers that cannot wait say so.

        Raises:
            RunClosed, Stale: the run has ended, or belongs to somebody else now.
            StoreUnavailable: the store fails at present; the record was not taken.
            Overloaded: there is no room, and waiting is not possible or did not help.
        """
        self._pipeline.put(self, record, may_wait)

    async def append(
        self,
        records: Sequence[bytes] = (),
        *,
        close: bool = False,
        once: Once | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Appended:
        """Append after all that was put before, and return once it is committed.

        Without arguments it only waits for that. Call from the loop's thread.

        Raises what `put` raises, and `Conflict` (see `Append.once`).
        """
        return await self._pipeline.append(self, records, close=close, once=once, labels=labels)

    async def drain(self) -> None:
        """Return once a put would not have to wait for room. Call from the loop's thread."""
        if self._size:
            await self._pipeline.drain(self)


class Pipeline:
    """Commits what inlets hold, group by group.

    Args:
        publish: called on the loop with (run_id, outcome) for each append committed, before anybody
            who waits for that append goes on.
        failed: called on the loop when a commit failed, before it is tried again.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        publish: Callable[[list[tuple[str, Appended]]], None],
        failed: Callable[[BackendError], None],
    ) -> None:
        self._store = store
        self._settings = settings
        self._publish = publish
        self._failed = failed
        self._run_bound = settings.pending_bytes_per_run
        self._bound = settings.pending_bytes
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._dirty: list[Inlet] = []
        self._size = 0
        self._waiting = 0
        self._drainers: deque[asyncio.Future[None]] = deque()
        self._woken = False
        self._wake = asyncio.Event()
        self._failure: BackendError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_id = 0
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._commits = self._appended = self._refused = self._failed_commits = 0

    def statistics(self) -> PipelineStatistics:
        """Return what waits now and what was done so far."""
        return PipelineStatistics(
            self._size,
            len(self._dirty),
            self._waiting,
            self._commits,
            self._appended,
            self._refused,
            self._failed_commits,
        )

    async def open(self) -> None:
        """Begin to commit, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._task = asyncio.create_task(self._run(), name="runcast-pipeline")

    async def close(self) -> None:
        """Commit what is pending, once more if the store fails, and stop. Idempotent."""
        if self._task is None:
            return
        with self._lock:
            self._closing = True
            self._room.notify_all()
        self._wake.set()
        await self._task
        self._task = None

    def put(self, inlet: Inlet, record: bytes, may_wait: bool) -> None:
        """See `Inlet.put`. This is the hot path of `emit()`."""
        size = len(record)
        with self._lock:
            if inlet.error is not None or self._failure is not None or self._closing:
                self._refuse(inlet)
            if (
                inlet._size + size > self._run_bound or self._size + size > self._bound
            ) and not self._fits(inlet, size):
                self._wait_for_room(inlet, size, may_wait)
            parts = inlet._parts
            if not parts:
                self._dirty.append(inlet)
                parts.append(_Part())
            elif parts[-1].future is not None:
                parts.append(_Part())
            part = parts[-1]
            part.records.append(record)
            part.size += size
            inlet._size += size
            self._size += size
            if self._woken:
                return
            self._woken = True
        self._call_committer()

    def _refuse(self, inlet: Inlet) -> None:
        if inlet.error is not None:
            # A new exception each time: one object raised in many threads would mix tracebacks.
            raise copy.copy(inlet.error)
        if self._failure is not None:
            raise StoreUnavailable(f"the store fails at present: {self._failure.message}")
        if self._closing:
            raise RunClosed("the hub is closed; nothing can be emitted any more")

    def _fits(self, inlet: Inlet, size: int) -> bool:
        """Tell whether there is room; a record larger than a bound fits when nothing else waits."""
        return (not inlet._size or inlet._size + size <= self._run_bound) and (
            not self._size or self._size + size <= self._bound
        )

    def _wait_for_room(self, inlet: Inlet, size: int, may_wait: bool) -> None:
        """Wait, holding the lock's condition. Raises `Overloaded`."""
        waited = False
        if may_wait and threading.get_ident() != self._thread_id:
            self._waiting += 1
            try:
                waited = self._room.wait_for(
                    lambda: self._closing or inlet.error is not None or self._fits(inlet, size),
                    self._settings.emit_wait_s,
                )
            finally:
                self._waiting -= 1
            self._refuse(inlet)
        if not waited:
            raise Overloaded(
                f"{inlet._size} bytes of run {inlet.run_id!r} and {self._size} in all wait for "
                "their commit; await drain() between events, or emit less"
            )

    def _call_committer(self) -> None:
        loop = self._loop
        if loop is None:
            return  # not open yet: open() looks
        if threading.get_ident() == self._thread_id:
            self._wake.set()
        else:
            try:
                loop.call_soon_threadsafe(self._wake.set)
            except RuntimeError:
                raise RunClosed("the hub's event loop is closed") from None

    async def append(
        self,
        inlet: Inlet,
        records: Sequence[bytes],
        *,
        close: bool,
        once: Once | None,
        labels: Mapping[str, str] | None,
    ) -> Appended:
        future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        size = sum(map(len, records))
        part = _Part(list(records), size, close=close, once=once, labels=labels, future=future)
        with self._lock:
            # What carries something is worth waiting for; a flush is told of a failing store.
            if inlet.error is not None or self._closing or (part.is_flush and self._failure):
                self._refuse(inlet)
            if not inlet._parts:
                self._dirty.append(inlet)
            inlet._parts.append(part)
            inlet._size += size
            self._size += size
            self._woken = True
        self._wake.set()
        return await future  # a caller that is cancelled leaves the append to be committed

    async def drain(self, inlet: Inlet) -> None:
        """Return once a put would not have to wait for room."""
        while not self._fits(inlet, 1):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._drainers.append(future)
            await future

    # The committer.

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            taken = self._take()
            if taken:
                await self._commit(taken)
            elif self._closing:
                return

    def _take(self) -> list[tuple[Inlet, list[_Part]]]:
        with self._lock:
            dirty, self._dirty = self._dirty, []
            self._woken = False
            taken = [(inlet, inlet._parts) for inlet in dirty]
            for inlet in dirty:
                inlet._parts = []
            return taken

    async def _commit(self, taken: list[tuple[Inlet, list[_Part]]]) -> None:
        parts = [(inlet, part) for inlet, group in taken for part in group]
        group = [
            Append(
                inlet.run_id,
                part.records,
                inlet.epoch,
                part.close,
                inlet.fence,
                part.once,
                part.labels,
            )
            for inlet, part in parts
        ]
        while True:
            try:
                outcomes = await self._store.commit(group)
                break
            except BackendError as error:
                self._failed_commits += 1
                self._failure = error
                self._failed(error)
                if self._closing:
                    self._settle(parts, [error] * len(parts))
                    return
                for _, part in parts:
                    if part.is_flush and part.future is not None and not part.future.done():
                        part.future.set_exception(error)
                await self._pause()
        self._failure = None
        self._commits += 1
        self._settle(parts, outcomes)

    async def _pause(self) -> None:
        """Wait before a commit is tried again, but not when the hub closes."""
        deadline = asyncio.get_running_loop().time() + self._settings.store_retry_s
        while not self._closing:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                pass
            else:
                # Something new is pending: it is looked at after this commit.
                self._wake.clear()
                with self._lock:
                    self._woken = True

    def _settle(
        self,
        parts: list[tuple[Inlet, _Part]],
        outcomes: Sequence[Appended | RuncastError],
    ) -> None:
        """Publish what was committed, then let go on whoever waits for it."""
        published: list[tuple[str, Appended]] = []
        freed = 0
        for (inlet, part), outcome in zip(parts, outcomes, strict=True):
            freed += part.size
            if isinstance(outcome, RuncastError):
                if part.future is None:
                    # Nobody awaits these records: whoever emits or flushes next is told.
                    self._refused += len(part.records)
                    inlet.error = inlet.error or outcome
                continue
            self._appended += len(part.records)
            if outcome.closed:
                inlet.error = RunClosed(
                    f"the run {inlet.run_id!r} has ended; nothing can be added to it"
                )
            if outcome.pages or outcome.closed:
                published.append((inlet.run_id, outcome))
        self._publish(published)
        for (_, part), outcome in zip(parts, outcomes, strict=True):
            if part.future is not None and not part.future.done():
                if isinstance(outcome, RuncastError):
                    part.future.set_exception(outcome)
                else:
                    part.future.set_result(outcome)
        with self._lock:
            self._size -= freed
            for inlet, part in parts:
                inlet._size -= part.size
            if self._waiting:
                self._room.notify_all()
        while self._drainers:
            future = self._drainers.popleft()
            if not future.done():
                future.set_result(None)
        if self._dirty:
            self._wake.set()
