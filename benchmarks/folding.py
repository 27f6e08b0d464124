"""What the state of a long run costs: the first time, and every time after that.

    python -m benchmarks.folding --events 4500000

Writes one run of so many events into a SQLite file, through a hub, and asks for its state: first,
again, by eight requests at once, after 200 other runs pushed it out of memory, after a restart, and
after 1,000 more events. Prints for each how long it took and what CPU the process used, in seconds,
and how many events were folded.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it can be run as a file

from runcast._hub.hub import Hub
from runcast.events.model import encode_record
from runcast.stores.sqlite.store import SQLiteStore

TOGETHER: Final = 5_000  # events in one append
OTHERS: Final = 200  # more runs than states are kept of
ASKERS: Final = 8
MORE: Final = 1_000


def piece(number: int) -> bytes:
    """Return one event of a streamed answer."""
    return encode_record("content", {"text": f"word {number} "}, 1.0 + number)


async def write(hub: Hub, run_id: str, first: int, last: int) -> None:
    """Append the events `first` to `last` - 1."""
    inlet = hub.inlet(run_id)
    for start in range(first, last, TOGETHER):
        numbers = range(start, min(start + TOGETHER, last))
        await inlet.append([piece(number) for number in numbers])


async def show(hub: Hub, when: str, ask: Callable[[], Awaitable[object]]) -> None:
    """Print a line of the table."""
    before, began, cpu_s = hub._present.folded, time.perf_counter(), time.process_time()
    await ask()
    took, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
    folded = hub._present.folded - before
    print(f"| {when} | {took:.3f} | {cpu_s:.3f} | {folded:,} |", flush=True)


async def run(events: int) -> None:
    """Write a run and ask for its state."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = str(Path(folder) / "runs.db")

        print("| state of the run | s | CPU s | events folded |\n|---|---|---|---|")
        async with Hub(SQLiteStore(path)) as hub:
            await hub.create("long")
            await write(hub, "long", 0, events)
            await show(hub, "asked for eight times at once", lambda: ask_together(hub))
            await show(hub, "again", lambda: hub.present("long"))
            for number in range(OTHERS):
                await hub.create(f"other-{number}")
                await hub.present(f"other-{number}")
            await show(hub, f"after the states of {OTHERS} others", lambda: hub.present("long"))
        async with Hub(SQLiteStore(path)) as hub:
            await show(hub, "after a restart", lambda: hub.present("long"))
            await write(hub, "long", events, events + MORE)
            await show(hub, f"after {MORE:,} more events", lambda: hub.present("long"))


async def ask_together(hub: Hub) -> None:
    """Ask as several people do who look at the same run."""
    await asyncio.gather(*(hub.present("long") for _ in range(ASKERS)))


def main() -> None:
    sys.setswitchinterval(0.0005)  # as `runcast serve` has it
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=4_500_000, help="of the run (%(default)s)")
    asyncio.run(run(parser.parse_args().events))


if __name__ == "__main__":
    main()
