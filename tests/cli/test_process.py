"""`runcast serve` as a process among others: what it was started with, and how it leaves."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.cli.served import Served, frames, serve
from tests.environment import environment
from tests.waiting import START_S, WAIT_S


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def started(line: str, cwd: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start a shell line that serves, and wait until it answers on the port."""
    process = subprocess.Popen(["sh", "-c", f"exec {line}"], cwd=cwd, env=environment())
    try:
        wait_until_it_answers(process, port)
        yield process
    finally:
        process.kill()
        process.wait(WAIT_S)


def wait_until_it_answers(process: subprocess.Popen[bytes], port: int) -> None:
    while process.poll() is None:
        connection = HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        try:
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
        except ConnectionRefusedError:
            continue
        else:
            return
        finally:
            connection.close()
    raise AssertionError(f"it ended with {process.returncode} before it answered")


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", "<&-", ">&-", "2>&-"])
def test_it_ends_cleanly_though_standard_files_were_closed(tmp_path: Path, closed: str) -> None:
    port = free_port()
    line = f"{sys.executable} -m runcast serve --port {port} --store memory:// {closed}"
    with started(line, tmp_path, port) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0


# --- what functions leave at work -----------------------------------------------------------------

STUCK = """
import asyncio
import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import runcast

@runcast.function
def pool():
    ThreadPoolExecutor(1).submit(time.sleep, 600)
    return "left"

@runcast.function
async def pool_of_coroutine():
    ThreadPoolExecutor(1).submit(time.sleep, 600)
    return "left"

@runcast.function
def thread():
    threading.Thread(target=time.sleep, args=(600,), daemon=False).start()
    return "left"

@runcast.function
async def to_thread():
    runcast.emit("begun")
    await asyncio.to_thread(time.sleep, 600)

@runcast.function
async def many_to_thread():
    runcast.emit("begun")
    await asyncio.gather(*(asyncio.to_thread(time.sleep, 600) for _ in range(100)))

@runcast.function
def itself():
    runcast.emit("begun")
    time.sleep(600)

@runcast.function
async def stubborn():
    runcast.emit("begun")
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass

@runcast.function
def child():
    multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,)).start()
    return "left"
"""

IMPATIENT = {"RUNCAST_SHUTDOWN_GRACE_S": "0", "RUNCAST_CANCEL_GRACE_S": "0.2"}


@pytest.fixture
def stuck(tmp_path: Path) -> Path:
    (tmp_path / "stuck.py").write_text(STUCK, "utf-8")
    return tmp_path


def begin(served: Served, function: str) -> None:
    """Begin a run and return once the function is at work, or has returned."""
    served.start(function, "r")
    with served.open("GET", "/runs/r/events") as response:
        next(frame for frame in frames(response) if '"type":"started"' not in frame["data"])


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("pool", "the thread ThreadPoolExecutor-0_0 of run r"),
        ("pool_of_coroutine", "the thread ThreadPoolExecutor-0_0 of run r"),
        ("thread", "of run r (time.sleep)"),
        ("to_thread", "_0 of run r (time.sleep)"),
        ("many_to_thread", "of run r (time.sleep)"),
        ("itself", "run r does not stop and is given up"),
        ("stubborn", "run r does not stop and is given up"),
    ],
)
def test_it_ends_after_the_graces_and_says_what_it_abandons(
    stuck: Path, function: str, said: str
) -> None:
    with serve("stuck.py", "--store", "sqlite:///runs.db", cwd=stuck, env=IMPATIENT) as served:
        begin(served, function)
        code, out, err = served.end()

    assert (code, out) == (0, "")
    assert said in err
    assert "Traceback" not in err


def test_a_second_signal_ends_it_at_once(stuck: Path) -> None:
    env = {**IMPATIENT, "RUNCAST_CANCEL_GRACE_S": "600"}
    with serve("stuck.py", "--store", "memory://", cwd=stuck, env=env) as served:
        begin(served, "pool")
        served.process.send_signal(signal.SIGTERM)
        assert served.process.stderr is not None
        line = served.process.stderr.readline()
        assert "the thread ThreadPoolExecutor-0_0 of run r" in line
        code, _, err = served.end()

    assert code == 0
    assert "Traceback" not in err


def test_a_process_that_a_function_left_does_not_hold_it_up(stuck: Path) -> None:
    with serve("stuck.py", "--store", "memory://", cwd=stuck, env=IMPATIENT) as served:
        begin(served, "child")
        code, out, err = served.end()

    assert (code, out, err) == (0, "", "")


# --- signals --------------------------------------------------------------------------------------

SIGNALS = """
import asyncio
import signal

import runcast

signal.signal(signal.SIGPIPE, signal.SIG_DFL)

@runcast.function
async def change():
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)

@runcast.function
async def pour():
    while True:
        runcast.emit("step", "x" * 100_000)
        await runcast.drain()
        await asyncio.sleep(0)
"""


def test_signals_do_what_they_did_whatever_a_function_makes_of_them(tmp_path: Path) -> None:
    (tmp_path / "signals.py").write_text(SIGNALS, "utf-8")
    env = {**IMPATIENT, "RUNCAST_KEEP_BYTES_PER_RUN": "1000000"}
    with serve("signals.py", "--store", "memory://", cwd=tmp_path, env=env) as served:
        served.start("pour", "r")
        served.start("change", "s")
        assert served.process.stderr is not None
        said = [served.process.stderr.readline() for _ in range(3)]
        for _ in range(20):  # those who leave while they are written to would end it by SIGPIPE
            with served.open("GET", "/runs/r/events") as response:
                response.read(1)
        assert served.ask("GET", "/healthz").status == 200
        code, out, _ = served.end()

    assert (code, out) == (0, "")
    assert [name for name in ("SIGINT", "SIGPIPE", "SIGTERM") if name in "".join(said)] == [
        *("SIGINT", "SIGPIPE", "SIGTERM")
    ]


# --- process 1 ------------------------------------------------------------------------------------


def test_process_1_waits_for_orphans_passes_signals_on_and_ends_with_its_child() -> None:
    script = Path(__file__).with_name("under_init.py")
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(script)], stdout=subprocess.PIPE, env=environment()
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S) == 7
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (("--help",), {"httpx2", "starlette", "uvicorn", "rich"}),
        (("watch", "--help"), {"httpx2", "starlette", "uvicorn", "rich", "yaml", "shtab"}),
        (("runs", "--url", "http://127.0.0.1:1"), {"starlette", "uvicorn", "rich", "yaml"}),
    ],
)
def test_a_command_imports_only_what_it_needs(
    tmp_path: Path, arguments: tuple[str, ...], unneeded: set[str]
) -> None:
    code = (
        "import sys\n"
        "from runcast._cli import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "finally:\n"
        "    print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env=environment(None),
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )

    imported = set(ended.stderr.splitlines()[-1].split())
    assert "argparse" in imported
    assert imported & unneeded == set()
