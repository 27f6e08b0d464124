"""Processes are forked from one that has imported the module: as separate as those of their own."""

import asyncio
import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast._app import OpenHub, open_hub
from runcast._functions.manifest import ManifestFunction, load_manifest
from runcast._functions.secrets import Secret
from runcast._settings import Settings
from runcast._workers.processes import fork_server, forked, pool
from runcast._workers.processes.fork_server import ForkServer
from runcast.errors import InvalidValue
from tests import opening
from tests.manifests.writing import declare, write_manifest
from tests.opening import eventually
from tests.runs import forked_functions as functions
from tests.runs.test_processes import is_gone, lines

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has fork servers"),
]

LONG_S = 20.0

SETTINGS = Settings(warm_processes=1, shutdown_grace_s=0.0)

MARK = "FORK_SERVER_TEST"


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever happened, no process of the test and no open file of it stays behind."""
    mark, before = uuid.uuid4().hex, len(os.listdir("/proc/self/fd"))
    monkeypatch.setenv(MARK, mark)
    yield
    assert [pid for pid in _marked(mark) if not is_gone(pid)] == []
    assert len(os.listdir("/proc/self/fd")) <= before


def _marked(mark: str) -> Iterator[int]:
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            environment = (folder / "environ").read_bytes().split(b"\0")
            if f"{MARK}={mark}".encode() in environment:
                yield int(folder.name)


def server_of(hub: OpenHub) -> ForkServer:
    """Return the only fork server of a hub."""
    (server,) = hub.runner.processes._servers.values()
    return server


async def result_of(hub: OpenHub, function: Any, inputs: Any = None) -> Any:
    run = await hub.start(function, inputs)
    return await asyncio.wait_for(run.result(), LONG_S)


async def first_of(hub: OpenHub, run_id: str, kind: str) -> Any:
    """Return the data of a run's first event of a type."""
    async with asyncio.timeout(LONG_S):
        async for event in hub.watch(run_id):
            if event.type == kind:
                return event.data
    raise AssertionError(f"there is no {kind}")


async def test_forks_share_an_import_and_nothing_else() -> None:
    async with open_hub("memory://", settings=SETTINGS, functions=[functions.find]) as hub:
        found = [await result_of(hub, "find") for _ in range(4)]
        processes = hub.runner.processes
        assert {each["server"] for each in found} == {server_of(hub).pid}
        assert processes.started == 1
        assert 4 <= processes.forked <= 5
    assert len({each.pop("pid") for each in found}) == 4
    drawn = [value for each in found for value in each.pop("drawn")]
    assert len(set(drawn)) == len(drawn)
    assert all(each == found[0] for each in found)
    assert found[0]["calls"] == 1
    assert found[0]["is_leader"]
    assert found[0]["signal"]


async def test_many_at_once_need_one_interpreter() -> None:
    async with open_hub("memory://", settings=SETTINGS, functions=[functions.find]) as hub:
        found = await asyncio.gather(*(result_of(hub, "find") for _ in range(32)))
        assert hub.runner.processes.started == 1
    assert len({each["pid"] for each in found}) == 32


async def test_each_run_shows_what_the_import_printed() -> None:
    async with open_hub("memory://", settings=SETTINGS, functions=[functions.find]) as hub:
        for _ in range(2):
            run = await hub.start("find")
            events = await opening.events_of(hub, run.run_id, wait_s=LONG_S)
            assert lines(events) == [f"imported by {server_of(hub).pid}"]


async def test_an_exit_code_is_reported() -> None:
    async with open_hub("memory://", settings=SETTINGS, functions=[functions.leave]) as hub:
        run = await hub.start("leave", {"code": 7})
        ending = await asyncio.wait_for(run.wait(), LONG_S)
        assert hub.runner.processes.forked
    assert ending.data["code"] == "crashed"
    assert "exit code 7" in ending.data["message"]


@pytest.mark.parametrize(
    ("act", "has_old_kernel"), [("close", False), ("fork", False), ("fork", True)]
)
async def test_a_fork_can_be_cancelled_whatever_it_did(
    act: str, has_old_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_old_kernel:
        monkeypatch.setattr(forked, "_PIDFD_SIGNAL_PROCESS_GROUP", 1 << 30)  # an unknown flag
    settings = Settings(
        warm_processes=1, shutdown_grace_s=0.0, cancel_grace_s=0.0, terminate_grace_s=0.0
    )
    async with open_hub("memory://", settings=settings, functions=[functions.wait_after]) as hub:
        run = await hub.start("wait_after", {"act": act})
        await first_of(hub, run.run_id, "log" if act == "close" else "ready")
        await hub.cancel(run.run_id)
        assert (await asyncio.wait_for(run.wait(), LONG_S)).type == "cancelled"


async def test_a_call_ends_before_its_fork_server_has_reaped_it() -> None:
    async with open_hub("memory://", settings=SETTINGS, functions=[functions.wait_after]) as hub:
        run = await hub.start("wait_after", {"act": "stop"})
        pid = await first_of(hub, run.run_id, "ready")
        server = server_of(hub)
        await hub.cancel(run.run_id)
        assert (await asyncio.wait_for(run.wait(), LONG_S)).type == "cancelled"
        assert is_gone(pid)
        assert list(server._reaps) == [pid]
        assert server.pid is not None
        os.kill(server.pid, signal.SIGCONT)
        await eventually(lambda: not server._reaps)


async def test_the_next_process_is_forked_once_the_process_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "_REFILL_S", LONG_S)
    async with open_hub("memory://", settings=SETTINGS, functions=[functions.find]) as hub:
        await eventually(lambda: hub.runner.processes.ready == 1)
        await result_of(hub, "find")
        await eventually(lambda: hub.runner.processes.ready == 1)
        assert hub.runner.processes.forked == 2


@pytest.mark.heavy
async def test_forks_that_are_cancelled_at_once_leave_nothing() -> None:
    async with open_hub("memory://", settings=SETTINGS, functions=[functions.find]) as hub:
        await result_of(hub, "find")
        runs = [await hub.start("find") for _ in range(12)]
        for turns, run in enumerate(runs):
            for _ in range(turns):
                await asyncio.sleep(0)
            await hub.cancel(run.run_id)
        for run in runs:
            await asyncio.wait_for(run.wait(), LONG_S)


async def test_calls_end_and_go_on_when_their_fork_server_is_killed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    both: list[Any] = [functions.wait_after, functions.find]
    async with open_hub("memory://", settings=SETTINGS, functions=both) as hub:
        running = await hub.start("wait_after", {"act": "none"})
        pid = await first_of(hub, running.run_id, "ready")
        killing = await hub.start("wait_after", {"act": "kill"})
        for run in (running, killing):
            assert (await asyncio.wait_for(run.wait(), LONG_S)).data["code"] == "killed"
        assert is_gone(pid)
        assert (await result_of(hub, "find"))["calls"] == 1
    # Either its end is noticed first, or the next request.
    assert re.search("is replaced: (it was killed|it cannot be asked)", caplog.text)


@pytest.mark.heavy
async def test_calls_end_and_go_on_while_their_fork_server_stands_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fork_server, "_FORK_S", 0.2)
    monkeypatch.setattr(fork_server, "_REAPED_S", 0.1)
    both: list[Any] = [functions.wait_after, functions.find]
    async with open_hub("memory://", settings=SETTINGS, functions=both) as hub:
        await result_of(hub, "find")
        server = server_of(hub)
        hung = server.pid
        assert hung is not None
        stopping = await hub.start("wait_after", {"act": "stop"})
        await first_of(hub, stopping.run_id, "ready")
        for _ in range(3):  # the first of them may have been forked before
            found = await result_of(hub, "find")
        assert found["server"] != hung
        assert not stopping.has_ended
        await hub.cancel(stopping.run_id)
        assert (await asyncio.wait_for(stopping.wait(), LONG_S)).type == "cancelled"
        await asyncio.wait({server._task}, timeout=LONG_S)  # a hung one reaps nothing
        assert is_gone(hung)


_BESIDE = """
import beside
def answer():
    return beside.VALUE
"""

_THREADED = """
import os, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
def answer():
    return [os.getpid(), os.getppid(), threading.active_count() > 2]
"""


_IMPATIENT = """
import socket, threading
socket.setdefaulttimeout(0.001)
def answer():
    return threading.Event().wait(0.05)  # much longer
"""

_SECRET = """
import os
LENGTH = len(os.environ["KEY"])
def answer():
    return [LENGTH, os.getppid()]
"""


@pytest.fixture
def loaded(tmp_path: Path, request: pytest.FixtureRequest) -> list[ManifestFunction]:
    """A manifest's only function, with the code of the parameter."""
    declared = declare("answer", streaming=False)
    return load_manifest(write_manifest(tmp_path / "prefab", request.param, declared))


@pytest.mark.parametrize("loaded", [_BESIDE], indirect=True, ids=[""])
async def test_a_changed_file_is_imported_again(
    tmp_path: Path, loaded: list[ManifestFunction]
) -> None:
    beside = tmp_path / "prefab" / "src" / "beside.py"
    beside.write_text("VALUE = 1\n")
    async with open_hub("memory://", settings=SETTINGS, functions=loaded) as hub:
        assert await result_of(hub, "answer") == 1
        assert hub.runner.processes.forked
        beside.write_text("VALUE = 'changed'\n")
        assert await result_of(hub, "answer") == "changed"
        assert await result_of(hub, "answer") == "changed"


@pytest.mark.parametrize("loaded", [_THREADED], indirect=True, ids=[""])
async def test_a_module_with_threads_gets_new_interpreters(
    loaded: list[ManifestFunction], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "runcast.runs"):
        async with open_hub("memory://", settings=SETTINGS, functions=loaded) as hub:
            found = [await result_of(hub, "answer") for _ in range(2)]
            assert [each[1:] for each in found] == [[os.getpid(), True]] * 2
            assert server_of(hub).problem == "it has 1 more thread"
            # The process that has tried serves a call: nothing was imported in vain.
            assert found[0][0] != found[1][0]
            assert hub.runner.processes.started <= 3
            assert hub.runner.processes.forked == 0
    assert "main.py is imported for each call: it has 1 more thread" in caplog.text


_CHECKS = """
import os
from runcast._workers.processes.forkable import ForkCheck

def nothing(): pass
def thread():
    import threading
    threading.Thread(target=threading.Event().wait, daemon=True).start()
def descriptor(): globals()["kept"] = open("/dev/null")
def closed(): os.close(0)
def child():
    import subprocess
    globals()["kept"] = subprocess.Popen(["sleep", "60"], start_new_session=False)
def memory():
    import mmap
    globals()["kept"] = mmap.mmap(-1, 4096)
def handler():
    import signal
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
def timer():
    import signal
    signal.setitimer(signal.ITIMER_REAL, 60)
def folder():
    import tempfile
    os.rmdir(tempfile.mkdtemp())

for act in (nothing, thread, descriptor, closed, child, memory, handler, timer, folder):
    pid = os.fork()
    if not pid:
        check = ForkCheck()
        act()
        print(act.__name__ + ":", check.problem(), flush=True)
        if act is child:
            kept.kill()
        os._exit(0)
    os.waitpid(pid, 0)
"""


def test_what_forks_would_share_is_found() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CHECKS],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "nothing: ",
        "thread: it has 1 more thread",
        "descriptor: it has opened or closed /dev/null",
        "closed: it has opened or closed /dev/null",
        "child: it has started a process",
        "memory: it has memory that is shared between processes",
        "handler: it has changed the handling of SIGCHLD",
        "timer: it has set a timer, which a fork would not have",
        "folder: it has made temporary files or folders",
    ]


@pytest.mark.parametrize("loaded", [_IMPATIENT], indirect=True, ids=[""])
async def test_a_fork_keeps_its_connection_whatever_timeout_its_module_sets(
    loaded: list[ManifestFunction],
) -> None:
    async with open_hub("memory://", settings=SETTINGS, functions=loaded) as hub:
        assert await result_of(hub, "answer") is False
        assert hub.runner.processes.forked


# --- what is not forked ---------------------------------------------------------------------------


@pytest.mark.parametrize("loaded", [_SECRET], indirect=True, ids=[""])
async def test_a_module_that_may_read_secrets_is_imported_by_each_call(
    loaded: list[ManifestFunction],
) -> None:
    (function,) = loaded
    function.secrets = (Secret("KEY"),)
    async with open_hub("memory://", settings=SETTINGS, functions=loaded) as hub:
        for key in ("the first key", "the second key"):
            run = await hub.start("answer", secrets={"KEY": key})
            assert await asyncio.wait_for(run.result(), LONG_S) == [len(key), server_of(hub).pid]


async def test_no_fork_server_is_begun_for_what_wants_new_interpreters() -> None:
    own = runcast.function(isolation="process", preload=False)(functions.parent)
    async with open_hub("memory://", settings=SETTINGS, functions=[own]) as hub:
        assert await result_of(hub, "parent") == os.getpid()
        assert hub.runner.processes._servers == {}
    with pytest.raises(InvalidValue, match="expected preload to be a bool"):
        runcast.function(preload="no")(functions.parent)  # type: ignore[call-overload]


_KILLED = """
import asyncio, runcast
from tests.runs.forked_functions import wait_after

async def main():
    settings = runcast.Settings(warm_processes=1)
    async with runcast.open_hub("memory://", functions=[wait_after], settings=settings) as hub:
        runs = [await hub.start("wait_after", {"act": act}) for act in ("close", "fork")]
        for run in runs:
            async for event in hub.watch(run.run_id):
                if event.type == "log" and "closed" in event.data["message"]:
                    print(event.data["message"].split()[1])
                    break
                if event.type == "ready":
                    print(event.data)
                    break
        print(*(server.pid for server in hub.runner.processes._servers.values()), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.heavy
def test_nothing_outlives_a_killed_server_whatever_it_closed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("imported by")  # the script's own import
        pids = [int(process.stdout.readline()) for _ in range(3)]
        process.kill()
    assert all(map(is_gone, pids))
