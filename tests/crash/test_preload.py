"""gunicorn kills and replaces its workers: the runs of one that was killed end, whoever made the
hub."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.crash.served import JSON, within
from tests.environment import environment
from tests.http.client import Answer, fetch

pytestmark = [pytest.mark.anyio, pytest.mark.heavy]

APP = """
import asyncio
import os

import runcast
from fastapi import FastAPI

@runcast.function
async def wait() -> None:
    runcast.emit("pid", {"pid": os.getpid()})
    await asyncio.Event().wait()

hub = runcast.OpenHub("sqlite:///runs.db", functions=[wait])
runs = runcast.asgi(hub, authorize=runcast.everyone)
app = FastAPI(lifespan=runs.lifespan)
app.mount("/runcast", runs)
"""

SERVER = (
    *("-m", "gunicorn", "--worker-class", "uvicorn.workers.UvicornWorker", "--workers", "2"),
    "app:app",
)


@asynccontextmanager
async def gunicorn(folder: Path, *options: str) -> AsyncIterator[tuple[str, int]]:
    """Serve with two workers, and yield the address once it answers."""
    (folder / "app.py").write_text(APP, "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *SERVER, *options, "--bind", f"fd://{listening.fileno()}"),
            cwd=folder,
            env=environment(),
            pass_fds=(listening.fileno(),),
            stderr=asyncio.subprocess.DEVNULL,
        )
    try:
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def ask(address: tuple[str, int], method: str, target: str, body: object = None) -> Answer:
    """Ask until a worker answers: one that is killed answers nobody."""
    while True:
        try:
            sent = None if body is None else json.dumps(body).encode()
            headers = {**JSON, "Prefer": "respond-async"} if sent else None
            return await fetch(address, method, f"/runcast{target}", headers, sent)
        except (ConnectionError, EOFError):
            continue


async def pid_of(address: tuple[str, int], run_id: str) -> int:
    """Return the process that a run is at work in."""
    while True:
        events = (await ask(address, "GET", f"/runs/{run_id}/events?live=false")).body.decode()
        for line in events.splitlines():
            event = json.loads(line.removeprefix("data: ")) if '"type":"pid"' in line else None
            if event:
                return int(event["data"]["pid"])


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["forked first", "preloaded"])
async def test_the_run_of_a_killed_worker_ends(tmp_path: Path, options: tuple[str, ...]) -> None:
    async with gunicorn(tmp_path, *options) as address, within():
        started = await ask(address, "POST", "/invoke/wait", {"run_id": "r"})
        assert started.status == 202, started
        os.kill(await pid_of(address, "r"), signal.SIGKILL)
        status = ""
        while status != "failed":
            state = json.loads((await ask(address, "GET", "/runs/r")).body)
            status = state["status"]
        assert state["state"]["failure"]["code"] == "lost"
