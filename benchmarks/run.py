"""Measure runcast and its peers, side by side on this machine.

    python benchmarks/run.py
    python benchmarks/run.py fanout runs500 --peers runcast,nchan,sse-starlette --rounds 3

Without scenarios it measures all that the budgets ask for, in about 13 minutes, and writes what
came of it into docs/performance.md and docs/images/benchmark.svg.

Each measurement starts its server anew; rounds go through all peers in turn, so that what else the
machine does falls on all alike. Prints a markdown table for each scenario and writes
`benchmarks/results/<scenario>.json`.
"""

import argparse
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it can be run as a file

from benchmarks.budgets import OURS, PROGRAMME, ROUNDS, make_budget_table, say_misses
from benchmarks.chart import write_chart
from benchmarks.load import raise_file_limit
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.peer import Peer
from benchmarks.report import (
    Rows,
    collect_versions,
    describe_machine,
    make_table,
    write_results,
)
from benchmarks.scenarios import SCENARIOS, Row, Scenario, Settings
from benchmarks.server import BenchmarkError

RESULTS = Path(__file__).with_name("results")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
CHART = PAGE.parent / "images" / "benchmark.svg"
BEGIN, END = "<!-- python3 dev.py bench: begin -->\n", "<!-- python3 dev.py bench: end -->\n"


def measure_once(scenario: Scenario, peer: Peer, settings: Settings) -> Row:
    """Return one row; a peer that fails gets a row that says so, and the others go on."""
    try:
        return scenario.measure(peer, settings)
    except (BenchmarkError, OSError, ValueError, subprocess.SubprocessError) as error:
        notes = "; ".join(getattr(error, "__notes__", []))
        return {"ok": False, "error": f"{type(error).__name__}: {error} {notes}".strip()[:800]}


def run_scenario(
    scenario: Scenario, peers: list[Peer], settings: Settings, rounds: int, reference: str
) -> tuple[Rows, str]:
    """Measure all peers in rounds, print the table, write the results; return rows and table."""
    rows: Rows = {peer.name: [] for peer in peers}
    about = {"machine": describe_machine(), "versions": collect_versions(peers)}
    for number in range(1, rounds + 1):
        for peer in peers:
            print(f"{scenario.name} {number}/{rounds} {peer.name} ...", file=sys.stderr, flush=True)
            rows[peer.name].append(measure_once(scenario, peer, settings))
    if reference not in rows:
        reference = peers[0].name
    table = make_table(scenario, settings, rows, reference)
    print(table, flush=True)
    write_results(RESULTS, scenario, settings, rows, about)
    return rows, table


def run_budgets(rounds: int, about: str) -> None:
    """Measure what the budgets ask for; print their table, and write it where readers find it."""
    settings = Settings(replay_readers=(1,), idle_connections=(4000,))
    results: dict[str, Rows] = {}
    tables: list[str] = []
    for name, peers in PROGRAMME.items():
        names = ",".join((OURS, *peers))
        count = ROUNDS.get(name, rounds)
        rows, table = run_scenario(SCENARIOS[name], choose_peers(names), settings, count, OURS)
        results[name] = rows
        tables.append(table)
    budgets = make_budget_table(results)
    misses = say_misses(results)
    missed = "".join(f"- {miss}\n" for miss in misses) or "- none\n"
    found = f"{about}\n{budgets}\nMissed:\n\n{missed}"
    print(found)
    write_chart(CHART, results, about.splitlines()[0])
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    text = head + BEGIN + "\n" + "\n".join([found, *tables]) + "\n" + END + tail
    PAGE.write_text(text, encoding="utf-8")


def choose_peers(names: str) -> list[Peer]:
    """Return the named peers that are installed, and say which are not."""
    wanted = names.split(",") if names else list(PEERS)
    unknown = [name for name in wanted if name not in PEERS]
    if unknown:
        raise SystemExit(f"unknown peers {unknown}; there are {', '.join(PEERS)}")
    found = []
    for name in wanted:
        missing = PEERS[name].missing()
        if missing:
            print(f"left out: {name} needs {missing}", file=sys.stderr)
        else:
            found.append(PEERS[name])
    return found


def describe_run(peers: list[Peer]) -> str:
    """Return when and where figures were taken, and of which versions, in two paragraphs."""
    machine = describe_machine()
    versions = ", ".join(f"{name} {version}" for name, version in collect_versions(peers).items())
    return (
        f"{machine['date']} · {machine['cores']} cores ({machine['cpu']}) · {machine['kernel']} · "
        f"{machine['python']} · load {machine['load_1min']}\n\n{versions}\n"
    )


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    default = Settings()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help=", ".join(SCENARIOS))
    parser.add_argument("--peers", default="", help="with commas; default: all installed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--relative-to", default="sse-starlette", help="the peer that is 1.0")
    parser.add_argument("--watchers", type=int, default=default.watchers)
    parser.add_argument("--seconds", type=float, default=default.seconds)
    found = parser.parse_args()
    unknown = [name for name in found.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"unknown scenarios {unknown}; there are {', '.join(SCENARIOS)}")
    return found


def main() -> int:
    def stop(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)  # so that every `with` and `finally` on the way is carried out

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    found = parse_arguments()
    raise_file_limit()
    peers = choose_peers(found.peers)
    settings = Settings(watchers=found.watchers, seconds=found.seconds)
    about = describe_run(peers)
    print(about)
    if not found.scenarios:
        run_budgets(found.rounds, about)
        return 0
    for name in found.scenarios:
        scenario = SCENARIOS[name]
        taking_part = [peer for peer in peers if name in peer.scenarios]
        if not taking_part:
            print(f"{name}: none of the peers takes part", file=sys.stderr)
            continue
        run_scenario(scenario, taking_part, settings, found.rounds, found.relative_to)
    return 0


if __name__ == "__main__":
    sys.exit(main())
