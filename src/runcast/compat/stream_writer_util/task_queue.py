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
"""Runs on their way. The loop itself holds tasks weakly."""


class TaskQueue(asyncio.Queue[str | None]):
    """A task's frames, each an SSE frame as a string; None follows the last, however often asked.

    Nothing waits in here but a page of the log, so whoever stops reading costs nothing. Several
    consumers share the frames among them; who wants all of them watches the run.
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
        """Return the run's id once anybody can watch it. Raises as `OpenHub.start` does."""
        await asyncio.shield(self._starting)
        return self.run_id

    async def get(self) -> str | None:
        """Return the next frame; a comment if nothing comes for long; None after the last.

        Raises:
            StoreUnavailable: the log cannot be read at present.
        """
        async with self._reading:
            await self._read_on()
            return super().get_nowait() if super().qsize() else None

    def get_nowait(self) -> str | None:
        """Return the next frame if it is here. Raises `asyncio.QueueEmpty`."""
        if super().qsize():
            return super().get_nowait()
        if self._ended.is_set():
            return None
        if self._prefetching is None or self._prefetching.done():
            self._prefetching = asyncio.create_task(self._prefetch())
        raise asyncio.QueueEmpty

    def qsize(self) -> int:
        """Return how many frames are here; more may be in the log."""
        return super().qsize() or self._ended.is_set()

    def empty(self) -> bool:
        """Tell whether no frame is here."""
        return not self.qsize()

    def task_done(self) -> None:
        """Say that a frame is dealt with; of the None after the last it need not be said.

        Raises:
            ValueError: that was said of every frame that came so far.
        """
        try:
            super().task_done()
        except ValueError:
            if not self._ended.is_set():
                raise

    async def join(self) -> None:
        """Wait until the task has ended and every frame of it was taken and said to be dealt with.

        It reads nothing itself: somebody has to `get` the frames.
        """
        await self._ended.wait()
        await super().join()

    def put_nowait(self, item: object) -> NoReturn:
        """Refuse: what is sent goes through `send_queue` or the task's writer."""
        raise InvalidValue("expected send_queue(…), not a put: the queue reads the run's log")

    def cancel(self, reason: str = "cancelled") -> None:
        """Ask the task to end. It does so soon; call this where nobody reads any more."""

        def ask(starting: "asyncio.Task[Run]") -> None:
            if not starting.cancelled() and starting.exception() is None:
                starting.result().cancel(reason)

        self._starting.add_done_callback(ask)

    async def _prefetch(self) -> None:
        with suppress(RuncastError):  # the next get meets it again
            async with self._reading:
                await self._read_on()

    async def _read_on(self) -> None:
        """Return once a frame is here, or none can come."""
        while not super().qsize() and not self._ended.is_set():
            for frame in await self._read():
                super().put_nowait(frame)

    async def _read(self) -> list[str]:
        """Return what comes next in the log, perhaps nothing."""
        try:
            await asyncio.shield(self._starting)
        except RuncastError as error:  # there is no run to tell it
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
