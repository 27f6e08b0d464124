"""Where producers' records wait for their commit: the half of the pipeline that threads touch.

A put costs a lock, a list append, and at most one wake-up of the loop however many records wait.
The bytes that may wait are bounded, per run and in all.

Long because inlets and what waits of all of them share one lock and one set of bounds.
"""

import asyncio
import copy
import sys
import threading
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

from runcast._hub.bridge import await_on, wait_on
from runcast._hub.forks import elsewhere, make_rlock, when_forked
from runcast._hub.growth import Growth
from runcast._settings import Settings
from runcast.errors import (
    BackendError,
    Overloaded,
    RuncastError,
    RunClosed,
    RunTooLarge,
    StoreUnavailable,
)
from runcast.events.position import describe_log
from runcast.stores.base import Append, Appended, Once

__all__ = ("Inlet", "Part", "Pending", "has_ended")

T = TypeVar("T")

_ASK: Final = -1
"""The limit of what takes no record unasked."""

_FRAME_BYTES: Final = 44
"""What a record is longer by in its log, about: its position, and the names of fields."""

_COMMIT_BYTES: Final = 4 * 1024 * 1024
"""Size of a commit from which on the rest waits for the next: a store makes copies of a commit, and
those behind it should not wait for all of what others flood it with."""


class Part(Append, kw_only=True):
    """Records of one inlet that become one append; who waits for it holds the future."""

    inlet: "Inlet"
    future: asyncio.Future[Appended] | None = None

    @property
    def is_flush(self) -> bool:
        """Whether it carries nothing: somebody only waits for what was put before."""
        return self.future is not None and not (self.records or self.close or self.labels)

    @property
    def size(self) -> int:
        """Bytes of its records."""
        return sum(map(len, self.records))

    def resolve(self, outcome: Appended | RuncastError) -> None:
        """Tell who waits for it, if somebody still does. Call from the loop's thread."""
        if self.future is None or self.future.done():
            return
        if isinstance(outcome, RuncastError):
            self.future.set_exception(copy.copy(outcome))
        else:
            self.future.set_result(outcome)


class Pending:
    """What waits, of all inlets together. `lock` guards everything but what says otherwise."""

    def __init__(self, settings: Settings) -> None:
        self.run_bound = settings.pending_bytes_per_run
        self.bound = settings.pending_bytes
        # A handler of a signal may emit: it runs in the middle of whatever its thread was doing.
        self.lock = make_rlock()
        self.batch: list[Part] = []
        """What is to be committed next, in order."""
        self.size = 0
        """Bytes that wait."""
        self.limit = self.bound
        """Up to which size a put need not ask `admit`: below 0 while none may do without."""
        self.waiting = 0
        """Threads that wait for room."""
        self.is_woken = False
        """Whether the committer has been called and has not looked yet."""
        self.is_closed = False
        self.failure: BackendError | None = None
        """Why the last commit failed; None while commits succeed. Set on the loop."""
        self.wake = asyncio.Event()
        self.has_limits = bool(settings.max_events_per_run or settings.max_bytes_per_run)
        """Whether a run may emit only so much; what it emits is counted only then."""
        self.most_events = settings.max_events_per_run or sys.maxsize
        self.most_bytes = settings.max_bytes_per_run or sys.maxsize
        self.growth = Growth(settings.keep_bytes_per_run)
        self._wait_s = settings.emit_wait_s
        self._largest = settings.max_event_bytes
        self._room = threading.Condition(self.lock)
        self._drainers: deque[asyncio.Future[None]] = deque()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._thread_id = 0
        self.is_forked = False
        """Whether this process was forked off the one that opened the hub: nobody commits here."""
        when_forked(self)

    def handle_fork(self) -> None:
        """Refuse every put and append in a forked process; a hub that is not open may be opened."""
        if self.loop is not None:
            self.is_forked, self.limit = True, _ASK

    def open(self) -> None:
        """Begin to call the committer, on the running loop."""
        self.is_closed, self.failure, self.limit = False, None, self.bound
        self.is_forked = False
        self.loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self.wake.set()  # for what was put before

    def refuse_more(self) -> None:
        """Refuse every put and append from now on; those that wait for room, too. Idempotent."""
        with self.lock:
            self.is_closed, self.limit = True, _ASK
            self._room.notify_all()

    def take(self) -> list[Part]:
        """Return what waits, in order, to be committed. It counts until `free`.

        That is everything, unless it is too much for one commit: then the committer is called
        again for the rest.
        """
        with self.lock:
            taken, self.batch = self.batch, []
            if self.is_behind:
                taken, self.batch = _split(taken)
            for part in taken:
                part.inlet.open = None
            self.is_woken = bool(self.batch)
            if self.batch:
                self.wake.set()
            return taken

    @property
    def is_behind(self) -> bool:
        """Whether more waits than goes into one commit."""
        return self.size > _COMMIT_BYTES

    def fail(self, error: BackendError, taken: Sequence[Part]) -> None:
        """Refuse while commits fail; who waits for nothing but a commit is told of it."""
        with self.lock:
            self.failure, self.limit = error, _ASK
            waiting = list(self.batch)
        for part in (*taken, *waiting):
            if part.is_flush:
                part.resolve(error)

    def recover(self) -> None:
        """Take records again, now that commits succeed."""
        with self.lock:
            self.failure = None
            if not self.is_closed:
                self.limit = self.bound

    def free(self, taken: Sequence[Part]) -> None:
        """Make room: these do not wait any more. Call from the loop's thread."""
        with self.lock:
            for part in taken:
                inlet, size = part.inlet, part.size
                inlet.size -= size
                self.size -= size
                inlet.kept += size + _FRAME_BYTES * len(part.records)
                if inlet.kept > self.growth.limit:
                    self.growth.note(inlet)
            if self.waiting:
                self._room.notify_all()
        self._call_drainers()

    def let_go(self) -> None:
        """Let everybody look again for room. Call from the loop's thread, with the lock held."""
        self._room.notify_all()
        self._call_drainers()

    def _call_drainers(self) -> None:
        while self._drainers:
            drainer = self._drainers.popleft()
            if not drainer.done():
                drainer.set_result(None)

    def add(self, part: Part) -> None:
        """Take a part that somebody waits for. Raises as `Inlet.append` does."""
        inlet = part.inlet
        if self.loop is None:
            raise StoreUnavailable("the hub is not open, so that nothing is committed")
        with self.lock:
            # What carries something is worth waiting for; a flush is told of a failing store.
            if (
                self.is_closed
                or (inlet.error is not None and not part.close)
                or (self.failure is not None and part.is_flush)
            ):
                self.refuse(inlet)
            self.put(part)
            if part.close:
                # What came behind it could not be committed, when nobody can be told any more.
                inlet.end(inlet.error or has_ended(inlet.run_id))
            size = part.size
            inlet.size += size
            self.size += size
            self.is_woken = True
        self.wake.set()

    def put(self, part: Part) -> None:
        """Add a part; the one before takes no more records. Call with the lock held."""
        part.inlet.open = part.records if part.future is None else None
        self.batch.append(part)

    def admit(self, inlet: "Inlet", size: int) -> None:
        """Let a record in, or raise as `Inlet.put` does. Call with the lock held."""
        self.refuse(inlet)
        self.wait_for_room(inlet, size)
        if self.has_limits:
            self.count(inlet, size)

    def refuse(self, inlet: "Inlet") -> None:
        """Raise why nothing can be put, if nothing can."""
        if self.is_forked:
            raise elsewhere("emit()")
        if inlet.error is not None:
            # A new exception each time: one object raised in many threads would mix tracebacks.
            raise copy.copy(inlet.error)
        if self.is_closed:
            raise StoreUnavailable("the hub is closed; nothing can be emitted any more")
        if self.failure is not None:
            failing = f"the store fails at present: {self.failure.message}"
            raise StoreUnavailable(failing, f"the store fails at present: {self.failure.public}")

    def count(self, inlet: "Inlet", size: int) -> None:
        """Count a record. Raises `RunTooLarge` if the run has emitted as much as it may."""
        if inlet.events >= self.most_events:
            told = f"{inlet.events} events, of at most {self.most_events} (max_events_per_run)"
        elif inlet.bytes + size > self.most_bytes:
            told = f"{inlet.bytes} bytes, of at most {self.most_bytes} (max_bytes_per_run)"
        else:
            inlet.events += 1
            inlet.bytes += size
            return
        raise RunTooLarge(
            f"the {describe_log(inlet.run_id)} has emitted {told}: emit less, write to a file, or "
            "raise the setting"
        )

    def fits(self, inlet: "Inlet", size: int) -> bool:
        """Tell whether there is room; a record larger than a bound fits when nothing else waits."""
        if inlet.is_held and threading.get_ident() != self._thread_id:
            return False  # the loop's own thread cannot wait: it is asked to drain
        return (not inlet.size or inlet.size + size <= self.run_bound) and (
            not self.size or self.size + size <= self.bound
        )

    def wait_for_room(self, inlet: "Inlet", size: int) -> None:
        """Return once a record fits; wait for that, unless this is the loop's own thread.

        Called with the lock held, which is let go while it waits. Raises as `Inlet.put` does.
        """
        has_room = self.fits(inlet, size)
        if not has_room and threading.get_ident() != self._thread_id:
            self.waiting += 1
            try:
                has_room = self._room.wait_for(
                    lambda: self.is_closed or inlet.error is not None or self.fits(inlet, size),
                    self._wait_s,
                )
            finally:
                self.waiting -= 1
            self.refuse(inlet)
        if not has_room and inlet.is_held:
            raise Overloaded(
                f"{describe_log(inlet.run_id)} grows faster than its old events can be cut "
                "(keep_bytes_per_run); emit less, or keep more"
            )
        if not has_room:
            raise Overloaded(
                f"{inlet.size} bytes of run {inlet.run_id!r} and {self.size} in all wait for "
                "their commit; await drain() between events, or emit less"
            )

    def loop_here(self) -> asyncio.AbstractEventLoop | None:
        """Return the hub's loop, if there is one. Raises `InvalidValue` in a forked process."""
        if self.is_forked:
            raise elsewhere()
        return self.loop

    async def drain(self, inlet: "Inlet") -> None:
        """See `Inlet.drain`. Call from the loop's thread."""
        while inlet.is_held or not self.fits(inlet, self._largest):
            drainer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._drainers.append(drainer)
            await drainer

    def call_committer(self) -> None:
        """Wake the committer. Raises `StoreUnavailable` if its loop is closed."""
        if self.loop is None:
            return  # not open yet: open() looks
        if threading.get_ident() == self._thread_id:
            self.wake.set()
            return
        try:
            self.loop.call_soon_threadsafe(self.wake.set)
        except RuntimeError:
            self.refuse_more()  # or the next put would think that the committer comes
            raise StoreUnavailable("the hub's event loop is closed") from None


class Inlet:
    """Where one run's records go in. Made by the hub; ends with the epoch it was made for.

    `put` is called from any thread, `append` and `drain` from any event loop: a function that runs
    in a thread may run a loop of its own there.
    """

    __slots__ = (
        "_pending",
        "bytes",
        "epoch",
        "error",
        "events",
        "fence",
        "is_held",
        "kept",
        "limit",
        "number",
        "open",
        "producer_id",
        "run_id",
        "sent",
        "size",
    )

    def __init__(self, pending: Pending, run_id: str, epoch: str, fence: int | None) -> None:
        self._pending = pending
        self.open: list[bytes] | None = None
        """The records of the last part, which takes more while its batch gathers."""
        self.limit = 0
        """As that of `Pending`, for what waits of this run."""
        self.run_id = run_id
        self.epoch = epoch
        self.fence = fence
        self.size = 0
        """Bytes put and not yet committed."""
        self.events = 0
        """Records put, ever, where runs have limits."""
        self.bytes = 0
        """The same in bytes."""
        self.kept = 0
        """Bytes of the log that are not cut, about; see `Growth`."""
        self.is_held = False
        """Whether producers wait for the log to be cut."""
        self.error: RuncastError | None = None
        """Why nothing can be put any more; None while it can."""
        self.producer_id = ""
        """As whom the store knows it; "" until it appends. See `Numbering`, as for the next two."""
        self.number = 0
        """The number of its last append."""
        self.sent = 0
        """The number of the last append that was sent to the store."""
        self.limit = self._own_limit()

    def put(self, record: bytes) -> None:
        """Give a record to be committed, after all that this thread put before.

        Where the bound on pending bytes is reached, a thread waits for room; the loop's own thread
        must not.

        Raises:
            RunClosed, Stale, NotFound: the run has ended, belongs to somebody else now, or is gone.
            StoreUnavailable: the store fails at present, or the hub is closed; the record was not
                taken.
            Overloaded: there is no room, and waiting is not possible or did not help.
            InvalidValue: in a process that was forked off the hub's.
            RunTooLarge: `max_events_per_run` or `max_bytes_per_run` were put here; what is appended
                is not counted, so that a run can always end.
        """
        # The hot path of `emit()`.
        pending = self._pending
        size = len(record)
        # `acquire` and `release` would take half as long, but what a signal's handler raises behind
        # `acquire`, as Ctrl-C does, would leave the lock held for ever.
        with pending.lock:
            run_size, all_size = self.size + size, pending.size + size
            if run_size > self.limit or all_size > pending.limit:
                pending.admit(self, size)
                run_size, all_size = self.size + size, pending.size + size
            self.size, pending.size = run_size, all_size
            if self.open is None:
                pending.put(self._part([record]))
            else:
                self.open.append(record)
            if pending.is_woken:
                return
            pending.is_woken = True
        pending.call_committer()

    def end(self, error: RuncastError) -> None:
        """Refuse every put from now on. Call from the loop's thread."""
        self.error, self.limit = error, _ASK

    def hold(self) -> None:
        """Have producers wait until `release`. Call from the loop's thread."""
        self.is_held, self.limit = True, _ASK

    def release(self) -> None:
        """Let producers go on. Call from the loop's thread; idempotent."""
        with self._pending.lock:
            self.is_held, self.limit = False, self._own_limit()
            self._pending.let_go()

    def _own_limit(self) -> int:
        if self.error is not None or self._pending.has_limits:
            return _ASK
        return self._pending.run_bound

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
        committed. What closes the log is tried even where nothing else can be put any more.

        Raises what `put` raises, and `Conflict` (see `Append.once`).
        """
        part = self._part(list(records), close, once, labels)
        return await await_on(self._pending.loop_here(), self._append(part))

    async def _append(self, part: Part) -> Appended:
        if self.is_held and not (part.close or part.once or part.labels):
            await self._pending.drain(self)
        part.future = asyncio.get_running_loop().create_future()
        self._pending.add(part)
        return await part.future

    async def drain(self) -> None:
        """Return once there is room for any one event, or nothing else waits."""
        await await_on(self._pending.loop_here(), self._pending.drain(self))

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait in a thread without a loop for a coroutine that runs on the hub's.

        Raises what the coroutine raises, and `StoreUnavailable` if the loop has ended.
        """
        return wait_on(self._pending.loop, coroutine)

    def _part(
        self,
        records: list[bytes],
        close: bool = False,
        once: Once | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Part:
        run_id, epoch, fence = self.run_id, self.epoch, self.fence
        return Part(run_id, records, epoch, close, fence, once, labels, inlet=self)


def _split(parts: list[Part]) -> tuple[list[Part], list[Part]]:
    size = 0
    for count, part in enumerate(parts, 1):
        size += part.size
        if size >= _COMMIT_BYTES:
            return parts[:count], parts[count:]
    return parts, []


def has_ended(run_id: str) -> RunClosed:
    """Return what is raised by whoever writes to a run that has ended."""
    return RunClosed(f"the {describe_log(run_id)} has ended; nothing can be added to it")
