"""Remote writing over HTTP, beside the reference server of Durable Streams.

`benchmarks.nodes remote` runs it. Its client makes and reads as little as it can, because it takes
processor time from the servers that it measures.
"""

import asyncio
import itertools
import json
import re
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.servers import cpu_s, node, started

__all__ = ("remote",)

ROUNDS: Final = 5
SECS: Final = 1.0
CONNECTIONS: Final = (1, 8)
FULL_SYNC: Final = {"RUNCAST_SQLITE_FULL_SYNC": "true"}
TEXT: Final = "x" * 150  # events of about 230 bytes
LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
HEAD_END: Final = b"\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"

DURABLE: Final = """
import { DurableStreamTestServer } from "@durable-streams/server";
const dataDir = process.argv[2]; // without one it keeps streams in memory
const options = { port: 0, host: "127.0.0.1", compression: false, dataDir };
const server = new DurableStreamTestServer(options);
console.log("listening on " + await server.start());
"""


class Connection(asyncio.Protocol):
    """One kept connection, which has one request at a time."""

    @classmethod
    async def open(cls, port: int) -> "Connection":
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, "127.0.0.1", port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""
        self._answered: Callable[[int, bytes], None] | None = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(HEAD_END)
        status, length = int(head[9:12]), LENGTH.search(head)
        is_whole = len(body) >= int(length[1]) if length else body.endswith(LAST_CHUNK)
        if found and (is_whole or status == 204):
            self._received = b""
            assert self._answered is not None
            self._answered(status, body)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answered is not None:
            self._answered(0, b"the connection was lost")

    def ask(self, request: bytes, answered: Callable[[int, bytes], None]) -> None:
        """Send a request; tell the status and the body of the answer."""
        self._answered = answered
        self._transport.write(request)

    async def answer(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and return the answer."""
        told: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self.ask(request, lambda *answer: told.set_result(answer))
        return await told

    def close(self) -> None:
        self._answered = None
        self._transport.close()


def request_of(method: str, path: str, body: bytes = b"", lease: str = "") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"Runcast-Lease: {lease}"] if lease else []
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


class Target(NamedTuple):
    """A server that batches are written to."""

    port: int
    pid: int
    requests: Callable[[Connection, str, bytes], Awaitable[Iterator[bytes]]]
    """Begins a run or a stream, and returns the requests that write the batches."""


async def remote(folder: Path, durable: Path | None) -> None:
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
                    row = await _rate(target, f"{connections}-{number}", body, connections)
                    rows[name].append(row)
            _print_remote(connections, rows)


def _print_remote(connections: int, rows: dict[str, list[tuple[float, float]]]) -> None:
    print(f"remote: batches of 100 events, {connections} connections    events/s   CPU us/event")
    ours_s, ours_us = (statistics.median(column) for column in zip(*rows["runcast"], strict=True))
    for name, found in rows.items():
        rate, cpu = (statistics.median(column) for column in zip(*found, strict=True))
        ratios = f"runcast: {ours_s / rate:.2f} x the rate, {cpu / ours_us:.2f} x by CPU"
        print(f"  {name:48} {rate:8.0f} {cpu:10.1f}  {ratios}")


async def _rate(target: Target, name: str, body: bytes, connections: int) -> tuple[float, float]:
    """Write for some time; return events a second, and CPU of the server, us an event."""
    opened = [await Connection.open(target.port) for _ in range(connections)]
    requests = [
        await target.requests(connection, f"r{name}-{number}", body)
        for number, connection in enumerate(opened)
    ]
    began, cpu = time.monotonic(), cpu_s(target.pid)
    counts = await asyncio.gather(
        *(_write(*each, began + SECS) for each in zip(opened, requests, strict=True))
    )
    took_s, used_s = time.monotonic() - began, cpu_s(target.pid) - cpu
    for connection in opened:
        connection.close()
    return sum(counts) * 100 / took_s, used_s / sum(counts) * 1e4


async def _write(connection: Connection, requests: Iterator[bytes], until: float) -> int:
    """Send one request after another; return how many were answered."""
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    count = 0

    def answered(status: int, body: bytes) -> None:
        nonlocal count
        if status not in (200, 204):
            ended.set_exception(AssertionError(f"{status}: {body!r}"))
            return
        count += 1
        if time.monotonic() < until:
            connection.ask(next(requests), answered)
        else:
            ended.set_result(count)

    connection.ask(next(requests), answered)
    return await ended


async def _to_runcast(connection: Connection, run_id: str, body: bytes) -> Iterator[bytes]:
    opening = json.dumps({"name": "bench", "run_id": run_id}).encode()
    status, answer = await connection.answer(request_of("POST", "/runs", opening))
    assert status == 201, answer
    lease = json.loads(answer)["lease_id"]
    path = f"/runs/{run_id}/events?producer=p&sequence="
    return (request_of("POST", f"{path}{n}", body, lease) for n in itertools.count(1))


async def _to_durable(connection: Connection, name: str, body: bytes) -> Iterator[bytes]:
    status, answer = await connection.answer(request_of("PUT", f"/v1/stream/{name}"))
    assert status in (200, 201), answer
    return itertools.repeat(request_of("POST", f"/v1/stream/{name}", body))
