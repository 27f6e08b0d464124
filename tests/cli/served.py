"""A real `runcast serve` in a process of its own, and what it takes to talk to it."""

import http.client
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.environment import environment
from tests.waiting import START_S, WAIT_S

JSON = {"Content-Type": "application/json"}


class Answer(NamedTuple):
    """A response that has been read."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Served:
    """A process that serves, from its first line on."""

    def __init__(
        self, process: subprocess.Popen[str], head: list[str], wait_s: float = WAIT_S
    ) -> None:
        self.process = process
        self._wait_s = wait_s
        self.head = head
        """What it printed when it was ready."""
        found = re.fullmatch(r"runcast is listening on (http://(\S+):(\d+))", head[0])
        assert found is not None, head
        self.url = found[1]
        self.port = int(found[3])

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request and read the whole response."""
        with self.open(method, path, body, headers) as response:
            return Answer(response.status, dict(response.headers), response.read())

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request and leave it to the caller to read the response; then hang up."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self._wait_s)
        try:
            sent = None if body is None else json.dumps(body)
            given = {**({} if body is None else JSON), **(headers or {})}
            connection.request(method, path, sent, given)
            with connection.getresponse() as response:
                yield response
        finally:
            connection.close()

    def start(self, function: str, run_id: str, **inputs: object) -> None:
        """Begin a run without waiting for it."""
        answer = self.ask(
            "POST",
            f"/invoke/{function}",
            {"inputs": inputs, "run_id": run_id},
            {"Prefer": "respond-async"},
        )
        assert answer.status == 202, answer

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """Send a signal; return the exit code and all else that it printed."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=self._wait_s)
        return self.process.returncode, out, err


def frames(response: http.client.HTTPResponse) -> Iterator[dict[str, str]]:
    """Yield the frames of an event stream: what each says that has data.

    Read without our own decoder: it is also for finding out whether that is right, and does not
    tell which frames have an `id` of their own.
    """
    frame: dict[str, str] = {}
    for raw in response:
        line = raw.decode().removesuffix("\n")
        if not line and "data" in frame:
            yield frame
        if not line:
            frame = {}
        name, _, value = line.partition(": ")
        if name in ("id", "data", "event"):
            frame[name] = value


@contextmanager
def serve(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    port: int = 0,
    wait_s: float = WAIT_S,
) -> Iterator[Served]:
    """Start a server, wait until it answers, and see to its end.

    Args:
        wait_s: bound of each wait after the start, which has `START_S`.
    """
    process = subprocess.Popen(
        [*(sys.executable, "-W", "error"), *_COMMAND, "--port", str(port), *arguments],
        cwd=cwd,
        env=environment(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    guard = threading.Timer(max(wait_s, START_S), process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        head = [process.stdout.readline().rstrip("\n") for _ in range(5)]
        guard.cancel()
        if process.poll() is not None or not head[0]:
            raise AssertionError(f"it did not start: {process.communicate(timeout=wait_s)}")
        yield Served(process, head, wait_s)
    finally:
        guard.cancel()
        process.kill()
        process.communicate(timeout=wait_s)


def run(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "runcast", *arguments],
        cwd=cwd,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )


_COMMAND = ("-m", "runcast", "serve")
