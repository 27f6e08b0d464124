"""Examples, run as their READMEs say: in a copy of their folder, in processes of their own."""

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.environment import environment
from tests.waiting import START_S, WAIT_S

__all__ = ("EXAMPLES", "copy", "events_of", "run_script", "serve_app")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def copy(example: str, to: Path) -> Path:
    """Return a copy of an example's folder."""
    return Path(shutil.copytree(EXAMPLES / example, to / example))


def run_script(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )


@contextmanager
def serve_app(cwd: Path) -> Iterator[str]:
    """Run `uvicorn app:app` and return its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "app:app", "--port", "0"],
        cwd=cwd,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    guard = threading.Timer(START_S, process.kill)
    guard.start()
    try:
        assert process.stderr is not None
        told = ""
        while (found := re.search(r"running on (http://\S+)", told)) is None:
            line = process.stderr.readline()
            assert line, f"it did not start: {told}"
            told += line
        guard.cancel()
        yield found[1]
    finally:
        guard.cancel()
        process.terminate()
        try:
            process.communicate(timeout=WAIT_S)
        finally:
            process.kill()


def events_of(client: httpx2.Client, path: str, until: str = "") -> list[dict[str, Any]]:
    """Return the events of a stream, up to its end or to the first of a type."""
    events = []
    with client.stream("GET", path, headers={"Accept": "application/x-ndjson"}) as response:
        assert response.status_code == 200, response.read()
        for line in response.iter_lines():
            if line.startswith("{"):
                events.append(json.loads(line))
            if events and events[-1]["type"] == until:
                break
    return events
