"""The rules of the soak: what it calls a leak, and what it lets pass."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress

from tests.soak import Held, faults_of
from tests.waiting import START_S, WAIT_S


def table(sizes: Iterable[float], descriptors: int = 30, threads: int = 18) -> list[Held]:
    """Return the lines of a soak whose resident size was so, the last after the load."""
    return [
        Held(minute / 2, size, descriptors, threads, 10.0, 1.0, 100 * minute, 0)
        for minute, size in enumerate(sizes, 1)
    ]


PLATEAU = [70.0, 80.0, 90.0, 95.0, *[100.0] * 16]


def test_a_level_that_is_reached_and_left_is_no_fault() -> None:
    assert faults_of(table([*PLATEAU, 90.0]), []) == []


def test_growth_in_the_second_half_is_a_fault() -> None:
    (fault,) = faults_of(table([*(70.0 + 5 * number for number in range(20)), 90.0]), [])
    assert fault == "the resident size grew: 130 MB in the third quarter, 155 MB in the last one"


def test_a_size_that_stays_above_the_plateau_after_the_load_is_a_fault() -> None:
    (fault,) = faults_of(table([*PLATEAU, 101.0]), [])
    assert fault.startswith("the resident size stays: 100 MB in the second half, 101 MB after")


def test_descriptors_and_threads_that_stay_are_faults() -> None:
    lines = table([*PLATEAU, 90.0])
    lines[-1] = lines[-1]._replace(descriptors=60, threads=40)
    assert [fault.split(" leak")[0] for fault in faults_of(lines, [])] == ["descriptors", "threads"]


def test_a_soak_that_is_terminated_ends_its_server() -> None:
    soak = subprocess.Popen(
        [sys.executable, "-m", "tests.soak", "--minutes", "5"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    guard = threading.Timer(START_S, soak.kill)
    guard.start()
    try:
        assert soak.stdout is not None
        assert soak.stdout.readline().split()[0] == "minute"
        soak.terminate()
        soak.stdout.read()  # its end: no process of the group holds the file any more
        assert soak.wait(START_S) == 128 + signal.SIGTERM
    finally:
        guard.cancel()
        with suppress(ProcessLookupError):
            os.killpg(soak.pid, signal.SIGKILL)
        soak.communicate(timeout=WAIT_S)
