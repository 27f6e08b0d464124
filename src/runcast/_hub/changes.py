"""Changes of lists, for all that follow a list in this process.

The store is asked at most ten times a second, and once for all that stand at the same point.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from runcast.errors import Gone
from runcast.stores.base import MAX_LIST, ChangePage, Store

__all__ = ("ListChanges",)

_PAUSE_S: Final = 0.1
"""Pause between two looks at the store: a list that people read need not be faster."""


class ListChanges:
    """What changed in the lists of one store. Call from the loop's thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._followers: dict[object, Callable[[], None]] = {}
        self._reading: dict[tuple[str, int], asyncio.Task[ChangePage]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def follow(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` soon after logs may have changed. Returns a function that ends it."""
        key = object()
        self._followers[key] = wake
        return lambda: self._followers.pop(key, None) and None

    def note(self) -> None:
        """Take note that a log may have changed, here or in another process."""
        if self._followers and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_PAUSE_S, self._wake)

    def _wake(self) -> None:
        self._timer = None
        for wake in list(self._followers.values()):
            wake()

    async def after(self, point: str, limit: int = MAX_LIST) -> ChangePage:
        """Return what changed after a point. Raises as `Changes.changes` does."""
        key = (point, limit)
        reading = self._reading.get(key)
        if reading is None:
            reading = asyncio.create_task(self._store.changes(point, limit=limit))
            self._reading[key] = reading
            reading.add_done_callback(lambda done: self._has_read(key, done))
        return await asyncio.shield(reading)  # a follower that leaves must not take it from others

    async def check(self, point: str) -> None:
        """Raise `InvalidValue` unless a store may have returned a point."""
        with suppress(Gone):  # whoever follows the changes gets it
            await self._store.changes(point, limit=1)

    def _has_read(self, key: tuple[str, int], reading: asyncio.Task[ChangePage]) -> None:
        del self._reading[key]
        if not reading.cancelled():
            reading.exception()  # if all that waited have left, nobody else looks at it

    def close(self) -> None:
        """Wake nobody any more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
