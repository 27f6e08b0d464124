"""Run seeds: `python -m tests.simulation 17` shows the trace of seed 17; `1:200` runs a range."""

import sys
import time

from tests.simulation.world import simulate


def main(asked: str) -> int:
    """Run one seed or a range of seeds; return how many failed."""
    first, is_range, last = asked.partition(":")
    failed = steps = events = 0
    begun = time.perf_counter()
    for seed in range(int(first), int(last if is_range else first) + 1):
        report = simulate(seed)
        steps, events = steps + report.steps, events + report.events
        if not is_range:
            print("\n".join(report.trace))
        if report.error is not None:
            failed += 1
            print(f"seed {seed}: {report.error}")
    took_s = time.perf_counter() - begun
    print(f"{failed} failed; {steps} steps, {events} events, {took_s:.1f} s")
    return failed


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1])))
