"""The bridge from threads into an event loop: a loop in its own thread."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

from runcast._hub.forks import Home, make_lock
from runcast._hub.interrupts import result_of
from runcast._logs import get_logger
from runcast.errors import InvalidValue, StoreUnavailable

__all__ = ("Bridge", "await_on", "wait_on")

T = TypeVar("T")

_FINISH_S: Final = 2.0
"""How long cancelled tasks may continue when the bridge closes; some never end."""

_LOOK_S: Final = 1.0
"""Pause between a waiting thread's checks whether the loop still runs, seconds."""

_log: Final = get_logger("runcast.hub")


class _Call(Generic[T]):
    """A coroutine and its result for a thread.

    It exists before it is passed to the loop, so that it can be cancelled wherever Ctrl-C comes.
    `asyncio.run_coroutine_threadsafe` may be interrupted between beginning the coroutine and
    returning its future, and nobody could cancel the coroutine then.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self.future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._coroutine = coroutine
        self._task: asyncio.Task[T] | None = None
        self._is_left = False

    def begin(self) -> None:
        """Start the coroutine. Call this on the loop."""
        if not self._is_left:
            self._task = asyncio.get_running_loop().create_task(self._coroutine)
            self._task.add_done_callback(self._settle)

    def leave(self) -> None:
        """Cancel the coroutine. Call this on the loop."""
        self._is_left = True
        if self._task is None:
            self._coroutine.close()
        else:
            self._task.cancel()

    def _settle(self, task: "asyncio.Task[T]") -> None:
        if task.cancelled():
            self.future.cancel()
            self.future.set_running_or_notify_cancel()
        elif (error := task.exception()) is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(task.result())


class Bridge:
    """An event loop in a daemon thread, and a way to call into it."""

    def __init__(self) -> None:
        self._lock = make_lock()
        self._home = Home()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls are accepted; False in a process that was forked since `open`."""
        return self._loop is not None and self._home.is_here

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop; None while the bridge is closed."""
        return self._loop

    def open(self) -> None:
        """Start the thread. Idempotent."""
        if self._loop is None:
            self._home = Home()
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="runcast-loop", daemon=True
            )
            self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and return its result.

        An interrupt (Ctrl-C) while waiting cancels the coroutine. If the caller has its own loop,
        like a notebook's cell, that loop is blocked meanwhile.

        Raises:
            InvalidValue: the call comes from this same loop, which would wait for itself; or the
                bridge is closed; or the process was forked since it was opened.
        """
        call, loop = _Call(coroutine), None
        try:
            self._home.check("a call of a hub")
            self._check_outside()
            with self._lock:
                if (loop := self._loop) is None:
                    raise InvalidValue(
                        "expected a call inside the `with` block of a hub or a client: it is closed"
                    )
                loop.call_soon_threadsafe(call.begin)
            return result_of(call.future)
        except BaseException:  # KeyboardInterrupt, too
            if loop is None:
                coroutine.close()
            elif not call.future.done():
                with suppress(RuntimeError):  # the loop was closed meanwhile
                    loop.call_soon_threadsafe(call.leave)
            raise

    def do(self, act: Callable[[], T]) -> T:
        """Call a function on the loop and return its result. Raises what `call` raises."""

        async def acting() -> T:
            return act()

        return self.call(acting())

    def _check_outside(self) -> None:
        if threading.current_thread() is self._thread:
            raise InvalidValue(
                "expected a call from outside the hub's own loop, where it would wait for itself; "
                "inside a run use `await asyncio.to_thread(…)`"
            )

    def close(self) -> None:
        """End the tasks on the loop, and the thread. Idempotent.

        In a forked process it does nothing: the thread and the loop's files belong to the parent.

        Raises:
            InvalidValue: called on this same loop.
        """
        if not self._home.is_here:
            return
        self._check_outside()
        with self._lock:
            # From now on calls are refused. An earlier call is a task by the time that `_finish`
            # looks. So nobody waits for a call that the loop will not run.
            loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        result_of(asyncio.run_coroutine_threadsafe(_finish(), loop))
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()


def wait_on(loop: asyncio.AbstractEventLoop | None, coroutine: Coroutine[Any, Any, T]) -> T:
    """Wait in a thread for a coroutine on a hub's loop, which may have ended.

    Raises:
        StoreUnavailable: there is no loop yet, or the loop has ended.
    """
    if loop is None:
        coroutine.close()
        raise StoreUnavailable("the hub is not open, so nothing is committed")
    try:
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError:
        coroutine.close()
        raise StoreUnavailable("the hub's event loop is closed") from None
    try:
        while not concurrent.futures.wait([future], timeout=_LOOK_S).done:
            if not loop.is_running():  # the loop stopped before it ran this
                raise StoreUnavailable("the hub's event loop has stopped")
        return future.result()
    except BaseException:
        future.cancel()
        raise


async def await_on(loop: asyncio.AbstractEventLoop | None, coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine on a hub's loop, from any loop. Raises what `wait_on` raises."""
    if loop is None or loop is asyncio.get_running_loop():
        return await coroutine
    try:
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError:
        coroutine.close()
        raise StoreUnavailable("the hub's event loop is closed") from None
    return await asyncio.wrap_future(future)


async def _finish() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        _, stuck = await asyncio.wait(tasks, timeout=_FINISH_S)
        if stuck:
            _log.warning("%d tasks do not end and are abandoned", len(stuck))
    await asyncio.get_running_loop().shutdown_asyncgens()
