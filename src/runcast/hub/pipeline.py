"""From producers to the store: sequencing, group commit, and bounds.

Producers put records into **inlets**, one per run, from any thread. All inlets with something pending
are taken together and committed as one group; while a group commits, the next gathers. So the cost of
a commit is shared by whatever is happening, and an event waits for at most the commit before its own.

A put costs a lock, a list append, and at most one wake-up of the loop however many records wait.
"""

import asyncio
import copy
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from runcast.errors import BackendError, Overloaded, RuncastError, RunClosed, StoreUnavailable
from runcast.settings import Settings
from runcast.stores.base import Append, Appended, Once, Store

__all__ = ("Inlet", "Pipeline", "PipelineStatistics")

T = TypeVar("T")

_log: Final = logging.getLogger("runcast.hub")


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
    close: bool = False
    once: Once | None = None
    labels: Mapping[str, str] | None = None
    future: asyncio.Future[Appended] | None = None

    @property
    def size(self) -> int:
        return sum(map(len, self.records))

    @property
    def is_flush(self) -> bool:
        return self.future is not None and not (self.records or self.close or self.labels)


class Inlet:
    """Where one run's records go in. Made by the hub; ends with the epoch it was made for.

    `put` is called from any thread, `append` and `drain` from any event loop: a function that runs in
    a thread may run a loop of its own there.
    """

    __slots__ = ("_open", "_parts", "_pipeline", "_size", "epoch", "error", "fence", "run_id")

    def __init__(self, pipeline: "Pipeline", run_id: str, epoch: str, fence: int | None) -> None:
        self._pipeline = pipeline
        self._parts: list[_Part] = []
        self._open: _Part | None = None  # the last part, if records may be added to it
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

    def put(self, record: bytes) -> None:
        """Give a record to be committed, after all that this thread put before.

        Where the bound on pending bytes is reached, a thread waits for room; the loop's own thread
        must not.

        Raises:
            RunClosed, Stale, NotFound: the run has ended, belongs to somebody else now, or is gone.
            StoreUnavailable: the store fails at present; the record was not taken.
            Overloaded: there is no room, and waiting is not possible or did not help.
        """
        self._pipeline.put(self, record)

    async def append(
        self,
        records: Sequence[bytes] = (),
        *,
        close: bool = False,
        once: Once | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Appended:
        """Append after all that was put before, and return once it is committed.

        Without arguments it only waits for that. A caller that is cancelled leaves the append to be
        committed. What closes the log is tried even if nothing else can be put any more.

        Raises what `put` raises, and `Conflict` (see `Append.once`).
        """
        part = _Part(list(records), close, once, labels)
        return await self._pipeline.await_here(self._pipeline.append(self, part))

    async def drain(self) -> None:
        """Return once there is room for any one event, or nothing else waits."""
        await self._pipeline.await_here(self._pipeline.drain(self))


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
        self._stopping = asyncio.Event()
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
        self._wake.set()  # for what was put before
        self._task = asyncio.create_task(self._run(), name="runcast-pipeline")

    async def close(self) -> None:
        """Commit what is pending, once more if the store fails, and stop. Idempotent."""
        if self._task is None:
            return
        self._refuse_more()
        self._wake.set()
        self._stopping.set()
        await self._task
        self._task = None

    def _refuse_more(self) -> None:
        with self._lock:
            self._closing = True
            self._room.notify_all()

    def put(self, inlet: Inlet, record: bytes) -> None:
        """See `Inlet.put`. This is the hot path of `emit()`."""
        size = len(record)
        with self._lock:
            if inlet.error is not None or self._failure is not None or self._closing:
                self._refuse(inlet)
            if inlet._size + size > self._run_bound or self._size + size > self._bound:
                self._wait_for_room(inlet, size)
            part = inlet._open
            if part is None:
                part = inlet._open = self._begin(inlet, _Part())
            part.records.append(record)
            inlet._size += size
            self._size += size
            if self._woken:
                return
            self._woken = True
        self._call_committer()

    def _begin(self, inlet: Inlet, part: _Part) -> _Part:
        if not inlet._parts:
            self._dirty.append(inlet)
        inlet._parts.append(part)
        return part

    def _refuse(self, inlet: Inlet) -> None:
        """Raise why nothing can be put, if nothing can."""
        if inlet.error is not None:
            # A new exception each time: one object raised in many threads would mix tracebacks.
            raise copy.copy(inlet.error)
        if self._closing:
            raise RunClosed("the hub is closed; nothing can be emitted any more")
        if self._failure is not None:
            raise StoreUnavailable(f"the store fails at present: {self._failure.message}")

    def _fits(self, inlet: Inlet, size: int) -> bool:
        """Tell whether there is room; a record larger than a bound fits when nothing else waits."""
        return (not inlet._size or inlet._size + size <= self._run_bound) and (
            not self._size or self._size + size <= self._bound
        )

    def _wait_for_room(self, inlet: Inlet, size: int) -> None:
        """Return once a record fits; wait for that, unless this is the loop's own thread.

        Called with the lock held, which is let go while it waits. Raises as `Inlet.put` does.
        """
        if self._fits(inlet, size):
            return
        has_room = False
        if threading.get_ident() != self._thread_id:
            self._waiting += 1
            try:
                has_room = self._room.wait_for(
                    lambda: self._closing or inlet.error is not None or self._fits(inlet, size),
                    self._settings.emit_wait_s,
                )
            finally:
                self._waiting -= 1
            self._refuse(inlet)
        if not has_room:
            raise Overloaded(
                f"{inlet._size} bytes of run {inlet.run_id!r} and {self._size} in all wait for "
                "their commit; await drain() between events, or emit less"
            )

    def _call_committer(self) -> None:
        if self._loop is None:
            return  # not open yet: open() looks
        if threading.get_ident() == self._thread_id:
            self._wake.set()
            return
        try:
            self._loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:
            self._refuse_more()  # or the next put would think that the loop is awake
            raise RunClosed("the hub's event loop is closed") from None

    async def await_here(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await on the hub's own loop, whichever loop asks."""
        if self._loop is None or self._loop is asyncio.get_running_loop():
            return await coroutine
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            coroutine.close()
            raise RunClosed("the hub's event loop is closed") from None
        return await asyncio.wrap_future(future)

    async def append(self, inlet: Inlet, part: _Part) -> Appended:
        """See `Inlet.append`."""
        part.future = asyncio.get_running_loop().create_future()
        with self._lock:
            # What carries something is worth waiting for; a flush is told of a failing store.
            if (
                self._closing
                or (inlet.error is not None and not part.close)
                or (self._failure is not None and part.is_flush)
            ):
                self._refuse(inlet)
            self._begin(inlet, part)
            inlet._open = None
            inlet._size += part.size
            self._size += part.size
            self._woken = True
        self._wake.set()
        return await part.future

    async def drain(self, inlet: Inlet) -> None:
        """See `Inlet.drain`."""
        while not self._fits(inlet, self._settings.max_event_bytes):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._drainers.append(future)
            await future

    # The committer.

    async def _run(self) -> None:
        try:
            while self._dirty or not self._closing:
                await self._wake.wait()
                self._wake.clear()
                taken = self._take()
                if taken:
                    await self._commit(taken)
        finally:
            # Cancelled with its loop, perhaps: nobody may wait for what will not come.
            self._refuse_more()
            self._settle(self._take(), StoreUnavailable("the hub has stopped"))

    def _take(self) -> list[tuple[Inlet, _Part]]:
        with self._lock:
            dirty, self._dirty = self._dirty, []
            self._woken = False
            taken = [(inlet, part) for inlet in dirty for part in inlet._parts]
            for inlet in dirty:
                inlet._parts, inlet._open = [], None
            return taken

    async def _commit(self, taken: list[tuple[Inlet, _Part]]) -> None:
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
            for inlet, part in taken
        ]
        outcomes: Sequence[Appended | RuncastError] | RuncastError
        outcomes = StoreUnavailable("the hub stopped before the store had answered")
        try:
            outcomes = await self._persist(group, taken)
        except BackendError as error:
            outcomes = error
        except Exception as error:  # a fault of the store's must not end all others' commits
            _log.exception("a commit failed as none should; %d appends are refused", len(group))
            outcomes = BackendError(f"the store failed: {type(error).__name__}")
        finally:
            self._settle(taken, outcomes)

    async def _persist(
        self, group: Sequence[Append], taken: list[tuple[Inlet, _Part]]
    ) -> Sequence[Appended | RuncastError]:
        """Commit a group, again and again while the store cannot be reached.

        Raises the store's error when trying again does not help, or the hub closes.
        """
        while True:
            try:
                outcomes = await self._store.commit(group)
            except BackendError as error:
                self._failed_commits += 1
                if not error.retryable:
                    raise
                if self._failure is None:
                    _log.error("a commit failed and will be tried again: %s", error)
                self._failure = error
                self._failed(error)
                if self._closing:
                    raise
                for _, part in taken:
                    if part.is_flush:
                        _let_go(part, error)
                await self._pause()
            else:
                if self._failure is not None:
                    _log.warning("commits succeed again; nothing was lost")
                    self._failure = None
                self._commits += 1
                return outcomes

    async def _pause(self) -> None:
        """Wait before a commit is tried again, but not when the hub closes."""
        try:
            async with asyncio.timeout(self._settings.store_retry_s):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _settle(
        self,
        taken: list[tuple[Inlet, _Part]],
        outcomes: Sequence[Appended | RuncastError] | RuncastError,
    ) -> None:
        """Publish what was committed, then let go on whoever waits for it."""
        if isinstance(outcomes, RuncastError):
            outcomes = [outcomes] * len(taken)
        published: list[tuple[str, Appended]] = []
        for (inlet, part), outcome in zip(taken, outcomes, strict=True):
            if isinstance(outcome, RuncastError):
                if part.future is None:
                    self._refuse_records(inlet, part, outcome)
                continue
            self._appended += len(part.records)
            if outcome.closed:
                inlet.error = RunClosed(
                    f"the run {inlet.run_id!r} has ended; nothing can be added to it"
                )
            if outcome.pages or outcome.closed:
                published.append((inlet.run_id, outcome))
        self._publish(published)
        for (_, part), outcome in zip(taken, outcomes, strict=True):
            _let_go(part, outcome)
        with self._lock:
            for inlet, part in taken:
                size = part.size
                inlet._size -= size
                self._size -= size
            if self._waiting:
                self._room.notify_all()
        while self._drainers:
            drainer = self._drainers.popleft()
            if not drainer.done():
                drainer.set_result(None)

    def _refuse_records(self, inlet: Inlet, part: _Part, error: RuncastError) -> None:
        """Tell of records that nobody awaits: in the log here, to whoever emits or flushes next."""
        _log.warning(
            "%d events of run %s were not taken: %s", len(part.records), inlet.run_id, error
        )
        self._refused += len(part.records)
        inlet.error = inlet.error or error


def _let_go(part: _Part, outcome: Appended | RuncastError) -> None:
    if part.future is None or part.future.done():
        return
    if isinstance(outcome, RuncastError):
        part.future.set_exception(copy.copy(outcome))
    else:
        part.future.set_result(outcome)
