"""An event loop whose time is virtual, and whose order among nodes is chosen by a seed.

All nodes of a simulation share this loop. A context variable says to which node a callback belongs.
Callbacks of one node keep their order, as asyncio promises; the seed chooses which node is next.
Nothing here waits: when no node has anything to do, the clock jumps to the next timer.
"""

import asyncio
import contextvars
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

__all__ = ("NODE", "SimulationStuck", "VirtualLoop", "pass_time")

NODE: Final = contextvars.ContextVar[str]("simulated_node", default="")
"""The node that runs; "" for the world around the nodes: network, store, people."""

_START_S: Final = 1000.0
"""Not 0, because code that mistakes 0.0 for "never" must fail."""


async def pass_time(seconds: float) -> None:
    """Return after some seconds of virtual time, which cost nothing."""
    loop = asyncio.get_running_loop()
    passed = loop.create_future()
    timer = loop.call_later(seconds, passed.set_result, None)
    try:
        await passed
    finally:
        timer.cancel()


class SimulationStuck(AssertionError):
    """Nothing can happen any more, or too much happens."""


class _Numbered:
    """Objects whose hash is a number of their loop: their sets have the same order in each
    process."""

    _number: int

    def __hash__(self) -> int:
        return self._number


class _Task(_Numbered, asyncio.Task[Any]):
    def __init__(self, coroutine: Coroutine[Any, Any, Any], loop: "VirtualLoop", **more: Any):
        self._number = next(loop.numbers)
        super().__init__(coroutine, loop=loop, **more)


class _Future(_Numbered, asyncio.Future[Any]):
    def __init__(self, loop: "VirtualLoop") -> None:
        self._number = next(loop.numbers)
        super().__init__(loop=loop)


class _Call:
    """A callback that is due: what asyncio calls a handle, with the node that it belongs to."""

    __slots__ = ("_when", "args", "callback", "context", "is_cancelled", "node")

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
        when: float = 0.0,
    ) -> None:
        if context is None:  # an empty context is false
            context = contextvars.copy_context()
        self.callback = callback
        self.args = args
        self.context = context
        self.node: str = context.get(NODE, "")
        self.is_cancelled = False
        self._when = when

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self._when


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs the callbacks of several nodes.

    Args:
        chance: decides between nodes.
        most_steps: callbacks after which the simulation counts as stuck.
    """

    def __init__(self, chance: random.Random, most_steps: int) -> None:
        super().__init__()
        self.numbers = itertools.count(1)
        self.steps = 0
        self.error: BaseException | None = None
        """Raised before the next step, because callbacks cannot raise through asyncio."""
        self.tasks: dict[asyncio.Task[Any], None] = {}
        """Tasks that have not ended. The loop holds them, so that none is collected as garbage,
        at a moment that no seed chooses."""
        self._chance = chance
        self._most_steps = most_steps
        self._now = _START_S
        self._queues: dict[str, deque[_Call]] = {}
        self._timers: list[tuple[float, int, _Call]] = []
        self._held: dict[str, None] = {}
        self._dead: dict[str, None] = {}
        self.set_task_factory(self._make_task)

    def _make_task(self, loop: Any, coroutine: Any, **more: Any) -> Any:
        task = _Task(coroutine, self, **more)
        self.tasks[task] = None
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self.tasks.pop(task, None)

    # What asyncio calls.

    def time(self) -> float:
        return self._now

    def create_future(self) -> "asyncio.Future[Any]":
        return _Future(self)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> _Call:
        call = _Call(callback, args, context)
        self._append(call)
        return call

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> _Call:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> _Call:
        call = _Call(callback, args, context, when)
        heapq.heappush(self._timers, (when, next(self.numbers), call))
        return call

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        raise AssertionError("a thread would make the simulation depend on the machine")

    def _process_events(self, event_list: object) -> None:
        pass

    def _run_once(self) -> None:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        queues = self._queues
        while not (ready := [name for name in queues if name not in self._held]):
            self._leap()
        name = ready[0] if len(ready) == 1 else self._chance.choice(ready)
        queue = queues[name]
        call = queue.popleft()
        if not queue:
            del queues[name]
        if call.is_cancelled:
            return
        self.steps += 1
        if self.steps > self._most_steps:
            raise SimulationStuck(f"more than {self._most_steps} steps, the last: {call.callback}")
        try:
            call.context.run(call.callback, *call.args)
        except Exception as error:  # noqa: BLE001 - as asyncio does
            message = f"a callback failed: {call.callback!r}"
            self.call_exception_handler({"message": message, "exception": error})

    def _leap(self) -> None:
        """Let time pass until the next timer is due."""
        timers = self._timers
        while timers and timers[0][2].is_cancelled:
            heapq.heappop(timers)
        if not timers:
            raise SimulationStuck("nothing can happen any more")
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            self._append(heapq.heappop(timers)[2])

    def _append(self, call: _Call) -> None:
        queue = self._queues.get(call.node)
        if queue is None:
            queue = self._queues[call.node] = deque()
        queue.append(call)

    # What the world does to nodes.

    def hold(self, name: str) -> None:
        """Stop a node, as SIGSTOP or a sleeping laptop does; time goes on."""
        self._held[name] = None

    def release(self, name: str) -> None:
        """Let a stopped node go on, unless it was killed. What was due meanwhile happens now."""
        if name not in self._dead:
            self._held.pop(name, None)

    def kill(self, name: str) -> None:
        """Stop a node for ever, as SIGKILL does.

        What it still had to do is kept, because its tasks can only be ended if they can run.
        """
        self._held[name] = self._dead[name] = None

    def end_all(self) -> None:
        """End every task that is left, dead nodes' too, so that no garbage runs code later.

        Call it when nobody looks any more at what happens.
        """
        for task in list(self.tasks):
            task.cancel()
        self._held.clear()
        self.error = None
        self._most_steps = self.steps + 200_000
        main = self.create_task(self._end_all())
        self.run_until_complete(main)

    async def _end_all(self) -> None:
        me = asyncio.current_task()
        for _ in range(20):
            left = [task for task in self.tasks if task is not me]
            if not left:
                break
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=60)
        else:
            raise SimulationStuck(f"tasks do not end: {left[:3]}")
        while self._queues:  # noqa: ASYNC110 - callbacks of the ended tasks, in whatever order
            await asyncio.sleep(0)

    def close(self) -> None:
        self._queues.clear()
        self._timers.clear()
        super().close()
