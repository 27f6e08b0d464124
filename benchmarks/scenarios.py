"""What is measured. Each scenario takes a peer and returns one row of numbers."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.peers.peer import ROOT, Peer, Plan
from benchmarks.server import SETTLE_S, BenchmarkError, Load, Server

Row = dict[str, Any]

LATE_MS = 250.0  # the p99 that a sustained rate must keep
LADDER = 1.25  # from one rung to the next
MOST_RUNGS = 12  # tried for one peer
TOP_RATE = 16_000.0  # events a second on one stream; far above what one generator can take in
GENERATOR_BUSY = 0.9  # of one core: beyond, the generator and not the server may be the limit


@dataclass(frozen=True)
class Settings:
    """Sizes that the command line may change; the defaults are those of the published tables."""

    watchers: int = 1000
    seconds: float = 3.5
    fanout_rate: float = 50.0
    runs: int = 500
    run_rate: float = 50.0
    replay_events: int = 100_000
    replay_readers: tuple[int, ...] = (1, 10)
    idle_connections: tuple[int, ...] = (1000, 4000)
    emit_events: int = 20_000


@dataclass(frozen=True)
class Column:
    """One figure of a row: its key, its heading, and whether a ratio makes sense for it."""

    key: str
    title: str
    ratio: bool = False


@dataclass(frozen=True)
class Scenario:
    """A name, a sentence, the work, the columns."""

    name: str
    describe: Callable[[Settings], str]
    measure: Callable[[Peer, Settings], Row]
    columns: Callable[[Settings], tuple[Column, ...]]


@contextlib.contextmanager
def _ended(process: "subprocess.Popen[str] | None") -> Iterator[None]:
    """End a feeding process with the measurement, however that ends."""
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.communicate()


def publish_and_watch(
    peer: Peer, plan: Plan, *, watchers: int, grace_s: float, warm_s: float = 0.5
) -> Row:
    """Start the peer, open the watchers, publish by plan, and return what came and what it cost.

    CPU is the server's alone (publishing in its process included), from the first event due to the
    last one delivered.
    """
    seconds = plan.events / plan.rate + grace_s
    with Server(peer) as server:
        watch = peer.prepare(server.port, plan)
        options = ("--expect", str(watch.expect), "--first", str(watch.first))
        with Load(watch, watchers, seconds, *options, "--warm-s", str(warm_s)) as load:
            load.wait_until_open()
            time.sleep(SETTLE_S)
            cpu_before, began = server.cpu_s(), time.monotonic()
            with _ended(peer.start(server.port, plan)):
                report = load.report()
            cpu_s, wall_s = server.cpu_s() - cpu_before, time.monotonic() - began
    latency = report["latency_ms"]
    return {
        "ok": report["ok"],
        "messages": report["messages"],
        "messages_per_s": report["messages_per_s"],
        "cpu_us_per_message": round(cpu_s / max(1, report["messages"]) * 1e6, 2),
        "core_percent": round(100 * cpu_s / wall_s, 1),
        "p50_ms": latency["p50"],
        "p99_ms": latency["p99"],
        "max_ms": latency["max"],
        "span_s": report["span_s"],
        "generator_percent": round(100 * report["cpu_s"] / max(0.001, report["span_s"]), 1),
        "report": report,
    }


def measure_fanout(peer: Peer, settings: Settings) -> Row:
    """Return the cost and the latency of a steady rate to many watchers of one stream."""
    rate = settings.fanout_rate
    plan = Plan(streams=1, rate=rate, events=int(rate * settings.seconds))
    return publish_and_watch(peer, plan, watchers=settings.watchers, grace_s=15)


def measure_runs(peer: Peer, settings: Settings) -> Row:
    """Return the cost and the latency of many streams, one watcher each, fed by another thread."""
    rate = settings.run_rate
    plan = Plan(settings.runs, rate, events=int(rate * settings.seconds), mode="thread")
    row = publish_and_watch(peer, plan, watchers=settings.runs, grace_s=10)
    row["offered_per_s"] = round(settings.runs * rate)
    return row


def measure_threads(peer: Peer, settings: Settings) -> Row:
    """Return the cost of many streams, each fed by a thread of its own."""
    rate = settings.run_rate
    plan = Plan(settings.runs, rate, events=int(rate * settings.seconds), mode="threads")
    row = publish_and_watch(peer, plan, watchers=settings.runs, grace_s=10)
    row["offered_per_s"] = round(settings.runs * rate)
    return row


def measure_sustained(peer: Peer, settings: Settings) -> Row:
    """Return the highest rung of a ladder of rates at which nothing is lost or late.

    A burst first tells about where the limit is. From the rung there the ladder is walked up until
    a rung fails, or, if it fails at once, down until one holds.
    """
    watchers = settings.watchers
    burst = publish_and_watch(
        peer, Plan(1, 1e6, max(20, 100_000 // watchers)), watchers=watchers, grace_s=6, warm_s=0
    )
    rate = min(TOP_RATE, max(1.0, burst["messages_per_s"] / watchers))
    tried: list[Row] = []
    best: Row | None = None
    upwards: bool | None = None
    while len(tried) < MOST_RUNGS and 1.0 <= rate <= TOP_RATE:
        row = _try_rate(peer, rate, settings)
        tried.append({"rate": round(rate, 1), "held": row["held"], "p99_ms": row["p99_ms"]})
        if row["held"]:
            best = row
        if upwards is None:
            upwards = row["held"]
        elif row["held"] != upwards:
            break
        rate = rate * LADDER if upwards else rate / LADDER
    if best is None:
        best = {"ok": False, "messages_per_s": 0, "report": {}}
    generator = best.get("generator_percent", 0.0)
    return {
        **best,
        "limit": "generator" if generator > 100 * GENERATOR_BUSY else "server",
        "tried": tried,
        "burst_per_s": burst["messages_per_s"],
    }


def _try_rate(peer: Peer, rate: float, settings: Settings) -> Row:
    seconds = min(settings.seconds, 2.5)
    plan = Plan(streams=1, rate=round(rate, 2), events=max(5, int(rate * seconds)))
    row = publish_and_watch(peer, plan, watchers=settings.watchers, grace_s=2.5, warm_s=0.3)
    # A publisher that is kept from publishing makes events late without their knowing it.
    kept_pace = row["span_s"] <= plan.events / plan.rate * 1.05 + LATE_MS / 1000
    row["held"] = row["ok"] and row["p99_ms"] <= LATE_MS and kept_pace
    return row


def measure_replay(peer: Peer, settings: Settings) -> Row:
    """Return the time that a closed stream takes to reach one and ten late watchers."""
    row: Row = {"ok": True}
    for readers in settings.replay_readers:
        with Server(peer) as server:
            watch = peer.fill(server.port, settings.replay_events)
            options = ("--expect", str(watch.expect), "--first", str(watch.first), "--check-later")
            cpu_before = server.cpu_s()
            with Load(watch, readers, 60, *options) as load:
                load.wait_until_open()
                report = load.report()
            cpu_s = server.cpu_s() - cpu_before
        row["ok"] = row["ok"] and report["ok"]
        row[f"seconds_{readers}"] = round(report["open_to_last_s"], 4)
        row[f"cpu_s_{readers}"] = round(cpu_s, 3)
        row[f"generator_s_{readers}"] = report["cpu_s"]
        row[f"report_{readers}"] = report
    return row


def measure_idle(peer: Peer, settings: Settings) -> Row:
    """Return what one more watcher costs in memory while nothing happens."""
    row: Row = {"ok": True}
    for connections in settings.idle_connections:
        with Server(peer) as server:
            watch = peer.prepare(server.port, Plan(streams=1, rate=1, events=1))
            with Load(watch, 50, 0.5) as warm_up:  # so that lazy imports are not counted
                warm_up.wait_until_open()
                warm_up.report()
            time.sleep(0.5)
            before = server.uss_bytes()
            with Load(watch, connections, 2.5) as load:
                load.wait_until_open()
                time.sleep(1.0)
                after = server.uss_bytes()
                report = load.report()
        row["ok"] = row["ok"] and report["bad"] == 0
        row["base_mib"] = round(before / 2**20, 1)
        row[f"kib_{connections}"] = round((after - before) / connections / 1024, 2)
        row[f"open_s_{connections}"] = round(report["open_s"], 2)
    return row


def measure_emit(peer: Peer, settings: Settings) -> Row:
    """Return what one publishing call costs the thread that makes it."""
    command = [sys.executable, "-m", "benchmarks.emit", "--design", peer.name]
    command += ["--events", str(settings.emit_events)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise BenchmarkError(f"emit failed: {done.stderr[-1500:]}")
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


_CPU = Column("cpu_us_per_message", "server CPU µs/msg", ratio=True)
_GENERATOR = Column("generator_percent", "generator core %")
_LATENCY = (Column("p50_ms", "p50 ms", ratio=True), Column("p99_ms", "p99 ms"))
_RATE = Column("messages_per_s", "msg/s")
_CORE = Column("core_percent", "server core %")

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "fanout",
            lambda s: f"{s.fanout_rate:g} events/s on one stream to {s.watchers} watchers",
            measure_fanout,
            lambda _: (_CPU, *_LATENCY, _RATE, _CORE, _GENERATOR),
        ),
        Scenario(
            "sustained",
            lambda s: f"highest rate to {s.watchers} watchers with p99 <= {LATE_MS:g} ms",
            measure_sustained,
            lambda _: (
                *(Column("messages_per_s", "msg/s", ratio=True), _CPU, *_LATENCY),
                *(_CORE, _GENERATOR, Column("limit", "limited by")),
            ),
        ),
        Scenario(
            "runs500",
            lambda s: (
                f"{s.runs} streams x {s.run_rate:g} events/s, one watcher each, "
                "published from another thread"
            ),
            measure_runs,
            lambda _: (_CPU, *_LATENCY, _RATE, Column("offered_per_s", "offered/s"), _CORE),
        ),
        Scenario(
            "threads500",
            lambda s: f"{s.runs} runs x {s.run_rate:g} events/s, each in a thread of its own",
            measure_threads,
            lambda _: (_CPU, *_LATENCY, _RATE, Column("offered_per_s", "offered/s"), _CORE),
        ),
        Scenario(
            "replay",
            lambda s: (
                f"a closed stream of {s.replay_events:,} events, read by "
                f"{' and by '.join(map(str, s.replay_readers))}"
            ),
            measure_replay,
            lambda s: tuple(
                column
                for n in s.replay_readers
                for column in (
                    Column(f"seconds_{n}", f"{n} reader{'s' * (n > 1)} s", ratio=True),
                    Column(f"cpu_s_{n}", "server CPU s"),
                    Column(f"generator_s_{n}", "generator CPU s"),
                )
            ),
        ),
        Scenario(
            "idle",
            lambda _: "memory (USS) of one idle connection",
            measure_idle,
            lambda s: (
                *(Column(f"kib_{n}", f"KiB at {n}", ratio=True) for n in s.idle_connections),
                *(Column(f"open_s_{n}", f"s to open {n}") for n in s.idle_connections),
                Column("base_mib", "base MiB"),
            ),
        ),
        Scenario(
            "emit",
            lambda s: (
                f"one publishing call from a thread, {s.emit_events:,} in bursts, one watcher"
            ),
            measure_emit,
            lambda _: (
                Column("burst_mean_ns", "burst mean ns", ratio=True),
                *(Column("burst_p50_ns", "p50"), Column("burst_p99_ns", "p99")),
                Column("burst_cpu_ns", "CPU of one"),
                *(Column("paced_mean_ns", "paced mean ns"), Column("paced_p99_ns", "p99")),
                Column("end_to_end_ns", "ns/event end to end", ratio=True),
            ),
        ),
    )
}
