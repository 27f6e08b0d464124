"""The example of a task of Celery, with a real worker and a real broker."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

import runcast
from runcast.events.model import Event
from tests.environment import environment
from tests.examples.running import copy, run_script
from tests.stores.servers import namespace_url
from tests.waiting import START_S, WAIT_S

pytestmark = pytest.mark.heavy


@contextmanager
def working(folder: Path, env: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """Run `celery -A tasks worker` in processes of a group of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--concurrency", "1"],
        cwd=folder,
        env=environment(env),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    guard = threading.Timer(3 * START_S, process.kill)
    guard.start()
    try:
        yield process
    finally:
        guard.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(WAIT_S)


def until(hub: runcast.OpenHubInThread, run_id: str, kind: str, times: int = 1) -> list[Event]:
    """Wait for a run, and return its events up to one of a type."""
    seen: list[Event] = []
    for event in hub.watch(run_id):
        seen.append(event)
        times -= event.type == kind
        if not times:
            break
    return seen


def wait_until_begun(hub: runcast.OpenHubInThread, run_id: str) -> None:
    for change in hub.client().feed():
        if change.run is not None and change.run.run_id == run_id:
            return


def test_its_task_is_watched_answered_and_continued_after_its_worker_was_killed(
    tmp_path: Path,
) -> None:
    folder, url = copy("celery_tasks", tmp_path), namespace_url("valkey")
    # A database of its own for the broker, so that no other test's messages come here.
    env = {"BROKER": f"{url.partition('?')[0]}/5", "RUNCAST_STORE": url, "RUNCAST_LEASE_S": "1"}
    sent = run_script("send.py", "3", "0.05", cwd=folder, env=env)
    assert sent.returncode == 0, sent.stderr
    run_id = sent.stdout.strip()

    settings = runcast.Settings.load(lease_s=1.0)
    with runcast.open_hub(url, settings=settings) as hub, working(folder, env) as worker:
        wait_until_begun(hub, run_id)
        seen = until(hub, run_id, "interrupt_request")
        (pool,) = _children(worker.pid)
        os.kill(pool, signal.SIGKILL)  # while it waits for the answer
        started = until(hub, run_id, "started", 2)[-1]
        until(hub, run_id, "progress", 6)
        hub.answer(run_id, "publish", {"type": "accept"})
        *_, last = hub.watch(run_id)

    progress = [event.data["percent"] for event in seen if event.type == "progress"]
    assert progress[-1] == 100.0
    assert started.data == {"function": "tasks.resize", "attempt": 2, "recovered": True}
    assert last.data == {"result": {"resized": 3, "published": True}}


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]
