"""runcast itself, as its users start it: `runcast serve` with the store on SQLite."""

import importlib.util
import json
import sys
import time
from pathlib import Path
from urllib.parse import quote

from benchmarks.peers.peer import ALL_SCENARIOS, Peer, Plan, Watch, request

TARGETS = Path(__file__).resolve().parents[1] / "targets.py"
THREADS = 512  # at most, instead of 64: one scenario has a thread for each of 500 runs
FILL_S = 60.0  # at most, for a closed run to be written


class RuncastPeer(Peer):
    """Each stream is a run; its log begins with `started` (seq 1) and ends with `done`."""

    name = "runcast"
    packages = ("runcast", "msgspec", "starlette", "uvicorn", "uvloop", "httptools")
    scenarios = ALL_SCENARIOS | {"threads500"}

    def missing(self) -> str | None:
        if importlib.util.find_spec("runcast") is None:
            return "runcast"
        command = importlib.util.find_spec("runcast._cli")
        return None if command and command.origin else "the command of runcast"

    def command(self, port: int, folder: Path) -> list[str]:
        settings = folder / "settings.toml"
        settings.write_text(f"threads = {THREADS}\n", encoding="utf-8")
        return [
            *(sys.executable, "-m", "runcast", "serve", str(TARGETS), "--settings", str(settings)),
            *("--store", f"sqlite:///{folder / 'runs.db'}", "--port", str(port)),
        ]

    def prepare(self, port: int, plan: Plan) -> Watch:
        if plan.streams == 1 or plan.mode == "threads":
            asked = {"n": plan.events, "rate": plan.rate}
            runs = [invoke(port, "emitter", asked) for _ in range(plan.streams)]
        else:
            runs = [invoke(port, "stream", {}) for _ in range(plan.streams)]
        return self._watch(port, runs, plan.events)

    def start(self, port: int, plan: Plan) -> None:
        if plan.streams == 1 or plan.mode == "threads":
            invoke(port, "open_gate", {})
        else:
            invoke(port, "feed_all", {"n": plan.events, "rate": plan.rate})

    def fill(self, port: int, events: int) -> Watch:
        run = invoke(port, "fill", {"n": events})
        deadline = time.monotonic() + FILL_S
        while time.monotonic() < deadline:
            _, answer = request(port, "GET", f"/runs/{quote(run)}")
            if json.loads(answer)["status"] == "done":
                return self._watch(port, [run], events)
            time.sleep(0.1)
        raise ValueError(f"the run was not done after {FILL_S:g} s")

    def _watch(self, port: int, runs: list[str], events: int) -> Watch:
        urls = [f"http://127.0.0.1:{port}/runs/{quote(run)}/events" for run in runs]
        return Watch(urls, first=1, expect=events + 2)


def invoke(port: int, function: str, inputs: dict[str, object]) -> str:
    """Start a run without waiting for it and return its id."""
    headers = {"Content-Type": "application/json", "Prefer": "respond-async"}
    body = json.dumps({"inputs": inputs})
    _, answer = request(port, "POST", f"/invoke/{function}", body, headers)
    return str(json.loads(answer)["run_id"])
