"""A world of nodes, a store and people, for one seed: it runs, is checked, and leaves a trace."""

import asyncio
import contextlib
import gc
import hashlib
import logging
import os
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.simulation.attachers import attach_run
from tests.simulation.faults import FAULTS
from tests.simulation.loop import SimulationStuck, VirtualLoop, pass_time
from tests.simulation.network import Network
from tests.simulation.node import LEASE_S, Node
from tests.simulation.oracle import Oracle, Violation
from tests.simulation.people import Watcher, answer_run, cancel_run, start_run
from tests.simulation.real import REAL, Parts
from tests.simulation.runs import WORLD
from tests.simulation.store import StoreServer
from tests.simulation.writers import write_run

__all__ = ("Report", "World", "simulate")

_FAULTY_S: Final = 27.0
"""How long things go wrong, seconds of virtual time."""

_CALM_S: Final = 10.0
"""How long nothing goes wrong at the beginning."""

_RECOVERED_S: Final = 10.0
"""After this time without faults, nodes hear each other again."""

_TAKEN_OVER_S: Final = LEASE_S / 3 + 2.0
"""A run without an owner is taken over at the next look for such runs."""

_REST_S: Final = 90.0
"""How long after that everything may take to come to rest."""

_KINDS: Final = ("plain", "endless", "recovering", "recovering", "asking", "remote", "attached")

_MOST_STEPS: Final = 400_000


@dataclass
class Report:
    """What came of a seed. `error` is the first promise that was broken."""

    seed: int
    error: BaseException | None = None
    digest: str = ""
    steps: int = 0
    trace: list[str] = field(default_factory=list)
    events: int = 0
    early_cancels: int = 0


class World:
    """Everything that one seed makes.

    Args:
        parts: makes what the nodes are made of; a planted bug is another part.
    """

    def __init__(self, seed: int, parts: Parts) -> None:
        self.chance = random.Random(seed)
        self.loop = VirtualLoop(random.Random(f"order {seed}"), _MOST_STEPS)
        self.trace: list[str] = []
        self.parts = parts
        self.network = Network(self.loop, random.Random(f"network {seed}"))
        self.oracle = Oracle(self.loop.time, self._fail, self.note, self._stored)
        self.server = StoreServer(self.loop, self.network, self.oracle)
        self.places = ["n1", "n2", "n3"]
        self.nodes: dict[str, Node] = {}
        self.watchers: list[Watcher] = []
        self.starting: dict[str, None] = {}
        """Runs that somebody still tries to begin."""
        self.is_over = False
        now = self.loop.time()
        self._calm = (now + 1.0, now + _CALM_S - 2.0)
        """From when until when nothing is wrong, and events must reach watchers soon."""
        self._all: list[Node] = []
        self._tokens = 0
        self.loop.set_exception_handler(self._unexpected)

    def note(self, line: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.loop.time():.4f} {line}")

    def _fail(self, error: BaseException) -> None:
        if self.loop.error is None and not self.is_over:
            self.note(f"BROKEN: {error}")
            self.loop.error = error

    @property
    def is_calm(self) -> bool:
        """Whether nothing is wrong now, nor was a moment ago."""
        return self._calm[0] <= self.loop.time() <= self._calm[1]

    def _stored(self, log_id: str, count: int) -> None:
        if self.is_calm:
            for watcher in self.watchers:
                if watcher.run_id == log_id:
                    watcher.expect_soon(count)

    def _unexpected(self, loop: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        problem = Violation(f"unexpected: {context['message']}: {error!r}")
        problem.__cause__ = error
        self._fail(problem)

    def next_token(self, base: str) -> str:
        """Return a name that nothing else has."""
        self._tokens += 1
        return f"{base}/{self._tokens}"

    def start(self, name: str) -> None:
        """Start a process in a place; one that is there before it is no longer asked anything."""
        node = self.nodes[name] = Node(self, name, len(self._all) + 1)
        self._all.append(node)

    def kill(self, node: Node) -> None:
        """End a process at once."""
        self.note(f"{node.tag} is killed")
        self.loop.kill(node.tag)
        node.is_up = False
        if self.nodes.get(node.name) is node:
            del self.nodes[node.name]

    # The story.

    async def live(self) -> None:
        """Let things happen, let things go wrong, come to rest, and check."""
        for name in self.places:
            self.start(name)
        people = [(run_id, asyncio.ensure_future(each)) for run_id, each in self._people()]
        troubles = [asyncio.ensure_future(each) for each in self._troubles()]
        await pass_time(_FAULTY_S)
        await asyncio.gather(*troubles)
        self.note("everything is mended")
        self.network.heal()
        for name in self.places:
            if name not in self.nodes:
                self.start(name)
        now = self.loop.time()
        self._calm = (now + _RECOVERED_S, now + _REST_S)
        await self._come_to_rest(people)
        self.oracle.check_end()
        for watcher in self.watchers:
            self.oracle.expect(
                watcher.has_ended or watcher.run_id not in self.oracle.books,
                f"{watcher.name} does not see the end",
            )
        await self._stop()

    def _people(self) -> list[tuple[str, Awaitable[None]]]:
        """Return what people do, each with the run that they do it with."""
        chance, people = self.chance, list[tuple[str, Awaitable[None]]]()
        for number in range(chance.randint(3, 6)):
            function = chance.choice(_KINDS)
            run_id, steps = f"{function}-{number}", chance.randint(1, 18)
            begin_s = chance.random() * 14.0
            self.starting[run_id] = None
            doing: list[Awaitable[None]] = []
            if function == "remote":
                doing.append(_later(begin_s, write_run, self, run_id, steps))
            elif function == "attached":
                doing += [_later(begin_s, attach_run, self, run_id, n, steps) for n in range(2)]
            else:
                doing.append(_later(begin_s, start_run, self, run_id, function, steps))
            if function == "asking":
                doing += [answer_run(self, run_id, value) for value in ("yes", "no")]
            if function == "endless" or chance.random() < 0.2:
                after_s = chance.choice([0.0, chance.random() * 25.0])
                doing.append(cancel_run(self, run_id, after_s))
            for which in range(chance.randint(1, 2)):
                watcher = Watcher(self, run_id, which)
                self.watchers.append(watcher)
                doing.append(watcher.follow())
            people += [(run_id, each) for each in doing]
        return people

    def _troubles(self) -> list[Awaitable[None]]:
        chance = self.chance
        return [
            _later(chance.uniform(_CALM_S, _FAULTY_S), chance.choice(FAULTS), self)
            for _ in range(chance.randint(0, 10))
        ]

    async def _come_to_rest(self, people: Sequence[tuple[str, "asyncio.Future[None]"]]) -> None:
        until = self.loop.time() + _REST_S
        while self.loop.time() < until:
            await pass_time(0.5)
            if self.is_calm:
                self.oracle.check_owners(_TAKEN_OVER_S)
            there = {**self.starting, **self.oracle.books}
            busy = [run_id for run_id, each in people if run_id in there and not each.done()]
            if not busy and not self.oracle.open_logs():
                break
        for _, each in people:
            if each.done() and each.exception() is not None:
                raise Violation(f"somebody fails: {each.exception()!r}") from each.exception()
        self.note("everything is at rest")

    async def _stop(self) -> None:
        for node in self.nodes.values():
            node.stop()
        await pass_time(2 * LEASE_S)
        for node in self.nodes.values():
            self.oracle.expect(node.is_over, f"{node.tag} does not stop")


async def _later(delay_s: float, act: Callable[..., Awaitable[None]], *args: Any) -> None:
    await pass_time(delay_s)
    await act(*args)


def simulate(
    seed: int, parts: Parts = REAL, make_world: "Callable[[int, Parts], World]" = World
) -> Report:
    """Run one seed and return what came of it. The same seed always gives the same trace.

    Args:
        make_world: a world with a story of its own.
    """
    report = Report(seed)
    with _determined(seed):
        world = make_world(seed, parts)
        WORLD.set(world)
        try:
            world.loop.run_until_complete(world.live())
        except (Violation, SimulationStuck) as error:
            report.error = error
        report.trace, report.steps = list(world.trace), world.loop.steps
        report.events = sum(len(book.events) for book in world.oracle.books.values())
        report.early_cancels = world.oracle.early_cancels
        world.is_over, world.network.lost = True, 1.0
        world.loop.end_all()
        world.loop.close()
    report.digest = hashlib.sha256("\n".join(report.trace).encode()).hexdigest()
    return report


@contextlib.contextmanager
def _determined(seed: int) -> Iterator[None]:
    """Draw everything random from the seed, log nothing, and collect no garbage meanwhile."""
    entropy, state, urandom = random.Random(f"entropy {seed}"), random.getstate(), os.urandom
    system_random = random._urandom  # type: ignore[attr-defined]
    disabled = logging.root.manager.disable
    os.urandom = random._urandom = entropy.randbytes  # type: ignore[attr-defined]
    random.seed(f"shared {seed}")
    logging.disable(logging.CRITICAL)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        logging.disable(disabled)
        random.setstate(state)
        os.urandom, random._urandom = urandom, system_random  # type: ignore[attr-defined]
