"""Measure runcast and its peers, side by side on this machine.

    python benchmarks/run.py fanout runs500 --peers runcast,nchan,sse-starlette --rounds 3

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


def measure_once(scenario: Scenario, peer: Peer, settings: Settings) -> Row:
    """Return one row; a peer that fails gets a row that says so, and the others go on."""
    try:
        return scenario.measure(peer, settings)
    except (BenchmarkError, OSError, ValueError, subprocess.SubprocessError) as error:
        notes = "; ".join(getattr(error, "__notes__", []))
        return {"ok": False, "error": f"{type(error).__name__}: {error} {notes}".strip()[:800]}


def run_scenario(
    scenario: Scenario, peers: list[Peer], settings: Settings, rounds: int, reference: str
) -> None:
    """Measure all peers in rounds, print the table, write the results."""
    rows: Rows = {peer.name: [] for peer in peers}
    about = {"machine": describe_machine(), "versions": collect_versions(peers)}
    for number in range(1, rounds + 1):
        for peer in peers:
            print(f"{scenario.name} {number}/{rounds} {peer.name} ...", file=sys.stderr, flush=True)
            rows[peer.name].append(measure_once(scenario, peer, settings))
    if reference not in rows:
        reference = peers[0].name
    print(make_table(scenario, settings, rows, reference), flush=True)
    write_results(RESULTS, scenario, settings, rows, about)


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


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    default = Settings()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenarios", nargs="+", choices=list(SCENARIOS))
    parser.add_argument("--peers", default="", help="with commas; default: all installed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--relative-to", default="sse-starlette", help="the peer that is 1.0")
    parser.add_argument("--watchers", type=int, default=default.watchers)
    parser.add_argument("--seconds", type=float, default=default.seconds)
    return parser.parse_args()


def main() -> int:
    def stop(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)  # so that every `with` and `finally` on the way is carried out

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    found = parse_arguments()
    raise_file_limit()
    peers = choose_peers(found.peers)
    settings = Settings(watchers=found.watchers, seconds=found.seconds)
    about = describe_machine()
    versions = collect_versions(peers)
    print(
        f"{about['date']} · {about['cores']} cores ({about['cpu']}) · {about['kernel']} · "
        f"{about['python']} · load {about['load_1min']}\n"
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}\n"
    )
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
