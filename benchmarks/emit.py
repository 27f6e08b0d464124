"""What one publishing call costs the thread that makes it, with one watcher in the process.

    python -m benchmarks.emit --design seed

Prints one JSON line. *Burst*: events one after another, in bursts small enough for any bound on
what may be pending, each followed by the time its events take to arrive. *Paced*: 2,000 events a
second, so that every call finds the loop asleep and caches cold.
"""

import argparse
import asyncio
import contextlib
import functools
import json
import statistics
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it can be run as a file

from benchmarks.load import run_on_best_loop
from benchmarks.peers.publisher import Event, encode_json, make_event

BURST = 500  # events; about 120 kB
PACED = 600  # events
PACED_GAP_S = 0.0005
ARRIVAL_S = 10.0  # at most, for a burst to arrive


class Design(ABC):
    """One way to hand events from a thread to a watcher on the loop."""

    publish: Callable[[Event], None]
    """Publish one event; called from a thread that is not the loop's."""

    def __init__(self) -> None:
        self.received = 0

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Have a watcher waiting."""
        watcher = asyncio.create_task(self.watch())
        await asyncio.sleep(0)
        try:
            yield
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher

    @abstractmethod
    async def watch(self) -> None:
        """Count events in `received` as they arrive."""


class SeedDesign(Design):
    """`run_coroutine_threadsafe(queue.put(event), loop).result(5)`: wait for the loop each time."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Event] = asyncio.Queue(1000)

    async def watch(self) -> None:
        while True:
            encode_json(await asyncio.wait_for(self._queue.get(), timeout=30.0))
            self.received += 1

    def publish(self, event: Event) -> None:
        asyncio.run_coroutine_threadsafe(self._queue.put(event), self._loop).result(timeout=5.0)


class QueueDesign(Design):
    """Encode, then `call_soon_threadsafe` for each event: do not wait for the loop."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[str] = asyncio.Queue()

    async def watch(self) -> None:
        while True:
            await self._queue.get()
            self.received += 1

    def publish(self, event: Event) -> None:
        self._loop.call_soon_threadsafe(self._queue.put_nowait, encode_json(event))


class RuncastDesign(Design):
    """`runcast.emit` in a run whose log is on SQLite: encode, put in order, wake the loop once.

    The watcher takes committed frames, as a stream of the server does.
    """

    def __init__(self) -> None:
        super().__init__()
        # As `runcast serve` has it; part of what a call costs is giving the loop its turn.
        sys.setswitchinterval(0.0005)
        import runcast

        self._runcast = runcast
        self.publish = functools.partial(runcast.emit, "content")

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        finish, writers = asyncio.Event(), list[Any]()

        async def hold() -> None:
            writers.append(self._runcast.current_writer())
            await finish.wait()

        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            async with self._runcast.open_hub(f"sqlite:///{folder}/runs.db") as hub:
                run = await hub.start(hold)
                self._watch = await hub.hub.watch(run.run_id)
                while not writers:  # noqa: ASYNC110 - a few turns of the loop
                    await asyncio.sleep(0)
                with self._runcast.using(writers[0]):  # threads started from here inherit it
                    async with super().opened():
                        yield
                finish.set()
                await run.result()

    async def watch(self) -> None:
        with self._watch as watch:
            async for chunk in watch:
                self.received = chunk.position.seq - 1  # `started` is not ours


DESIGNS: dict[str, Callable[[], Design]] = {
    "runcast": RuncastDesign,
    "seed": SeedDesign,
    "starlette": QueueDesign,
}


def publish_timed(design: Design, events: list[Event], gap_s: float) -> tuple[list[int], float]:
    """Publish the events; return the nanoseconds that each call took, and the CPU of one."""
    clock, publish = time.perf_counter_ns, design.publish
    costs = []
    began = time.thread_time_ns()
    for event in events:
        before = clock()
        publish(event)
        costs.append(clock() - before)
        if gap_s:
            time.sleep(gap_s)
    return costs, (time.thread_time_ns() - began) / len(events)


async def wait_for_arrival(design: Design, count: int) -> None:
    """Return when the watcher has had `count` events."""
    async with asyncio.timeout(ARRIVAL_S):
        while design.received < count:  # noqa: ASYNC110 - an event would be a cost of its own
            await asyncio.sleep(0)


async def measure(name: str, count: int) -> dict[str, Any]:
    """Return the figures of one design."""
    design = DESIGNS[name]()
    costs: list[int] = []
    spans: list[float] = []
    cpu: list[float] = []
    async with design.opened():
        for number in range(max(1, count // BURST)):
            events = [make_event(seq) for seq in range(BURST)]
            before = time.perf_counter_ns()
            burst, cpu_ns = await asyncio.to_thread(publish_timed, design, events, 0.0)
            await wait_for_arrival(design, (number + 1) * BURST)
            spans.append((time.perf_counter_ns() - before) / BURST)
            costs += burst
            cpu.append(cpu_ns)
        events = [make_event(seq) for seq in range(PACED)]
        paced, _ = await asyncio.to_thread(publish_timed, design, events, PACED_GAP_S)
        await wait_for_arrival(design, len(costs) + PACED)
    return {
        "ok": True,
        **_describe("burst", costs),
        "burst_cpu_ns": round(statistics.median(cpu)),
        **_describe("paced", paced),
        "end_to_end_ns": round(statistics.median(spans)),
    }


def _describe(name: str, costs: list[int]) -> dict[str, int]:
    ordered = sorted(costs)
    return {
        f"{name}_mean_ns": round(statistics.mean(ordered)),
        f"{name}_p50_ns": ordered[len(ordered) // 2],
        f"{name}_p99_ns": ordered[len(ordered) * 99 // 100],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--design", choices=list(DESIGNS), required=True)
    parser.add_argument("--events", type=int, default=20_000)
    found = parser.parse_args()
    print(json.dumps(run_on_best_loop(measure(found.design, found.events))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
