"""The queue that `create_queue_task` returns: filled from the log of a run, as there is room."""

import asyncio
import logging
import os
import re
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from runcast import OpenHub, RuncastError
from runcast.compat.hubs import opened
from runcast.runs.function import Function
from runcast.runs.ids import make_run_id
from runcast.wire import sse
from runcast.wire.dialects import Stream, get
from runcast.wire.dialects.base import encode_json

__all__ = ("MAX_FRAMES", "TaskQueue", "begin")

MAX_FRAMES: Final = 256
"""Frames a queue holds: enough that a consumer seldom waits, little beside the log behind them."""

_log: Final = logging.getLogger("runcast.compat")

_pumps: Final[set["asyncio.Task[None]"]] = set()
"""What fills queues. The loop itself holds tasks weakly."""


class TaskQueue(asyncio.Queue[str | None]):
    """Frames of a task, each an SSE frame as a string; None ends them, for every consumer.

    Several consumers share the frames among them. Who wants all of them watches the run.
    """

    def __init__(self, run_id: str, hub: OpenHub) -> None:
        super().__init__(MAX_FRAMES)
        self.run_id = run_id
        self.has_room = asyncio.Event()
        """Set when a frame was taken."""
        self._hub = hub

    async def cancel(self, reason: str = "cancelled") -> None:
        """Cancel the task; its end has come when this returns."""
        await self._hub.cancel(self.run_id, reason)

    def get_nowait(self) -> str | None:
        """Take a frame, or the end, which stays for the next consumer. `get` ends in this."""
        item = super().get_nowait()
        if item is None:
            self.put_nowait(None)
        self.has_room.set()
        return item


def begin(
    call: Callable[[], Awaitable[Any]], name: str, hub: OpenHub, cancel_on_leave: bool
) -> TaskQueue:
    """Begin a run and return its queue. Call on the loop."""
    run_id = make_run_id(hub.clock.time(), os.urandom(10))
    queue = TaskQueue(run_id, hub)

    async def run() -> Any:
        return await call()

    function = Function(run, name=re.sub(r"[^A-Za-z0-9_.:-]+", "", name) or "task")
    pump = _Pump(queue, hub)
    task = asyncio.create_task(pump.run(function, cancel_on_leave), name=f"queue-{run_id}")
    _pumps.add(task)
    task.add_done_callback(_pumps.discard)
    return queue


class _Pump:
    """Fills one queue, which it does not keep alive."""

    def __init__(self, queue: TaskQueue, hub: OpenHub) -> None:
        self._queue = weakref.ref(queue)
        self._has_room = queue.has_room
        self._run_id = queue.run_id
        self._hub = hub

    async def run(self, function: Function[..., Any], cancel_on_leave: bool) -> None:
        """Start the run and follow it to its end, or until nobody holds the queue."""
        try:
            await opened(self._hub)
            run = await self._hub.start(function, run_id=self._run_id)
            if not await self._follow_while_held() and cancel_on_leave:
                run.cancel("nobody reads its stream any more")
        except RuncastError as error:
            _log.warning("the stream of run %s ends early: %s", self._run_id, error)
            told = {"error": error.message, "code": error.code}
            await self._put(sse.encode(encode_json(told), event="error").decode())
            await self._put(None)

    async def _follow_while_held(self) -> bool:
        """Put every frame, then the end; return False if the queue was let go before."""
        queue = self._queue()
        if queue is None:
            return False
        loop, following = asyncio.get_running_loop(), asyncio.ensure_future(self._follow())

        def let_go() -> None:
            # Called by the garbage collector, in whatever thread.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(following.cancel)

        leaving = weakref.finalize(queue, let_go)
        leaving.atexit = False
        del queue
        try:
            await asyncio.wait({following})
            if following.cancelled():
                return False
            following.result()
            return True
        finally:
            leaving.detach()
            following.cancel()

    async def _follow(self) -> None:
        dialect = get("named")
        with await self._hub.hub.subscribe(self._run_id) as subscription:
            async for chunk in subscription:
                stream = Stream(self._run_id, chunk.position.epoch)
                if chunk.gap is not None:
                    await self._put(dialect.gap(stream, chunk.gap.data()).decode())
                for event in chunk.events():
                    if event.type != "started":
                        await self._put(dialect.encode(stream, None, event).decode())
        await self._put(None)

    async def _put(self, item: str | None) -> None:
        while (queue := self._queue()) is not None:
            if not queue.full():
                queue.put_nowait(item)
                return
            queue.has_room.clear()
            del queue  # while it waits, only consumers hold the queue
            await self._has_room.wait()
