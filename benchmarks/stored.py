"""What a store of many runs costs: whether anything depends on how many there are.

    python -m benchmarks.stored --runs 10000,100000,1000000

Fills one SQLite file through the store's own code (`create` and `commit`, as the hub calls them)
and stops at each number of runs to look. Each run has a `started` and a `done` event, the label
`function` (of 20), `team` (of 1,000) and `user` (another for each ten runs). One run in 100 failed;
one in 100 may be deleted by its age.

A figure is the median of several looks in milliseconds, of a store that is open and has been used,
except for *open*: the first list of a new process's store on the file.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it can be run as a file

from runcast.events.model import encode_record
from runcast.stores.base import Append
from runcast.stores.sqlite.store import SQLiteStore

TOGETHER: Final = 500  # runs begun, and ended, in one group
LOOKS: Final = 9
FUNCTIONS: Final = 20
TEAMS: Final = 1000


def labels_of(number: int) -> dict[str, str]:
    """Return the labels of a run."""
    return {
        "function": f"function-{number % FUNCTIONS}",
        "team": f"team-{number % TEAMS}",
        "user": f"user-{number // 10}",
    }


async def fill(store: SQLiteStore, first: int, last: int) -> None:
    """Begin and end the runs `first` to `last` - 1."""
    for start in range(first, last, TOGETHER):
        numbers = range(start, min(start + TOGETHER, last))
        await asyncio.gather(*(begin(store, number) for number in numbers))
        await store.commit([ending(number) for number in numbers])


async def begin(store: SQLiteStore, number: int) -> None:
    """Begin a run."""
    ttl_s = 0.0 if number % 100 == 99 else None
    await store.create(f"run-{number:09}", labels=labels_of(number), ttl_s=ttl_s)


def ending(number: int) -> Append:
    """Return all events of a run."""
    if number % 100 == 0:
        last = encode_record("failed", {"error": "it broke", "code": "broken"}, 2.0)
    else:
        last = encode_record("done", {"result": number}, 2.0)
    function = {"function": f"function-{number % FUNCTIONS}", "labels": {}}
    records = [encode_record("started", function, 1.0), last]
    return Append(f"run-{number:09}", records, close=True)


async def median_ms(look: Callable[[], Awaitable[object]]) -> float:
    """Return how long something takes."""
    took: list[float] = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        await look()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


async def measure(path: Path, store: SQLiteStore, count: int) -> dict[str, Any]:
    """Return the figures of a store that holds `count` runs."""
    middle = (await store.info(f"run-{count // 2:09}")).created_at
    new = iter(range(count, count + LOOKS))

    async def open_another() -> None:
        async with SQLiteStore(str(path)) as other:
            assert len(await other.list(limit=1)) == 1

    async def one_run() -> None:
        number = next(new)
        await begin(store, number)
        await store.commit([ending(number)])

    async def expire() -> None:
        await store.delete((await store.expired(limit=1))[0])

    row = {
        "open": await median_ms(open_another),
        "list": await median_ms(lambda: store.list()),
        "page": await median_ms(lambda: store.list(before=(middle, ""))),
        "status": await median_ms(lambda: store.list(status="failed")),
        "function": await median_ms(lambda: store.list(labels={"function": "function-7"})),
        "label": await median_ms(lambda: store.list(labels={"user": f"user-{count // 30}"})),
        "retention": await median_ms(expire),
        "one run": await median_ms(one_run),
    }
    await asyncio.sleep(2.5)  # until the quiet second is over and the log is in the file
    row["bytes per run"] = (await asyncio.to_thread(path.stat)).st_size / count
    return row


async def run(counts: Sequence[int]) -> None:
    """Fill a file, and print a line of the table at each number of runs."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder) / "runs.db"
        async with SQLiteStore(str(path)) as store:
            stored = 0
            for count in counts:
                began = time.perf_counter()
                await fill(store, stored, count)
                rate = (count - stored) / (time.perf_counter() - began)
                await asyncio.sleep(2.5)
                row = await measure(path, store, count)
                if not stored:
                    print("| runs | filled, runs/s |", " | ".join(row), "|")
                    print("|" + "---|" * (len(row) + 2))
                figures = " | ".join(f"{figure:,.3g}" for figure in row.values())
                print(f"| {count:,} | {rate:,.0f} | {figures} |", flush=True)
                stored = count + LOOKS


def main() -> None:
    sys.setswitchinterval(0.0005)  # as `runcast serve` has it
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", default="10000,100000,1000000", help="with commas, rising")
    asyncio.run(run([int(count) for count in parser.parse_args().runs.split(",")]))


if __name__ == "__main__":
    main()
