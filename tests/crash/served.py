"""Real servers that are killed, and watchers that come back to whatever serves next."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.environment import environment
from tests.http.client import Answer, Connection, Cut, Watching, fetch
from tests.waiting import WAIT_S, until

__all__ = ("FUNCTIONS", "START_S", "Server", "Watcher", "children_of", "serving", "within")

FUNCTIONS: Final = str(Path(__file__).with_name("functions.py"))
"""What servers are to serve that need more than the demo functions."""

START_S: Final = 30.0
"""Longest wait for a server, or for all watchers, on a machine that has other work."""

_LEASE_S: Final = 2.0

_RECEIVE_BYTES: Final = 2**16
"""What the kernel keeps for a watcher: of a hundred floods all of it is read after a kill."""

JSON: Final = {"Content-Type": "application/json"}


def within() -> asyncio.Timeout:
    """Return the bound of a wait."""
    return asyncio.timeout(START_S)


class Server:
    """A `runcast serve` in a process of its own."""

    def __init__(self, process: Process, address: tuple[str, int], complaints: Path) -> None:
        self.process = process
        self.address = address
        self.complaints = complaints
        """What it has said goes wrong."""

    @classmethod
    async def spawn(
        cls,
        store: Path | str,
        *arguments: str,
        settings: Mapping[str, object] | None = None,
        env: Mapping[str, str] | None = None,
        errors: Path | None = None,
        inside: Sequence[str] = (),
        passed: Sequence[int] = (),
    ) -> Process:
        """Start a process; what it complains of goes into a file, by default beside the store.

        Args:
            store: a file, or a URL; then `errors` must be given.
            inside: a command that starts it, one that makes a container say.
            passed: descriptors that it inherits.
        """
        given = {"RUNCAST_LEASE_S": str(_LEASE_S), "RUNCAST_STORE_RETRY_S": "0.01"}
        given |= {f"RUNCAST_{name.upper()}": str(value) for name, value in (settings or {}).items()}
        command = ["-W", "error", "-m", "runcast", "serve", *arguments]
        command += ["--port", "0", "--store", url_of(store)]
        with (errors or complaints_of(store)).open("ab") as complaints:
            return await asyncio.create_subprocess_exec(
                *inside,
                sys.executable,
                *command,
                stdout=PIPE,
                stderr=complaints,
                env=environment({"PYTHONFAULTHANDLER": "1", **given, **(env or {})}),
                pass_fds=passed,
            )

    @classmethod
    async def start(cls, store: Path | str, *arguments: str, **more: Any) -> "Server":
        """Start a server and wait until it answers."""
        process = await cls.spawn(store, *arguments, **more)
        complaints = more.get("errors") or complaints_of(store)
        assert process.stdout is not None
        try:
            async with within():
                line = (await process.stdout.readline()).decode()
            if not line.startswith("runcast is listening on "):
                raise AssertionError(f"it did not start: {line}{complaints.read_text()}")
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        return cls(process, ("127.0.0.1", int(line.rpartition(":")[2])), complaints)

    async def kill(self) -> None:
        """End it without a chance to do anything. Idempotent.

        Raises:
            AssertionError: its children do not end, with the stacks of them.
        """
        children = children_of(self.process.pid)
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                await self.process.wait()  # and for the end of its output, which children share
            return
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGABRT)
        await self.process.wait()
        raise AssertionError(f"children of the server outlive it:\n{self.complaints.read_text()}")

    async def stop(self) -> int:
        """Ask it to end; return its exit code."""
        self.process.terminate()
        async with within():
            return await self.process.wait()

    async def ask(self, method: str, target: str, body: object = None) -> Answer:
        """Make a request and read the whole answer."""
        sent = None if body is None else json.dumps(body).encode()
        return await fetch(self.address, method, target, JSON if body is not None else None, sent)

    async def start_and_watch(
        self, run_id: str, function: str = "emit_events", **inputs: object
    ) -> "Watcher":
        """Begin a run and return who is to watch it."""
        answer = await self.start_run(function, run_id, **inputs)
        assert answer.status == 202, answer
        return Watcher(run_id)

    async def start_run(self, function: str, run_id: str, **inputs: object) -> Answer:
        """Begin a run without waiting for it."""
        body = json.dumps({"inputs": inputs, "run_id": run_id}).encode()
        headers = {**JSON, "Prefer": "respond-async"}
        return await fetch(self.address, "POST", f"/invoke/{function}", headers, body)

    async def log_of(self, run_id: str) -> list[tuple[str, str]]:
        """Return (id, data) of all events of a log."""
        watcher = Watcher(run_id)
        await watcher.follow(self.address, "&live=false")
        return watcher.seen


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started; none if it is gone."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def url_of(store: Path | str) -> str:
    """Return a store's URL."""
    return store if isinstance(store, str) else f"sqlite:///{store}"


def complaints_of(store: Path | str) -> Path:
    """Return where servers of a store in a file write what goes wrong."""
    assert isinstance(store, Path), "where errors go must be said for a store that has a URL"
    return store.with_suffix(".err")


@asynccontextmanager
async def serving(store: Path | str, *arguments: str, **more: Any) -> AsyncIterator[Server]:
    """A server for the length of a block."""
    server = await Server.start(store, *arguments, **more)
    try:
        yield server
    finally:
        await server.kill()


class Watcher:
    """Watches one run over as many connections as it takes, and keeps all it was shown."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.seen: list[tuple[str, str]] = []
        """The id and the data of each event."""
        self.gaps: list[dict[str, Any]] = []
        self.connections = 0
        self.has_ended = False
        """Whether it has seen the terminal event."""
        self.is_gone = False
        """Whether there was no such run."""
        self.is_dismissed = False
        """Whether it was told that it has seen the end."""

    async def follow(self, address: tuple[str, int], query: str = "", most: int = 0) -> None:
        """Go on where it was, on one connection, until that ends.

        Args:
            most: leave after so many events; 0 stays.
        """
        headers = {"Last-Event-ID": self.seen[-1][0]} if self.seen else None
        self.connections += 1
        with contextlib.suppress(Cut, ConnectionError):
            opening = Connection.open(*address, receive_bytes=_RECEIVE_BYTES)
            async with await opening as connection:
                target = f"/runs/{self.run_id}/events?dialect=runcast{query}"
                await connection.ask("GET", target, headers)
                head = await connection.read_head()
                if head.status == 404:
                    self.is_gone = True
                    return
                if head.status == 204:
                    self.is_dismissed = True
                    return
                assert head.status == 200, (self.run_id, head)
                await self._read(Watching(connection, head), most)

    async def follow_to_the_end(self, address: tuple[str, int]) -> None:
        """Go on where it was, on as many connections as it takes."""
        while not self.has_ended:
            await self.follow(address)
            assert not self.is_dismissed, "told that it knows the end, which it does not"

    async def until(self, count: int) -> None:
        """Wait, while somebody lets it follow, until it has seen so many events."""
        async with within():
            await until(lambda: len(self.seen) >= count)

    async def _read(self, watching: Watching, most: int) -> None:
        stay = most or sys.maxsize
        while stay:
            event = await watching.event_or_none()
            if event is None:
                return
            told = json.loads(event.data)
            if told["type"] == "gap":
                self.gaps.append(told["data"])
                self._forget_what_is_void(told["data"]["after"])
                continue
            self.seen.append((event.id, event.data))
            self.has_ended = told["type"] in ("done", "failed", "cancelled")
            stay -= 1

    def _forget_what_is_void(self, after: str) -> None:
        epoch, _, kept = after.partition("-")
        self.seen = [
            (position, data)
            for position, data in self.seen
            if position.startswith(epoch) and int(position.partition("-")[2]) <= int(kept)
        ]
        self.has_ended = False
