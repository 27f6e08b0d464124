"""The one doorway from threads that have no event loop: a loop in a thread of its own."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from runcast.errors import InvalidValue

__all__ = ("Bridge",)

T = TypeVar("T")


class Bridge:
    """An event loop in a daemon thread, and calls into it. `with` it."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Start the thread. Idempotent."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="runcast-loop", daemon=True
            )
            self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for what it returns.

        An interrupt (Ctrl-C) while waiting cancels the coroutine.

        Raises:
            InvalidValue: called from the loop's own thread, which would wait for itself.
        """
        if self._loop is None or threading.current_thread() is self._thread:
            coroutine.close()
            raise InvalidValue(
                "expected a call from a thread outside the hub's loop, while the hub is open; "
                "inside a coroutine use `async with open_hub(…)`"
            )
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End what still runs on the loop, and the thread. Idempotent."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self.call(_finish())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        self._loop = self._thread = None


async def _finish() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
