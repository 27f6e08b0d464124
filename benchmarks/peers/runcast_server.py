"""runcast itself, as its users start it: `runcast serve` with the store on SQLite."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from benchmarks.peers.peer import Peer, Plan, Watch, request

TARGETS = Path(__file__).resolve().parents[1] / "targets.py"
GATE = "all"  # the runs wait behind one gate until their watchers are there


class RuncastPeer(Peer):
    """Each stream is a run; its log begins with `started` (seq 1) and ends with `done`."""

    name = "runcast"
    packages = ("runcast", "msgspec", "starlette", "uvicorn", "uvloop", "httptools")

    def missing(self) -> str | None:
        found = importlib.util.find_spec("runcast.cli")
        return None if found else "runcast"

    def command(self, port: int, folder: Path) -> list[str]:
        return [
            *(sys.executable, "-m", "runcast", "serve", str(TARGETS)),
            *("--store", f"sqlite:///{folder / 'runs.db'}", "--port", str(port)),
        ]

    def prepare(self, port: int, plan: Plan) -> Watch:
        runs = [self._begin(port, plan) for _ in range(plan.streams)]
        return self._watch(port, runs, plan.events)

    def _begin(self, port: int, plan: Plan) -> str:
        raise NotImplementedError

    def start(self, port: int, plan: Plan) -> subprocess.Popen[str] | None:
        raise NotImplementedError

    def _watch(self, port: int, runs: list[str], events: int) -> Watch:
        urls = [f"http://127.0.0.1:{port}/runs/{quote(run)}/events" for run in runs]
        return Watch(urls, first=1, expect=events + 2)


def invoke(port: int, function: str, inputs: dict[str, object]) -> str:
    """Start a run without waiting for it and return its id."""
    headers = {"Content-Type": "application/json", "Prefer": "respond-async"}
    body = json.dumps({"inputs": inputs})
    _, answer = request(port, "POST", f"/invoke/{function}", body, headers)
    return str(json.loads(answer)["run_id"])
