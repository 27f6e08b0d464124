"""A thread that runs jobs for an event loop, one after another."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from runcast._logs import get_logger
from runcast.errors import StoreUnavailable

__all__ = ("Worker",)

T = TypeVar("T")

_log: Final = get_logger("runcast.stores")

_ENDING_S: Final = 0.001
"""Pause between two checks whether an idle thread has ended."""

_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class Worker:
    """One daemon thread and its queue.

    The queue has no bound of its own. Every task that adds a job awaits its outcome, so the queue
    holds at most one job per waiting task.

    Args:
        name: the thread's name.
        idle: called on the thread if no job came for `idle_s` seconds.
        after: called on the thread after each job, once the outcome was delivered.
    """

    def __init__(
        self,
        name: str,
        *,
        idle: Callable[[], None] | None = None,
        idle_s: float | None = None,
        after: Callable[[], None] | None = None,
    ) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # so that no job is added after the end
        self._has_stopped = False
        self._idle, self._idle_s = idle, idle_s
        self._after = after
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, job: Callable[[], T]) -> T:
        """Run a job on the thread; return its result or raise its error.

        Cancelling the wait does not undo the job. A job that has not begun is not run.

        Raises:
            StoreUnavailable: the thread was stopped.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            if self._has_stopped:
                raise StoreUnavailable("the store was closed")
            self._jobs.put((job, loop, future))
        return await future

    def stop(self) -> None:
        """Finish the queued jobs and end the thread. Blocks; idempotent."""
        self._take_no_more()
        self._thread.join()

    async def stopped(self) -> None:
        """Like `stop`, without blocking the loop."""
        self._take_no_more()
        while self._thread.is_alive():  # noqa: ASYNC110 - the end of a thread sets no event
            await asyncio.sleep(_ENDING_S)

    def _take_no_more(self) -> None:
        with self._lock:
            if not self._has_stopped:
                self._has_stopped = True
                self._jobs.put(None)

    def _work(self) -> None:
        while True:
            try:
                item = self._jobs.get(timeout=self._idle_s)
            except queue.Empty:
                self._call(self._idle)
                continue
            if item is None:
                return
            job, loop, future = item
            if future.cancelled():
                continue
            result, error = None, None
            try:
                result = job()
            except BaseException as raised:  # noqa: BLE001 - passed to the waiting task
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed: no task waits
                loop.call_soon_threadsafe(_settle, future, result, error)
            # Drop the references: an idle thread must not keep a batch of events alive.
            del item, job, loop, future, result, error
            self._call(self._after)

    def _call(self, maintenance: Callable[[], None] | None) -> None:
        if maintenance is None:
            return
        try:
            maintenance()
        except Exception:  # noqa: BLE001 - otherwise the waiting tasks would wait for ever
            _log.exception("the maintenance of a store failed unexpectedly")


def _settle(future: "asyncio.Future[Any]", result: object, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
