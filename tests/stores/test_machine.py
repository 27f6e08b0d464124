"""Who still owns its runs: on one machine the process itself tells, elsewhere the lease."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest

from runcast.stores import machine
from runcast.stores.base import Owner
from runcast.stores.machine import is_owning, this_process

NOW: Final = 1000.0
RUNNING: Final = NOW + 1
OVER: Final = NOW - 1

pytestmark = pytest.mark.skipif(
    not this_process().machine, reason="this machine does not tell one boot from another"
)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """Another process, which waits."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def as_owner(process: subprocess.Popen[bytes]) -> Owner:
    return replace(this_process(), pid=process.pid, started=machine._start_time(process.pid))


def test_a_living_process_owns_its_runs_though_its_lease_is_over() -> None:
    assert is_owning((this_process(), OVER), NOW)


def test_a_dead_process_owns_nothing_though_its_lease_runs(
    child: subprocess.Popen[bytes],
) -> None:
    owner = as_owner(child)
    assert is_owning((owner, OVER), NOW)

    child.kill()
    child.wait()

    assert not is_owning((owner, RUNNING), NOW)


def test_a_process_that_is_dead_but_still_listed_owns_nothing(
    child: subprocess.Popen[bytes],
) -> None:
    owner = as_owner(child)
    assert child.stdin is not None
    child.stdin.close()
    while machine._start_time(child.pid):
        pass  # it ends, and is a zombie until it is waited for

    assert not is_owning((owner, RUNNING), NOW)


def test_another_process_under_the_same_id_is_not_the_owner() -> None:
    assert not is_owning((replace(this_process(), started="1"), RUNNING), NOW)


def test_a_process_of_a_boot_before_this_one_owns_nothing() -> None:
    mine = this_process()
    before = replace(mine, machine=f"another-boot/{mine.machine.partition('/')[2]}")

    assert not is_owning((before, RUNNING), NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"machine": this_process().machine.partition("/")[0] + "/pid:[1]"},
        {"machine": ""},
        {"started": ""},
    ],
    ids=["in another container", "on a machine without a name", "without a start"],
)
def test_where_nothing_is_known_of_a_process_its_lease_tells(change: dict[str, str]) -> None:
    owner = replace(this_process(), **change)  # type: ignore[arg-type]

    assert is_owning((owner, RUNNING), NOW)
    assert not is_owning((owner, OVER), NOW)


def test_an_owner_that_nobody_knows_owns_nothing() -> None:
    assert not is_owning(None, NOW)
