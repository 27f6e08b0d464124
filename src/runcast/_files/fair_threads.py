"""A few threads that take turns at long jobs, so that a short job never waits for a long one.

A job is a generator. Each step does a little work and yields its amount. Then the job with the
least work so far continues. So a new job waits at most for one step of another, and long jobs share
the rest of the time.

    def hashing(path: Path) -> Steps[str]:
        with path.open("rb") as file:
            …
            yield len(piece)
        return hashed.hexdigest()

A suspended job should hold no descriptor, because the number of jobs is not bounded.
"""

import asyncio
import contextlib
import heapq
import itertools
import threading
from collections.abc import Callable, Generator
from typing import Any, Final, Protocol, TypeAlias, TypeVar, cast

from runcast._logs import get_logger
from runcast.errors import Overloaded

__all__ = ("FairThreads", "InThread", "Steps", "Stopped", "finish")

T = TypeVar("T")

Steps: TypeAlias = Generator[int, None, T]
"""A job. It yields the work of each step, in bytes (or their equivalent in time)."""

_log: Final = get_logger("runcast.runs")

_IDLE_S: Final = 10.0
"""How long a thread waits for a job before it ends, seconds."""

_CLOSE_S: Final = 1.0
"""How long `close` waits for running steps, seconds. A step that hangs, as in a file system that
does not answer, is abandoned; its thread ends with the process."""


class Stopped(Exception):
    """A job was stopped before its end, because the threads close."""


class InThread(Protocol):
    """A callable like `asyncio.to_thread`."""

    async def __call__(self, call: Callable[..., T], /, *args: Any) -> T: ...


def finish(steps: Steps[T]) -> T:
    """Do all steps of a job in this thread and return its result."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return cast("T", end.value)


class _Job:
    """A running job; `done` is the work so far."""

    __slots__ = ("done", "future", "is_short", "is_stopped", "late", "loop", "steps")

    def __init__(
        self, steps: Steps[Any], late: Callable[[Any], object] | None, *, is_short: bool = False
    ) -> None:
        self.steps = steps
        self.late = late
        self.is_short = is_short
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.done = 0
        self.is_stopped = False


class FairThreads:
    """Daemon threads for jobs. `run` belongs to one loop.

    Args:
        limit: most threads; they are started on demand.
        name: the threads' name, followed by a number.
    """

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._ready = threading.Condition(threading.Lock())
        self._jobs: set[_Job] = set()
        self._waiting: list[tuple[int, int, _Job]] = []  # a heap
        self._numbers = itertools.count()
        self._threads = self._idle = 0
        self._most: int | None = None
        self._is_closed = False

    def open(self) -> None:
        """Accept jobs. Idempotent. May be called again after `close`."""
        with self._ready:
            self._is_closed = False
            self._most = None

    @property
    def under_way(self) -> int:
        """Number of jobs, including those without a waiting caller."""
        return len(self._jobs)

    def hurry(self, most: int) -> None:
        """Stop every job, present or future, once its total work exceeds `most`."""
        with self._ready:
            self._most = most

    async def close(self) -> None:
        """Stop all jobs at their next step, and accept only short calls. Idempotent."""
        with self._ready:
            self._is_closed = True
            for job in self._jobs:
                job.is_stopped = not job.is_short
            pending = [job.future for job in self._jobs if not job.future.done()]
            self._ready.notify_all()
        if pending:
            _, hanging = await asyncio.wait(pending, timeout=_CLOSE_S)
            for future in hanging:
                if not future.done():
                    future.set_exception(Stopped())

    async def call(self, call: Callable[..., T], /, *args: Any) -> T:
        """Run a short call in a thread and return its result; works also after `close`."""
        return cast("T", await self._run(_Job(_one_step(call, *args), None, is_short=True)))

    async def run(self, steps: Steps[T], late: Callable[[T], object] | None = None) -> T:
        """Run a job and return its result.

        If the caller is cancelled, the job's generator is closed at its next step.

        Args:
            late: called on the loop with the result of a job that ended after its caller was
                cancelled.

        Raises:
            Stopped: the threads are closed, or in a hurry.
            Overloaded: no thread can be started.
        """
        return cast("T", await self._run(_Job(steps, late)))

    async def _run(self, job: _Job) -> Any:
        with self._ready:
            if self._is_closed and not job.is_short:
                job.steps.close()
                raise Stopped
            self._jobs.add(job)
            self._push(job)
            if not self._find_thread():
                self._jobs.discard(job)
                self._waiting = [entry for entry in self._waiting if entry[2] is not job]
                heapq.heapify(self._waiting)
                raise Overloaded("no thread could be started for files; try again later")
        try:
            return await job.future
        except asyncio.CancelledError:
            job.is_stopped = True
            if job.future.done() and not job.future.cancelled() and not job.future.exception():
                _hand_over(job, job.future.result())  # both came in the same iteration of the loop
            raise

    def _push(self, job: _Job) -> None:
        heapq.heappush(self._waiting, (job.done, next(self._numbers), job))

    def _find_thread(self) -> bool:
        """Make sure that a thread takes the waiting jobs; False if no thread can be started."""
        if self._idle >= len(self._waiting):
            self._ready.notify()
        elif self._threads < self._limit:
            name = f"{self._name}-{self._threads + 1}"
            try:
                threading.Thread(target=self._live, name=name, daemon=True).start()
            except RuntimeError as error:  # the system's limit of threads is reached
                _log.warning("no thread can be started: %s", error)
                return self._threads > 0
            self._threads += 1
        return True

    def _live(self) -> None:
        while (job := self._take()) is not None:
            result, error = None, None
            try:
                if job.is_stopped or (self._most is not None and job.done >= self._most):
                    job.steps.close()
                    raise Stopped
                job.done += next(job.steps)
            except StopIteration as end:
                result = end.value
            except BaseException as raised:  # noqa: BLE001 - passed to the waiting caller
                error = raised
            else:
                with self._ready:
                    self._push(job)
                continue
            with self._ready:
                self._jobs.discard(job)
            with contextlib.suppress(RuntimeError):  # the loop is closed: no caller waits
                job.loop.call_soon_threadsafe(_settle, job, result, error)
            # A thread that waits for the next job must not keep the last job's objects alive.
            del job, result, error

    def _take(self) -> _Job | None:
        """Wait for a job; None if this thread must end."""
        with self._ready:
            self._idle += 1
            while not self._waiting and not self._is_closed and self._ready.wait(_IDLE_S):
                pass
            self._idle -= 1
            if not self._waiting:
                self._threads -= 1
                return None
            return heapq.heappop(self._waiting)[2]


def _one_step(call: Callable[..., T], *args: Any) -> Steps[T]:
    return call(*args)
    yield 0  # makes this a generator; never reached


def _settle(job: _Job, result: object, error: BaseException | None) -> None:
    if job.future.done():
        if error is None:
            _hand_over(job, result)
    elif error is not None:
        job.future.set_exception(error)
    else:
        job.future.set_result(result)


def _hand_over(job: _Job, result: object) -> None:
    if job.late is not None:
        job.late(result)
