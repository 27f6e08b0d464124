"""The queue that `create_queue_task` returns: a cursor over the log of a run."""

import asyncio
import os
import re
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, NoReturn

from runcast import OpenHub, RuncastError
from runcast._clock import SystemClock
from runcast._functions.function import Function
from runcast._runs.run import Run, make_run_id
from runcast._wire import sse
from runcast._wire.dialects import LogRef, get
from runcast.compat.hubs import opened
from runcast.compat.log_reader import LogReader
from runcast.compat.payloads import framed
from runcast.errors import InvalidValue

__all__ = ("TaskQueue",)

_starting: Final[set["asyncio.Task[Run]"]] = set()
"""Starting runs, kept here because the loop holds tasks weakly."""


class TaskQueue(asyncio.Queue[str | None]):
    """A task's frames, each an SSE frame as a string. After the last one `get` always returns None.

    Only one page of the log waits in here, so a consumer that stops reading costs nothing. Several
    consumers share the frames; to see all frames, watch the run.
    """

    def __init__(
        self, call: Callable[[], Coroutine[Any, Any, Any]], name: str, hub: OpenHub | None = None
    ) -> None:
        super().__init__()
        self.run_id = make_run_id(SystemClock.time(), os.urandom(10))
        self._ended = asyncio.Event()
        self._reader: LogReader | None = None
        self._reading = asyncio.Lock()
        self._prefetching: asyncio.Task[None] | None = None
        starting = self._start(call, name, hub)
        self._starting = asyncio.create_task(starting, name=f"begin-{self.run_id}")
        _starting.add(self._starting)
        self._starting.add_done_callback(_starting.discard)

    async def _start(
        self, call: Callable[[], Coroutine[Any, Any, Any]], name: str, hub: OpenHub | None
    ) -> Run:
        async def run() -> Any:
            return await call()

        function = Function(run, name=re.sub(r"[^A-Za-z0-9_.:-]+", "", name) or "task")
        hub = hub or await opened()
        self._reader = LogReader(hub, self.run_id, wait_s=hub.settings.heartbeat_s)
        return await hub.start(function, run_id=self.run_id)

    async def begun(self) -> str:
        """Return the run's id once it can be watched. Raises what `OpenHub.start` raises."""
        await asyncio.shield(self._starting)
        return self.run_id

    async def get(self) -> str | None:
        """Return the next frame; a comment after a long silence; None after the last.

        Raises:
            StoreUnavailable: the log cannot be read at present.
        """
        async with self._reading:
            await self._read_on()
            return super().get_nowait() if super().qsize() else None

    def get_nowait(self) -> str | None:
        """Return the next frame if one is loaded. Raises `asyncio.QueueEmpty`."""
        if super().qsize():
            return super().get_nowait()
        if self._ended.is_set():
            return None
        if self._prefetching is None or self._prefetching.done():
            self._prefetching = asyncio.create_task(self._prefetch())
        raise asyncio.QueueEmpty

    def qsize(self) -> int:
        """Return the number of loaded frames; more may be in the log."""
        return super().qsize() or self._ended.is_set()

    def empty(self) -> bool:
        """Return whether no frame is loaded."""
        return not self.qsize()

    def task_done(self) -> None:
        """Mark a frame as processed. The None after the last frame needs no call.

        Raises:
            ValueError: every frame so far is already marked.
        """
        try:
            super().task_done()
        except ValueError:
            if not self._ended.is_set():
                raise

    async def join(self) -> None:
        """Wait until the task has ended, and every frame was taken and marked as processed.

        It reads nothing itself: a consumer must `get` the frames.
        """
        await self._ended.wait()
        await super().join()

    def put_nowait(self, item: object) -> NoReturn:
        """Refuse: messages go through `send_queue` or the task's writer."""
        raise InvalidValue("expected send_queue(…), not a put: the queue reads the run's log")

    def cancel(self, reason: str = "cancelled") -> None:
        """Ask the task to end soon. Call this when nobody reads any more."""

        def ask(starting: "asyncio.Task[Run]") -> None:
            if not starting.cancelled() and starting.exception() is None:
                starting.result().cancel(reason)

        self._starting.add_done_callback(ask)

    async def _prefetch(self) -> None:
        with suppress(RuncastError):  # the next get raises it again
            async with self._reading:
                await self._read_on()

    async def _read_on(self) -> None:
        """Wait until a frame is loaded, or none can come."""
        while not super().qsize() and not self._ended.is_set():
            for frame in await self._read():
                super().put_nowait(frame)

    async def _read(self) -> list[str]:
        """Return the next frames of the log, maybe none."""
        try:
            await asyncio.shield(self._starting)
        except RuncastError as error:  # there is no run to report it
            self._ended.set()
            return [framed("error", {"error": error.public, "code": error.code})]
        assert self._reader is not None
        try:
            chunk = await self._reader.next()
        except TimeoutError:
            return [sse.comment("hb").decode()]
        if self._reader.has_ended:
            self._ended.set()
        if chunk is None:
            return []
        dialect, stream = get("named"), LogRef(self.run_id, chunk.position.epoch)
        encoder = dialect.start(stream)
        frames = [dialect.gap(stream, chunk.gap.data())] if chunk.gap is not None else []
        frames += [encoder.group([event]) for event in chunk.events() if event.type != "started"]
        return [frame.decode() for frame in frames]
