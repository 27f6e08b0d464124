"""Threads for blocking work on files, with separate threads for each kind of work.

No file work waits in the loop's own executor, because runs may fill that with calls of
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
"""Threads for calls of some microseconds: enough for a disk that is slow now and then."""

_REMOTE_THREADS: Final = 8
"""Threads that wait for a bucket, so that one slow request does not hold up the others."""

_MOST_REMOVALS: Final = 8
"""Most folders that are removed at once: each removal may hold `MOST_OPEN` descriptors, and a
process has 1024 by default."""

_LAST_WORK: Final = 16 * 1024 * 1024
"""Most bytes copied, hashed or removed for a run while the server shuts down (or work that takes as
long): so little that many runs can end in the time."""


class FileThreads:
    """Threads for short calls, for copies, for fetches and for work after runs.

    An object belongs to one loop.
    """

    def __init__(self, settings: Settings) -> None:
        self._max_fetches = settings.max_fetches
        self._short = FairThreads(_SHORT_THREADS, "runcast-files")
        self._copies = FairThreads(settings.file_threads, "runcast-stage")
        self._ends = FairThreads(settings.file_threads, "runcast-collect")
        self._fetches = FairThreads(settings.max_fetches, "runcast-fetch")
        self._remote = FairThreads(_REMOTE_THREADS, "runcast-bucket")
        self._all = (self._fetches, self._copies, self._ends, self._remote, self._short)
        self._stops: set[Stop] = set()
        self._few_removals = asyncio.Semaphore(_MOST_REMOVALS)
        self._background: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Accept work. Idempotent. May be called again after `close`."""
        for threads in self._all:
            threads.open()

    def hurry(self) -> None:
        """From now on copy, hash and remove only little for each run."""
        for threads in (self._copies, self._ends, self._remote):
            threads.hurry(_LAST_WORK)

    async def close(self) -> None:
        """Stop all running work; afterwards only `call` and `remote` can be used. Idempotent."""
        for stop in self._stops:
            stop.set()
        await asyncio.gather(*(threads.close() for threads in self._all))
        if self._background:
            await asyncio.wait(self._background)

    async def call(self, call: Callable[..., T], /, *args: Any) -> T:
        """Run a call that blocks for a few file operations, and return its result."""
        return await self._short.call(call, *args)

    async def remote(self, call: Callable[..., T], /, *args: Any) -> T:
        """Run a call that waits for the bucket, and return its result."""
        return await self._remote.call(call, *args)

    async def send(self, steps: Steps[T]) -> T:
        """Run a job that waits for the bucket at each step. Raises `Stopped`."""
        return await self._remote.run(steps)

    async def copy(self, steps: Steps[T], late: Callable[[T], object]) -> T:
        """Run a job that copies; see `FairThreads.run`. Raises `Stopped`."""
        return await self._copies.run(steps, late)

    async def end(self, steps: Steps[T]) -> T:
        """Run a job for runs that have ended. Raises `Stopped`."""
        return await self._ends.run(steps)

    async def fetch(self, work: Callable[[Stop], Steps[T]], late: Callable[[T], object]) -> T:
        """Run a job that waits for other servers, in its own thread.

        Raises:
            Overloaded: `max_fetches` jobs are running, including those whose callers have left.
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
            stop.set()  # the caller may have left
            self._stops.discard(stop)

    async def remove(self, removing: Callable[[], Steps[None]], *, is_awaited: bool = True) -> None:
        """Remove a folder.

        Args:
            removing: returns the job; may be called again.
            is_awaited: whether the caller waits for it. Otherwise it waits only for the first step,
                and not even for that while few folders are removed.

        Raises:
            Stopped: the threads close.
        """
        if not is_awaited and len(self._background) < _MOST_REMOVALS:
            self.in_background(self.remove(removing))
            return
        # This first step removes most folders, and leaves nothing open.
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
        """Do work that nobody waits for. If it fails, a later sweep does it."""

        async def do() -> None:
            with contextlib.suppress(Stopped, RuncastError):
                await work

        task = asyncio.create_task(do())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
