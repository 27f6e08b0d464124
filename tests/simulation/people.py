"""Those who use the nodes from outside: they start, watch, answer and cancel runs."""

import asyncio
import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from runcast._hub.cursor import Chunk
from runcast.errors import AlreadyAnswered, Conflict, RuncastError, ServerUnavailable
from runcast.events.position import Position, split_frames
from tests.simulation.loop import pass_time
from tests.simulation.network import OUTSIDE
from tests.simulation.runs import QUESTION

if TYPE_CHECKING:
    from tests.simulation.node import Node
    from tests.simulation.world import World

__all__ = ("Person", "Watcher", "answer_run", "cancel_run", "start_run")

_ANSWER_S: Final = 8.0

_AT_ONCE_S: Final = 0.001

_SOON_S: Final = 1.2
"""When an event must have reached those who are connected, if nothing is wrong."""


class Person:
    """Somebody with a place in the network.

    Args:
        name: the place.
    """

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name

    async def ask(self, request: str, *, wait_s: float = _ANSWER_S, **args: Any) -> Any:
        """Return what some node answers.

        Raises:
            ServerUnavailable: no answer came; nobody knows whether the node did it.
            RuncastError: what the node answered.
        """
        world = self.world
        target = world.chance.choice(world.places)

        def act(answer: Callable[[object], None]) -> None:
            node = world.nodes.get(target)
            if node is None or not node.is_up:
                answer(ServerUnavailable("nobody listens"))
            else:
                node.receive(request, args, answer)

        try:
            answer = await world.network.ask(self.name, target, act, wait_s)
        except TimeoutError:
            answer = ServerUnavailable("no answer came")
        if isinstance(answer, RuncastError):
            raise copy.copy(answer)
        return answer

    async def pause(self) -> None:
        """Wait before the next try."""
        await pass_time(0.2 + self.world.chance.random())


async def start_run(world: "World", run_id: str, function: str, steps: int) -> None:
    """Start a run, and give up after some tries; then it may have been started all the same."""
    person = Person(world, f"starter of {run_id}")
    for _ in range(world.chance.randint(1, 6)):
        try:
            await person.ask("start", function=function, run_id=run_id, steps=steps)
        except Conflict:
            break
        except RuncastError as error:
            world.note(f"start of {run_id}: {error.code}")
            await person.pause()
        else:
            world.oracle.expect(run_id in world.oracle.books, f"{run_id} began, and is not there")
            world.note(f"start of {run_id} is acknowledged")
            break
    world.starting.pop(run_id)


async def cancel_run(world: "World", run_id: str, after_s: float) -> None:
    """Cancel a run once, until somebody says that it is done.

    Args:
        after_s: 0: as soon as there is a run, perhaps before its owner knows that.
    """
    await pass_time(after_s)
    person = Person(world, f"canceller of {run_id}")
    while run_id not in world.oracle.books:
        await (person.pause() if after_s else pass_time(_AT_ONCE_S))
    while run_id in world.oracle.open_logs():
        try:
            await person.ask("cancel", run_id=run_id)
        except RuncastError as error:
            world.note(f"cancel of {run_id}: {error.code}")
            await person.pause()
        else:
            world.note(f"cancel of {run_id} is acknowledged")
            world.oracle.promise_cancelled(run_id)
            return


async def answer_run(world: "World", run_id: str, value: str) -> None:
    """Answer a run's question, as one of several who do so."""
    person, oracle = Person(world, f"{value} for {run_id}"), world.oracle
    while True:
        await person.pause()
        book = oracle.books.get(run_id)
        if book is None or not any(event.type == "interrupt_request" for event in book.events):
            if book is not None and book.info.closed:
                return
            continue
        try:
            found, _ = await person.ask("answer", run_id=run_id, interrupt_id=QUESTION, args=value)
        except AlreadyAnswered as refusal:
            world.note(f"{value} for {run_id} is too late")
            stored = oracle.decision(run_id, QUESTION)
            oracle.expect(
                stored is not None and stored["args"] != value,
                f"{run_id}: the answer {value!r} was refused ({refusal}), the log has {stored!r}",
            )
            return
        except RuncastError as error:
            world.note(f"{value} for {run_id}: {error.code}")
            if not error.retryable and book.info.closed:
                return
        else:
            stored = oracle.decision(run_id, QUESTION)
            oracle.expect(
                stored is not None and stored["args"] == found == value,
                f"{run_id}: {value!r} was accepted, the log has {stored!r}",
            )
            world.note(f"{value} for {run_id} is accepted")
            return


class _Stream:
    """One connection on which a node sends a run: in order, until it breaks."""

    def __init__(self, watcher: "Watcher", node: "Node", after: Position | None) -> None:
        self._watcher = watcher
        self.node = node
        self.items: asyncio.Queue[object] = asyncio.Queue()
        self._latest = 0.0
        self._is_broken = False
        self._task = node.spawn(node.watch(watcher.run_id, after, self.push))

    def push(self, item: object) -> None:
        """Send an item from the node."""
        world = self._watcher.world
        if self._is_broken or world.network.is_cut(self.node.name, self._watcher.name):
            self._is_broken = True
            return
        at = self._latest = max(self._latest, world.loop.time() + world.network.delay())
        world.loop.call_at(at, self.items.put_nowait, item, context=OUTSIDE.copy())

    def close(self) -> None:
        """Leave. The node learns of it, unless it is dead."""
        self._is_broken = True
        self.node.world.loop.call_soon(self._task.cancel, context=self.node.context)


class Watcher(Person):
    """Follows a run over many connections to many nodes, from where it was."""

    def __init__(self, world: "World", run_id: str, number: int) -> None:
        super().__init__(world, f"watcher {number} of {run_id}")
        self.run_id = run_id
        self.seen = 0
        self.has_ended = False
        self._stream: _Stream | None = None
        self._position: Position | None = None

    async def follow(self) -> None:
        """Watch until the run has ended."""
        world = self.world
        while self.run_id not in world.oracle.books:
            await self.pause()
        while not self.has_ended:
            await pass_time(0.3 * world.chance.random())
            target = world.chance.choice(world.places)
            node = world.nodes.get(target)
            if node is None or not node.is_up or world.network.is_cut(self.name, target):
                continue
            stream = self._stream = _Stream(self, node, self._position)
            try:
                await self._read(stream)
            finally:
                self._stream = None
                stream.close()

    def expect_soon(self, count: int) -> None:
        """Check a moment later that so many events have come, unless the connection is another one.

        Call it only while nothing is wrong.
        """
        stream = self._stream
        if stream is None or not stream.node.is_up:
            return  # a connection to a dead node is silent for a while

        def check() -> None:
            self.world.oracle.expect(
                self._stream is not stream or self.seen >= count,
                f"{self.name} is connected, and is not sent event {count}",
            )

        self.world.loop.call_later(_SOON_S, check, context=OUTSIDE.copy())

    async def _read(self, stream: _Stream) -> None:
        """Read until the stream ends, breaks or is silent, or until the watcher has enough."""
        enough_s = self.world.chance.choice([1.3, 1.3 if self.world.is_calm else 8.0, 20.0])
        try:
            async with asyncio.timeout(enough_s):
                while isinstance(item := await stream.items.get(), Chunk):
                    self._take(item)
        except TimeoutError:
            return
        if item is None:
            self._end()

    def _take(self, chunk: Chunk) -> None:
        expect, book = self.world.oracle.expect, self.world.oracle.books[self.run_id]
        expect(chunk.gap is None, f"{self.name} got a gap: {chunk.gap}")
        self._position = chunk.position
        frames = [] if chunk.page is None else split_frames(chunk.page.frames)
        for canonical in frames:
            expect(self.seen < len(book.frames), f"{self.name} sees what is not stored")
            expect(
                canonical == book.frames[self.seen],
                f"{self.name} gets {canonical!r:.200} in the place of event {self.seen + 1}",
            )
            self.seen += 1

    def _end(self) -> None:
        book = self.world.oracle.books[self.run_id]
        self.world.oracle.expect(
            book.info.closed and self.seen == len(book.events),
            f"{self.name} was sent the end after {self.seen} of {len(book.events)} events",
        )
        self.has_ended = True
        self.world.note(f"{self.name} has seen the end")
