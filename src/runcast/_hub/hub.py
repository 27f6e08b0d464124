"""The hub: logs of one store, appended to and watched in this process.

All methods are called on the loop that opened the hub, except where an `Inlet` says otherwise.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, Self

from runcast._clock import Clock, SystemClock
from runcast._hub.admission import Admissions
from runcast._hub.cursor import Chunk, Cursor
from runcast._hub.inlets import Inlet
from runcast._hub.lease import Lease
from runcast._hub.owned import OwnedLog, OwnedLogs
from runcast._hub.pages import EncodedPages, PageCache
from runcast._hub.pipeline import Pipeline, PipelineStatistics
from runcast._hub.present import Present
from runcast._hub.tail import Tail, Windows
from runcast._hub.viewed import ViewedPages
from runcast._hub.watcher import Watch
from runcast._logs import get_logger
from runcast._settings import Settings
from runcast.errors import BackendError, NotFound, StoreUnavailable
from runcast.events.position import RUN, Position, describe_log
from runcast.events.snapshot import Snapshot
from runcast.stores.base import Appended, LogInfo, Owner, Page, Store, listen_to

__all__ = ("Hub", "HubStatistics")

_log: Final = get_logger("runcast.hub")


class HubStatistics(NamedTuple):
    """Watchers and bytes held now, and what the pipeline did."""

    watchers: int
    watched_runs: int
    tail_bytes: int
    cache_bytes: int
    pipeline: PipelineStatistics


class Hub:
    """Appends and fans out. `async with` it.

    Args:
        identify: returns this process, as the owner of the logs that it begins.

    Guarantees: an event is published to watchers only after the store has committed it, in the
    order of the log, once to each; a watcher that is slow or gone costs a number.
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
        self.admissions = Admissions(self.settings)
        self.encoded = EncodedPages(self.settings.page_cache_bytes)
        self.viewed = ViewedPages(self.read_page, self.settings.page_cache_bytes)
        self._pages = PageCache(store.read, self.settings.page_cache_bytes)
        self._present = Present(store, self.settings.page_cache_bytes)
        self._pipeline = Pipeline(store, self.settings, self._publish, self._store_failed)
        self._tails: dict[str, Tail] = {}
        self._windows = Windows()
        self._watchers = 0
        self._stop_listening: Callable[[], None] = lambda: None
        self._following: set[asyncio.Task[None]] = set()
        self._when_deleted: list[Callable[[str, str], Awaitable[None]]] = []
        self._is_open = self._was_open = False

    async def open(self) -> Self:
        """Open the store and begin to commit. Idempotent; it may follow `close`.

        Who opens more than a hub closes it when the rest fails, and may try again.
        """
        if not self._is_open:
            await self.store.open()
            await self._pipeline.open()
            self._stop_listening = listen_to(self.store, self._others_changed)
            self._is_open = self._was_open = True
        return self

    async def close(self) -> None:
        """Commit what is pending, wake the watchers, close the store. Idempotent."""
        if not self._is_open:
            return
        self._is_open = False
        self._stop_listening()
        await self.owned.close()
        await self._pipeline.close()
        await self.lease.close()
        for tail in self._tails.values():
            tail.error = self._not_open()
            tail.wake()
        for task in list(self._following):
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)
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
        """Whether it commits and lets watchers in."""
        return self._is_open

    async def check(self) -> None:
        """Return if the store answers and takes what is to be committed.

        Raises:
            StoreUnavailable: it does not, or the hub is closed.
        """
        if not self._is_open:
            raise self._not_open()
        self._pipeline.check()
        await self.store.list(limit=1)

    def statistics(self) -> HubStatistics:
        """Return what is held now and was done so far."""
        return HubStatistics(
            self._watchers,
            len(self._tails),
            self._windows.size,
            self._pages.size + self.encoded.size,
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
        replace: bool = False,
    ) -> OwnedLog:
        """Begin a log that this process owns: it writes the log, keeps it open and ends it.

        A caller that is cancelled meanwhile owns nothing: a log that was begun is ended.

        Raises as `Store.create` does, and `StoreUnavailable` if the hub is not open or the store
        does not know yet that this process lives.
        """
        if not self._is_open:
            raise self._not_open()
        return await self.owned.begin(
            log_id, kind=kind, labels=labels, ttl_s=ttl_s, replace=replace
        )

    def take(self, claimed: LogInfo) -> OwnedLog:
        """Return a log that was claimed for this process, or is this process's own."""
        return self.owned.add(self.inlet(claimed.log_id, claimed.epoch, claimed.fence))

    async def create(
        self,
        log_id: str,
        *,
        kind: str = RUN,
        owner_id: str = "",
        labels: Mapping[str, str] | None = None,
        ttl_s: float | None = None,
        replace: bool = False,
    ) -> Inlet:
        """Begin a log and return where its records go in; `Inlet.run_id` is what others call it.

        Raises as `Store.create` does, and `StoreUnavailable` if the hub is not open.
        """
        if not self._is_open:
            raise self._not_open()
        info = await self.store.create(
            log_id, kind=kind, owner_id=owner_id, labels=labels, ttl_s=ttl_s, replace=replace
        )
        log_id = info.log_id
        if replace:
            self._forget(log_id)
        tail = self._tails.get(log_id)
        if tail is not None:
            tail.learn(info)
            tail.wake()
        return self._pipeline.inlet(log_id, info.epoch, info.fence)

    def inlet(self, run_id: str, epoch: str = "", fence: int | None = None) -> Inlet:
        """Return where records of an existing log go in; the default takes any epoch and owner."""
        return self._pipeline.inlet(run_id, epoch, fence)

    # Watchers.

    async def cursor(
        self,
        run_id: str,
        after: Position | None = None,
        *,
        wake: Callable[[], None] = lambda: None,
    ) -> Cursor:
        """Return a cursor behind `after`, or before the first event.

        A client's connection needs an admission besides (`admissions`), which bounds their number.

        Raises:
            NotFound: there is no such run.
            StoreUnavailable: the store could not be reached, or the hub is closed.
        """
        if not self._is_open:
            raise self._not_open()
        tail = self._tails.get(run_id)
        if tail is None:
            tail = self._tails[run_id] = Tail(run_id, self._windows)
        # Registered before the store is asked: what is committed from now on reaches the window,
        # and what was committed before is known to the store. Nothing falls between the two.
        cursor = Cursor(self, tail, after or Position("", 0), wake)
        self._watchers += 1
        try:
            is_beyond = after is not None and after > tail.position
            if is_beyond or not tail.known or tail.error is not None:
                tail.learn(await self.store.info(run_id))
                if not self._is_open:
                    raise self._not_open()
                if self._tails.get(run_id) is not tail:
                    raise _deleted(run_id)
                tail.error = None
        except BaseException:
            cursor.close()
            raise
        cursor.begin(after)
        return cursor

    async def watch(self, run_id: str, after: Position | None = None) -> Watch[Chunk]:
        """Return what iterates over a log behind `after`, or from its first event.

        Raises as `cursor` does.
        """
        watch = Watch[Chunk]()
        watch.source = await self.cursor(run_id, after, wake=watch.wake)
        return watch

    def leave(self, tail: Tail) -> None:
        """Count a cursor out; a window without watchers is dropped."""
        self._watchers -= 1
        if not tail.watchers and self._tails.get(tail.run_id) is tail:
            del self._tails[tail.run_id]
            tail.clear()

    async def read_page(self, run_id: str, after: Position) -> Page:
        """Return a page of history, shared with whoever reads the same. Raises as `Store.read`."""
        return await self._pages.get(run_id, after)

    async def info(self, run_id: str) -> LogInfo:
        """Return what is known of a run's log. Raises `NotFound`."""
        return await self.store.info(run_id)

    async def present(self, run_id: str) -> tuple[LogInfo, Snapshot]:
        """Return a run's log and its present state, folded from it. Raises `NotFound`."""
        return await self._present.get(run_id)

    async def delete(self, run_id: str, epoch: str = "") -> None:
        """Remove a run's log; its watchers' streams end.

        Args:
            epoch: the epoch to remove; "" is the one that the log is in when this is called.

        Raises:
            NotFound: there is no such run.
            Stale: the run began again since, and the later epoch stays.
        """
        epoch = epoch or (await self.store.info(run_id)).epoch
        await self.store.delete_epoch(run_id, epoch)
        self._was_deleted(run_id)
        for remove in self._when_deleted:
            await remove(run_id, epoch)

    def when_deleted(self, remove: Callable[[str, str], Awaitable[None]]) -> None:
        """Call `remove` with the run id and the epoch of each log that `delete` removes.

        `remove` must not raise. It is not called for a log that another process deletes.
        """
        self._when_deleted.append(remove)

    async def trim(self, run_id: str, first: int, snapshot: bytes) -> None:
        """Forget events before `first`, for which a snapshot stands. Raises `NotFound`."""
        await self.store.trim(run_id, first, snapshot)
        self._forget(run_id)

    # What happens.

    def _publish(self, committed: list[tuple[str, Appended]]) -> None:
        """Hand committed pages to the windows, then wake each window's watchers once."""
        touched: dict[str, Tail] = {}
        limit = self.settings.tail_bytes_per_run
        for run_id, appended in committed:
            tail = self._tails.get(run_id)
            if tail is not None:
                tail.publish(appended)
                touched[run_id] = tail
        for tail in touched.values():
            tail.error = None
            tail.wake()
            if tail.size > limit:
                tail.shrink(limit)
        if self._windows.size > self.settings.tail_bytes:
            self._relieve()

    def _relieve(self) -> None:
        """Halve all windows: watchers who are behind read the store instead."""
        for tail in self._tails.values():
            tail.shrink(tail.size // 2)

    def _store_failed(self, error: BackendError) -> None:
        """End live streams, without a terminal event: their watchers come back and resume."""
        for tail in list(self._tails.values()):
            tail.error = error
            tail.wake()

    def _others_changed(self, run_id: str | None) -> None:
        """Another process appended: look at the logs that are watched or owned here."""
        self.owned.look(run_id)
        for watched in [run_id] if run_id is not None else list(self._tails):
            tail = self._tails.get(watched)
            if tail is None:
                continue
            tail.follow_again = True
            if not tail.following:
                tail.following = True
                task = asyncio.create_task(self._follow(tail))
                self._following.add(task)
                task.add_done_callback(self._following.discard)

    async def _follow(self, tail: Tail) -> None:
        """Bring a window up to what another process did, once more if it did more meanwhile."""
        try:
            while tail.follow_again:
                tail.follow_again = False
                tail.learn(await self.store.info(tail.run_id))
                tail.wake()
        except NotFound:
            self._was_deleted(tail.run_id)
        except BackendError as error:
            _log.warning("run %s could not be followed: %s", tail.run_id, error)
            tail.error = error
            tail.wake()
        finally:
            tail.following = False

    def _was_deleted(self, run_id: str) -> None:
        self._forget(run_id)
        # Who watches a log that bears the same id afterwards watches another one.
        tail = self._tails.pop(run_id, None)
        if tail is not None:
            tail.clear()
            tail.error = _deleted(run_id)
            tail.wake()

    def _forget(self, run_id: str) -> None:
        self._pages.forget(run_id)
        self.encoded.forget(run_id)
        self.viewed.forget(run_id)
        self._present.forget(run_id)


def _deleted(run_id: str) -> NotFound:
    return NotFound(f"the {describe_log(run_id)} was deleted")
