"""Remote runs while servers and writers are killed."""

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.client.reconnect import ReconnectOptions
from tests.cli.served import Served, frames, serve
from tests.environment import environment
from tests.waiting import WAIT_S

WRITER = """
import sys, time, runcast
with runcast.RemoteRun(sys.argv[1], "job", run_id="r", lease_s=1):
    runcast.emit("step", 1)
    runcast.flush()
    print("at work", flush=True)
    sys.stdin.read()
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills processes")


def seen(served: Served, run_id: str = "r") -> list[dict[str, Any]]:
    """Return a run's events once it has ended."""
    with served.open("GET", f"/runs/{run_id}/events") as response:
        return [json.loads(frame["data"]) for frame in frames(response)]


def test_a_run_goes_on_when_its_server_is_killed_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "runcast._remote.link._WAITS", ReconnectOptions(first_s=0.05, longest_s=0.2)
    )
    store = ("--store", f"sqlite:///{tmp_path}/runs.db")
    with ExitStack() as servers:

        def start(port: int = 0) -> Served:
            return servers.enter_context(serve(*store, cwd=tmp_path, port=port))

        served = start()
        with runcast.RemoteRun(served.url, "train", run_id="r", lease_s=60) as run:
            for n in range(150):
                run.emit("step", n)
                if n % 50 == 25:
                    served.end(signal.SIGKILL)
                if n % 50 == 49:
                    served = start(served.port)
                    run.flush()
        events = seen(served)
    assert [e["data"] for e in events if e["type"] == "step"] == list(range(150))
    assert [e["seq"] for e in events] == list(range(1, 153))
    assert events[-1]["type"] == "done"


def test_a_run_whose_writer_is_killed_is_lost(tmp_path: Path) -> None:
    env = {"RUNCAST_LEASE_S": "0.5"}
    with serve("--store", f"sqlite:///{tmp_path}/runs.db", cwd=tmp_path, env=env) as served:
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, served.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(None),
        )
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"at work\n"
            assert served.ask("GET", "/runs/r").json["status"] == "running"
            os.kill(writer.pid, signal.SIGKILL)
            events = seen(served)
        finally:
            writer.kill()
            writer.communicate(timeout=WAIT_S)
    assert [event["type"] for event in events] == ["started", "step", "failed"]
    assert events[-1]["data"]["code"] == "lost"


def test_a_server_that_starts_waits_for_the_writers_of_the_one_before(tmp_path: Path) -> None:
    store = ("--store", f"sqlite:///{tmp_path}/runs.db")
    env = {"RUNCAST_LEASE_S": "1"}
    lease = {"Runcast-Lease": "a secret of the writer"}
    body = {"name": "job", "run_id": "r", "lease_id": lease["Runcast-Lease"], "lease_s": 1}
    with serve(*store, cwd=tmp_path, env=env) as first:
        assert first.ask("POST", "/runs", body).status == 201
        first.end(signal.SIGKILL)
    # By now the lease may be over, because a start takes a second.
    with serve(*store, cwd=tmp_path, env=env) as second:
        target = "/runs/r/events?producer=p&sequence=1"
        answer = second.ask("POST", target, [{"type": "done"}], lease)
        assert answer.status == 200
        assert [event["type"] for event in seen(second)] == ["started", "done"]
