"""The threads in which all is done that blocks over files, each kind apart from the others.

None of it waits in the loop's own executor, which the code of runs may fill with calls of
`asyncio.to_thread`.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from runcast._files.fair_threads import FairThreads, Steps, Stopped
from runcast._files.network import Stop
from runcast._files.removing import begin
from runcast._settings import Settings
from runcast.errors import Overloaded, RuncastError

__all__ = ("FileThreads",)

T = TypeVar("T")

_SHORT_THREADS: Final = 8
"""Threads for calls of some microseconds: enough for a disk that answers slowly now and then."""

_MOST_REMOVALS: Final = 8
"""Folders that are being removed at once: each may hold `MOST_OPEN` descriptors, of which a process
has 1024 by default."""

_LAST_WORK: Final = 16 * 1024 * 1024
"""How much is copied, hashed or removed for a run while the server shuts down, in bytes or what
takes as long: so little that many runs can end in the time that they get."""


class FileThreads:
    """Threads for short calls, for copies, for fetches and for what is done after runs.

    All of it belongs to one loop.
    """

    def __init__(self, settings: Settings) -> None:
        self._max_fetches = settings.max_fetches
        self._short = FairThreads(_SHORT_THREADS, "runcast-files")
        self._copies = FairThreads(settings.file_threads, "runcast-stage")
        self._ends = FairThreads(settings.file_threads, "runcast-collect")
        self._fetches = FairThreads(settings.max_fetches, "runcast-fetch")
        self._all = (self._fetches, self._copies, self._ends, self._short)
        self._stops: set[Stop] = set()
        self._few_removals = asyncio.Semaphore(_MOST_REMOVALS)
        self._background: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Take work. Idempotent; it may follow `close`."""
        for threads in self._all:
            threads.open()

    def hurry(self) -> None:
        """Let only little be copied, hashed and removed for each run from now on."""
        for threads in (self._copies, self._ends):
            threads.hurry(_LAST_WORK)

    async def close(self) -> None:
        """Break off what is under way; only `call` can be used afterwards. Idempotent."""
        for stop in self._stops:
            stop.set()
        await asyncio.gather(*(threads.close() for threads in self._all))
        if self._background:
            await asyncio.wait(self._background)

    async def call(self, call: Callable[..., T], /, *args: Any) -> T:
        """Return what a call returns that blocks for a few file operations."""
        return await self._short.call(call, *args)

    async def copy(self, steps: Steps[T], late: Callable[[T], object]) -> T:
        """Do a job that copies; see `FairThreads.run`. Raises `Stopped`."""
        return await self._copies.run(steps, late)

    async def end(self, steps: Steps[T]) -> T:
        """Do a job for runs that are over. Raises `Stopped`."""
        return await self._ends.run(steps)

    async def fetch(self, work: Callable[[Stop], Steps[T]], late: Callable[[T], object]) -> T:
        """Do a job that waits for other servers, in a thread of its own.

        Raises:
            Overloaded: there are `max_fetches` already, with those whose callers have left.
            Stopped: the threads close.
        """
        under_way = self._fetches.under_way
        if under_way >= self._max_fetches:
            raise Overloaded(
                f"files are fetched from URLs for {under_way} runs (max_fetches); try again later"
            )
        stop = Stop()
        self._stops.add(stop)
        try:
            return await self._fetches.run(work(stop), late)
        finally:
            stop.set()  # its caller may have left
            self._stops.discard(stop)

    async def remove(self, removing: Callable[[], Steps[None]], *, is_awaited: bool = True) -> None:
        """Remove a folder.

        Args:
            removing: returns the job, which can be begun again.
            is_awaited: whether the caller waits for a large folder, too.

        Raises:
            Stopped: the threads close.
        """
        # Most are removed by this, which holds nothing open between two steps.
        if await self._ends.run(begin(removing())):
            return
        rest = self._remove_rest(removing)
        if is_awaited:
            await rest
        else:
            self.in_background(rest)

    async def _remove_rest(self, removing: Callable[[], Steps[None]]) -> None:
        async with self._few_removals:
            await self._ends.run(removing())

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what nobody waits for. If it fails it is done by a sweep, another time."""

        async def do() -> None:
            with contextlib.suppress(Stopped, RuncastError):
                await work

        task = asyncio.create_task(do())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
