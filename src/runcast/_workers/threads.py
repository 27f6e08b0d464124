"""Threads that functions run in: one function, one thread, for the whole of its life."""

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
    """Threads that work, threads given up as stuck, and jobs that wait for one."""

    busy: int
    stuck: int
    waiting: int


class _Job(NamedTuple):
    call: Callable[[], Any]
    context: Context
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class Threads:
    """A bounded pool of daemon threads, which a stuck function can neither exhaust nor keep alive.

    Not `concurrent.futures`: its threads are joined at exit, so that one function stuck in C code
    would keep the process from ending, and each one stuck would take a place for good.

    Args:
        limit: most threads that work at once. Up to as many again may be stuck; beyond that, places
            are lost to them.
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
        """Return what the threads do now."""
        with self._lock:
            busy, stuck = len(self._working) - len(self._stuck), len(self._stuck)
            return ThreadStatistics(busy, stuck, len(self._waiting))

    def submit(self, call: Callable[[], T], context: Context) -> "asyncio.Future[T]":
        """Run a call in a thread of its own, in a context; call from the loop.

        The future's outcome is the call's. Cancelling it only stops anybody from learning that.

        Raises:
            Overloaded: no thread can be started, and there is none to wait for.
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
        """Take a call back that has not begun; False if it has."""
        with self._lock:
            for index, job in enumerate(self._waiting):
                if job.future is future:
                    del self._waiting[index]
                    return True
            return False

    def give_up(self, future: "asyncio.Future[Any]") -> None:
        """Count a call's thread as stuck until it is done: another takes its place."""
        with self._lock:
            if future in self._working:
                self._stuck.add(future)
                if not self._find_thread():
                    self._refuse_waiting()

    def open(self) -> None:
        """Let idle threads wait for work. Idempotent; it may follow `close`."""
        with self._lock:
            self._closed = False

    def close(self) -> None:
        """Let idle threads end; what runs goes on, and ends with the process at the latest."""
        with self._lock:
            self._closed = True
            self._work.notify_all()

    @property
    def _most(self) -> int:
        return self._limit + min(len(self._stuck), self._limit)

    def _find_thread(self) -> bool:
        """See to it that somebody takes what waits; False if nobody ever would."""
        if self._idle >= len(self._waiting):
            self._work.notify()
        elif self._threads < self._most:
            thread = threading.Thread(
                target=self._live, name=f"runcast-run-{self._threads + 1}", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:  # there are as many as the system allows
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
                    self._work.notify_all()  # there may be a thread too many now
            # A finished run must not be kept alive by the thread that waits for the next one.
            del job

    def _next_job(self) -> _Job | None:
        """Wait for a job; None if this thread is to end."""
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
    except BaseException as raised:  # noqa: BLE001 - handed to whoever awaits the outcome
        error = raised
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody awaits the outcome
        job.loop.call_soon_threadsafe(_settle, job.future, result, error)


def _settle(future: "asyncio.Future[Any]", result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if isinstance(error, StopIteration):  # a future refuses it
        error = RuntimeError(f"the function raised {error!r}")
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
