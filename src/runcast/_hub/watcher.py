"""The state machine of every watcher: poll, fall behind, read, be live again.

              wake() ──► poll ──── nothing, and more will come ──► live: until the next wake()
                         ▲  │ │
               an item   │  │ └─── behind ──► read (a task) ──► poll
          is taken, room ┘  └───── ended, or an error ──► over

A watcher takes items from a source (a cursor, a lens over a cursor, several together) while it has
room. It queues no items: the cursor of a full watcher stands still. A subclass uses the items.
Under our own server an item is written to a socket at once, so that a live watcher needs no task. A
`Watch` passes items to a coroutine that asks for them.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import Generic, Protocol, Self, TypeVar

__all__ = ("Source", "Watch", "Watcher")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Source(Protocol[T_co]):
    """The source of a watcher's items. It must be made to call `Watcher.wake`."""

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to poll until the next wake-up, but more will come."""
        ...

    @property
    def behind(self) -> bool:
        """Whether only `read` can return the next item."""
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing follows the taken items."""
        ...

    def poll(self) -> T_co | None:
        """Take the next item from memory, or return None. Never waits."""
        ...

    async def read(self) -> T_co | None:
        """Take the next item from the store. Cancelling takes nothing."""
        ...

    def close(self) -> None:
        """Close the source. Idempotent."""
        ...


class Watcher(ABC, Generic[T]):
    """Takes a source's items while there is room. Call from the loop's thread."""

    __slots__ = ("_reading", "is_full", "is_over", "source")

    def __init__(self) -> None:
        self.source: Source[T] | None = None
        """Closed with the watcher."""
        self._reading: asyncio.Task[None] | None = None
        self.is_full = True
        """Whether there is no room for an item, as at the start. When there is room, set it to
        False and call `wake`."""
        self.is_over = False
        """Whether the watcher has stopped."""

    @abstractmethod
    def take(self, item: T) -> None:
        """Use an item, and set `is_full` if there is no room for the next one.

        An item may come without room, if its read began before.
        """

    @abstractmethod
    def on_stop(self, error: Exception | None) -> None:
        """Called once when the watcher stops; must not raise.

        Args:
            error: the error of the source or of `take`; None if the source ended, or `stop` was
                called.
        """

    def wake(self) -> None:
        """Take all available items. Never waits, never raises."""
        source = self.source
        if source is None or self._reading is not None or self.is_over:
            return
        try:
            while not self.is_full:
                item = source.poll()
                if item:
                    self.take(item)
                if source.is_current:
                    return  # most wake-ups end here, without another look
                if source.ended:
                    self.stop()
                    return
                if item is None:
                    if source.behind:
                        self._reading = asyncio.ensure_future(self._read(source))
                    return
        except Exception as error:  # noqa: BLE001 - it must not reach the caller, who wakes others too
            self.stop(error)

    async def _read(self, source: Source[T]) -> None:
        """Take the next item from the store."""
        try:
            item = await source.read()
            if item and not self.is_over:
                self.take(item)
            if source.ended:
                self.stop()
        except Exception as error:  # noqa: BLE001 - as above
            self.stop(error)
        finally:
            self._reading = None
        self.wake()

    def stop(self, error: Exception | None = None) -> None:
        """Stop taking items. Idempotent."""
        if not self.is_over:
            self.is_over = True
            self.on_stop(error)

    def close(self) -> None:
        """Stop, and close the source. Idempotent."""
        self.stop()
        if self._reading is not None:
            self._reading.cancel()
        if self.source is not None:
            self.source.close()


class Watch(Watcher[T]):
    """A watcher to iterate over, or to call `next` on. Close it at the end."""

    __slots__ = ("_error", "_item", "_waiter")

    def __init__(self) -> None:
        super().__init__()
        self._item: T | None = None
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def next(self) -> T | None:
        """Return the next item, and wait for it if needed; None once nothing can follow.

        Raises what the source raises. Cancelling loses no item.
        """
        if self._item is None and not self.is_over:
            waiter = self._waiter = asyncio.get_running_loop().create_future()
            self.is_full = False
            try:
                self.wake()
                await waiter
            finally:
                self.is_full = True
        item, self._item = self._item, None
        if item is None and self._error is not None:
            raise self._error
        return item

    def take(self, item: T) -> None:
        self._item, self.is_full = item, True
        self._answer()

    def on_stop(self, error: Exception | None) -> None:
        self._error = error
        self._answer()

    def _answer(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def __anext__(self) -> T:
        item = await self.next()
        if item is None:
            raise StopAsyncIteration
        return item

    def __aiter__(self) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
