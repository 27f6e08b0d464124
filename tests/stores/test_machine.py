"""Who still owns its runs: on one machine the process itself tells, elsewhere the lease."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest

from runcast.stores import machine
from runcast.stores.base import Owner
from runcast.stores.machine import is_alive, this_boot, this_process
from runcast.stores.sqlite.leases import Lease, is_owning
from runcast.testing import FakeClock

CLOCK: Final = FakeClock()
RUNNING: Final = CLOCK.time() + 1
OVER: Final = CLOCK.time() - 1

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
    assert is_owning(Lease(this_process(), OVER), CLOCK)


def test_a_dead_process_owns_nothing_though_its_lease_runs(
    child: subprocess.Popen[bytes],
) -> None:
    owner = as_owner(child)
    assert is_owning(Lease(owner, OVER), CLOCK)

    child.kill()
    child.wait()

    assert not is_owning(Lease(owner, RUNNING), CLOCK)


def test_a_process_that_is_dead_but_still_listed_owns_nothing(
    child: subprocess.Popen[bytes],
) -> None:
    owner = as_owner(child)
    assert child.stdin is not None
    child.stdin.close()
    while machine._start_time(child.pid):
        pass  # it ends, and is a zombie until it is waited for

    assert not is_owning(Lease(owner, RUNNING), CLOCK)


def test_another_process_under_the_same_id_is_not_the_owner() -> None:
    assert not is_owning(Lease(replace(this_process(), started="1"), RUNNING), CLOCK)


def test_a_process_of_a_boot_before_this_one_owns_nothing_in_a_file() -> None:
    mine = this_process()
    before = replace(mine, machine=f"another-boot/{mine.machine.partition('/')[2]}")

    assert not is_owning(Lease(before, RUNNING), CLOCK)


def test_nothing_is_known_of_a_process_of_another_machine() -> None:
    """Where a store is not a file, it may live: only its lease tells."""
    mine = this_process()

    assert is_alive(mine)
    assert is_alive(replace(mine, machine=f"another/{mine.machine.partition('/')[2]}")) is None


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

    assert is_owning(Lease(owner, RUNNING), CLOCK)
    assert not is_owning(Lease(owner, OVER), CLOCK)


def test_an_owner_that_nobody_knows_owns_nothing() -> None:
    assert not is_owning(None, CLOCK)


ELSEWHERE: Final = replace(this_process(), machine=f"{this_boot().partition('/')[0]}/pid:[1]")
"""A process in another container, of which nothing is known but its lease."""


@pytest.mark.parametrize("step", [-86_400, 86_400])
def test_in_one_boot_a_lease_ends_by_the_clock_that_nobody_sets(step: float) -> None:
    clock = FakeClock()
    lease = Lease(ELSEWHERE, clock.time() + 10, this_boot(), clock.monotonic() + 10)

    clock.jump(step)

    assert is_owning(lease, clock)
    clock.advance(11)
    assert not is_owning(lease, clock)


@pytest.mark.parametrize("boot", ["", "another-boot/time:[1]", f"{this_boot()[:-2]}x]"])
def test_a_lease_of_another_boot_or_time_namespace_ends_by_the_wall_clock(boot: str) -> None:
    clock = FakeClock()
    nobody = Owner(owner_id="nobody")

    assert is_owning(Lease(nobody, clock.time() + 1, boot, 0.0), clock)
    assert not is_owning(Lease(nobody, clock.time() - 1, boot, 1e9), clock)


def test_a_process_that_another_user_hides_is_known_by_its_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hidden = replace(this_process(), pid=2**22 - 1)

    def deny(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", deny)

    assert is_owning(Lease(hidden, RUNNING), CLOCK)
    assert not is_owning(Lease(hidden, OVER), CLOCK)
