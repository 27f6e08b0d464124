"""A `runcast worker` in a process of its own."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.crash.served import within
from tests.environment import environment

__all__ = ("CeleryWorker", "working")

FUNCTIONS: Final = str(Path(__file__).with_name("functions.py"))


class CeleryWorker:
    """The worker's first process, and what it writes."""

    def __init__(self, process: Process, stack: contextlib.AsyncExitStack) -> None:
        self.process = process
        self._lines: list[str] = []
        self._changed = asyncio.Event()
        reading = asyncio.create_task(self._read())
        stack.callback(reading.cancel)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self._lines.append(line.decode())
            self._changed.set()
        self._lines.append("")
        self._changed.set()

    async def until(self, text: str) -> None:
        """Wait until it has written a text."""
        async with within():
            while not any(text in line for line in self._lines):
                assert self._lines[-1:] != [""], f"it ended: {''.join(self._lines)}"
                self._changed.clear()
                await self._changed.wait()

    def count(self, text: str) -> int:
        """Return how many lines of what it has written have a text."""
        return sum(text in line for line in self._lines)

    async def written_by_either(self, other: "CeleryWorker") -> None:
        """Wait until this worker or another one has written something more."""
        self._changed.clear()
        other._changed = self._changed
        await self._changed.wait()

    def signal(self, number: int) -> None:
        """Send a signal to all its processes: SIGSTOP and SIGCONT pause it and let it go on."""
        os.killpg(self.process.pid, number)

    async def kill(self) -> None:
        """Kill it with all its processes. Idempotent."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()

    async def stop(self) -> int:
        """Ask it to end after its present runs; return its exit code."""
        self.process.terminate()
        async with within():
            return await self.process.wait()


@asynccontextmanager
async def working(
    store: str,
    broker: str,
    *arguments: str,
    settings: Mapping[str, object] | None = None,
) -> AsyncIterator[CeleryWorker]:
    """A worker for the length of a block."""
    given = {f"RUNCAST_{name.upper()}": str(value) for name, value in (settings or {}).items()}
    command = ["-m", "runcast", "worker", FUNCTIONS, "--store", store, "--log-level", "info"]
    async with contextlib.AsyncExitStack() as stack:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            *arguments,
            stdout=PIPE,
            stderr=STDOUT,
            env=environment({**given, "RUNCAST_BROKER": broker}),
            start_new_session=True,
        )
        worker = CeleryWorker(process, stack)
        stack.push_async_callback(worker.kill)
        await worker.until("ready.")
        yield worker
