"""The hub with its store and its runs, on one event loop.

Long because it is one facade, each method of which has its docstring.
"""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from runcast._app.inside import Inside
from runcast._app.launchers import launcher_of
from runcast._app.places import files_of
from runcast._app.showing import HubDisplay
from runcast._clock import Clock, SystemClock
from runcast._files.inputs import GivenFiles
from runcast._functions.decorator import as_function
from runcast._functions.function import Function
from runcast._functions.kept_inputs import KeptInputs, read_inputs
from runcast._hub.cursor import Gap
from runcast._hub.forks import Home
from runcast._hub.hub import Hub
from runcast._hub.interrupts import was_interrupted
from runcast._hub.revocations import revoke
from runcast._producing.answers import Answer
from runcast._producing.labels import check_labels
from runcast._producing.messages import Sent, send_message
from runcast._producing.writer import Writer
from runcast._runs.launch import Launcher
from runcast._runs.owned_run import Block, OwnedRun
from runcast._runs.remote import RemoteRuns
from runcast._runs.run import Kept, Run, StartOptions
from runcast._runs.runner import Runner
from runcast._settings import Settings
from runcast.channels.channel import Channel
from runcast.channels.deliveries import DELIVERY, Deliveries, Delivery
from runcast.channels.document import Shows
from runcast.channels.engine import Finish
from runcast.channels.pollers import POLL, Pollers
from runcast.channels.replies import Replies
from runcast.channels.targets import ChannelsFile
from runcast.errors import InvalidValue, NotFound, RunClosed
from runcast.events.lifecycle import Status
from runcast.events.model import Event
from runcast.events.position import Position, is_run_id
from runcast.events.snapshot import Snapshot
from runcast.events.view import View, ViewSpec
from runcast.stores import open_url
from runcast.stores.base import LogInfo, Store
from runcast.stores.machine import this_process

if TYPE_CHECKING:
    from runcast.client.asynchronous import AsyncClient

__all__ = ("AnyFunction", "OpenHub", "gap_event")

AnyFunction = Function[..., Any] | Callable[..., Any]
"""A callable that a hub can start: a `Function`, or any other callable."""


class OpenHub:
    """A hub with its store and its runs. Use `async with`, on one event loop.

    Args:
        launcher: hands runs of functions to workers of a task engine; by default the one that the
            settings name.
        is_worker: this process is such a worker: it runs what is handed to it, and does not look
            for lost runs.
    """

    def __init__(
        self,
        store: str | Store = "memory://",
        *,
        functions: Iterable[AnyFunction] = (),
        settings: Settings | None = None,
        clock: Clock | None = None,
        launcher: Launcher | None = None,
        is_worker: bool = False,
    ) -> None:
        self.settings = (settings or Settings.load()).with_absolute_paths()
        self.clock = clock or SystemClock()
        if isinstance(store, str):
            store = open_url(store, self.settings, self.clock)
        self._store = store
        self._is_worker = is_worker
        self._launcher = launcher
        if launcher is None and not is_worker:
            self._launcher = launcher_of(self.settings)
        if (self._launcher is not None or is_worker) and not store.is_lasting:
            raise InvalidValue(
                "expected a store that the workers share, like redis://host, or sqlite:///runs.db "
                "on one machine; a store in memory belongs to one process"
            )
        self.functions: dict[str, Function[..., Any]] = {}
        self._inside = Inside(self)
        self._was_closed = False
        self._closing: asyncio.Task[None] | None = None
        self._home = Home()
        self._build()
        for function in functions:
            self.add(function)

    def _build(self) -> None:
        """Make the parts of one event loop; after `close`, `open` may be called on another loop."""
        self.hub = self._make_hub()
        self.files = files_of(self.hub)
        self.runner = Runner(
            self.hub,
            self.files,
            self.functions.get,
            launcher=self._launcher,
            is_worker=self._is_worker,
        )
        self.writers = RemoteRuns(self.hub, self.files)
        self.deliveries = Deliveries(self.hub, ChannelsFile())
        self.hub.begin_delivery = self.deliveries.begin
        self.runner.hand_over(DELIVERY, self.deliveries.take_over)
        self.replies = Replies(self, self.deliveries)
        self.pollers = Pollers(self.hub, self.replies)

    def _make_hub(self) -> Hub:
        return Hub(self._store, self.settings, self.clock, this_process)

    def add(self, function: AnyFunction) -> Function[..., Any]:
        """Add a function under its name. Raises `InvalidValue` if the name is taken."""
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
        """Open the store and begin. Idempotent. May be called again after `close`, on any loop.

        Raises:
            InvalidValue: the hub was opened before this process was forked; make another one.
        """
        if self._was_closed:
            self._build()
            self._was_closed = False
        if self.hub.is_open:
            self._home.check("open()")
        self._home = Home()
        try:
            await self.deliveries.open(self.settings.channels_file)
            if self.pollers.read(self.deliveries.channels):
                self.runner.hand_over(POLL, self.pollers.take_over)
            await self.hub.open()
            self.pollers.open()
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

        In a process that was forked since it was opened this does nothing, because the runs belong
        to the parent.
        """
        if not self._home.is_here:
            return
        self._was_closed = True
        self._inside.close()
        if self._closing is None or self._closing.done():
            self._closing = asyncio.ensure_future(self._close())
        try:
            await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            self.runner.shutdown.interrupt()
            await self._closing
            raise

    async def _close(self) -> None:
        async with AsyncExitStack() as closing:  # close each, even if another one fails
            closing.push_async_callback(self.hub.close)
            closing.push_async_callback(self.files.close)
            closing.push_async_callback(self._end_blocks)
            closing.push_async_callback(self.deliveries.close)
            closing.push_async_callback(self.replies.close)
            closing.push_async_callback(self.pollers.close)
            closing.push_async_callback(self.runner.close)

    async def _end_blocks(self) -> None:
        await self.hub.owned.end_all(self.runner.shutdown.reason, self.settings.cancel_grace_s)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if was_interrupted(error):
            self.runner.shutdown.interrupt()
        await self.close()

    @overload
    async def start(
        self,
        function: Callable[..., Coroutine[Any, Any, Kept]],
        inputs: Mapping[str, Any] | None = None,
        **options: Unpack[StartOptions],
    ) -> Run[Kept]: ...
    @overload
    async def start(
        self,
        function: Callable[..., Kept],
        inputs: Mapping[str, Any] | None = None,
        **options: Unpack[StartOptions],
    ) -> Run[Kept]: ...
    @overload
    async def start(
        self,
        function: AnyFunction | str,
        inputs: Mapping[str, Any] | None = None,
        **options: Unpack[StartOptions],
    ) -> Run[Any]: ...
    async def start(
        self,
        function: AnyFunction | str,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str = "",
        labels: Mapping[str, str] | None = None,
        replace: bool | str = False,
        secrets: Mapping[str, str] = MappingProxyType({}),
        digest: str = "",
        files: GivenFiles = MappingProxyType({}),
        workspace: str = "",
    ) -> Run[Any]:
        """Begin a run of a function, given directly or by name. The run is stored on return.

        Raises `NotFound`, `InvalidInputs`, `Conflict` if the run exists, `Overloaded`.

        Args:
            run_id: by default a new UUIDv7.
            replace: begin an existing run again, or only this epoch of it; a run in progress is
                cancelled first.
            secrets: values of the function's secrets; they take precedence over values found
                elsewhere.
            digest: stored with the run, to recognise a repeated request for the same id.
            files: the files for its workspace, by group.
            workspace: the folder that paths among the files are relative to.
        """
        self._home.check("start()")
        known = self.function(function) if isinstance(function, str) else as_function(function)
        run = await self.runner.start(
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
        run.display = HubDisplay(self.client, run.run_id, lambda: repr(run))
        return run

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

        async def begin() -> OwnedRun:
            run = await OwnedRun._begin(self.hub, name, run_id, labels, replace=replace)
            run.display = HubDisplay(self.client, run.run_id, lambda: repr(run))
            return run

        return Block(begin)

    async def reserve(
        self,
        name: str,
        *,
        run_id: str = "",
        labels: Mapping[str, str] | None = None,
        replace: bool = False,
    ) -> Run[Any]:
        """Begin a run for code elsewhere, which attaches to it by `runcast.attach(run_id)`.

        The run is stored on return, and queued. If nothing attaches within `launch_wait_s`, it ends
        as failed. Raises `InvalidValue`, `Conflict`.

        Args:
            name: the run's name; lists show it as the run's function.
        """
        self._home.check("reserve()")
        if not is_run_id(name):
            raise InvalidValue(f"expected a name like 'train' for the run, got {name!r:.140}")
        check_labels(labels or {})
        return await self.runner.launches.reserve(name, run_id, labels or {}, replace=replace)

    async def watch(
        self,
        run_id: str,
        after: Position | str | None = None,
        *,
        view: ViewSpec | None = None,
    ) -> AsyncIterator[Event]:
        """Yield a run's events from the first, or those after a position, until the run ends.

        A loss is reported as an event of type `gap` with `seq` 0. Raises `NotFound`.

        Args:
            view: which events are shown, and which are joined; None shows every event unchanged.
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
        self, run_id: str, interrupt_id: str, answer: object, *, epoch: str = ""
    ) -> tuple[dict[str, Any], bool]:
        """Answer a run's question; return the decision and whether it was made before.

        Args:
            answer: an `Answer`, `{"type": …, "args": …}` or `{"approved": bool, "content": …}`.
            epoch: the epoch of the run that asked; "" is any epoch.

        Raises `InvalidValue`, `NotFound`, `RunClosed`; `Stale` if the run is in another epoch; and
        `AlreadyAnswered` with the first decision if that is a different one.
        """
        self._home.check("answer()")
        given = answer if isinstance(answer, Answer) else Answer.parse(answer)
        decision, repeated = await self.runner.answer(run_id, interrupt_id, given, epoch)
        return decision.document(), repeated

    async def send(
        self,
        run_id: str,
        data: object,
        *,
        message_id: str = "",
        sender: str = "",
        epoch: str = "",
    ) -> Sent:
        """Send a message into a run, which reads it from `runcast.inbox()`.

        It is stored when this returns. A run that has not begun, or waits, reads it later.

        Args:
            data: what JSON can hold, at most 16 KiB.
            message_id: the same message under the same id is stored once; made up if not given.
            sender: who sends it.
            epoch: the epoch of the run that it is for; "" is any epoch.

        Raises `NotFound`, `InvalidValue`, `EventTooLarge`; `RunClosed` if the run has ended;
        `Stale` if it is in another epoch; `Overloaded` if 64 messages are unread; `Conflict` if
        another message has the id.
        """
        self._home.check("send()")
        return await send_message(
            self.hub, run_id, data, message_id=message_id, sender=sender, epoch=epoch
        )

    async def deliver(
        self,
        run_id: str,
        target: str | Channel,
        *,
        shows: Shows | None = None,
        finish: Finish | None = None,
    ) -> Delivery:
        """Deliver a run to a chat: one message that grows, and its answer once.

        The delivery is stored when this returns, and goes on without the caller. To begin the same
        delivery again returns the first one. If the first one failed, and nothing of it can be in
        the chat (`Receipt.may_be_shown`), it is begun again.

        Args:
            target: a name of `channels_file`, such as `telegram:ops`; an address, such as
                `telegram://-100123?token=…`; or a channel. Only deliveries to names are continued
                by another process, because tokens are not stored.
            shows: `answer` for text alone, `tools` for tools, too, `steps` for steps and logs, too,
                `notice` for a few words when the run asks or ends. None: as the target's option
                `shows` says, else `tools`.
            finish: `in_place` changes the last message at the end, `fresh` sends a new one, which
                notifies people, and deletes the old one, `auto` decides. None: as the target's
                option `finish` says, else `auto`.

        Raises `NotFound`, `InvalidValue`; `Conflict` if another process delivers it there, or if
        its text is there, or may be.
        """
        self._home.check("deliver()")
        return await self.deliveries.begin(run_id, target, shows=shows, finish=finish)

    async def cancel(self, run_id: str, reason: str = "cancelled", *, epoch: str = "") -> None:
        """Cancel a run and wait for its end, unless another process runs it.

        Args:
            epoch: the epoch of the run to cancel; "" is any epoch.

        Raises `NotFound`; `Stale` if the run is in another epoch.
        """
        self._home.check("cancel()")
        await self.runner.cancel(run_id, reason, epoch)

    def queue_position(self, run_id: str) -> int:
        """Return a run's place in the queue, from 1; 0 if it does not wait here for room."""
        return self.runner.queue_position(run_id)

    async def flush(self, run_id: str) -> Position:
        """Wait until everything emitted in a run so far is committed; return its last position.

        Raises:
            NotFound: there is no such run.
            RunClosed, Stale, BackendError: events that were emitted here before are not stored:
                because the run had ended, say.
        """
        self._home.check("flush()")
        try:
            # This append is committed after everything that any writer wrote before.
            appended = await self.hub.inlet(run_id).append()
            position = Position(appended.epoch, appended.last)
        except RunClosed:
            position = (await self.hub.info(run_id)).position
        lost = self.hub.loss_of(run_id, position.epoch)
        if lost is not None:
            raise copy.copy(lost)
        return position

    async def present(self, run_id: str) -> tuple[LogInfo, Snapshot]:
        """Return a run's log and present state. Raises `NotFound`."""
        self._home.check("present()")
        return await self.hub.present(run_id)

    async def inputs(self, run_id: str) -> KeptInputs | None:
        """Return what is kept of a run's inputs; None if nothing is. Raises `NotFound`."""
        self._home.check("inputs()")
        _, stored = await self.hub.store.attachment(run_id)
        return read_inputs(stored)

    async def info(self, run_id: str) -> LogInfo:
        """Return a run's description as in lists: status, labels, times. Raises `NotFound`."""
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
            status: only runs with this present status.
            labels: only runs with all of these labels; `function` is a label.
            before: the last run of the previous page.
            limit: 1 to 500.

        Raises `InvalidValue`.
        """
        self._home.check("runs()")
        key = None if before is None else (before.created_at, before.log_id)
        return await self.hub.store.list(status=status, labels=labels, before=key, limit=limit)

    async def revoke(self, subject: str) -> None:
        """Call `authorize` again for a subject's open streams, in every process.

        Streams that are no longer allowed end. Raises `InvalidValue`, `StoreUnavailable`.
        """
        self._home.check("revoke()")
        await revoke(self.hub, subject)

    def client(self) -> "AsyncClient":
        """Return a client of this hub's runs: the methods and values of a client of a server.

        So the same code works with a server and with a store. The client ends with the hub. It may
        do everything.

        Raises `StoreUnavailable` if the hub is not open.
        """
        self._home.check("client()")
        self.hub.check_open()
        return self._inside.client(lambda: self._home.check("a request of its client"))

    def writer(self, run_id: str) -> Writer:
        """Return a writer to a run that has another owner, who ends it.

        To own a run, as code elsewhere does, use `runcast.attach`.
        """
        self._home.check("writer()")
        return Writer(self.hub.inlet(run_id), self.clock, self.settings.max_event_bytes)


def gap_event(gap: Gap, time: float) -> Event:
    """Return the event that reports a loss: of type `gap`, without a `seq`."""
    return Event(time=time, type="gap", data=gap.data())
