"""Whatever goes wrong between nodes, store and people, the design's promises hold.

A failing seed prints itself; `python -m tests.simulation SEED` shows what happened.
"""

import os
import subprocess
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Final

import pytest

from tests.simulation.faults import weather
from tests.simulation.planted import PLANTED
from tests.simulation.world import Report, World, simulate
from tests.simulation.writers import write_run
from tests.waiting import START_S

SEEDS: Final = int(os.environ.get("TEST_SEEDS", "2400"))
"""How many seeds the heavy test runs: 150 s of one core."""

_PARTS: Final = 4
_QUICK: Final = 50
_WITHIN: Final = 300
"""Within so many seeds each planted bug must be found."""

_SAME: Final = (3, 8, 24)


def explain(report: Report) -> str:
    """Return what a failing seed needs to be looked at."""
    last = "\n".join(report.trace[-40:])
    seed = report.seed
    return f"seed {seed}: {report.error}\nrun: python -m tests.simulation {seed}\n…\n{last}"


def check(first: int, last: int) -> None:
    """Run seeds; the first that fails fails the test."""
    for seed in range(first, last):
        report = simulate(seed)
        if report.error is not None:
            raise AssertionError(explain(report)) from report.error


def test_the_promises_hold_whatever_goes_wrong() -> None:
    check(1, 1 + _QUICK)


@pytest.mark.heavy
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(_PARTS))
def test_the_promises_hold_with_thousands_of_seeds(part: int) -> None:
    count = SEEDS // _PARTS
    check(1000 + part * count, 1000 + (part + 1) * count)


def test_a_cancel_takes_effect_though_its_owner_could_not_store_the_end() -> None:
    check(2649, 2650)


class _Writers(World):
    """Only remote writers, and a bad network."""

    def _people(self) -> list[tuple[str, Awaitable[None]]]:
        names = [f"remote-{number}" for number in range(6)]
        self.starting.update(dict.fromkeys(names))
        return [(name, write_run(self, name, 20)) for name in names]

    def _troubles(self) -> list[Awaitable[None]]:
        return [weather(self) for _ in range(2)]


def find(bug: str, within: int, make_world: type[World] = World) -> Report:
    """Return the first seed that finds a planted bug."""
    for seed in range(1, 1 + within):
        report = simulate(seed, PLANTED[bug], make_world)
        if report.error is not None:
            return report
    pytest.fail(f"not found within {within} seeds: {bug}")


@pytest.mark.parametrize(
    ("bug", "said"),
    [
        ("a retry without its key", "comes twice"),
        ("a lease checked against the wrong clock", "whose lease holds"),
        pytest.param(
            "a handover without its critical section",
            "is connected, and is not sent event",
            marks=[pytest.mark.heavy, pytest.mark.timeout(300)],
        ),
    ],
)
def test_a_planted_bug_is_found(bug: str, said: str) -> None:
    assert said in str(find(bug, _WITHIN).error)


def test_a_planted_bug_in_what_remote_writers_send_is_found() -> None:
    bug = "a retried batch that only its first node knows"

    assert "comes twice" in str(find(bug, _WITHIN, _Writers).error)
    assert simulate(1, make_world=_Writers).error is None


def test_a_seed_always_gives_the_same_trace() -> None:
    reports = [simulate(seed) for seed in _SAME]
    again = [simulate(seed) for seed in _SAME]

    assert [report.digest for report in reports] == [report.digest for report in again]
    assert len({report.digest for report in reports}) == len(_SAME)
    assert all(report.events for report in reports)


def test_a_seed_gives_the_same_trace_in_another_process_with_other_hashes() -> None:
    code = (
        "from tests.simulation.world import simulate\n"
        f"print(*(simulate(seed).digest for seed in {_SAME}))"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            check=True,
            timeout=START_S,
        ).stdout.split()
        for hashes in ("1", "2")
    ]

    assert found[0] == found[1] == [simulate(seed).digest for seed in _SAME]
