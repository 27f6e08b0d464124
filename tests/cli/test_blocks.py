"""Scripts with a run around their code, in processes of their own, beside a real server."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.inside import run
from tests.cli.served import Served, frames, serve
from tests.environment import environment
from tests.waiting import WAIT_S

SCRIPT = Path(__file__).parent.parent / "crash" / "block.py"

Process = subprocess.Popen[str]


@contextmanager
def script(how: str, folder: Path, lease_s: float = 0.3) -> Iterator[Process]:
    """Start a script and wait until its run has begun; it does not outlive the block."""
    given = {"RUNCAST_STORE": f"sqlite:///{folder}/runs.db", "RUNCAST_LEASE_S": str(lease_s)}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", SCRIPT, how],
        env=environment(given),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    guard = threading.Timer(2 * WAIT_S, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "begun\n":
            raise AssertionError(process.communicate(timeout=WAIT_S))
        yield process
    finally:
        guard.cancel()
        process.kill()
        process.communicate(timeout=WAIT_S)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server on the same store, which looks for lost runs every 0.1 s."""
    given = {"RUNCAST_LEASE_S": "0.3"}
    with serve("--store", f"sqlite:///{tmp_path}/runs.db", cwd=tmp_path, env=given) as served:
        yield served


def end_of(served: Served) -> dict[str, object]:
    """Watch the run to its end."""
    with served.open("GET", "/runs/r/events") as response:
        event: dict[str, object] = {}
        for frame in frames(response):
            event = json.loads(frame["data"])
        return event


def test_another_process_watches_a_block_live_and_cancels_it(
    served: Served, tmp_path: Path
) -> None:
    with script("waits_in_a_thread", tmp_path) as process:
        with served.open("GET", "/runs/r/events") as response:
            events = (json.loads(frame["data"]) for frame in frames(response))
            first = [next(events)["type"] for _ in range(4)]
            assert served.ask("GET", "/runs?status=running").json["runs"][0]["run_id"] == "r"
            cancelled = run("cancel", "r", "--url", served.url, cwd=tmp_path)
            assert cancelled.returncode == 0, cancelled
            # It tells what it finds: the other process may have ended the run by then.
            asked = "r is asked to end; now it is running\n"
            assert cancelled.stdout in (asked, "r cancelled\n")
            *_, end = events
        _, complaint = process.communicate(timeout=WAIT_S)

    assert first == ["started", "progress", "tick", "tick"]
    assert (end["type"], process.returncode) == ("cancelled", 1)
    assert complaint.splitlines()[-1].startswith("runcast.errors.Cancelled: ")


def test_the_command_that_watches_shows_a_block_and_its_end(served: Served, tmp_path: Path) -> None:
    with script("waits_in_a_thread", tmp_path) as process:
        process.send_signal(signal.SIGUSR1)
        _, complaint = process.communicate(timeout=WAIT_S)
        watched = run("watch", "r", "--json", "--url", served.url, cwd=tmp_path)

    events = [json.loads(line) for line in watched.stdout.splitlines()]
    assert (process.returncode, complaint, watched.returncode) == (0, "", 0)
    assert (events[0]["type"], events[-1]["data"]) == ("started", {"result": "stopped"})


def test_the_task_of_a_script_on_a_loop_is_cancelled_through_the_server(
    served: Served, tmp_path: Path
) -> None:
    with script("waits_on_a_loop", tmp_path) as process:
        assert served.ask("POST", "/runs/r/cancel?reason=enough").status < 300
        _, complaint = process.communicate(timeout=WAIT_S)

    assert end_of(served)["data"] == {"reason": "enough"}
    assert complaint.splitlines()[-1].startswith("asyncio.exceptions.CancelledError")


@pytest.mark.parametrize("how", ["waits_in_a_thread", "waits_on_a_loop"])
def test_a_block_whose_process_is_killed_is_lost(served: Served, tmp_path: Path, how: str) -> None:
    with script(how, tmp_path) as process:
        process.kill()
        process.wait(WAIT_S)

        assert end_of(served)["data"] == {
            "message": "the process that ran it ended",
            "code": "lost",
            "retryable": True,
        }


def test_a_block_that_computes_for_long_is_not_lost(served: Served, tmp_path: Path) -> None:
    with script("works_without_a_word", tmp_path) as process:
        # Another run is lost meanwhile: so the server has looked, and left this one.
        for _ in range(2):
            lose_another(served, tmp_path)
        assert served.ask("GET", "/runs/r").json["status"] == "running"
        assert process.poll() is None


def lose_another(served: Served, folder: Path) -> None:
    """Let a process die that owns another run, and wait until the server has ended the run."""
    program = (
        "import os, runcast\n"
        "with runcast.run('other', run_id='other', replace=True):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        env=environment({"RUNCAST_STORE": f"sqlite:///{folder}/runs.db"}),
        timeout=2 * WAIT_S,
        check=False,
    )
    with served.open("GET", "/runs/other/events") as response:
        assert [json.loads(each["data"])["type"] for each in frames(response)][-1] == "failed"


def test_an_interrupted_script_leaves_a_cancelled_run(served: Served, tmp_path: Path) -> None:
    with script("exits_after_an_interrupt", tmp_path) as process:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=WAIT_S)

    assert end_of(served)["data"] == {"reason": "interrupted"}
