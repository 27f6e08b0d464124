"""What the driver asks of a peer: how to start it, what to watch, how to begin publishing."""

import http.client
import importlib.util
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parents[2]
ALL_SCENARIOS = frozenset({"fanout", "sustained", "runs500", "replay", "idle", "emit"})


@dataclass(frozen=True)
class Plan:
    """What is published: `events` on each of `streams`, `rate` a second and stream."""

    streams: int
    rate: float
    events: int
    mode: Literal["loop", "thread", "threads"] = "loop"
    """From where: the server's loop, one other thread, or a thread for each stream."""


@dataclass(frozen=True)
class Watch:
    """What a watcher of each URL must see: `expect` events, the first with `seq` == `first`."""

    urls: list[str]
    first: int
    expect: int


class Peer(ABC):
    """One server to measure.

    The driver calls `command`, waits for the port, then `prepare`, opens the watchers, `start`.
    For a closed stream it calls `fill` instead and opens the watchers after it.
    """

    name: str
    packages: tuple[str, ...] = ()
    """Distributions whose versions belong beside the figures."""
    scenarios: frozenset[str] = ALL_SCENARIOS

    @abstractmethod
    def missing(self) -> str | None:
        """Return what is not installed, None if the peer can be started."""

    @abstractmethod
    def command(self, port: int, folder: Path) -> list[str]:
        """Return the command line that serves on this port; files may be put into the folder."""

    def prepare(self, port: int, plan: Plan) -> Watch:
        """Make the streams exist and return where they are."""
        urls = [f"http://127.0.0.1:{port}/sse/s{index}" for index in range(plan.streams)]
        return Watch(urls, first=0, expect=plan.events)

    @abstractmethod
    def start(self, port: int, plan: Plan) -> subprocess.Popen[str] | None:
        """Begin to publish; the process that does it, if it is not the server."""

    def fill(self, port: int, events: int) -> Watch:
        """Make one closed stream of this many events."""
        raise ValueError(f"{self.name} does not take part in replay ({events} events, port {port})")

    def version(self) -> str | None:
        """Return the version of what is not a Python distribution."""
        return None


class AsgiPeer(Peer):
    """An application of this folder, served by uvicorn with uvloop and httptools."""

    def __init__(
        self,
        name: str,
        module: str,
        packages: tuple[str, ...],
        scenarios: frozenset[str] = ALL_SCENARIOS,
    ) -> None:
        self.name = name
        self.packages = (*packages, "uvicorn", "uvloop", "httptools")
        self.scenarios = scenarios
        self._module = module

    def missing(self) -> str | None:
        for package in self.packages:
            if importlib.util.find_spec(package.replace("-", "_")) is None:
                return package
        return None

    def command(self, port: int, folder: Path) -> list[str]:
        return [
            *(sys.executable, "-m", "uvicorn", f"benchmarks.peers.{self._module}:app"),
            *("--port", str(port), "--app-dir", str(ROOT), "--backlog", "4096"),
            *("--loop", "uvloop", "--http", "httptools"),
            *("--no-access-log", "--log-level", "warning"),
        ]

    def start(self, port: int, plan: Plan) -> None:
        numbers = {"streams": plan.streams, "rate": plan.rate, "n": plan.events, "mode": plan.mode}
        request(port, "GET", f"/start?{urlencode(numbers)}")

    def fill(self, port: int, events: int) -> Watch:
        request(port, "GET", f"/fill?n={events}")
        return self.prepare(port, Plan(streams=1, rate=0, events=events))


def request(
    port: int, method: str, path: str, body: str = "", headers: dict[str, str] | None = None
) -> tuple[dict[str, str], bytes]:
    """Send one request to a server on this machine.

    Returns:
        The answer's headers (names in lower case) and body.

    Raises:
        OSError: no answer within 60 s.
        ValueError: the status is not 2xx.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body or None, headers or {})
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    if not 200 <= answer.status < 300:
        raise ValueError(f"{method} {path}: expected 2xx, got {answer.status} {data[:300]!r}")
    return {name.lower(): value for name, value in answer.getheaders()}, data
