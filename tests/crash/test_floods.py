"""A flood of events, under real servers: the file and its write-ahead log stay within bounds that
are documented, nothing is lost, and both shrink afterwards."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import pytest

from tests.crash.served import FUNCTIONS, Server, Watcher, serving, within
from tests.http.client import Cut

pytestmark = [pytest.mark.anyio, pytest.mark.heavy]

MIB: Final = 1024 * 1024
WAL: Final = 32 * MIB
EVENTS: Final = {"n": 30_000, "size": 1000}
"""Some 34 MiB for each run."""

RUNS: Final = 3
TIMES: Final = 3
LEAST_KEPT: Final = 4 * MIB
"""The file stays below so many times what is kept of all runs, where a run that keeps less counts
as if it kept so much: docs/operations.md."""


def sizes(store: Path) -> tuple[int, int]:
    found = [store, store.with_name(f"{store.name}-wal")]
    return tuple(path.stat().st_size if path.exists() else 0 for path in found)  # type: ignore[return-value]


@contextlib.asynccontextmanager
async def replaying(server: Server, run_id: str) -> AsyncIterator[Callable[[], int]]:
    """Read a log from its beginning, again and again; give how often that was done."""
    times = 0

    async def replay() -> None:
        nonlocal times
        while True:
            with contextlib.suppress(Cut):
                await Watcher(run_id).follow(server.address, "&live=false")
                times += 1

    task = asyncio.create_task(replay())
    try:
        yield lambda: times
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("keep", [8 * MIB, 1 * MIB], ids=["8 MiB", "1 MiB"])
async def test_a_flood_is_slowed_rather_than_fill_the_disk(tmp_path: Path, keep: int) -> None:
    store = tmp_path / "runs.db"
    options = {"settings": {"keep_bytes_per_run": keep, "sqlite_wal_bytes": WAL}}
    async with (
        serving(store, FUNCTIONS, **options) as one,
        serving(store, FUNCTIONS, errors=tmp_path / "other.err", **options) as other,
    ):
        servers = dict(zip(("a", "b", "c"), (one, one, other), strict=True))
        for run_id, server in servers.items():
            assert (await server.start_run("pour", run_id, **EVENTS)).status == 202
        most = (0, 0)
        ended: dict[str, str] = {}
        with contextlib.closing(sqlite3.connect(store, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM logs").fetchone()  # as a backup does
            async with replaying(one, "a") as replays, within():
                while len(ended) < RUNS:
                    for run_id, server in servers.items():
                        state = json.loads((await server.ask("GET", f"/runs/{run_id}")).body)
                        if state["status"] not in ("queued", "running"):
                            ended[run_id] = state["status"]
                        most = tuple(map(max, most, sizes(store)))  # type: ignore[assignment]
                    if reader.in_transaction and most[1] > WAL:
                        reader.execute("ROLLBACK")
                assert replays() > 0
        assert most[0] <= TIMES * RUNS * max(keep, LEAST_KEPT)
        assert WAL < most[1] <= 2 * WAL

        assert ended == dict.fromkeys(servers, "done")
        for run_id in servers:
            state = json.loads((await one.ask("GET", f"/runs/{run_id}")).body)["state"]
            assert state["counts"]["tick"] == EVENTS["n"]
            assert state["result"] == {"events": EVENTS["n"]}
        async with within():
            while sizes(store)[0] > 1.3 * RUNS * max(keep, LEAST_KEPT) or sizes(store)[1] > 4 * MIB:
                await one.ask("GET", "/healthz")
