"""The budgets: how fast runcast must be, as ratios to what one could use instead.

`PROGRAMME` says what is measured for them and with whom; `BUDGETS` is the table that comes of it.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.report import Rows

__all__ = ("BUDGETS", "PROGRAMME", "Budget", "make_budget_table", "say_misses")

OURS = "runcast"

PROGRAMME: dict[str, tuple[str, ...]] = {
    "fanout": ("starlette", "starlette-join", "litestar", "sse-starlette", "fastapi", "nchan"),
    "runs500": ("starlette", "starlette-join", "litestar", "sse-starlette", "seed", "nchan"),
    "threads500": ("starlette", "seed"),
    "replay": ("starlette", "starlette-join", "sse-starlette", "fastapi"),
    "idle": ("starlette", "litestar", "sse-starlette", "fastapi", "nchan"),
    "emit": ("starlette", "seed"),
    "sustained": ("starlette", "starlette-join", "litestar", "sse-starlette", "nchan"),
}
"""Scenarios, and the peers that runcast is measured beside."""

ROUNDS = {"idle": 1, "threads500": 1, "emit": 9}
"""Where another number of rounds than asked for is right: fewer where the spread is small, more
where it is wide and a round takes seconds."""


@dataclass(frozen=True)
class Budget:
    """One bound. `least`: that many times better than the peer; `most`: that part of its cost.

    Without a peer `most` is a bound on the figure itself, and the best round counts, as with
    `timeit`: a neighbour on the machine can only add to what a call costs, and no ratio takes out
    what it adds. What is measured beside a peer are medians.
    """

    scenario: str
    work: str
    figure: str
    key: str
    unit: str
    peer: str = ""
    least: float = 0.0
    most: float = 0.0
    is_rate: bool = False
    """Whether more is better."""


_FANOUT = "50 events/s to 1,000 watchers"
_RUNS = "500 runs × 50 events/s, emitted by one other thread"
_THREADS = "500 threads, each with a run of 50 events/s"
_REPLAY = "a closed run of 100,000 events, read at once"
_CPU = ("server CPU per message", "cpu_us_per_message", "µs")

BUDGETS = (
    *(
        Budget(
            *("sustained", "sustained fan-out to 1,000 watchers", "messages/s", "messages_per_s"),
            *("", peer, least),
            is_rate=True,
        )
        for peer, least in (("nchan", 30.0), ("sse-starlette", 80.0))
    ),
    Budget("fanout", _FANOUT, "median latency", "p50_ms", "ms", "nchan", most=1.2),
    Budget("fanout", _FANOUT, *_CPU, "nchan", most=1.3),
    Budget("fanout", _FANOUT, *_CPU, "sse-starlette", most=0.5),
    Budget("runs500", _RUNS, *_CPU, "nchan", most=1.0),
    Budget("runs500", _RUNS, *_CPU, "sse-starlette", most=0.8),
    Budget("runs500", _RUNS, "median latency, best round", "p50_ms", "ms", most=3.0),
    Budget("runs500", _RUNS, "99th percentile, best round", "p99_ms", "ms", most=30.0),
    Budget("threads500", _THREADS, "median latency, best round", "p50_ms", "ms", most=50.0),
    *(
        Budget("replay", _REPLAY, "time to the last event", "seconds_1", "s", peer, least)
        for peer, least in (("starlette", 8.0), ("sse-starlette", 30.0), ("fastapi", 150.0))
    ),
    Budget("idle", "4,000 idle watchers", "memory of one", "kib_4000", "KiB", "nchan", most=1.1),
    Budget(
        "idle", "4,000 idle watchers", "memory of one", "kib_4000", "KiB", "sse-starlette", most=0.3
    ),
    Budget(
        *("emit", "`emit()` from a thread, in bursts", "one call, best round", "burst_mean_ns"),
        "ns",
        most=2e3,
    ),
    Budget(
        *("emit", "`emit()` from a thread, in bursts", "one call", "burst_mean_ns", "ns"),
        *("seed", 30.0),
    ),
)


def make_budget_table(results: Mapping[str, Rows]) -> str:
    """Return the budgets and what was measured as a markdown table."""
    lines = [
        "| work | figure | runcast | peer | the peer's figure | ratio | budget | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for budget in BUDGETS:
        own, other = _measured(results, budget, OURS), _measured(results, budget, budget.peer)
        ratio = _ratio(budget, own, other)
        cells = [
            budget.work,
            budget.figure,
            _figure(own, budget.unit),
            budget.peer or "-",
            _figure(other, budget.unit) if budget.peer else "-",
            "-" if ratio is None or not budget.peer else f"{ratio:.3g} ×",
            _bound(budget),
            _verdict(results, budget, ratio),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def say_misses(results: Mapping[str, Rows]) -> list[str]:
    """Return a sentence for each budget that was missed: which, and by how much."""
    said = []
    for budget in BUDGETS:
        ratio = _ratio(
            budget, _measured(results, budget, OURS), _measured(results, budget, budget.peer)
        )
        if ratio is None or _is_met(budget, ratio):
            continue
        by = budget.least / ratio if budget.least else ratio / budget.most
        beside = f" beside {budget.peer}" if budget.peer else ""
        said.append(f"{budget.work}, {budget.figure}{beside}: {by:.2f} times the budget.")
    return said


def _measured(results: Mapping[str, Rows], budget: Budget, peer: str) -> float | None:
    rounds = results.get(budget.scenario, {}).get(peer, [])
    values = [row[budget.key] for row in rounds if row.get("ok") and budget.key in row]
    if not values:
        return None
    return float(statistics.median(values) if budget.peer else min(values))


def _ratio(budget: Budget, own: float | None, other: float | None) -> float | None:
    """Return how many times better than the peer (`least`), or what part of its cost (`most`)."""
    if not own:
        return None
    if not budget.peer:
        return own
    if not other:
        return None
    return own / other if budget.is_rate or not budget.least else other / own


def _verdict(results: Mapping[str, Rows], budget: Budget, ratio: float | None) -> str:
    if ratio is not None:
        return "met" if _is_met(budget, ratio) else "**missed**"
    is_there = (budget.peer or OURS) in results.get(budget.scenario, {})
    return "no figure" if is_there else "not installed"


def _is_met(budget: Budget, ratio: float) -> bool:
    return ratio >= budget.least if budget.least else ratio <= budget.most


def _bound(budget: Budget) -> str:
    if not budget.peer:
        return f"≤ {budget.most:,.0f} {budget.unit}"
    return f"≥ {budget.least:g} × better" if budget.least else f"≤ {budget.most:g} ×"


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f} {unit}".strip() if value >= 1000 else f"{value:.3g} {unit}".strip()
