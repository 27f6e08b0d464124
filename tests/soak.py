"""A long mixed load on a real server: `python3 dev.py soak [--minutes N]`.

Eight clients start short and long runs, answer questions, cancel, upload and download files, leave
streams in the middle, resume them, and delete what has ended. Every half minute a line of the table
says what the server holds. It fails on any unexpected answer, on a run whose events are not dense,
and on a leak: at the end, with all clients gone, more descriptors or threads than after the first
tenth of the time (with some to spare), a resident size that still grew in the second half, or one
that stays above the plateau of that half once the clients are gone.
"""

import argparse
import http.client
import json
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from tests.cli.served import Served, frames, serve

CLIENTS: Final = 8
EVERY_S: Final = 30.0
QUIET_S: Final = 20.0
"""How long the server is left alone before the last look at it."""

LATE_S: Final = 30.0
"""Longest wait for an answer: the machine may have other work."""

CACHE_BYTES: Final = 2 * 1024 * 1024
"""`page_cache_bytes` of the server: its caches are to be full in the first half of the time. With
the default they fill for longer than the soak lasts."""

FILL_EVENTS: Final = 800
"""Events of 100 KB that are stored at first."""

SPARE_DESCRIPTORS: Final = 16
SPARE_THREADS: Final = 8
GROWTH: Final = 1.1
"""How much larger than in the third quarter of the time the median resident size may be in the last
one: by then every cache is full."""
LEVEL: Final = 1.0
"""How large the resident size may be after the load, against its median in the second half."""

TARGET: Final = """
import asyncio
import runcast

@runcast.function
def count(n: int = 200):
    for number in range(n):
        runcast.progress(number + 1, n)
        yield f"word {number} "

@runcast.function
def fill(n: int):
    for number in range(n):
        yield {"type": "filling", "data": {"n": number, "text": "." * 100_000}}

@runcast.function
async def wait(steps: int = 1000):
    for number in range(steps):
        yield f"{number} "
        await asyncio.sleep(0.05)

@runcast.function
async def ask():
    return (await runcast.ask("May I?", interrupt_id="q")).type

@runcast.function
def work():
    folder = runcast.workspace() / "data" / "outputs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "out.bin").write_bytes(b"x" * 100_000)
    return "written"
"""


class Held(NamedTuple):
    """What the server holds at one moment."""

    minute: float
    rss_mb: float
    descriptors: int
    threads: int
    file_mb: float
    wal_mb: float
    runs: int
    errors: int


class Client(threading.Thread):
    """One client, which does one thing after another until it is told to stop."""

    def __init__(self, served: Served, number: int, stop: threading.Event) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self._served = served
        self._end = stop
        self._random = random.Random(number)
        self._number = number
        self.runs = 0
        self.errors: list[str] = []

    def run(self) -> None:
        acts = [self.count, self.leave_and_resume, self.ask, self.cancel, self.file]
        while not self._end.is_set():
            act = self._random.choice(acts)
            run_id = f"c{self._number}-{self.runs}"
            self.runs += 1
            try:
                act(run_id)
                if self._random.random() < 0.7:
                    self._expect("DELETE", f"/runs/{run_id}", 204)
            except Exception:  # noqa: BLE001 - whatever it is, it is what the soak looks for
                self.errors.append(f"{act.__name__} {run_id}: {traceback.format_exc(limit=2)}")

    def _expect(self, method: str, path: str, *allowed: int, **more: Any) -> Any:
        answer = self._served.ask(method, path, **more)
        if answer.status not in allowed:
            raise AssertionError(f"{method} {path}: {answer.status} {answer.body[:300]!r}")
        return answer

    def _begin(self, function: str, run_id: str, **inputs: Any) -> None:
        body = {"run_id": run_id, "inputs": inputs}
        headers = {"Prefer": "respond-async"}
        self._expect("POST", f"/invoke/{function}", 202, body=body, headers=headers)

    def _watch(self, run_id: str, after: str = "", most: int = 10**9) -> list[dict[str, str]]:
        headers = {"Last-Event-ID": after} if after else {}
        seen: list[dict[str, str]] = []
        with self._served.open("GET", f"/runs/{run_id}/events", headers=headers) as response:
            for frame in frames(response):
                seen.append(frame)
                if len(seen) >= most:
                    break
        return seen

    def fill(self) -> None:
        """One long run, which stays: how much SQLite keeps in memory depends on what is stored."""
        body = {"run_id": "long", "inputs": {"n": FILL_EVENTS}}
        headers = {"Accept": "application/json"}
        self._expect("POST", "/invoke/fill", 200, body=body, headers=headers)

    def count(self, run_id: str) -> None:
        """A short run, waited for."""
        body = {"run_id": run_id, "inputs": {"n": self._random.randint(1, 400)}}
        headers = {"Accept": "application/json"}
        self._expect("POST", "/invoke/count", 200, body=body, headers=headers)

    def leave_and_resume(self, run_id: str) -> None:
        """A stream that is left in the middle and resumed: every event once."""
        self._begin("count", run_id, n=300)
        first = self._watch(run_id, most=self._random.randint(1, 200))
        rest = self._watch(run_id, after=first[-1]["id"])
        seqs = [json.loads(frame["data"])["seq"] for frame in (*first, *rest)]
        if seqs != list(range(1, len(seqs) + 1)):
            raise AssertionError(f"{run_id}: the events are not dense")

    def ask(self, run_id: str) -> None:
        """A question, answered."""
        self._begin("ask", run_id)
        self._watch(run_id, most=2)
        answer = {"type": "accept"}
        self._expect("POST", f"/runs/{run_id}/interrupts/q", 200, body=answer)
        self._watch(run_id)

    def cancel(self, run_id: str) -> None:
        """A long run, watched for a moment and cancelled."""
        self._begin("wait", run_id)
        self._watch(run_id, most=3)
        self._expect("POST", f"/runs/{run_id}/cancel", 200)

    def file(self, run_id: str) -> None:
        """A run that leaves a file, downloaded."""
        body = {"run_id": run_id}
        headers = {"Accept": "application/json"}
        self._expect("POST", "/invoke/work", 200, body=body, headers=headers)
        answer = self._expect("GET", f"/runs/{run_id}/files/out.bin", 200)
        if len(answer.body) != 100_000:
            raise AssertionError(f"{run_id}: {len(answer.body)} bytes of 100000")


def look(served: Served, store: Path, began: float, clients: list[Client]) -> Held:
    """Return what the server holds now. Linux only: it reads /proc."""
    process = _server_of(served.process.pid)
    status = (process / "status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    wal = store.with_name(f"{store.name}-wal")
    return Held(
        (time.monotonic() - began) / 60,
        int(fields["VmRSS"].split()[0]) / 1024,
        len(list((process / "fd").iterdir())),
        int(fields["Threads"]),
        store.stat().st_size / 2**20,
        wal.stat().st_size / 2**20 if wal.exists() else 0.0,
        sum(client.runs for client in clients),
        sum(len(client.errors) for client in clients),
    )


def _server_of(pid: int) -> Path:
    return Path("/proc", str(pid))


def faults_of(table: list[Held], clients: list[Client]) -> list[str]:
    """Return what is wrong with a table whose last line was taken in silence."""
    found = [error for client in clients for error in client.errors[:3]]
    base, last = table[max(0, len(table) // 10)], table[-1]
    for name, spare in (("descriptors", SPARE_DESCRIPTORS), ("threads", SPARE_THREADS)):
        before, after = getattr(base, name), getattr(last, name)
        if after > before + spare:
            found.append(f"{name} leak: {before} after a tenth of the time, {after} at the end")
    quarter = len(table) // 4
    if quarter:
        sizes = [line.rss_mb for line in table]
        early = statistics.median(sizes[2 * quarter : 3 * quarter])
        late = statistics.median(sizes[-quarter - 1 : -1])
        plateau = statistics.median(sizes[len(table) // 2 : -1])
        if late > early * GROWTH:
            found.append(
                f"the resident size grew: {early:.0f} MB in the third quarter, {late:.0f} MB in "
                "the last one"
            )
        if last.rss_mb > plateau * LEVEL:
            found.append(
                f"the resident size stays: {plateau:.0f} MB in the second half, {last.rss_mb:.0f} "
                "MB after the load"
            )
    return found


def soak(minutes: float, say: Callable[[str], None]) -> list[str]:
    """Load a server of its own for some minutes; return what went wrong."""
    with tempfile.TemporaryDirectory(prefix="runcast-soak-") as name:
        folder = Path(name)
        (folder / "target.py").write_text(TARGET)
        store, stop = folder / "runs.db", threading.Event()
        settings = {"RUNCAST_PAGE_CACHE_BYTES": str(CACHE_BYTES)}
        arguments = ("target.py", "--store", f"sqlite:///{store}")
        with serve(*arguments, cwd=folder, env=settings, wait_s=LATE_S) as served:
            clients = [Client(served, number, stop) for number in range(CLIENTS)]
            began, table = time.monotonic(), []
            say(" ".join(f"{field:>11}" for field in Held._fields))
            clients[0].fill()
            for client in clients:
                client.start()
            while time.monotonic() - began < minutes * 60:
                stop.wait(min(EVERY_S, minutes * 6))
                table.append(look(served, store, began, clients))
                say(_line(table[-1]))
            stop.set()
            for client in clients:
                client.join()
            threading.Event().wait(QUIET_S)
            table.append(look(served, store, began, clients))
            say(_line(table[-1]))
            code, _, errors = served.end(signal.SIGTERM)
        found = faults_of(table, clients)
        if code != 0 or errors:
            found.append(f"the server ended with {code} and said {errors[-2000:]!r}")
        return found


def _line(held: Held) -> str:
    return " ".join(
        f"{value:>11.1f}" if isinstance(value, float) else f"{value:>11}" for value in held
    )


def _leave(number: int, frame: object) -> NoReturn:
    """End by an exception, so that the server ends, too."""
    sys.exit(128 + number)


def main() -> int:
    signal.signal(signal.SIGTERM, _leave)
    parser = argparse.ArgumentParser(prog="dev.py soak", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (%(default)s)")
    try:
        found = soak(parser.parse_args().minutes, lambda line: print(line, flush=True))
    except (OSError, http.client.HTTPException) as error:
        found = [repr(error)]
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
