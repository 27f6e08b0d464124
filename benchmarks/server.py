"""Starting a peer and the load generator, and ending them whatever happens."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks import processes
from benchmarks.peers.peer import ROOT, Peer, Watch

READY_S = 20.0  # for a server to accept connections
STOP_S = 5.0  # for a server to end when asked
OPEN_S = 60.0  # for all connections of a load generator to be open
SETTLE_S = 0.3  # between the last response head and the first event: watchers have subscribed


class BenchmarkError(Exception):
    """A server did not start, or the load generator did not report."""


class Server:
    """A peer on a free port, in a process group of its own; a context manager that ends it."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self.port = free_port()
        self._log = (self.folder / "log").open("wb")
        try:
            self._process = subprocess.Popen(
                peer.command(self.port, self.folder),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,
            )
        except BaseException:
            self._clean_up()
            raise

    def __enter__(self) -> Self:
        try:
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            error.add_note(f"the end of the server's log: {self.log_end()}")
        self.close()

    def cpu_s(self) -> float:
        """Return the CPU seconds that the server's processes have used."""
        return processes.cpu_s(self._process.pid)

    def uss_bytes(self) -> int:
        """Return the memory of the server's processes."""
        return processes.uss_bytes(self._process.pid)

    def log_end(self) -> str:
        """Return the last thing the server wrote."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-1500:]

    def close(self) -> None:
        """End the server: by request, then by force, with all that it started."""
        if not self.folder.exists():
            return
        others = processes.tree(self._process.pid)[1:]
        end_process(self._process)
        for process in others:  # those that left the group
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._clean_up()

    def _clean_up(self) -> None:
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if has_ended(self._process):
                raise BenchmarkError(f"{self.peer.name} ended at once: {self.log_end()}")
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                time.sleep(0.2)  # for what a server does just after it has begun to listen
                return
            time.sleep(0.05)
        raise BenchmarkError(f"{self.peer.name} does not listen: {self.log_end()}")


class Load:
    """The load generator in a process of its own; a context manager that ends it."""

    def __init__(self, watch: Watch, connections: int, seconds: float, *options: str) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "benchmarks.load", "--urls-from", "-"),
                *("--connections", str(connections), "--seconds", str(seconds), *options),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        # Bounds every read below: a generator that hangs is ended, and its pipe with it.
        self._guard = threading.Timer(OPEN_S + seconds + 60, self._process.kill)
        self._guard.start()
        assert self._process.stdin is not None
        self._process.stdin.write("\n".join(watch.urls))
        self._process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._guard.cancel()
        end_process(self._process)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def wait_until_open(self) -> None:
        """Return when all connections are open."""
        self._read()

    def report(self) -> dict[str, Any]:
        """Return the report, when it comes."""
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError("the load generator ended without a report")
        message: dict[str, Any] = json.loads(line)
        return message


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def has_ended(process: subprocess.Popen[Any]) -> bool:
    """Return whether the process has ended, without reaping it."""
    if process.returncode is not None:
        return True
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def end_process(process: subprocess.Popen[Any]) -> None:
    """End a process that leads its group: by request, then the whole group by force.

    The leader is not reaped before its group is gone, so that its number cannot have become
    another group's.
    """
    if process.returncode is not None:
        return
    os.kill(process.pid, signal.SIGTERM)  # not `terminate`, which reaps
    deadline = time.monotonic() + STOP_S
    while not has_ended(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
