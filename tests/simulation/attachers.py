"""Jobs of an engine that write one run by `runcast.attach`: each is a process, and several race."""

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any, Final, cast

from runcast._runs.attached_run import AttachedRun, AttachOptions
from runcast.errors import (
    BackendError,
    Cancelled,
    Conflict,
    Overloaded,
    RuncastError,
    RunClosed,
    StoreUnavailable,
)
from tests.simulation.loop import NODE, pass_time
from tests.simulation.node import SETTINGS, NodeClock
from tests.simulation.store import Connection

if TYPE_CHECKING:
    from runcast._hub.hub import Hub
    from tests.simulation.world import World

__all__ = ("attach_run",)

_MAX_ATTEMPTS: Final = 1000


async def attach_run(world: "World", run_id: str, which: int, steps: int) -> None:
    """Attach to a run and write it, in one process after another until the run has ended."""
    await pass_time(0.3 * world.chance.random() ** 2)  # the others do it at the same time
    while True:
        job = _Job(world, run_id, f"job{which}", steps)
        if await job.work():
            break
        await pass_time(2.0 * world.chance.random())  # its engine tries it again
        book = world.oracle.books.get(run_id)
        if book is not None and book.info.closed:
            break
    world.starting.pop(run_id, None)


class _Job:
    """A process that attaches to a run."""

    def __init__(self, world: "World", run_id: str, name: str, steps: int) -> None:
        self._world = world
        self._run_id = run_id
        self._steps = steps
        self._tag = world.next_token(name)
        self._context = contextvars.copy_context()
        self._context.run(NODE.set, self._tag)
        chance = world.chance
        self._clock = NodeClock(world.loop, chance.uniform(-2, 2), chance.uniform(0, 1000))
        # In the place of a node, so that the same partitions meet it.
        connection = Connection(world.server, world.network, chance.choice(world.places))
        store = world.parts.make_store(connection, self._clock)
        self._hub: Hub = self._context.run(world.parts.make_hub, store, SETTINGS, self._clock)

    async def work(self) -> bool:
        """Return whether the job is done, for its engine; False if it died or must be repeated."""
        world, chance = self._world, self._world.chance
        task = world.loop.create_task(cast("Any", self._live()), context=self._context)
        dies_s = chance.random() ** 2 * 12.0 if chance.random() < 0.3 else None
        done, _ = await asyncio.wait({task}, timeout=dies_s)
        if not done:
            world.note(f"{self._tag} is killed")
            world.loop.kill(self._tag)
            return False
        return cast("bool", task.result())

    async def _live(self) -> bool:
        world, hub = self._world, self._hub
        try:
            await hub.open()
        except BackendError:
            await hub.close()
            return False
        wait_s = 8.0 * world.chance.random()
        options = AttachOptions(self._run_id, "attached", {}, _MAX_ATTEMPTS, wait_s)
        try:
            run = await AttachedRun._attach(hub, None, options)
        except Conflict:
            world.note(f"{self._tag} finds {self._run_id} taken")
            return True
        except RunClosed:
            return True
        except RuncastError as error:
            world.note(f"{self._tag} could not attach: {error.code}")
            return False
        else:
            world.starting.pop(self._run_id, None)
            return await self._write(run)
        finally:
            await hub.close()

    async def _write(self, run: AttachedRun) -> bool:
        world, chance = self._world, self._world.chance
        fence = run._owned.inlet.fence
        assert fence is not None
        pen = world.oracle.pen(world.next_token(f"{run.run_id}#{fence}"), run.run_id, fence)
        problem: BaseException | None = None
        is_left_open = chance.random() < 0.3
        if is_left_open:
            run.leave_open()
        try:
            for _ in range(self._steps):
                try:
                    run.emit("step", {"by": pen.token, "n": pen.written, "fence": fence})
                except (StoreUnavailable, Overloaded):
                    await pass_time(0.3)  # it was not accepted
                    continue
                pen.written += 1
                if chance.random() < 0.3:
                    written = pen.written
                    try:
                        await cast("Any", run.flush())
                    except StoreUnavailable:
                        continue
                    pen.acknowledged = written
                await pass_time(chance.random() ** 2)
        except (RuncastError, Cancelled) as error:
            world.note(f"{self._tag} stops: {error!r:.80}")
            problem = error
        try:
            await run._finish(problem)
        except RuncastError as error:
            world.note(f"{self._tag} could not end {run.run_id}: {error.code}")
            return False
        return not is_left_open
