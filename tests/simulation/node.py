"""A node: a process with the real hub, runner and remote runs, over a simulated store."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from runcast._hub.hub import Hub
from runcast._producing.answers import Answer
from runcast._runs.runner import Runner
from runcast._settings import Settings
from runcast.errors import BackendError, RuncastError
from runcast.events.outcome import Outcome
from runcast.events.position import Position
from tests.simulation.loop import NODE, VirtualLoop, pass_time
from tests.simulation.runs import FUNCTIONS
from tests.simulation.store import Connection

if TYPE_CHECKING:
    from runcast._files.files import Files
    from runcast._runs.remote import RemoteRuns
    from tests.simulation.world import World

__all__ = ("LEASE_S", "SETTINGS", "Node", "NodeClock")

LEASE_S: Final = 6.0

SETTINGS: Final = Settings(
    lease_s=LEASE_S,
    store_retry_s=0.25,
    blocked_loop_s=0.0,  # the watchdog is a thread
    shutdown_grace_s=1.0,
    cancel_grace_s=1.0,
    terminate_grace_s=0.1,
    recover_wait_s=20.0,
    launch_wait_s=20.0,
    keep_runs_s=0.0,
    keep_bytes_per_run=0,
    retention_every_s=1000.0,
)

_EPOCH: Final = 1_763_715_600.0

_REOPEN_S: Final = 0.5


class NodeClock:
    """A node's clocks: they go as fast as all others, and show something else."""

    def __init__(self, loop: VirtualLoop, ahead_s: float, up_s: float) -> None:
        self._loop = loop
        self._ahead_s = ahead_s
        self._up_s = up_s

    def time(self) -> float:
        return _EPOCH + self._loop.time() + self._ahead_s

    def monotonic(self) -> float:
        return self._loop.time() + self._up_s


class _NoFiles:
    """In the place of the files of runs, which need threads and a disk."""

    async def stage(self, groups: object, given: object, workspace: str) -> None: ...

    async def discard(self, staged: object) -> None: ...

    def hurry(self) -> None: ...

    def for_run(self, *args: object, **more: object) -> "_NoFiles":
        return self

    workspace = None

    async def open(self) -> None: ...

    async def prepare(self) -> None: ...

    async def collect(self, ending: Outcome) -> tuple[Outcome, None]:
        return ending, None


class Node:
    """One process, from its start to its end.

    Args:
        name: its place in the network; another process may have it later.
        number: makes the process distinguishable.
    """

    def __init__(self, world: "World", name: str, number: int) -> None:
        self.world = world
        self.name = name
        self.tag = f"{name}.{number}"
        self.is_up = self.is_over = False
        self.context = contextvars.copy_context()
        self.context.run(NODE.set, self.tag)
        self._stop: asyncio.Event = asyncio.Event()
        chance = world.chance
        self.clock = NodeClock(world.loop, chance.uniform(-2, 2), chance.uniform(0, 1000))
        connection = Connection(world.server, world.network, name)
        self.hub: Hub = self.context.run(self._make_hub, connection)
        self.runner = self.context.run(Runner, self.hub, cast("Files", _NoFiles()), FUNCTIONS.get)
        self.writers = cast("RemoteRuns", world.parts.make_writers(self.hub))
        self.spawn(self._live())

    def _make_hub(self, connection: Connection) -> Hub:
        parts = self.world.parts
        store = parts.make_store(connection, self.clock)
        return cast("Hub", parts.make_hub(store, SETTINGS, self.clock))

    def spawn(self, work: Awaitable[Any]) -> "asyncio.Task[Any]":
        """Do something in this process."""
        return self.world.loop.create_task(cast("Any", work), context=self.context.copy())

    async def _live(self) -> None:
        while True:
            try:
                await self.hub.open()
                break
            except BackendError:
                await pass_time(_REOPEN_S)
        await self.runner.open()
        self.is_up = True
        self.world.note(f"{self.tag} is up as {self.hub.lease._owner}")
        await self._stop.wait()
        self.is_up = False
        await self.runner.close()
        await self.hub.owned.end_all(self.runner.shutdown.reason, SETTINGS.cancel_grace_s)
        await self.hub.close()
        self.is_over = True
        self.world.note(f"{self.tag} has stopped")

    def stop(self) -> None:
        """Ask the process to end, as SIGTERM does."""
        self._stop.set()

    # What is asked over HTTP.

    def receive(
        self, request: str, args: Mapping[str, Any], answer: Callable[[object], None]
    ) -> None:
        """Answer a request, by what it asks for or by the error."""
        self.spawn(self._respond(getattr(self, f"_do_{request}"), args, answer))

    async def _respond(
        self,
        do: Callable[..., Awaitable[object]],
        args: Mapping[str, Any],
        answer: Callable[[object], None],
    ) -> None:
        try:
            answer(await do(**args))
        except RuncastError as error:
            answer(error)

    async def _do_start(self, function: str, run_id: str, steps: int) -> str:
        run = await self.runner.start(FUNCTIONS[function], {"steps": steps}, run_id=run_id)
        return run.epoch

    async def _do_cancel(self, run_id: str) -> None:
        await self.runner.cancel(run_id, "a person cancelled it")

    async def _do_answer(self, run_id: str, interrupt_id: str, args: object) -> tuple[Any, bool]:
        answer = Answer("response", args)
        decision, was_made_before = await self.runner.answer(run_id, interrupt_id, answer)
        return decision.args, was_made_before

    async def _do_begin(self, **fields: Any) -> dict[str, Any]:
        begun = await self.writers.begin(**fields)
        return {
            "run_id": begun.run_id,
            "position": str(begun.position),
            "lease_id": begun.lease_id,
            "lease_s": begun.lease_s,
            "max_event_bytes": SETTINGS.max_event_bytes,
            "max_body_bytes": 1_000_000,
            "time": self.clock.time(),
        }

    async def _do_append(self, **fields: Any) -> dict[str, Any]:
        return _shown(await self.writers.append(**fields))

    async def _do_heartbeat(self, run_id: str, lease_id: str, wait_s: float) -> dict[str, Any]:
        changed = asyncio.Event()
        leave = self.hub.owned.listen(run_id, changed.set)
        try:
            written = await self.writers.renew(run_id, lease_id)
            if wait_s and written.cancel is None:
                try:
                    async with asyncio.timeout(wait_s):
                        await changed.wait()
                except TimeoutError:
                    pass
                written = await self.writers.renew(run_id, lease_id)
        finally:
            leave()
        return _shown(written)

    async def watch(
        self, run_id: str, after: Position | None, push: Callable[[object], None]
    ) -> None:
        """Stream a run: chunks, then None at its end, or the error that ends the stream."""
        try:
            with await self.hub.watch(run_id, after) as watch:
                async for chunk in watch:
                    push(chunk)
            push(None)
        except RuncastError as error:
            push(error)


def _shown(written: Any) -> dict[str, Any]:
    return {
        "position": str(written.position),
        "lease_s": written.lease_s,
        "cancel": written.cancel,
        "repeated": written.repeated,
    }
