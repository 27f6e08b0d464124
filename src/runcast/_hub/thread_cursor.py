"""A watcher's place in all runs of a thread: those that exist, and those that begin later.

    look() ── what changed since the point ──► follow new runs, forget ended and deleted ones
    poll() ── a chunk of one run, or a notice ──► use it, poll again

It holds a cursor for each run that is open or not sent to its end, and a point among the changes of
all logs. A run that has been sent to its end is forgotten once the point lies behind its end. So a
watcher that comes back with its place gets each event of each run once: a run that the place does
not name and that has changed since the point is new.

A cursor keeps to one epoch, because the next epoch may have other labels and so belong to somebody
else. The change that reports the epoch decides.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from runcast._hub.admission import Admission
from runcast._hub.changes import ListChanges
from runcast._hub.cursor import Chunk, Cursor
from runcast._hub.thread_place import (
    MAX_ENDED,
    MAX_OPEN,
    Part,
    RunLabels,
    ThreadPlace,
    part_of,
)
from runcast.errors import Gone, NotFound, Overloaded
from runcast.events.position import Position
from runcast.stores.base import Change, LogInfo, Store

__all__ = ("ThreadCursor",)

_MOVED: Final = 1000
"""Changes of other runs after which the watcher's place is moved; the store remembers ten times as
many."""


class _Hub(Protocol):
    @property
    def store(self) -> Store: ...

    @property
    def list_changes(self) -> ListChanges: ...

    async def cursor(
        self, run_id: str, after: Position | None = None, *, wake: Callable[[], None] = ...
    ) -> Cursor: ...

    async def info(self, run_id: str) -> LogInfo: ...


class _Run:
    """A run that is followed."""

    __slots__ = ("cursor", "epoch", "is_ended", "is_over", "position")

    def __init__(self, cursor: Cursor, epoch: str, *, is_ended: bool) -> None:
        self.cursor: Cursor | None = cursor
        """None once its run is over, or while a change must say what became of it."""
        self.epoch = epoch
        self.position = cursor.position
        self.is_ended = is_ended
        """Whether its end lies before the point."""
        self.is_over = False
        """Whether it was sent to its end."""

    @property
    def is_open(self) -> bool:
        return not (self.is_ended or self.is_over)

    def park(self) -> None:
        if self.cursor is not None:
            self.cursor.close()
            self.cursor = None


class ThreadCursor:
    """A source of the events of all runs with some labels, for a `Watcher`. It never ends.

    Args:
        after: where the watcher was; None begins with the newest runs.
        limit: how many runs to begin with, at most `MAX_OPEN`.
        wake: called when there may be something to take.
        admission: that of a client's connection, which counts the runs of `after` already; None
            counts nothing.
    """

    def __init__(
        self,
        hub: _Hub,
        runs: RunLabels,
        after: ThreadPlace | None,
        wake: Callable[[], None],
        *,
        limit: int = MAX_OPEN,
        admission: Admission | None = None,
    ) -> None:
        self._hub = hub
        self._labels = runs
        self._after = after
        self._wake = wake
        self._limit = limit
        self._admission = admission
        self._point = ""
        self._runs: dict[str, _Run] = {}
        self._notices: deque[Part] = deque()
        self._turn = 0
        self._passed = 0
        """Changes passed since the watcher got a place."""
        self._is_woken = True
        self._stop = hub.list_changes.follow(self._look_soon)

    def _look_soon(self) -> None:
        self._is_woken = True
        self._wake()

    # What a watcher asks.

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to poll until the next wake-up."""
        return not (self._notices or self._must_look) and all(
            run.cursor is None or run.cursor.is_current for run in self._runs.values()
        )

    @property
    def behind(self) -> bool:
        """Whether only `read` has the next part."""
        return self._must_look or any(
            run.cursor is not None and run.cursor.behind for run in self._runs.values()
        )

    @property
    def ended(self) -> bool:
        """A thread never ends."""
        return False

    @property
    def _must_look(self) -> bool:
        # Runs that have ended make room by being sent.
        return self._is_woken and self._room > 0

    @property
    def _room(self) -> int:
        sending = (run.is_ended and run.cursor is not None for run in self._runs.values())
        return MAX_ENDED - sum(sending)

    def place(self) -> str:
        """Return the place after everything that was taken."""
        return f"{self._point};{','.join(self._parts())}"

    def _parts(self) -> Iterator[str]:
        for run_id, run in self._runs.items():
            yield part_of(run_id, run.position, is_ended=run.is_ended)

    def poll(self) -> Part | None:
        """Take the next part from memory, or return None."""
        if self._notices:
            notice = self._notices.popleft()
            if self._notices:
                return notice
            self._passed = 0
            return notice._replace(tail=self.place())
        runs = self._by_turn()
        first = runs[0][1].cursor if runs else None
        if self._must_look or (first is not None and first.behind):
            return None  # a busy run must not keep others from being read
        for run_id, run in runs:
            if run.cursor is None:
                continue
            try:
                chunk = run.cursor.poll()
            except NotFound:  # a change will say whether it was deleted or begun again
                run.park()
                continue
            part = None if chunk is None else self._took(run_id, run, chunk)
            if part is not None:
                return part
        return None

    def _by_turn(self) -> list[tuple[str, _Run]]:
        """Return all runs; each one comes first in its turn."""
        runs = list(self._runs.items())
        self._turn = turn = self._turn % len(runs) if runs else 0
        return runs[turn:] + runs[:turn]

    async def read(self) -> Part | None:
        """Look what has changed, or take a page of history."""
        if self._must_look:
            await self._look()
            return None
        for run_id, run in self._by_turn():
            if run.cursor is not None and run.cursor.behind:
                try:
                    chunk = await run.cursor.read()
                except NotFound:
                    run.park()
                    return None
                return None if chunk is None else self._took(run_id, run, chunk)
        return None

    def _took(self, run_id: str, run: _Run, chunk: Chunk) -> Part | None:
        """Return a chunk as a part; None if it holds nothing for the watcher."""
        if chunk.gap is not None and chunk.ended:
            run.park()  # another epoch, which may be somebody else's
            return None
        self._turn += 1
        before, after = self._around(run_id)
        run.position = chunk.position
        tail = ("!" if run.is_ended else "") + after
        if chunk.ended:
            run.is_over = True
            run.park()
            self._forget_if_over(run_id, run)
        if chunk.gap is None and (chunk.page is None or not chunk.page.frames):
            return None
        self._passed = 0
        return Part(run_id, chunk, head=f"{self._point};{before}", tail=tail)

    def _around(self, run_id: str) -> tuple[str, str]:
        """Return the parts of a place before and after a run's own."""
        parts = list(self._parts())
        at = list(self._runs).index(run_id)
        return (
            "".join(f"{part}," for part in parts[:at]) + f"{run_id}=",
            "".join(f",{part}" for part in parts[at + 1 :]),
        )

    # Changes.

    async def _look(self) -> None:
        self._is_woken = False
        if not self._point:
            await self._begin()
            return
        try:
            page = await self._hub.list_changes.after(self._point, self._room)
        except Gone as gone:
            await self._begin_again(gone)
            return
        if page.after == self._point:
            return
        self._is_woken = True  # there may be another page
        for change in page.changes:
            await self._heed(change)
        self._point = page.after
        self._passed += len(page.changes)
        if not self._notices and self._passed >= _MOVED:
            self._notices.append(Part("", None, "moved"))

    async def _heed(self, change: Change) -> None:
        """Take a change of a log into account."""
        run_id, info = change.log_id, change.info
        run = self._runs.get(run_id)
        if change.is_deleted or not self._labels.match(info):
            if run is not None or (change.is_deleted and self._labels.match(info)):
                self._forget(run_id)
                self._notices.append(Part(run_id, None, "deleted" if change.is_deleted else "left"))
        elif run is None:
            await self._follow(run_id, None, info)
        elif run.epoch == info.epoch:
            run.is_ended = run.is_ended or info.closed
            self._forget_if_over(run_id, run)
        else:
            self._forget(run_id)
            await self._follow(run_id, run.position, info)

    async def _follow(self, run_id: str, after: Position | None, info: LogInfo) -> None:
        """Follow a run that is described like this at a point that will be passed."""
        open_runs = sum(run.is_open for run in self._runs.values())
        has_room = len(self._runs) < MAX_OPEN + MAX_ENDED
        if not has_room or (not info.closed and open_runs >= MAX_OPEN):
            self._notices.append(Part(run_id, None, "left_out"))
            return
        found = await self._open(run_id, after)
        if found is None:
            return  # it was deleted meanwhile, or is another one's: a later change says so
        if self._admission is not None:
            try:
                self._admission.join(run_id)
            except Overloaded:
                found.park()
                self._notices.append(Part(run_id, None, "left_out"))
                return
        found.is_ended = info.closed and found.epoch == info.epoch
        self._runs[run_id] = found

    async def _open(self, run_id: str, after: Position | None) -> _Run | None:
        """Open a cursor that keeps to the present epoch; None if it may not be followed."""
        while True:
            try:
                cursor = await self._hub.cursor(run_id, after, wake=self._wake)
            except NotFound:
                return None
            try:
                info = await self._hub.info(run_id)
                if not self._labels.match(info):
                    cursor.close()
                    return None
                if cursor.keep_to(info.epoch):
                    return _Run(cursor, info.epoch, is_ended=False)
            except NotFound:
                cursor.close()
                return None
            except BaseException:
                cursor.close()
                raise
            cursor.close()  # it was begun again between the two

    def _forget_if_over(self, run_id: str, run: _Run) -> None:
        if run.is_over and run.is_ended:
            self._forget(run_id)

    def _forget(self, run_id: str) -> None:
        run = self._runs.pop(run_id, None)
        if run is not None:
            run.park()
            if self._admission is not None:
                self._admission.part(run_id)

    # The beginning.

    async def _begin(self) -> None:
        after, self._after = self._after, None
        if after is None:
            await self._list()
            return
        try:
            await self._hub.store.changes(after.point, limit=1)
        except Gone as gone:
            await self._begin_again(gone)
            return
        for run_id, (position, is_ended) in after.runs.items():
            await self._go_on(run_id, position, is_ended=is_ended)
        self._point = after.point
        self._is_woken = True

    async def _go_on(self, run_id: str, position: Position, *, is_ended: bool) -> None:
        """Follow a run from where the watcher was."""
        found = await self._open(run_id, position)
        if found is None:
            self._notices.append(Part(run_id, None, "left"))
            if self._admission is not None:
                self._admission.part(run_id)
            return
        self._runs[run_id] = found
        found.position = position
        found.is_ended = is_ended and found.epoch == position.epoch
        if found.cursor is not None and found.cursor.is_at_end:
            found.is_over = True
            found.park()
            self._forget_if_over(run_id, found)

    async def _begin_again(self, gone: Gone) -> None:
        for run_id in list(self._runs):
            self._forget(run_id)
        self._notices.clear()
        self._notices.append(Part("", None, "gap", reason=gone.reason))
        await self._list()

    async def _list(self) -> None:
        """Begin with the newest runs, as they are after everything that changed so far."""
        store = self._hub.store
        self._point = (await store.changes()).after
        found: dict[str, LogInfo] = {}
        has_more = False
        if not self._labels.is_empty:
            listed = await store.list(labels=self._labels.labels, limit=self._limit + 1)
            has_more = len(listed) > self._limit
            found = {info.log_id: info for info in listed}
        # What changed since the point may be listed already: it must not come again.
        while (page := await store.changes(self._point)).after != self._point:
            self._point = page.after
            for change in page.changes:
                found.pop(change.log_id, None)
                if not change.is_deleted and self._labels.match(change.info):
                    found[change.log_id] = change.info
        infos = sorted(found.values(), key=lambda info: (info.created_at, info.log_id))
        kept = infos[-self._limit :]
        for info in kept:
            await self._follow(info.log_id, None, info)
        if (has_more or len(infos) > len(kept)) and kept:
            oldest = (kept[0].created_at, kept[0].log_id)
            self._notices.append(Part("", None, "earlier", before=oldest))
        else:
            self._notices.append(Part("", None, "moved"))
        self._is_woken = True

    def close(self) -> None:
        """Close all cursors. Idempotent."""
        self._stop()
        for run in self._runs.values():
            run.park()
