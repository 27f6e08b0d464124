"""Somebody sets the clock, while two servers in containers of their own share a store."""

import json
import os
from pathlib import Path
from typing import Final

import pytest

from tests.containers import container
from tests.crash.served import Server, serving, within

pytestmark = [pytest.mark.anyio, pytest.mark.heavy]

LEASE: Final = {"lease_s": 6}

_LIBRARIES: Final = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """A file that says how far the wall clock of the servers is from the real one."""
    if not _LIBRARIES:
        pytest.skip("faketime is missing")
    path = tmp_path / "offset"
    path.write_text("+0")
    return path


def set_clock(clock: Path, step: str) -> None:
    clock.write_text(step)


async def look(server: Server, run_id: str) -> str:
    return str(json.loads((await server.ask("GET", f"/runs/{run_id}")).body)["status"])


async def looks_for_lost_runs(server: Server) -> None:
    """Wait until a server has certainly looked for lost runs: it does so three times a lease."""
    watcher = await server.start_and_watch("meanwhile", n=60, rate=10)
    async with within():
        await watcher.follow_to_the_end(server.address)


@pytest.mark.parametrize("step", ["+60", "-3600", "+864000"])
async def test_a_step_of_the_clock_ends_no_run(tmp_path: Path, clock: Path, step: str) -> None:
    env = {
        "LD_PRELOAD": str(_LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    store, options = tmp_path / "runs.db", {"settings": LEASE, "env": env, "inside": container()}
    async with serving(store, **options) as a, serving(store, **options) as b:
        for server, run_id in ((a, "of-a"), (b, "of-b")):
            assert (await server.start_run("emit_events", run_id, n=10**6, rate=1)).status == 202

        set_clock(clock, step)
        await looks_for_lost_runs(a)

        assert [await look(b, run_id) for run_id in ("of-a", "of-b")] == ["running"] * 2
        ended = await a.ask("GET", "/runs/meanwhile")
        assert abs(json.loads(ended.body)["created_at"] - os.stat(clock).st_mtime - int(step)) < 60
