"""Threads that functions run in: one thread per function, until the function ends."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final, NamedTuple, TypeVar

from runcast._logs import get_logger
from runcast.errors import Overloaded

__all__ = ("ThreadStatistics", "Threads")

T = TypeVar("T")

_log: Final = get_logger("runcast.runs")


class ThreadStatistics(NamedTuple):
    """Working threads, stuck threads that were given up, and waiting jobs."""

    busy: int
    stuck: int
    waiting: int


class _Job(NamedTuple):
    call: Callable[[], Any]
    context: Context
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class Threads:
    """A bounded pool of daemon threads, which stuck functions can neither exhaust nor keep alive.

    `concurrent.futures` joins its threads at exit. So one function stuck in C code would keep the
    process from ending, and each stuck function would occupy a place for ever.

    Args:
        limit: most threads that work at once. Up to as many more may be stuck; beyond that, each
            stuck thread costs a place.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._waiting: deque[_Job] = deque()
        self._working: set[asyncio.Future[Any]] = set()
        self._stuck: set[asyncio.Future[Any]] = set()
        self._threads = self._idle = 0
        self._closed = False

    def statistics(self) -> ThreadStatistics:
        """Return the present numbers."""
        with self._lock:
            busy, stuck = len(self._working) - len(self._stuck), len(self._stuck)
            return ThreadStatistics(busy, stuck, len(self._waiting))

    def submit(self, call: Callable[[], T], context: Context) -> "asyncio.Future[T]":
        """Run a call in its own thread, in a context; call this from the loop.

        The future gets the call's outcome. Cancelling the future does not stop the call.

        Raises:
            Overloaded: no thread can be started, and no thread exists to wait for.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            job = _Job(call, context, loop, future)
            self._waiting.append(job)
            if not self._find_thread():
                self._waiting.remove(job)
                raise _no_thread()
        return future

    def withdraw(self, future: "asyncio.Future[Any]") -> bool:
        """Withdraw a call that has not begun; False if it has begun."""
        with self._lock:
            for index, job in enumerate(self._waiting):
                if job.future is future:
                    del self._waiting[index]
                    return True
            return False

    def give_up(self, future: "asyncio.Future[Any]") -> None:
        """Count a call's thread as stuck until the call ends; another thread takes its place."""
        with self._lock:
            if future in self._working:
                self._stuck.add(future)
                if not self._find_thread():
                    self._refuse_waiting()

    def open(self) -> None:
        """Let idle threads wait for work. Idempotent. May be called again after `close`."""
        with self._lock:
            self._closed = False

    def close(self) -> None:
        """Let idle threads end. Running calls continue, at most until the process ends."""
        with self._lock:
            self._closed = True
            self._work.notify_all()

    @property
    def _most(self) -> int:
        return self._limit + min(len(self._stuck), self._limit)

    def _find_thread(self) -> bool:
        """Make sure that a thread takes the waiting jobs; False if no thread ever will."""
        if self._idle >= len(self._waiting):
            self._work.notify()
        elif self._threads < self._most:
            thread = threading.Thread(
                target=self._live, name=f"runcast-run-{self._threads + 1}", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:  # the system's limit of threads is reached
                _log.warning("no thread can be started: %s", error)
                return self._threads > len(self._stuck)
            self._threads += 1
        return True

    def _refuse_waiting(self) -> None:
        while self._waiting:
            job = self._waiting.popleft()
            with contextlib.suppress(RuntimeError):  # the loop is closed
                job.loop.call_soon_threadsafe(_settle, job.future, None, _no_thread())

    def _live(self) -> None:
        while (job := self._next_job()) is not None:
            _do(job)
            with self._lock:
                self._working.discard(job.future)
                if job.future in self._stuck:
                    self._stuck.discard(job.future)
                    self._work.notify_all()  # there may be one thread too many now
            # A thread that waits for the next job must not keep a finished run alive.
            del job

    def _next_job(self) -> _Job | None:
        """Wait for a job; None if this thread must end."""
        with self._lock:
            self._idle += 1
            while not (self._waiting or self._closed or self._threads > self._most):
                self._work.wait()
            self._idle -= 1
            if self._threads > self._most or not self._waiting:
                self._threads -= 1
                return None
            job = self._waiting.popleft()
            self._working.add(job.future)
            return job


def _no_thread() -> Overloaded:
    return Overloaded("no thread could be started for the function; try again later")


def _do(job: _Job) -> None:
    result, error = None, None
    try:
        result = job.context.run(job.call)
    except BaseException as raised:  # noqa: BLE001 - passed to the waiting task
        error = raised
    with contextlib.suppress(RuntimeError):  # the loop is closed: no task waits
        job.loop.call_soon_threadsafe(_settle, job.future, result, error)


def _settle(future: "asyncio.Future[Any]", result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if isinstance(error, StopIteration):  # a future refuses StopIteration
        error = RuntimeError(f"the function raised {error!r}")
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
