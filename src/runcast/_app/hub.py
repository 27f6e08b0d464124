"""The hub with its store and its runs, on one event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from runcast._clock import Clock, SystemClock
from runcast._files.data_dir import DataDir
from runcast._files.files import Files
from runcast._files.inputs import GivenFiles
from runcast._functions.decorator import as_function
from runcast._functions.function import Function
from runcast._hub.cursor import Gap
from runcast._hub.forks import Home
from runcast._hub.hub import Hub
from runcast._hub.interrupts import was_interrupted
from runcast._hub.revocations import revoke
from runcast._producing.answers import Answer
from runcast._producing.writer import Writer
from runcast._runs.owned_run import Block, OwnedRun
from runcast._runs.run import Run
from runcast._runs.runner import Runner
from runcast._settings import Settings
from runcast.errors import InvalidValue, NotFound, RunClosed
from runcast.events.lifecycle import Status
from runcast.events.model import Event
from runcast.events.position import Position
from runcast.events.snapshot import Snapshot
from runcast.events.view import View, ViewSpec
from runcast.stores import open_url
from runcast.stores.base import LogInfo, Store
from runcast.stores.machine import this_process

if TYPE_CHECKING:
    from runcast._http.embedding import Embedded

__all__ = ("AnyFunction", "OpenHub", "gap_event")

AnyFunction = Function[..., Any] | Callable[..., Any]
"""What a hub can start: a `Function`, or any other callable."""


class OpenHub:
    """A hub with its store and its runs. `async with` it, on one event loop."""

    def __init__(
        self,
        store: str | Store = "memory://",
        *,
        functions: Iterable[AnyFunction] = (),
        settings: Settings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = (settings or Settings.load()).with_absolute_paths()
        self.clock = clock or SystemClock()
        if isinstance(store, str):
            store = open_url(store, self.settings, self.clock)
        self._store = store
        self.functions: dict[str, Function[..., Any]] = {}
        self._embedded: Embedded | None = None
        self._was_closed = False
        self._closing: asyncio.Task[None] | None = None
        self._home = Home()
        self._build()
        for function in functions:
            self.add(function)

    def _build(self) -> None:
        """Make what belongs to one event loop: after `close` the next `open` may be on another."""
        self.hub = Hub(self._store, self.settings, self.clock, this_process)
        self.files = Files(self.hub, _data_dir(self._store, self.settings))
        self.runner = Runner(self.hub, self.files, self.functions.get)

    def add(self, function: AnyFunction) -> Function[..., Any]:
        """Make a function known by its name. Raises `InvalidValue` if the name is taken."""
        known = as_function(function)
        if self.functions.setdefault(known.name, known).call != known.call:
            raise InvalidValue(f"two functions are called {known.name!r}; give one another name")
        if self.hub.is_open:
            self.runner.prepare([known])
        return known

    def function(self, name: str) -> Function[..., Any]:
        """Return a function by name. Raises `NotFound`."""
        try:
            return self.functions[name]
        except KeyError:
            known = ", ".join(sorted(self.functions)) or "none"
            raise NotFound(f"there is no function {name!r:.80}; there are: {known}") from None

    async def open(self) -> Self:
        """Open the store and begin. Idempotent; it may follow `close`, on another event loop too.

        Raises:
            InvalidValue: it was opened before this process was forked; make another one.
        """
        if self._was_closed:
            self._build()
            self._was_closed = False
        if self.hub.is_open:
            self._home.check("open()")
        self._home = Home()
        try:
            await self.hub.open()
            await self.runner.open()
            await self.files.open()
        except BaseException:
            await self._close()
            raise
        self.runner.prepare(self.functions.values())
        return self

    async def close(self) -> None:
        """End the runs, then the hub, then the store. Idempotent.

        If the task that closes it is cancelled, runs get no more time to end by themselves, and
        the hub is closed before the cancellation goes on.

        In a process that was forked since it was opened this does nothing: the runs are its
        parent's.
        """
        if not self._home.is_here:
            return
        self._was_closed = True
        if self._embedded is not None:
            self._embedded.close()
            self._embedded = None
        if self._closing is None or self._closing.done():
            self._closing = asyncio.ensure_future(self._close())
        try:
            await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            self.runner.interrupt()
            await self._closing
            raise

    async def _close(self) -> None:
        async with AsyncExitStack() as closing:  # each is closed though another fails to be
            closing.push_async_callback(self.hub.close)
            closing.push_async_callback(self.files.close)
            closing.push_async_callback(self._end_blocks)
            closing.push_async_callback(self.runner.close)

    async def _end_blocks(self) -> None:
        await self.hub.owned.end_all(self.runner.end_reason, self.settings.cancel_grace_s)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if was_interrupted(error):
            self.runner.interrupt()
        await self.close()

    async def start(
        self,
        function: AnyFunction | str,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str = "",
        labels: Mapping[str, str] | None = None,
        replace: bool = False,
        secrets: Mapping[str, str] = MappingProxyType({}),
        digest: str = "",
        files: GivenFiles = MappingProxyType({}),
        workspace: str = "",
    ) -> Run:
        """Begin a run of a function, given itself or by name; it is in the store by the end.

        Raises `NotFound`, `InvalidInputs`, `Conflict` if the run exists, `Overloaded`.

        Args:
            run_id: generated (UUIDv7) when not given.
            replace: begin a run that exists again; if it is at work it is cancelled first.
            secrets: values of secrets that the function declares, before those found elsewhere.
            digest: kept with the run, to tell a repeated request from another one of the same id.
            files: what it finds in its workspace, by group.
            workspace: the folder that paths among the files are relative to.
        """
        self._home.check("start()")
        known = self.function(function) if isinstance(function, str) else as_function(function)
        return await self.runner.start(
            known,
            inputs,
            run_id=run_id,
            labels=labels,
            replace=replace,
            secrets=secrets,
            digest=digest,
            files=files,
            workspace=workspace,
        )

    def run(
        self,
        name: str,
        *,
        run_id: str = "",
        labels: Mapping[str, str] | None = None,
        replace: bool = False,
    ) -> AbstractAsyncContextManager[OwnedRun]:
        """Return a run around a block of code: `async with hub.run("import") as run`.

        See `runcast.run`, which needs no hub.
        """
        return Block(self.hub, name, {"run_id": run_id, "labels": labels, "replace": replace})

    async def watch(
        self,
        run_id: str,
        after: Position | str | None = None,
        *,
        view: ViewSpec | None = None,
    ) -> AsyncIterator[Event]:
        """Yield a run's events from the first, or those after a position, until the run ends.

        A loss is an event of type `gap` with `seq` 0. Raises `NotFound`.

        Args:
            view: which events are shown, and which are joined; None shows everything as it is.
        """
        self._home.check("watch()")
        if after is not None and not isinstance(after, Position):
            after = Position.parse(after)
        seen = View(view) if view is not None else None
        with await self.hub.watch(run_id, after, view=seen) as watch:
            async for chunk in watch:
                if chunk.gap is not None:
                    yield gap_event(chunk.gap, self.clock.time())
                for event in chunk.events():
                    yield event

    async def answer(
        self, run_id: str, interrupt_id: str, answer: object
    ) -> tuple[dict[str, Any], bool]:
        """Answer a question a run asks; return the decision and whether it was taken before.

        Args:
            answer: an `Answer`, `{"type": …, "args": …}` or `{"approved": bool, "content": …}`.

        Raises `InvalidValue`, `NotFound`, `RunClosed`; `AlreadyAnswered`, which holds the first
        decision, if that is another one.
        """
        self._home.check("answer()")
        given = answer if isinstance(answer, Answer) else Answer.parse(answer)
        decision, repeated = await self.runner.answer(run_id, interrupt_id, given)
        return decision.document(), repeated

    async def cancel(self, run_id: str, reason: str = "cancelled") -> None:
        """Cancel a run and wait for its end, unless another process runs it. Raises `NotFound`."""
        self._home.check("cancel()")
        await self.runner.cancel(run_id, reason)

    def queue_position(self, run_id: str) -> int:
        """Return a run's place in the queue, from 1; 0 if it does not wait here for room."""
        return self.runner.queue_position(run_id)

    async def flush(self, run_id: str) -> Position:
        """Wait until everything emitted in a run so far is committed; return its last position."""
        self._home.check("flush()")
        try:
            # Whichever writers there are: what they wrote before is committed no later than this.
            appended = await self.hub.inlet(run_id).append()
        except RunClosed:
            return (await self.hub.info(run_id)).position
        return Position(appended.epoch, appended.last)

    async def present(self, run_id: str) -> tuple[LogInfo, Snapshot]:
        """Return a run's log and present state. Raises `NotFound`."""
        self._home.check("present()")
        return await self.hub.present(run_id)

    async def info(self, run_id: str) -> LogInfo:
        """Return what a list shows of a run: status, labels, times. Raises `NotFound`."""
        self._home.check("info()")
        return await self.hub.info(run_id)

    async def runs(
        self,
        *,
        status: Status | None = None,
        labels: Mapping[str, str] | None = None,
        before: LogInfo | None = None,
        limit: int = 50,
    ) -> list[LogInfo]:
        """Return runs, newest first.

        Args:
            status: only runs that have it now.
            labels: only runs that bear all of these; `function` is one.
            before: the last run of the page before.
            limit: 1 to 500.

        Raises `InvalidValue`.
        """
        self._home.check("runs()")
        key = None if before is None else (before.created_at, before.log_id)
        return await self.hub.store.list(status=status, labels=labels, before=key, limit=limit)

    async def revoke(self, subject: str) -> None:
        """Have `authorize` asked again about a subject's open streams, in every process.

        Streams that are not allowed any more end. Raises `InvalidValue`, `StoreUnavailable`.
        """
        self._home.check("revoke()")
        await revoke(self.hub, subject)

    def _embed(self) -> "Embedded":
        """Return what answers for an application's own routes; see `runcast.sse_response`."""
        if self._embedded is None:
            # Scripts that only emit and watch should not wait for a web framework to be imported.
            from runcast._http.embedding import Embedded

            self._embedded = Embedded(self)
        return self._embedded

    def attach(self, run_id: str) -> Writer:
        """Return a writer to a run that somebody else owns and ends."""
        self._home.check("attach()")
        return Writer(self.hub.inlet(run_id), self.clock, self.settings.max_event_bytes)


def _data_dir(store: Store, settings: Settings) -> DataDir:
    """Return where a store's files are kept: as long as the store itself."""
    given = settings.data_dir
    if not store.is_lasting:
        return DataDir(parent=given)
    if store.path is not None:
        beside = Path(given or f"{store.path}.data")
        return DataDir(beside, store=str(Path(store.path).absolute()) if given else "")
    return DataDir(Path(given)) if given else DataDir()


def gap_event(gap: Gap, time: float) -> Event:
    """Return the event that reports a loss: of type `gap`, without a `seq`."""
    return Event(time=time, type="gap", data=gap.data())
