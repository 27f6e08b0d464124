"""What the sources for logging, tqdm, rich and pools add to a call of the program.

    .venv/bin/python -m benchmarks.sources

Prints one line for each: the call without the source, with the source outside of a run, and inside
a run whose events go to memory. Medians of `ROUNDS` rounds, in microseconds of CPU of the thread
that calls.
"""

import io
import logging
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it can be run as a file

import runcast

CALLS = 2000
ROUNDS = 7


def per_call_us(work: Callable[[], None]) -> float:
    """Return the median time of one of the `CALLS` calls that `work` makes, in microseconds."""
    work()
    rounds = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        work()
        rounds.append((time.thread_time() - began) / CALLS * 1e6)
    return statistics.median(rounds)


def log_records() -> None:
    logger = logging.getLogger("bench")
    for number in range(CALLS):
        logger.info("record %d", number)


def move_a_bar_of_tqdm() -> None:
    from tqdm import tqdm

    with tqdm(total=CALLS, file=io.StringIO()) as bar:
        for _ in range(CALLS):
            bar.update()


def iterate_over_a_bar_of_tqdm() -> None:
    from tqdm import tqdm

    for _ in tqdm(range(CALLS), file=io.StringIO()):
        pass


def move_a_bar_of_rich() -> None:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=io.StringIO()), auto_refresh=False) as progress:
        task = progress.add_task("bench", total=CALLS)
        for _ in range(CALLS):
            progress.advance(task)


def emit_content() -> None:
    for _ in range(CALLS):
        runcast.content("a word")


def submit_to(pool: ThreadPoolExecutor) -> Callable[[], None]:
    def submit() -> None:
        for future in [pool.submit(int) for _ in range(CALLS)]:
            future.result()

    return submit


def main() -> None:
    logger = logging.getLogger("bench")
    logger.setLevel("INFO")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    print(f"{'µs a call':<24}{'without':>10}{'outside':>10}{'in a run':>10}")
    for name, work in (
        ("logging", log_records),
        ("tqdm, update()", move_a_bar_of_tqdm),
        ("tqdm, iterating", iterate_over_a_bar_of_tqdm),
        ("rich, advance()", move_a_bar_of_rich),
    ):
        without = per_call_us(work)
        with runcast.sources.stream("logging", "tqdm", "rich"):
            outside = per_call_us(work)
            with runcast.run("bench"):
                inside = per_call_us(work)
        print(f"{name:<24}{without:>10.2f}{outside:>10.2f}{inside:>10.2f}")
    with ThreadPoolExecutor(1) as theirs, runcast.ThreadPoolExecutor(1) as ours:
        without, outside = per_call_us(submit_to(theirs)), per_call_us(submit_to(ours))
        with runcast.run("bench"):
            inside = per_call_us(submit_to(ours))
    print(f"{'pool, submit()':<24}{without:>10.2f}{outside:>10.2f}{inside:>10.2f}")
    with runcast.run("bench"):
        inside = per_call_us(emit_content)
    print(f"{'content(), to compare':<24}{'':>20}{inside:>10.2f}")


if __name__ == "__main__":
    main()
