"""The windows of all logs that are watched in this process.

A window exists while its log is watched. `publish` adds what is committed here, `take_over` what
other processes append. If the store does not say what has changed, the windows read the store.
"""

import asyncio
import copy
from collections.abc import Callable, Iterable
from typing import Final

from runcast._hub.cursor import Cursor, History
from runcast._hub.tail import Tail
from runcast._logs import get_logger
from runcast._settings import Settings
from runcast.errors import BackendError, NotFound, RuncastError
from runcast.events.position import Position, describe_log
from runcast.stores.base import Appended, Change, LogInfo, Store
from runcast.stores.focus import Focus

__all__ = ("Windows",)

_log: Final = get_logger("runcast.hub")


class Windows:
    """Windows by the id of their log. Call from the loop's thread.

    Args:
        history: reads events that the windows do not hold.
        on_deleted: called with the id of a log that another process deleted; must call `drop`.
        store: hands over what other processes append, if it can only to logs that have windows.
    """

    def __init__(
        self,
        history: History,
        settings: Settings,
        on_deleted: Callable[[str], None],
        store: Store,
    ) -> None:
        self._history = history
        self._settings = settings
        self._on_deleted = on_deleted
        self._focus = Focus(store)
        self._tails: dict[str, Tail] = {}
        self._following: dict[asyncio.Task[None], None] = {}
        self._closed: RuncastError | None = None
        self.cursors = 0
        """Number of open cursors."""
        self.size = 0
        """Bytes held in all windows."""

    def __len__(self) -> int:
        return len(self._tails)

    async def open(self) -> None:
        """Accept watchers. Raises `StoreUnavailable`."""
        await self._focus.begin()
        self._closed = None

    async def close(self, error: RuncastError) -> None:
        """Raise an error to all watchers, present and future."""
        self._closed = error
        self.fail(error)
        for task in list(self._following):
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)

    async def cursor(self, run_id: str, after: Position | None, wake: Callable[[], None]) -> Cursor:
        """Return a cursor after `after`, or before the first event.

        Raises:
            NotFound: the run does not exist.
            StoreUnavailable: the store could not be reached, or the windows were closed.
        """
        tail = self._tails.get(run_id)
        if tail is None:
            tail = self._tails[run_id] = Tail(run_id, self)
        # Register before asking the store. Later commits reach the window, and earlier commits are
        # known to the store, so nothing is missed between the two.
        cursor = Cursor(self._history, tail, after or Position("", 0), wake)
        self.cursors += 1
        try:
            is_beyond = after is not None and after > tail.position
            if is_beyond or not tail.known or tail.error is not None:
                await self._focus.watch(run_id)
                tail.learn(await self._history.info(run_id))
                if self._closed is not None:
                    raise copy.copy(self._closed)
                if self._tails.get(run_id) is not tail:
                    raise _deleted(run_id)
                tail.error = None
        except BaseException:
            cursor.close()
            raise
        cursor.begin(after)
        return cursor

    def left(self, tail: Tail) -> None:
        """Count a closed cursor; drop a window without watchers."""
        self.cursors -= 1
        if not tail.watchers and self._tails.get(tail.run_id) is tail:
            del self._tails[tail.run_id]
            tail.clear()
            self._focus.leave(tail.run_id)

    def learn(self, info: LogInfo) -> None:
        """Take over the store's description of a log, if the log is watched."""
        tail = self._tails.get(info.log_id)
        if tail is not None:
            tail.learn(info)
            tail.wake()

    def publish(self, committed: list[tuple[str, Appended]]) -> None:
        """Hand committed pages to the windows, then wake each window's watchers once."""
        touched: dict[str, Tail] = {}
        for run_id, appended in committed:
            tail = self._tails.get(run_id)
            if tail is not None and appended.repeated:
                self.follow(run_id)  # maybe created before anyone here could notice
            elif tail is not None:
                tail.publish(appended)
                touched[run_id] = tail
        self._wake(touched.values())

    def take_over(self, change: Change) -> None:
        """Hand a window what another process appended to its log, then wake its watchers."""
        tail = self._tails.get(change.log_id)
        if tail is None:
            return
        if change.is_deleted:
            self.follow(change.log_id)  # it may have been made again since
            return
        info, pages = change.info, change.pages
        if pages:
            tail.publish(Appended(info.epoch, pages[0].first, pages[-1].last, pages))
        tail.learn(info)
        self._wake([tail])

    def _wake(self, touched: Iterable[Tail]) -> None:
        """Wake the watchers of windows that grew, and keep what the windows hold bounded."""
        limit = self._settings.tail_bytes_per_run
        for tail in touched:
            tail.error = None
            tail.wake()
            if tail.size > limit:
                tail.shrink(limit)
        if self.size > self._settings.tail_bytes:
            for tail in self._tails.values():
                tail.shrink(tail.size // 2)  # watchers that are behind read the store instead

    def fail(self, error: RuncastError) -> None:
        """End live streams, without a terminal event; their watchers reconnect and resume."""
        for tail in list(self._tails.values()):
            tail.error = error
            tail.wake()

    def follow_all(self) -> None:
        """Read all watched logs, because another process may have changed any of them."""
        for run_id in list(self._tails):
            self.follow(run_id)

    def follow(self, run_id: str) -> None:
        """Read a log, because another process may have changed it."""
        tail = self._tails.get(run_id)
        if tail is None:
            return
        tail.follow_again = True
        if not tail.following:
            tail.following = True
            task = asyncio.create_task(self._follow(tail))
            self._following[task] = None
            task.add_done_callback(self._following.pop)

    async def _follow(self, tail: Tail) -> None:
        """Bring a window up to date with other processes, again if they did more meanwhile."""
        try:
            while tail.follow_again:
                tail.follow_again = False
                tail.learn(await self._history.info(tail.run_id))
                tail.error = None
                tail.wake()
        except NotFound:
            self._on_deleted(tail.run_id)
        except BackendError as error:
            _log.warning("run %s could not be followed: %s", tail.run_id, error)
            tail.error = error
            tail.wake()
        finally:
            tail.following = False

    def drop(self, run_id: str) -> None:
        """End the streams of a log that was deleted.

        Later watchers of this id watch another log.
        """
        tail = self._tails.pop(run_id, None)
        if tail is not None:
            self._focus.leave(run_id)
            tail.clear()
            tail.error = _deleted(run_id)
            tail.wake()


def _deleted(run_id: str) -> NotFound:
    return NotFound(f"the {describe_log(run_id)} was deleted")
