"""Many short functions in processes of their own at once, and one after another, over HTTP.

    python -m benchmarks.bursts [--python PYTHON]

Prints one table, and then whether runcast's processes keep their budgets. Each round first starts
as many plain interpreters at once as there are calls (`python -S -c pass`), and then makes the
calls, so a ratio compares what happened in the same second. *At once*: from the first request to
the first event of each call, in the middle and at worst. *Alone*: the same for one call at rest.
*One after another*: whole calls.

PYTHON is an interpreter that has `cog` (`pip install cog`); see `benchmarks.services`. Cog has one
process, in which all calls share one interpreter. It refuses a call while another one runs, so its
clients ask again at once.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it can be run as a file

from benchmarks.services import Service, call, running, services

_REST_S = 1.0

_BUDGETED = "runcast, process"
_ALONE_MS = 5.0
_AT_ONCE_MS = 400.0
_AT_ONCE_RATIO = 2.0
_CALLS_PER_S = 100.0


class Round(NamedTuple):
    """What one round measured, seconds."""

    bare: float
    middle: float
    worst: float
    bare_alone: float
    alone: float
    each: float


def start_bare(count: int) -> float:
    """Start plain interpreters at once; return the seconds until all have ended."""
    before = time.perf_counter()
    started = [subprocess.Popen([sys.executable, "-S", "-c", "pass"]) for _ in range(count)]
    for process in started:
        process.wait()
    return time.perf_counter() - before


def call_at_once(service: Service, port: int, count: int) -> list[float]:
    """Make calls at once; return the seconds to the first event of each, in order."""
    before = time.perf_counter()

    def first() -> float:
        while True:
            begun = time.perf_counter() - before
            found, _, came = call(service, port, 1)
            if came:
                return begun + found

    with ThreadPoolExecutor(count) as clients:
        return sorted(each.result() for each in [clients.submit(first) for _ in range(count)])


def measure(service: Service, port: int, calls: int, series: int) -> Round:
    """Measure one round."""
    bare = start_bare(calls)
    at_once = call_at_once(service, port, calls)
    time.sleep(_REST_S)
    bare_alone = start_bare(1)
    alone = call_at_once(service, port, 1)[0]
    time.sleep(_REST_S)
    before = time.perf_counter()
    for _ in range(series):
        call_at_once(service, port, 1)
    each = (time.perf_counter() - before) / series
    time.sleep(_REST_S)
    return Round(bare, at_once[calls // 2], at_once[-1], bare_alone, alone, each)


def budgets(rounds: Sequence[Round], calls: int) -> list[str]:
    """Return a line for each budget of a function in a process of its own."""
    middle = {name: statistics.median(found) for name, found in _columns(rounds).items()}
    budgeted = (
        ("first event of one call alone", middle["alone"], "≤", _ALONE_MS, "ms"),
        (f"last first event of {calls} at once", middle["worst"], "≤", _AT_ONCE_MS, "ms"),
        (f"the same beside {calls} `python -S`", middle["worst / bare"], "≤", _AT_ONCE_RATIO, "×"),
        ("calls one after another", middle["calls/s"], "≥", _CALLS_PER_S, "calls/s"),
    )
    return [
        f"{name}: {found:.3g} {unit}, budget {sign} {budget:g} {unit}: "
        + ("met" if (found <= budget) == (sign == "≤") else "missed")
        for name, found, sign, budget, unit in budgeted
    ]


def _columns(rounds: Sequence[Round]) -> dict[str, list[float]]:
    """Return the figures of all rounds, by name."""
    return {
        "middle": [1000 * each.middle for each in rounds],
        "worst": [1000 * each.worst for each in rounds],
        "worst / bare": [each.worst / each.bare for each in rounds],
        "alone": [1000 * each.alone for each in rounds],
        "alone / bare": [each.alone / each.bare_alone for each in rounds],
        "calls/s": [1 / each.each for each in rounds],
    }


_FORMS = {"middle": ".0f", "worst": ".0f", "alone": ".1f", "calls/s": ".0f"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=32)
    parser.add_argument("--series", type=int, default=50)
    parser.add_argument("--python", default=sys.executable)
    found = parser.parse_args()
    print(
        f"| service | {found.calls} at once: middle (ms) | worst (ms) "
        f"| worst / {found.calls} plain interpreters | alone (ms) | alone / one plain interpreter "
        "| calls/s one after another |"
    )
    print("|---|---|---|---|---|---|---|")
    notes = []
    for name, service in services(found.python).items():
        if name == "gradio":
            continue
        try:
            with running(service) as port:
                time.sleep(_REST_S)
                rounds = [
                    measure(service, port, found.calls, found.series) for _ in range(found.rounds)
                ]
        except (OSError, RuntimeError) as error:
            notes.append(f"{name} is left out: {error}")
            continue
        columns = _columns(rounds).items()
        cells = [_shown(values, _FORMS.get(column, ".2f")) for column, values in columns]
        print(f"| `{name}` | {' | '.join(cells)} |", flush=True)
        if name == _BUDGETED:
            notes += budgets(rounds, found.calls)
    print("\n".join(["", *notes]))


def _shown(values: list[float], form: str) -> str:
    middle = format(statistics.median(values), form)
    return f"{middle} ({format(min(values), form)}–{format(max(values), form)})"


if __name__ == "__main__":
    main()
