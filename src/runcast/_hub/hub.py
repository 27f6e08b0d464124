"""The hub: the logs of one store, appended to and watched in this process.

Call all methods on the loop that opened the hub, unless an `Inlet` says otherwise. Long because it
is one facade, each method of which has its docstring.
"""

import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar
from weakref import WeakValueDictionary

from runcast._clock import Clock, SystemClock
from runcast._hub.admission import Admission, Admissions
from runcast._hub.cache import PageCache
from runcast._hub.changes import ListChanges
from runcast._hub.cursor import Chunk, Cursor
from runcast._hub.growth import Growth
from runcast._hub.inlets import Inlet
from runcast._hub.lease import Lease
from runcast._hub.lens import EventLens, FrameLens, Lens
from runcast._hub.owned import OwnedLogs
from runcast._hub.owned_log import OwnedLog
from runcast._hub.pipeline import Pipeline, PipelineStatistics
from runcast._hub.present import Present
from runcast._hub.rendering import RenderedPages, Rendering
from runcast._hub.thread_cursor import ThreadCursor
from runcast._hub.thread_place import MAX_OPEN, RunLabels, ThreadPlace
from runcast._hub.watcher import Watch
from runcast._hub.windows import Windows
from runcast._settings import Settings
from runcast._wire.dialects import Dialect
from runcast.errors import RuncastError, StoreUnavailable
from runcast.events.position import RUN, Position
from runcast.events.prices import NO_PRICES
from runcast.events.snapshot import Snapshot
from runcast.events.view import View
from runcast.stores.base import (
    Appended,
    Change,
    LogInfo,
    Owner,
    Page,
    Store,
    epoch_is_over,
    listen_to,
)

if TYPE_CHECKING:
    import asyncio

__all__ = ("Hub", "HubStatistics")

L = TypeVar("L", bound=Lens[Any])


class HubStatistics(NamedTuple):
    """Watchers and bytes held now, and the pipeline's counters."""

    watchers: int
    watched_runs: int
    tail_bytes: int
    cache_bytes: int
    pipeline: PipelineStatistics


class Hub:
    """Appends events and fans them out. Use `async with`.

    Args:
        identify: returns this process as the owner of the logs that it begins.

    Guarantees: an event is published to watchers only after the store committed it, in the order
    of the log, and once to each watcher. A slow or absent watcher costs a number.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings | None = None,
        clock: Clock | None = None,
        identify: Callable[[], Owner] = lambda: Owner(owner_id=uuid.uuid4().hex),
    ) -> None:
        self.store = store
        self.settings = settings or Settings()
        self.clock = clock or SystemClock()
        self.lease = Lease(store, identify, self.settings.lease_s)
        self.owned = OwnedLogs(self, self.lease, self.clock, self.settings.max_event_bytes)
        self.begin_delivery: Callable[..., Coroutine[Any, Any, Any]] | None = None
        self.prices = NO_PRICES
        """The prices of models' tokens."""
        self.sending = WeakValueDictionary[str, "asyncio.Lock"]()
        """Held, for each run, while a message is counted and stored."""
        self.admissions = Admissions(self.settings)
        self.rendered = RenderedPages(self.read_page, self.info, self.settings.page_cache_bytes)
        self._pages = PageCache(store.read, self.settings.page_cache_bytes)
        self._present = Present(store, self.settings.page_cache_bytes)
        self._windows = Windows(self, self.settings, self._was_deleted, store)
        self.list_changes = ListChanges(store)
        self._pipeline = Pipeline(
            store, self.settings, self._was_committed, self._windows.fail, self.clock
        )
        self._stop_listening: Callable[[], None] = lambda: None
        self._when_deleted: list[Callable[[str, str], Awaitable[None]]] = []
        self._is_open = self._was_open = False

    async def open(self) -> Self:
        """Open the store and begin to commit. Idempotent. May be called again after `close`.

        If a later step of opening fails, call `close()`; `open()` may be tried again.
        """
        if not self._is_open:
            await self.store.open()
            await self._windows.open()
            await self._pipeline.open()
            self._stop_listening = listen_to(self.store, self._others_changed)
            self._is_open = self._was_open = True
        return self

    async def close(self) -> None:
        """Commit pending events, end the watchers, close the store. Idempotent."""
        if not self._is_open:
            return
        self._is_open = False
        self._stop_listening()
        self.list_changes.close()
        await self.owned.close()
        await self._pipeline.close()
        await self.lease.close()
        await self._windows.close(self._not_open())
        await self._present.settle()
        await self.store.close()
        await self._pages.settle()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def _not_open(self) -> StoreUnavailable:
        if self._was_open:
            return StoreUnavailable("the hub is closed; connect again later")
        return StoreUnavailable("the hub is not open; use `async with`")

    @property
    def is_open(self) -> bool:
        """Whether the hub commits and accepts watchers."""
        return self._is_open

    def check_open(self) -> None:
        """Raise `StoreUnavailable` if the hub is not open."""
        if not self._is_open:
            raise self._not_open()

    async def check(self) -> None:
        """Return if the store answers and commits succeed.

        Raises:
            StoreUnavailable: the store fails, or the hub is closed.
        """
        self.check_open()
        self._pipeline.check()
        await self.store.list(limit=1)

    def statistics(self) -> HubStatistics:
        """Return what the hub holds now and has done so far."""
        return HubStatistics(
            self._windows.cursors,
            len(self._windows),
            self._windows.size,
            self._pages.size + self.rendered.size,
            self._pipeline.statistics(),
        )

    # Producers.

    async def begin(
        self,
        log_id: str,
        *,
        kind: str = RUN,
        labels: Mapping[str, str] | None = None,
        ttl_s: float | None = None,
        replace: bool | str = False,
        attachment: bytes = b"",
    ) -> OwnedLog:
        """Begin a log that this process owns, keeps open and ends.

        If the caller is cancelled meanwhile, a log that was begun is ended.

        Raises what `Store.create` raises, and `StoreUnavailable` if the hub is not open or its
        lease is not stored yet.
        """
        self.check_open()
        return await self.owned.begin(
            log_id, kind=kind, labels=labels, ttl_s=ttl_s, replace=replace, attachment=attachment
        )

    def take(self, claimed: LogInfo) -> OwnedLog:
        """Return an owned log for a log that was claimed for this process."""
        return self.owned.add(self.inlet(claimed.log_id, claimed.epoch, claimed.fence))

    async def create(
        self,
        log_id: str,
        *,
        kind: str = RUN,
        owner_id: str = "",
        labels: Mapping[str, str] | None = None,
        ttl_s: float | None = None,
        replace: bool | str = False,
        attachment: bytes = b"",
    ) -> Inlet:
        """Begin a log and return its inlet. `Inlet.run_id` is the log's id.

        Raises what `Store.create` raises, and `StoreUnavailable` if the hub is not open.
        """
        self.check_open()
        info = await self.store.create(
            log_id,
            kind=kind,
            owner_id=owner_id,
            labels=labels,
            ttl_s=ttl_s,
            replace=replace,
            attachment=attachment,
        )
        if replace:
            self._forget(info.log_id)
        self._windows.learn(info)
        self.list_changes.note()
        return self._pipeline.inlet(info.log_id, info.epoch, info.fence)

    def inlet(self, run_id: str, epoch: str = "", fence: int | None = None) -> Inlet:
        """Return an inlet of an existing log; by default for any epoch and owner."""
        return self._pipeline.inlet(run_id, epoch, fence)

    def loss_of(self, log_id: str, epoch: str) -> RuncastError | None:
        """Return why events that were emitted here are not stored; None if none are known."""
        return self._pipeline.loss_of(log_id, epoch)

    @property
    def growth(self) -> Growth:
        """The logs that have become so long that they must be cut, for the trimmer."""
        return self._pipeline.growth

    # Watchers.

    async def cursor(
        self,
        run_id: str,
        after: Position | None = None,
        *,
        wake: Callable[[], None] = lambda: None,
    ) -> Cursor:
        """Return a cursor after `after`, or before the first event.

        A client's connection also needs an admission (`admissions`), which bounds their number.

        Raises:
            NotFound: the run does not exist.
            StoreUnavailable: the store could not be reached, or the hub is closed.
        """
        if not self._is_open:
            raise self._not_open()
        return await self._windows.cursor(run_id, after, wake)

    async def frames(
        self,
        run_id: str,
        after: Position | None = None,
        *,
        dialect: Dialect,
        view: View | None = None,
        wake: Callable[[], None] = lambda: None,
    ) -> FrameLens:
        """Return a source of a log's bytes in a dialect, through a view.

        Raises what `cursor` raises.
        """
        cursor = await self.cursor(run_id, after, wake=wake)
        rendering = self.rendered.rendering(view, dialect)
        return await _begun(FrameLens(self.rendered, cursor, rendering, dialect))

    async def events(
        self,
        run_id: str,
        after: Position | None = None,
        *,
        view: View | None = None,
        wake: Callable[[], None] = lambda: None,
    ) -> EventLens:
        """Return a source of a log's events in chunks, through a view.

        Raises what `cursor` raises.
        """
        cursor = await self.cursor(run_id, after, wake=wake)
        return await _begun(EventLens(self.rendered, cursor, Rendering(view)))

    async def watch(
        self, run_id: str, after: Position | None = None, *, view: View | None = None
    ) -> Watch[Chunk]:
        """Return an iterator over a log after `after`, or from its first event.

        Raises what `cursor` raises.
        """
        watch = Watch[Chunk]()
        watch.source = await self.events(run_id, after, view=view, wake=watch.wake)
        return watch

    def thread(
        self,
        runs: RunLabels,
        after: ThreadPlace | None = None,
        *,
        wake: Callable[[], None],
        limit: int = MAX_OPEN,
        admission: Admission | None = None,
    ) -> ThreadCursor:
        """Return a source of the events of all runs with some labels; see `ThreadCursor`.

        Raises `StoreUnavailable` if the hub is not open.
        """
        self.check_open()
        return ThreadCursor(self, runs, after, wake, limit=limit, admission=admission)

    async def read_page(self, run_id: str, after: Position) -> Page:
        """Return a page of history; equal reads share it. Raises what `Store.read` raises."""
        return await self._pages.get(run_id, after)

    async def info(self, run_id: str, epoch: str = "") -> LogInfo:
        """Return the description of a run's log.

        Args:
            epoch: the epoch that is meant; "" is any epoch.

        Raises:
            NotFound: the run does not exist.
            Stale: the run is in another epoch.
        """
        return _in_epoch(await self.store.info(run_id), epoch)

    async def present(self, run_id: str, epoch: str = "") -> tuple[LogInfo, Snapshot]:
        """Return a run's log and its present state, folded from the log; see `info`."""
        info, snapshot = await self._present.get(run_id)
        return _in_epoch(info, epoch), snapshot

    async def delete(self, run_id: str, epoch: str = "") -> None:
        """Remove a run's log and end its watchers' streams.

        Args:
            epoch: the epoch to remove; "" is the log's epoch at the call.

        Raises:
            NotFound: the run does not exist.
            Stale: the run began again since; the later epoch is kept.
        """
        epoch = epoch or (await self.store.info(run_id)).epoch
        await self.store.delete_epoch(run_id, epoch)
        self._was_deleted(run_id)
        self.list_changes.note()
        for remove in self._when_deleted:
            await remove(run_id, epoch)

    def when_deleted(self, remove: Callable[[str, str], Awaitable[None]]) -> None:
        """Call `remove` with the run id and the epoch of each log that `delete` removes.

        `remove` must not raise. It is not called for logs that other processes delete.
        """
        self._when_deleted.append(remove)

    async def trim(self, run_id: str, first: int, snapshot: bytes, epoch: str = "") -> None:
        """Drop the events before `first`, which a snapshot replaces.

        Args:
            epoch: the snapshot's epoch; "" is the log's epoch.

        Raises:
            NotFound: the log does not exist.
            Stale: the log is in another epoch; nothing is deleted.
        """
        if epoch:
            await self.store.trim_epoch(run_id, epoch, first, snapshot)
        else:
            await self.store.trim(run_id, first, snapshot)
        # The log's present state does not change.
        self._pages.forget(run_id)
        self.rendered.forget(run_id)

    # Events from the store.

    def _was_committed(self, committed: list[tuple[str, Appended]]) -> None:
        self._windows.publish(committed)
        self.list_changes.note()

    def _others_changed(self, change: Change | None) -> None:
        """Another process changed a log, or any log: notify its watchers and owner here."""
        self.list_changes.note()
        if change is None:
            self.owned.look(None)
            self._windows.follow_all()
        else:
            self.owned.heed(change)
            self._windows.take_over(change)

    def _was_deleted(self, run_id: str) -> None:
        self._forget(run_id)
        self.owned.notify(run_id)
        self._windows.drop(run_id)

    def _forget(self, run_id: str) -> None:
        self._pages.forget(run_id)
        self.rendered.forget(run_id)
        self._present.forget(run_id)


def _in_epoch(info: LogInfo, epoch: str) -> LogInfo:
    """Return a log's description. Raises `Stale` if an epoch is given, and the log is in another
    one."""
    if epoch and info.epoch != epoch:
        raise epoch_is_over(info, epoch)
    return info


async def _begun(lens: L) -> L:
    """Begin a lens and return it; if it cannot begin, close it."""
    try:
        await lens.begin()
    except BaseException:
        lens.close()
        raise
    return lens
