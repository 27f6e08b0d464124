"""The hub for code without an event loop: the methods of `OpenHub`, called from any thread.

Each call runs on a loop in its own thread and waits for the result. A test compares the methods
here with those of `OpenHub` and `Run`. Long because it is one facade.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, Unpack, overload

from runcast._app.hub import AnyFunction, OpenHub
from runcast._app.showing import HubDisplay
from runcast._clock import Clock
from runcast._files.inputs import GivenFiles
from runcast._functions.function import Function
from runcast._functions.kept_inputs import KeptInputs
from runcast._hub.bridge import Bridge
from runcast._hub.interrupts import was_interrupted
from runcast._producing.messages import Sent
from runcast._producing.writer import Writer
from runcast._runs.owned_run import BlockInThread, OwnedRun
from runcast._runs.run import Displayed, Kept, Result_co, Run, StartOptions
from runcast._settings import Settings
from runcast.channels.channel import Channel
from runcast.channels.deliveries import Delivery
from runcast.channels.document import Shows
from runcast.channels.engine import Finish, Receipt
from runcast.errors import InvalidValue
from runcast.events.lifecycle import Status
from runcast.events.model import Event
from runcast.events.outcome import Outcome
from runcast.events.position import Position
from runcast.events.snapshot import Snapshot
from runcast.events.view import ViewSpec
from runcast.stores.base import LogInfo

if TYPE_CHECKING:
    from runcast.client.threads import Client

__all__ = ("DeliveryInThread", "OpenHubInThread", "RunInThread")

T = TypeVar("T")


class DeliveryInThread:
    """A delivery for code without an event loop: a `Delivery` without `await`."""

    def __init__(self, bridge: Bridge, delivery: Delivery) -> None:
        self._bridge = bridge
        self._delivery = delivery

    @property
    def delivery_id(self) -> str:
        """The id of its log, in the kind `delivery`."""
        return self._delivery.delivery_id

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._delivery.run_id

    @property
    def target(self) -> str:
        """The target, without secrets."""
        return self._delivery.target

    def wait(self) -> Receipt | None:
        """Wait for the end; see `Delivery.wait`."""
        return self._bridge.call(self._delivery.wait())


class RunInThread(Generic[Result_co]):
    """A run for code without an event loop: a `Run` without `await`."""

    def __init__(
        self, bridge: Bridge, run: Run[Result_co], display: Displayed | None = None
    ) -> None:
        self._bridge = bridge
        self._run = run
        self._display = display

    def __repr__(self) -> str:
        return repr(self._run)

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, Any]:
        shown = {} if self._display is None else self._display._repr_mimebundle_(include, exclude)
        return {**shown, "text/plain": repr(self)}

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._run.run_id

    @property
    def epoch(self) -> str:
        """The epoch of the run's log."""
        return self._run.epoch

    @property
    def name(self) -> str:
        """The function's name."""
        return self._run.name

    @property
    def status(self) -> Status:
        """The run's present status."""
        return self._run.status

    @property
    def has_ended(self) -> bool:
        """Whether the terminal event is committed."""
        return self._run.has_ended

    @property
    def raised(self) -> BaseException | None:
        """The function's exception; see `Run.raised`."""
        return self._run.raised

    def cancel(self, reason: str = "cancelled") -> None:
        """Ask the run to end; `wait()` returns once it has. See `Run.cancel`."""
        self._bridge.do(lambda: self._run.cancel(reason))

    def wait(self) -> Outcome:
        """Wait for the end and return the run's outcome."""
        return self._bridge.call(self._run.wait())

    def streams(self) -> bool:
        """Wait until it is known whether the function streams. See `Run.streams`."""
        return self._bridge.call(self._run.streams())

    def result(self) -> Result_co:
        """Wait for the end and return the function's result. See `Run.result`."""
        return self._bridge.call(self._run.result())


class OpenHubInThread:
    """An `OpenHub` with its own loop in a thread, for code without a loop. Use `with`.

    Its methods are those of `OpenHub`, without `await`. Call them from any thread. A call in a
    coroutine blocks the coroutine's loop until it returns. On the hub's own loop, where its
    coroutine functions run, a call would wait for itself and raises `InvalidValue`. So does a call
    in a process that was forked since the hub was opened.
    """

    def __init__(self, hub: OpenHub) -> None:
        self._hub = hub
        self._bridge = Bridge()

    @property
    def settings(self) -> Settings:
        """The settings of the hub."""
        return self._hub.settings

    @property
    def clock(self) -> Clock:
        """The hub's clock."""
        return self._hub.clock

    @property
    def functions(self) -> Mapping[str, Function[..., Any]]:
        """The functions that can be started by name."""
        return self._hub.functions

    def add(self, function: AnyFunction) -> Function[..., Any]:
        """Add a function under its name; see `OpenHub.add`."""
        return self._bridge.do(lambda: self._hub.add(function))

    def function(self, name: str) -> Function[..., Any]:
        """Return a function by name. Raises `NotFound`."""
        return self._hub.function(name)

    def open(self) -> Self:
        """Start the loop's thread and open the hub. Idempotent; see `OpenHub.open`."""
        self._bridge.open()
        try:
            self._bridge.call(self._hub.open())
        except BaseException:
            self._bridge.close()
            raise
        return self

    def close(self) -> None:
        """End the runs, the hub, the store and the loop's thread. Idempotent."""
        if not self._bridge.is_open:
            return
        try:
            try:
                self._bridge.call(self._hub.close())
            except KeyboardInterrupt:  # which has ended the wait: runs are cancelled now
                self._bridge.call(self._hub.close())
                raise
        finally:
            self._bridge.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if was_interrupted(error) and self._bridge.is_open:
            self._bridge.do(self._hub.runner.shutdown.interrupt)
        self.close()

    @overload
    def start(
        self,
        function: Callable[..., Coroutine[Any, Any, Kept]],
        inputs: Mapping[str, Any] | None = None,
        **options: Unpack[StartOptions],
    ) -> RunInThread[Kept]: ...
    @overload
    def start(
        self,
        function: Callable[..., Kept],
        inputs: Mapping[str, Any] | None = None,
        **options: Unpack[StartOptions],
    ) -> RunInThread[Kept]: ...
    @overload
    def start(
        self,
        function: AnyFunction | str,
        inputs: Mapping[str, Any] | None = None,
        **options: Unpack[StartOptions],
    ) -> RunInThread[Any]: ...
    def start(
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
    ) -> RunInThread[Any]:
        """Begin a run of a function; see `OpenHub.start`."""
        starting = self._hub.start(
            function,
            inputs,
            run_id=run_id,
            labels=labels,
            replace=replace,
            secrets=secrets,
            digest=digest,
            files=files,
            workspace=workspace,
        )
        run = self._bridge.call(starting)
        return RunInThread(self._bridge, run, self._display(run))

    def _display(self, run: Run[Any] | OwnedRun) -> HubDisplay:
        """Return what shows a run of this hub in a notebook."""
        bridge = self._bridge
        return HubDisplay(
            lambda: bridge.do(self._hub.client),
            run.run_id,
            lambda: repr(run),
            lambda: bridge.loop,
            lambda: self.client().snapshot(run.run_id),
        )

    def _run_launched(self, run_id: str, epoch: str) -> None:
        """Run a run that was handed over; see `Runner.run_launched`."""
        self._bridge.call(self._hub.runner.run_launched(run_id, epoch))

    def run(
        self,
        name: str,
        *,
        run_id: str = "",
        labels: Mapping[str, str] | None = None,
        replace: bool = False,
    ) -> AbstractContextManager[OwnedRun]:
        """Return a run around a block of code: `with hub.run("import") as run`.

        See `runcast.run`, which needs no hub.
        """
        hub = self._hub.hub

        async def begin() -> OwnedRun:
            run = await OwnedRun._begin(hub, name, run_id, labels, replace=replace)
            run.display = self._display(run)
            return run

        return BlockInThread(self._bridge, begin)

    def reserve(
        self,
        name: str,
        *,
        run_id: str = "",
        labels: Mapping[str, str] | None = None,
        replace: bool = False,
    ) -> RunInThread[Any]:
        """Begin a run for code elsewhere, which attaches to it; see `OpenHub.reserve`."""
        reserving = self._hub.reserve(name, run_id=run_id, labels=labels, replace=replace)
        return RunInThread(self._bridge, self._bridge.call(reserving))

    def watch(
        self,
        run_id: str,
        after: Position | str | None = None,
        *,
        view: ViewSpec | None = None,
    ) -> Iterator[Event]:
        """Yield a run's events until it ends; see `OpenHub.watch`."""
        events = self._hub.watch(run_id, after, view=view)

        # After Ctrl-C the last `take` is still being cancelled when `leave` begins.
        turn = asyncio.Lock()

        async def take() -> Event | None:
            async with turn:
                return await anext(events, None)

        async def leave() -> None:
            async with turn:
                await events.aclose()  # type: ignore[attr-defined]

        try:
            while (event := self._bridge.call(take())) is not None:
                yield event
        finally:
            with suppress(InvalidValue):  # the hub is closed, which ended the watch
                self._bridge.call(leave())

    def answer(
        self, run_id: str, interrupt_id: str, answer: object, *, epoch: str = ""
    ) -> tuple[dict[str, Any], bool]:
        """Answer a question that a run asks; see `OpenHub.answer`."""
        return self._bridge.call(self._hub.answer(run_id, interrupt_id, answer, epoch=epoch))

    def send(
        self,
        run_id: str,
        data: object,
        *,
        message_id: str = "",
        sender: str = "",
        epoch: str = "",
    ) -> Sent:
        """Send a message into a run; see `OpenHub.send`."""
        sending = self._hub.send(run_id, data, message_id=message_id, sender=sender, epoch=epoch)
        return self._bridge.call(sending)

    def deliver(
        self,
        run_id: str,
        target: str | Channel,
        *,
        shows: Shows | None = None,
        finish: Finish | None = None,
    ) -> DeliveryInThread:
        """Deliver a run to a chat; see `OpenHub.deliver`."""
        delivering = self._hub.deliver(run_id, target, shows=shows, finish=finish)
        return DeliveryInThread(self._bridge, self._bridge.call(delivering))

    def cancel(self, run_id: str, reason: str = "cancelled", *, epoch: str = "") -> None:
        """Cancel a run; see `OpenHub.cancel`."""
        self._bridge.call(self._hub.cancel(run_id, reason, epoch=epoch))

    def inputs(self, run_id: str) -> KeptInputs | None:
        """Return what is kept of a run's inputs; see `OpenHub.inputs`."""
        return self._bridge.call(self._hub.inputs(run_id))

    def info(self, run_id: str) -> LogInfo:
        """Return a run's description as in lists; see `OpenHub.info`."""
        return self._bridge.call(self._hub.info(run_id))

    def runs(
        self,
        *,
        status: Status | None = None,
        labels: Mapping[str, str] | None = None,
        before: LogInfo | None = None,
        limit: int = 50,
    ) -> list[LogInfo]:
        """Return runs, newest first; see `OpenHub.runs`."""
        listing = self._hub.runs(status=status, labels=labels, before=before, limit=limit)
        return self._bridge.call(listing)

    def revoke(self, subject: str) -> None:
        """Call `authorize` again for a subject's open streams; see `OpenHub.revoke`."""
        self._bridge.call(self._hub.revoke(subject))

    def queue_position(self, run_id: str) -> int:
        """Return a run's place in the queue, from 1; 0 if it does not wait here for room."""
        return self._bridge.do(lambda: self._hub.queue_position(run_id))

    def flush(self, run_id: str) -> Position:
        """Wait until everything emitted in a run so far is committed; return its last position."""
        return self._bridge.call(self._hub.flush(run_id))

    def present(self, run_id: str) -> tuple[LogInfo, Snapshot]:
        """Return a run's log and present state. Raises `NotFound`."""
        return self._bridge.call(self._hub.present(run_id))

    def writer(self, run_id: str) -> Writer:
        """Return a writer to a run that has another owner, who ends it; see `OpenHub.writer`."""
        return self._bridge.do(lambda: self._hub.writer(run_id))

    def client(self) -> "Client":
        """Return a client of this hub's runs; see `OpenHub.client`."""
        # Imported here, because imports would block the hub's loop.
        import runcast._http.app  # noqa: F401
        from runcast.client.threads import Client

        return Client._inside(self._bridge.do(self._hub.client), self._bridge)
