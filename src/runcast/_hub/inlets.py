"""Inlets: where producers' records wait for their commit. Threads use only this half of the
pipeline.

A put costs a lock, a list append, and at most one wake-up of the loop however many records wait.
The waiting bytes are bounded, per run and in all.

Long because inlets and their waiting records share one lock and one set of bounds.
"""

import asyncio
import copy
import sys
import threading
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

from runcast._clock import Clock
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
from runcast.events.plain import escape_line_ends
from runcast.events.position import describe_log
from runcast.stores.base import Append, Appended, Once, Producer

__all__ = ("Inlet", "Part", "Pending", "has_ended")

T = TypeVar("T")

_ASK: Final = -1
"""A limit that no record fits, so that every put calls `admit`."""

_FRAME_BYTES: Final = 44
"""About how much longer a record is in its log: its position and the names of fields."""

_COMMIT_BYTES: Final = 4 * 1024 * 1024
"""Size of a commit from which on the rest waits for the next one. A store copies a commit, and
later records should not wait for a whole flood."""


class Part(Append, kw_only=True):
    """Records of one inlet that become one append; waiting tasks hold the future."""

    inlet: "Inlet"
    future: asyncio.Future[Appended] | None = None
    is_numbered: bool = False
    """Whether `producer` came with the records, from a writer outside. See `Numbering`."""
    is_after_loss: bool = False
    """Whether it was added after the loss of earlier records was known. See `Inlet.lost`."""

    @property
    def is_flush(self) -> bool:
        """Whether the part is empty: somebody only waits for earlier records."""
        return self.future is not None and not (
            self.records or self.close or self.labels or self.attachment
        )

    @property
    def size(self) -> int:
        """Bytes of its records."""
        return sum(map(len, self.records))

    def resolve(self, outcome: Appended | RuncastError) -> None:
        """Set the outcome for the waiting tasks, if any. Call from the loop's thread."""
        if self.future is None or self.future.done():
            return
        if isinstance(outcome, RuncastError):
            self.future.set_exception(copy.copy(outcome))
        else:
            self.future.set_result(outcome)


class Pending:
    """The waiting records of all inlets. `lock` guards everything unless stated otherwise."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.growth = Growth(settings.keep_bytes_per_run)
        self.run_bound = min(settings.pending_bytes_per_run, self.growth.most_pending)
        self.bound = settings.pending_bytes
        # Reentrant, because a signal handler may emit in the middle of any call in its thread.
        self.lock = make_rlock()
        self.batch: list[Part] = []
        """The parts to be committed next, in order."""
        self.size = 0
        """Waiting bytes."""
        self.limit = self.bound
        """Largest put that needs no call to `admit`; below 0 if every put needs it."""
        self.waiting = 0
        """Threads that wait for room."""
        self.is_woken = False
        """Whether the committer was called and has not looked yet."""
        self.is_gathering = False
        """Whether a coroutine emitted first, and no task waits for the commit."""
        self.is_closed = False
        self.failure: BackendError | None = None
        """The error of the last commit; None while commits succeed. Set on the loop."""
        self._is_refusing = False
        """Whether commits have failed for so long that records are refused."""
        self._refuse_at = 0.0
        self._clock = clock
        self.wake = asyncio.Event()
        self.has_limits = bool(settings.max_events_per_run or settings.max_bytes_per_run)
        """Whether runs have limits; only then are their events counted."""
        self.most_events = settings.max_events_per_run or sys.maxsize
        self.most_bytes = settings.max_bytes_per_run or sys.maxsize
        self._wait_s = settings.emit_wait_s
        self._largest = settings.max_event_bytes
        self._room = threading.Condition(self.lock)
        self._drainers: deque[asyncio.Future[None]] = deque()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._thread_id = 0
        self.is_forked = False
        """Whether this is a fork of the process that opened the hub: nothing is committed here."""
        when_forked(self)

    def handle_fork(self) -> None:
        """Refuse every put and append in a forked process; a hub that is not open may still be
        opened."""
        if self.loop is not None:
            self.is_forked, self.limit = True, _ASK

    def open(self) -> None:
        """Begin to call the committer, on the running loop."""
        self.is_closed, self.failure, self.limit = False, None, self.bound
        self.is_forked = self._is_refusing = False
        self.loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self.wake.set()  # for records put before

    def refuse_more(self) -> None:
        """Refuse every put and append from now on, including calls that wait for room.
        Idempotent."""
        with self.lock:
            self.is_closed, self.limit = True, _ASK
            self._room.notify_all()

    def take(self) -> list[Part]:
        """Return the waiting parts to be committed, in order. They count as waiting until `free`.

        If they are too much for one commit, return only a part, and call the committer again for
        the rest.
        """
        with self.lock:
            taken, self.batch = self.batch, []
            if self.is_behind:
                taken, self.batch = _split(taken)
            for part in taken:
                part.inlet.open = None
            self.is_woken, self.is_gathering = bool(self.batch), False
            if self.batch:
                self.wake.set()
        for part in taken:
            self._escape(part)
        return taken

    def _escape(self, part: Part) -> None:
        """Escape what readers take for the end of a line. `emit()` leaves that to the committer."""
        if all(map(bytes.isascii, part.records)):
            return
        size, part.records = part.size, list(map(escape_line_ends, part.records))
        if grown := part.size - size:
            with self.lock:
                part.inlet.size += grown
                self.size += grown

    @property
    def is_behind(self) -> bool:
        """Whether more waits than fits into one commit."""
        return self.size > _COMMIT_BYTES

    def fail(self, error: BackendError, taken: Sequence[Part]) -> None:
        """Note that a commit failed. If they fail for long, refuse records, and give tasks that
        only wait for a commit the error. A store that is away for a moment fails nobody."""
        now = self._clock.monotonic()
        with self.lock:
            if self.failure is None:
                self._refuse_at = now + self._wait_s
            self.failure = error
            if now < self._refuse_at:
                return
            self._is_refusing, self.limit = True, _ASK
            waiting = list(self.batch)
            self._room.notify_all()
        for part in (*taken, *waiting):
            if part.is_flush:
                part.resolve(error)

    def recover(self) -> None:
        """Accept records again, now that commits succeed."""
        with self.lock:
            self.failure, self._is_refusing = None, False
            if not self.is_closed:
                self.limit = self.bound

    def free(self, taken: Sequence[Part]) -> None:
        """Make room: these parts no longer wait. Call from the loop's thread."""
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
        """Let all waiting producers check again for room. Call from the loop's thread, lock
        held."""
        self._room.notify_all()
        self._call_drainers()

    def _call_drainers(self) -> None:
        while self._drainers:
            drainer = self._drainers.popleft()
            if not drainer.done():
                drainer.set_result(None)

    def add(self, part: Part) -> None:
        """Add a part with a waiting task. Raises what `Inlet.append` raises."""
        inlet = part.inlet
        if self.loop is None:
            raise StoreUnavailable("the hub is not open, so nothing is committed")
        with self.lock:
            # A part with records may wait; a flush gets the error of a store that fails for long.
            if (
                self.is_closed
                or (inlet.error is not None and not part.close)
                or (self._is_refusing and part.is_flush)
            ):
                self.refuse(inlet)
            part.is_after_loss = inlet.lost is not None
            self.put(part)
            if part.close:
                # Nothing may follow the close: it could not be committed, nor reported.
                inlet.end(inlet.error or has_ended(inlet.run_id))
            size = part.size
            inlet.size += size
            self.size += size
            self.is_woken, self.is_gathering = True, False
        self.wake.set()

    def put(self, part: Part) -> None:
        """Add a part; the one before takes no more records. Call with the lock held."""
        part.inlet.open = part.records if part.future is None else None
        self.batch.append(part)

    def admit(self, inlet: "Inlet", size: int) -> None:
        """Admit a record, or raise what `Inlet.put` raises. Call with the lock held."""
        self.refuse(inlet)
        self.wait_for_room(inlet, size)
        if self.has_limits:
            self.count(inlet, size)

    def refuse(self, inlet: "Inlet") -> None:
        """Raise the error if nothing can be put now."""
        if self.is_forked:
            raise elsewhere("emit()")
        if inlet.error is not None:
            # A new exception each time: one object raised in many threads would mix tracebacks.
            raise copy.copy(inlet.error)
        if self.is_closed:
            raise StoreUnavailable("the hub is closed; nothing can be emitted any more")
        if self._is_refusing and self.failure is not None:
            raise _failing(self.failure)

    def count(self, inlet: "Inlet", size: int) -> None:
        """Count a record. Raises `RunTooLarge` if the run has reached its limit."""
        if inlet.events >= self.most_events:
            amount = f"{inlet.events} events, of at most {self.most_events} (max_events_per_run)"
        elif inlet.bytes + size > self.most_bytes:
            amount = f"{inlet.bytes} bytes, of at most {self.most_bytes} (max_bytes_per_run)"
        else:
            inlet.events += 1
            inlet.bytes += size
            return
        raise RunTooLarge(
            f"the {describe_log(inlet.run_id)} has emitted {amount}: emit less, write to a file, "
            "or raise the setting"
        )

    def fits(self, inlet: "Inlet", size: int) -> bool:
        """Return whether there is room; a record larger than a bound fits if nothing else waits."""
        if inlet.is_held and threading.get_ident() != self._thread_id:
            return False  # the loop's own thread cannot wait; it must drain
        return (not inlet.size or inlet.size + size <= self.run_bound) and (
            not self.size or self.size + size <= self.bound
        )

    def wait_for_room(self, inlet: "Inlet", size: int) -> None:
        """Wait until a record fits; raise at once in the loop's own thread.

        Called with the lock held, which is released while waiting. Raises what `Inlet.put` raises.
        """
        has_room = self.fits(inlet, size)
        if not has_room and threading.get_ident() != self._thread_id:
            self.waiting += 1
            try:
                has_room = self._room.wait_for(
                    lambda: (
                        self.is_closed
                        or self._is_refusing
                        or inlet.error is not None
                        or self.fits(inlet, size)
                    ),
                    self._wait_s,
                )
            finally:
                self.waiting -= 1
            self.refuse(inlet)
        if not has_room and self.failure is not None:
            raise _failing(self.failure)
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
        """Return the hub's loop, or None. Raises `InvalidValue` in a forked process."""
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
            return  # not open yet: open() looks later
        if threading.get_ident() == self._thread_id:
            self.is_gathering = True
            self.wake.set()
            return
        try:
            self.loop.call_soon_threadsafe(self.wake.set)
        except RuntimeError:
            self.refuse_more()  # otherwise the next put would wait for the committer
            raise StoreUnavailable("the hub's event loop is closed") from None


class Inlet:
    """The entry for one run's records. Made by the hub; ends with its epoch.

    Call `put` from any thread, `append` and `drain` from any event loop: a function in a thread may
    run its own loop there.
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
        "lost",
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
        """The records of the last part, which grows while its batch gathers."""
        self.limit = 0
        """Like `Pending.limit`, for this run."""
        self.run_id = run_id
        self.epoch = epoch
        self.fence = fence
        self.size = 0
        """Bytes that were put and are not yet committed."""
        self.events = 0
        """Records put so far, counted only if runs have limits."""
        self.bytes = 0
        """The same in bytes."""
        self.kept = 0
        """About how many bytes of the log are not cut; see `Growth`."""
        self.is_held = False
        """Whether producers must wait for the log to be cut."""
        self.error: RuncastError | None = None
        """The error that ended the inlet; None while records can be put."""
        self.lost: RuncastError | None = None
        """Why records that were put are not stored; None if all are. What was put or appended
        behind such records is not stored either, so that the log has no hole."""
        self.producer_id = ""
        """The inlet's producer id in the store; "" before its first append. See `Numbering`."""
        self.number = 0
        """The number of its last append. See `Numbering`."""
        self.sent = 0
        """The number of the last append that was sent to the store. See `Numbering`."""
        self.limit = self._own_limit()

    def put(self, record: bytes) -> None:
        """Pass a record on to be committed, after all earlier records of this thread.

        At the bound on pending bytes, a thread waits for room. The loop's own thread must not wait.

        Raises:
            RunClosed, Stale, NotFound: the run has ended, has another owner, or was deleted.
            StoreUnavailable: the store has failed for `emit_wait_s`, or fails and there is no
                room; or the hub is closed. The record was not accepted.
            BackendError: earlier records may be lost.
            Overloaded: there is no room, and waiting is impossible or did not help.
            InvalidValue: called in a fork of the hub's process.
            RunTooLarge: `max_events_per_run` or `max_bytes_per_run` was reached. Appends do not
                count, so that a run can always end.
        """
        # The hot path of `emit()`.
        pending = self._pending
        size = len(record)
        # `acquire` and `release` would take half as long. But if a signal handler raises right
        # after `acquire`, as Ctrl-C does, the lock would stay held for ever.
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

    def lose(self, error: RuncastError) -> None:
        """Refuse every put from now on, because records are lost. Call from the loop's thread."""
        self.lost = error
        self.end(error)

    def hold(self) -> None:
        """Make producers wait until `release`. Call from the loop's thread."""
        self.is_held, self.limit = True, _ASK

    def release(self) -> None:
        """Let producers continue. Call from the loop's thread; idempotent."""
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
        producer: Producer | None = None,
        attachment: bytes = b"",
    ) -> Appended:
        """Append after all earlier records, and return once the append is committed.

        Without arguments it only waits for the earlier records. If the caller is cancelled, the
        append is still committed. An append that closes the log is tried even if nothing else can
        be put; but it fails if records before it are lost meanwhile, which its caller cannot know.

        Args:
            producer: a producer outside that numbers its appends itself. If the append was made
                before, the result is `repeated`, with the first and last `seq` of the first time.

        Raises what `put` raises, `Conflict` (see `Append.once`), and with a producer
        `OutOfSequence`.
        """
        part = self._part(list(records), close, once, labels)
        if producer is not None:
            part.producer, part.is_numbered = producer, True
        part.attachment = attachment
        return await await_on(self._pending.loop_here(), self._append(part))

    async def _append(self, part: Part) -> Appended:
        if self.is_held and not (part.close or part.once or part.labels or part.attachment):
            await self._pending.drain(self)
        part.future = asyncio.get_running_loop().create_future()
        self._pending.add(part)
        return await part.future

    async def drain(self) -> None:
        """Return once there is room for an event of any size, or nothing else waits."""
        await await_on(self._pending.loop_here(), self._pending.drain(self))

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait in a thread without a loop for a coroutine on the hub's loop.

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


def _failing(failure: BackendError) -> StoreUnavailable:
    said = "the store fails at present"
    return StoreUnavailable(f"{said}: {failure.message}", f"{said}: {failure.public}")


def has_ended(run_id: str) -> RunClosed:
    """Return the error for writing to a run that has ended."""
    return RunClosed(f"the {describe_log(run_id)} has ended; nothing can be added to it")
