"""The functions that the runcast server of the benchmarks serves.

    runcast serve benchmarks/targets.py

Two ways to publish, both open loop and both from a thread that is not the loop's: `emitter` is one
run that emits, as users write it; many runs are fed by one thread with `stream` and `feed_all`.
Nothing is published before the driver says so, so that the watchers are there first.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is served as a file

import runcast
from benchmarks.pace import Pace

TEXT = "x" * 110  # makes a frame of about 230 bytes, as long as those of the peers
WAIT_S = 120.0  # at most, for the driver to say go

gate = threading.Event()
streams: list[tuple[Callable[..., None], Callable[[], object]]] = []
"""Of each waiting run: what emits into it, and what lets it end."""


def make_data() -> dict[str, object]:
    """Return the data of an event that is being published now."""
    return {"text": TEXT, "ts": time.monotonic_ns()}


@runcast.function
def emitter(n: int, rate: float) -> None:
    """Emit n events, `rate` a second, once the gate is open."""
    gate.wait(WAIT_S)
    pace, done = Pace(n, rate), 0
    while done < n:
        for _ in range(done, pace.due()):
            runcast.emit("content", make_data())
            done += 1
        time.sleep(pace.wait_s(done))


@runcast.function
def open_gate() -> None:
    """Let all emitters begin."""
    gate.set()


@runcast.function
async def stream() -> None:
    """Be a run that `feed_all` emits into."""
    loop, finished = asyncio.get_running_loop(), asyncio.Event()
    streams.append((runcast.bind(runcast.emit), lambda: loop.call_soon_threadsafe(finished.set)))
    async with asyncio.timeout(WAIT_S):
        await finished.wait()


@runcast.function
def feed_all(n: int, rate: float) -> None:
    """Emit n events into each waiting run, in turn, `rate` a second and run, from one thread."""
    emits = [emit for emit, _ in streams]
    count = len(emits)
    pace, done = Pace(n * count, rate * count), 0
    while done < n * count:
        for index in range(done, pace.due()):
            emits[index % count]("content", make_data())
            done += 1
        time.sleep(pace.wait_s(done))
    for _, finish in streams:
        finish()


@runcast.function
def fill(n: int) -> None:
    """Emit n events as fast as they are taken."""
    for _ in range(n):
        runcast.emit("content", make_data())
