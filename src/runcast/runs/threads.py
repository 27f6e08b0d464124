"""Threads that functions run in: one function, one thread, for the whole of its life."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any, NamedTuple, TypeVar

__all__ = ("ThreadStatistics", "Threads")

T = TypeVar("T")


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
        self._waiting: deque[_Job] = deque()
        self._work = threading.Condition(self._lock)
        self._idle = self._busy = self._stuck = self._threads = 0
        self._closed = False

    def statistics(self) -> ThreadStatistics:
        """Return what the threads do now."""
        with self._lock:
            return ThreadStatistics(self._busy, self._stuck, len(self._waiting))

    def submit(self, call: Callable[[], T], context: Context) -> "asyncio.Future[T]":
        """Run a call in a thread of its own, in a context; call from the loop.

        The future's outcome is the call's. Cancelling the future before the call has begun takes it
        back; afterwards it only stops anybody from learning the outcome.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            self._waiting.append(_Job(call, context, loop, future))
            if self._idle >= len(self._waiting):
                self._work.notify()
            elif self._threads < self._limit + min(self._stuck, self._limit):
                self._threads += 1
                name = f"runcast-run-{self._threads}"
                threading.Thread(target=self._live, name=name, daemon=True).start()
        return future

    def give_up(self) -> None:
        """Count a thread as stuck: another may take its place."""
        with self._lock:
            self._stuck += 1

    def came_back(self) -> None:
        """Count a thread that was given up as working again."""
        with self._lock:
            self._stuck -= 1

    def close(self) -> None:
        """Let idle threads end; what runs goes on, and ends with the process at the latest."""
        with self._lock:
            self._closed = True
            self._work.notify_all()

    def _live(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
                while not self._waiting and not self._closed:
                    self._work.wait()
                self._idle -= 1
                if not self._waiting:
                    self._threads -= 1
                    return
                job = self._waiting.popleft()
                self._busy += 1
            try:
                _do(job)
            finally:
                # A finished run must not be kept alive by the thread that waits for the next one.
                del job
                with self._lock:
                    self._busy -= 1


def _do(job: _Job) -> None:
    if job.future.cancelled():
        return
    result, error = None, None
    try:
        result = job.context.run(job.call)
    except BaseException as raised:  # noqa: BLE001 - handed to whoever awaits the outcome
        error = raised
    try:
        job.loop.call_soon_threadsafe(_settle, job.future, result, error)
    except RuntimeError:
        pass  # the loop is closed: nobody awaits the outcome any more


def _settle(future: "asyncio.Future[Any]", result: object, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if isinstance(error, StopIteration):  # a future refuses it
        error = RuntimeError(f"the function raised {error!r}")
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
