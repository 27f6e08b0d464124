"""Interrupt code that waits on a loop, when the run is cancelled.

A coroutine that is a run is cancelled by the run. Code on a loop of its own, in a thread of a run,
is not: here its task is cancelled, and `Cancelled` is raised in place of `CancelledError`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from runcast._producing.context import current_writer
from runcast._producing.writer import Writer
from runcast.errors import Cancelled

__all__ = ("Interruption", "check_cancelled", "interrupted", "interruptible")

T = TypeVar("T")


class Interruption:
    """Cancels a task, at most once, while the task waits."""

    def __init__(self) -> None:
        self.task: asyncio.Task[object] | None = None
        """The task to cancel; None while nothing waits."""
        self._has_cancelled = False
        self._loop: asyncio.AbstractEventLoop | None = None
        with suppress(RuntimeError):  # another kind of loop, whose tasks we do not know
            self._loop = asyncio.get_running_loop()

    def begin(self) -> None:
        """Note that the current task waits."""
        if self._loop is not None:
            self.task = asyncio.current_task()

    def end(self) -> None:
        """Note that the task does not wait any more."""
        self.task = None

    def interrupt(self) -> None:
        """Cancel the task if it waits. Call from any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        # The task of the run itself is cancelled by the run, and only once.
        if self.task is not None and not self.task.cancelling():
            self._has_cancelled = self.task.cancel()

    def check_cancelled(self, writer: Writer) -> None:
        """Raise `Cancelled` in place of a `CancelledError` that comes from here."""
        try:
            check_cancelled(writer)
        except Cancelled:
            self.take_back()
            raise

    def take_back(self) -> None:
        """Take our cancellation of the task back, because something else is raised."""
        task = asyncio.current_task() if self._has_cancelled else None
        if task is not None:
            self._has_cancelled = False
            task.uncancel()


def check_cancelled(writer: Writer) -> None:
    """Raise `Cancelled` if a run was cancelled and this thread of it was not yet notified."""
    if writer.home.is_here and current_writer() is writer:
        writer.check_cancelled()


@contextmanager
def interrupted(writer: Writer) -> Iterator[Interruption]:
    """Interrupt the block, in a coroutine, when the run is cancelled."""
    interruption = Interruption()
    interruption.begin()
    forget = writer.when_cancelled(interruption.interrupt)
    try:
        check_cancelled(writer)
        yield interruption
    except asyncio.CancelledError:
        interruption.end()
        interruption.check_cancelled(writer)
        raise
    finally:
        interruption.end()
        forget()


async def interruptible(items: AsyncIterable[T], writer: Writer) -> AsyncGenerator[T, None]:
    """Yield items, and interrupt the wait for the next one when the run is cancelled."""
    iterator = aiter(items)
    interruption = Interruption()
    forget = writer.when_cancelled(interruption.interrupt)
    try:
        while True:
            check_cancelled(writer)
            interruption.begin()
            try:
                item = await anext(iterator)
            except StopAsyncIteration:
                return
            except asyncio.CancelledError:
                interruption.end()
                interruption.check_cancelled(writer)
                raise
            finally:
                interruption.end()
            yield item
    finally:
        forget()
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()
