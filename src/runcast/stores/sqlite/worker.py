"""A thread that does jobs one after another for an event loop."""

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
"""Between two looks whether a thread has ended that has nothing left to do."""

_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class Worker:
    """One daemon thread and its queue.

    The queue has no bound of its own: whoever puts into it awaits the outcome, so it holds at most
    one job per awaiting task.

    Args:
        name: the thread's name.
        idle: called on the thread whenever no job came for `idle_s` seconds.
        after: called on the thread after each job, once its outcome has been handed over.
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
        self._lock = threading.Lock()  # so that nothing is put behind the end
        self._has_stopped = False
        self._idle, self._idle_s = idle, idle_s
        self._after = after
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, job: Callable[[], T]) -> T:
        """Do a job on the thread and return what it returns or raise what it raises.

        Cancelling the wait does not undo the job: it is done wholly or, if not begun, not at all.

        Raises:
            StoreUnavailable: the thread has been told to end.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            if self._has_stopped:
                raise StoreUnavailable("the store was closed")
            self._jobs.put((job, loop, future))
        return await future

    def stop(self) -> None:
        """Finish the jobs already given and end the thread. Blocks; idempotent."""
        self._take_no_more()
        self._thread.join()

    async def stopped(self) -> None:
        """Do what `stop` does, without blocking the loop."""
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
            except BaseException as raised:  # noqa: BLE001 - handed to whoever awaits it
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody awaits the outcome
                loop.call_soon_threadsafe(_settle, future, result, error)
            # Drop the references: an idle thread must not keep a batch of events alive.
            del item, job, loop, future, result, error
            self._call(self._after)

    def _call(self, maintenance: Callable[[], None] | None) -> None:
        if maintenance is None:
            return
        try:
            maintenance()
        except Exception:  # noqa: BLE001 - or whoever awaits a job would wait for ever
            _log.exception("the maintenance of a store failed as it should not")


def _settle(future: "asyncio.Future[Any]", result: object, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
