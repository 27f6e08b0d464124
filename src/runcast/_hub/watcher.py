"""What drives every watcher: poll, fall behind, read, be live again.

              wake() ──► poll ──── nothing, and more will come ──► live: until the next wake()
                         ▲  │ │
               an item   │  │ └─── behind ──► read (a task) ──► poll
          is taken, room ┘  └───── ended, or an error ──► over

A watcher takes items from a source (a cursor, a lens over one, several together) as long as it has
room, and queues none: the cursor of a full watcher stands still. A subclass says what becomes of an
item. Under our own server an item is written to a socket at once, so that a live watcher costs no
task; a `Watch` hands items to a coroutine that asks for them.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import Generic, Protocol, Self, TypeVar

__all__ = ("Source", "Watch", "Watcher")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Source(Protocol[T_co]):
    """What a watcher takes from. Whatever makes one has it call `Watcher.wake`."""

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to poll before the next wake-up, and more will come."""
        ...

    @property
    def behind(self) -> bool:
        """Whether only `read` has what comes next."""
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing follows what was taken."""
        ...

    def poll(self) -> T_co | None:
        """Take what memory has; None if it has nothing. Never waits."""
        ...

    async def read(self) -> T_co | None:
        """Take what the store has; cancelling takes nothing."""
        ...

    def close(self) -> None:
        """Let it go. Idempotent."""
        ...


class Watcher(ABC, Generic[T]):
    """Takes what a source has, as long as there is room for it. Call from the loop's thread."""

    __slots__ = ("_reading", "is_full", "is_over", "source")

    def __init__(self) -> None:
        self.source: Source[T] | None = None
        """Closed with the watcher."""
        self._reading: asyncio.Task[None] | None = None
        self.is_full = True
        """Whether there is no room for an item, as before the first: set it to False when there
        is, and call `wake`."""
        self.is_over = False
        """Whether nothing is taken any more."""

    @abstractmethod
    def take(self, item: T) -> None:
        """Use an item, and set `is_full` if there is no room for the next one.

        It may come although there is no room any more, if it was being read until now.
        """

    @abstractmethod
    def on_stop(self, error: Exception | None) -> None:
        """Do what is to be done once nothing is taken any more. Called once; must not raise.

        Args:
            error: what the source raised, or `take`; None if it has ended, or `stop` was called.
        """

    def wake(self) -> None:
        """Take what there is. Never waits, never raises."""
        source = self.source
        if source is None or self._reading is not None or self.is_over:
            return
        try:
            while not self.is_full:
                item = source.poll()
                if item:
                    self.take(item)
                if source.is_current:
                    return  # at once, in most wake-ups: a look that finds nothing costs as well
                if source.ended:
                    self.stop()
                    return
                if item is None:
                    if source.behind:
                        self._reading = asyncio.ensure_future(self._read(source))
                    return
        except Exception as error:  # noqa: BLE001 - it must not reach who woke us: others go on
            self.stop(error)

    async def _read(self, source: Source[T]) -> None:
        """Take what the store has next."""
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
        """Take nothing more. Idempotent."""
        if not self.is_over:
            self.is_over = True
            self.on_stop(error)

    def close(self) -> None:
        """Stop, and let the source go. Idempotent."""
        self.stop()
        if self._reading is not None:
            self._reading.cancel()
        if self.source is not None:
            self.source.close()


class Watch(Watcher[T]):
    """A watcher whose items are asked for: iterate it, or call `next`; close it when done."""

    __slots__ = ("_error", "_item", "_waiter")

    def __init__(self) -> None:
        super().__init__()
        self._item: T | None = None
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def next(self) -> T | None:
        """Return what comes next, and wait for it if need be; None once nothing can follow.

        Raises what the source raises. Cancelling loses nothing.
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
