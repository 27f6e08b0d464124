"""Servers that benchmarks start."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

__all__ = ("FUNCTIONS", "cpu_s", "node", "started")

START_S: Final = 60.0

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


def cpu_s(pid: int) -> float:
    """Return the processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
