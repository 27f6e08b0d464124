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

from tests.environment import environment
from tests.waiting import WAIT_S


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
