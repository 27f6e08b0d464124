"""Which logs this node watches, so that the server tells it what is appended to them.

Every node hears of every other change: of logs that begin or end, of statuses, labels and owners.
Plain appends are most of the traffic, and only nodes that watch their log hear of them.

The server keeps a note for each log (`watch.lua`). `commit.lua` forgets a node that does not listen
when it is told something, so a node notes everything again after its channel was interrupted.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Final

from runcast._logs import get_logger
from runcast.errors import BackendError
from runcast.stores.redis.server import Server

__all__ = ("Interest",)

_ALL: Final = "*"
"""Stands for all logs. No log has this id."""

_MOST_IN_ONE: Final = 500
"""Most logs of one call."""

_MOST_LEFT: Final = 256
"""Most logs that are noted though nobody watches them any more: most of them have ended, and cost
nothing. More are taken back together."""

_AGAIN_S: Final = 0.5
"""Pause before notes that failed are made again."""

_log: Final = get_logger("runcast.stores.redis")


class Interest:
    """The watched logs of one node. Call everything from one event loop.

    Args:
        origin: the node, as `commit.lua` knows it.
        missed: called after an interruption, once everything is noted again.
    """

    def __init__(self, server: Server, origin: bytes, missed: Callable[[], None]) -> None:
        self._server = server
        self._origin = origin
        self._missed = missed
        self._watched: set[str] = {_ALL}
        self._noted: set[str] = set()
        self._left: set[str] = set()
        """Logs that may be noted, and are not watched."""
        self._is_lost = False
        self._lock = asyncio.Lock()
        self._tasks: dict[asyncio.Task[None], None] = {}

    async def open(self) -> None:
        """Hear of all appends. Raises what `Server.call` raises."""
        await self._note_all()

    async def close(self) -> None:
        """Stop. What is noted is forgotten by the server. Idempotent."""
        for task in list(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def focus(self) -> None:
        """From now on, hear only of appends to watched logs. Raises what `Server.call` raises."""
        self.leave(_ALL)
        await self._take_back()

    async def watch(self, log_id: str) -> None:
        """Return once appends to a log are heard. Raises what `Server.call` raises."""
        self._watched.add(log_id)
        self._left.discard(log_id)
        if log_id in self._noted or self._server.is_loud:
            return
        async with self._lock:
            if log_id in self._watched and log_id not in self._noted:
                await self._say(True, [log_id])
                self._noted.add(log_id)

    def leave(self, log_id: str) -> None:
        """Stop to watch a log. Idempotent."""
        self._watched.discard(log_id)
        if log_id in self._noted:
            self._left.add(log_id)
            if len(self._left) > _MOST_LEFT:
                self._do_soon(self._take_back)

    def heard(self, log_id: str) -> None:
        """Note that an append was heard; if its log is not watched, it must not be heard again."""
        if _ALL not in self._watched and log_id not in self._watched and not self._server.is_loud:
            self._left.add(log_id)
            self._do_soon(self._take_back)

    def lost(self) -> None:
        """Note that the channel was interrupted, and is open again."""
        self._is_lost = True
        self._do_soon(self._recover)

    async def _recover(self) -> None:
        while self._is_lost:
            self._is_lost = False
            try:
                await self._note_all()
            except BackendError as error:
                _log.warning("watched logs could not be named to the server: %s", error)
                self._is_lost = True
                await asyncio.sleep(_AGAIN_S)
        self._missed()

    async def _note_all(self) -> None:
        async with self._lock:
            self._noted = set(self._watched)
            await self._say(True, sorted(self._noted))

    async def _take_back(self) -> None:
        async with self._lock:
            while self._left:  # more logs may be left while the server is told
                left = self._left - self._watched
                self._left.clear()
                # Before it is said: who watches one of them meanwhile must note it again.
                self._noted -= left
                with contextlib.suppress(BackendError):  # if it is heard again, this is tried again
                    await self._say(False, sorted(left))

    async def _say(self, is_watched: bool, log_ids: list[str]) -> None:
        if self._server.is_loud:
            return
        for start in range(0, len(log_ids), _MOST_IN_ONE):
            some = log_ids[start : start + _MOST_IN_ONE]
            await self._server.run("watch", self._origin, int(is_watched), *some)

    def _do_soon(self, act: Callable[[], Coroutine[object, object, None]]) -> None:
        """Do something in a task, unless it is being done."""
        name = act.__name__
        if not any(task.get_name() == name and not task.done() for task in self._tasks):
            task = asyncio.create_task(act(), name=name)
            self._tasks[task] = None
            task.add_done_callback(self._tasks.pop)
