"""What a process of its own costs a function: how soon it tells something, and how fast.

    python -m benchmarks.isolation

Prints one table. *First event*: from the call to the first event at a watcher, with a process that
is ready and with one that has to be started. *Rate*: events of about 230 bytes that a generator
yields as fast as it can, until the last one is at the watcher.

- `process`: `isolation="process"`, a socket to a child process; the log is on SQLite.
- `thread`: the same function in a thread; the log is on SQLite.
- `worker`: what one would write by hand: a worker process, started by `spawn`, which sends each
  event through a `multiprocessing.Pipe`; a thread receives it and hands it to the loop. It stores
  nothing, keeps no workspace, and where it is kept ready it serves one call after another in the
  same interpreter, which sees what the calls before have left.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it can be run as a file

import runcast
from benchmarks.load import run_on_best_loop
from benchmarks.peers.publisher import make_event

WARM_S = 20.0  # at most, for a process to be ready


def tell(n: int) -> Iterator[dict[str, Any]]:
    """Yield n events."""
    for seq in range(n):
        yield {"type": "content", "data": make_event(seq)}


class Design(ABC):
    """One way to run a function."""

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Get ready for calls."""
        yield

    @abstractmethod
    async def call(self, n: int, on_first: Callable[[], None]) -> None:
        """Run `tell(n)` and return when all its events have come."""

    async def warm(self) -> None:  # noqa: B027 - there may be nothing to wait for
        """Wait until a process is ready."""


class RuncastDesign(Design):
    """A hub on SQLite, and a watcher that takes committed frames, as streams of the server do."""

    def __init__(self, isolation: Any, ready: int) -> None:
        self._ready = ready if isolation == "process" else 0
        self._function = runcast.function(isolation=isolation)(tell)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        sys.setswitchinterval(0.0005)  # as `runcast serve` has it
        settings = runcast.Settings(warm_processes=self._ready)
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            store = f"sqlite:///{folder}/runs.db"
            opening = runcast.open_hub(store, functions=[self._function], settings=settings)
            async with opening as self._hub:
                yield

    async def warm(self) -> None:
        async with asyncio.timeout(WARM_S):
            while self._hub.runner.processes.ready < self._ready:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)  # to import the module

    async def call(self, n: int, on_first: Callable[[], None]) -> None:
        run = await self._hub.start(self._function, {"n": n})
        is_first = True
        with await self._hub.hub.watch(run.run_id) as watch:
            async for chunk in watch:
                if is_first and chunk.position.seq > 1:  # after `started`
                    on_first()
                    is_first = False


class WorkerDesign(Design):
    """A worker process and a pipe, by hand."""

    def __init__(self, ready: int) -> None:
        self._is_kept = ready > 0
        self._worker: tuple[Any, Connection] | None = None

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self._end()

    async def warm(self) -> None:
        if self._worker is None and self._is_kept:
            self._worker = _start_worker()
            self._worker[1].send(0)
            self._worker[1].recv()

    async def call(self, n: int, on_first: Callable[[], None]) -> None:
        if not self._is_kept:
            self._end()
        if self._worker is None:
            self._worker = _start_worker()
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Any] = asyncio.Queue()
        connection = self._worker[1]

        def receive() -> None:
            while True:
                event = connection.recv()
                loop.call_soon_threadsafe(queue.put_nowait, event)
                if event is None:
                    return

        connection.send(n)
        thread = threading.Thread(target=receive)
        thread.start()
        if await queue.get() is not None:
            on_first()
            while await queue.get() is not None:
                pass
        thread.join()

    def _end(self) -> None:
        if self._worker is not None:
            self._worker[0].kill()
            self._worker[0].join()
            self._worker = None


def _start_worker() -> tuple[Any, Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), daemon=True)
    process.start()
    return process, ours


def _work(connection: Connection) -> None:
    while True:
        for event in tell(connection.recv()):
            connection.send(event)
        connection.send(None)


DESIGNS: dict[str, Callable[[int], Design]] = {
    "process": lambda ready: RuncastDesign("process", ready),
    "thread": lambda ready: RuncastDesign("thread", ready),
    "worker": WorkerDesign,
}


async def first_event(design: Design, rounds: int) -> list[float]:
    """Return the milliseconds from each call to its first event."""
    found: list[float] = []
    async with design.opened():
        for _ in range(rounds):
            await design.warm()
            before = time.perf_counter()
            await design.call(
                1, lambda before=before: found.append(1000 * (time.perf_counter() - before))
            )
    return found


async def rates(design: Design, rounds: int, events: int) -> list[float]:
    """Return the events per second of each call, from its first event on."""
    found: list[float] = []
    async with design.opened():
        for _ in range(rounds):
            await design.warm()
            first: list[float] = []
            await design.call(events, lambda first=first: first.append(time.perf_counter()))
            found.append(events / (time.perf_counter() - first[0]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--events", type=int, default=20_000)
    found = parser.parse_args()
    print("| design | first event, ready (ms) | first event, started (ms) | events/s |")
    print("|---|---|---|---|")
    for name, make in DESIGNS.items():
        ready = run_on_best_loop(first_event(make(1), found.rounds))
        started = run_on_best_loop(first_event(make(0), found.rounds))
        rate = run_on_best_loop(rates(make(1), found.rounds, found.events))
        cells = [_shown(ready, ".1f"), _shown(started, ".0f"), _shown(rate, ",.0f")]
        print(f"| `{name}` | {' | '.join(cells)} |", flush=True)


def _shown(values: list[float], form: str) -> str:
    middle = format(statistics.median(values), form)
    return f"{middle} ({format(min(values), form)}–{format(max(values), form)})"


if __name__ == "__main__":
    main()
