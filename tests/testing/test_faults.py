"""The faulty store fails, stalls and counts as it is told, and is otherwise the store it wraps."""

import asyncio

import pytest

from runcast.errors import StoreUnavailable
from runcast.events.position import Position
from runcast.stores.base import Append, Appended
from runcast.stores.memory import MemoryStore
from runcast.testing import FakeClock, FaultyStore, StoreCheck, contract_checks
from runcast.testing.contract.harness import append, expect_log, record

pytestmark = pytest.mark.anyio


class Harness:
    durable = True
    shared = False

    def __init__(self) -> None:
        self.clock = FakeClock()
        self._store = FaultyStore(MemoryStore(self.clock))

    def make_store(self) -> FaultyStore:
        return self._store


@pytest.mark.parametrize("check", contract_checks(shared=False), ids=str)
async def test_a_faulty_store_without_faults_keeps_the_contract(check: StoreCheck) -> None:
    await check(Harness())


async def test_as_many_calls_fail_as_were_asked_for() -> None:
    async with FaultyStore(MemoryStore(FakeClock())) as store:
        epoch = (await store.create("a")).epoch
        store.fail_next(2, StoreUnavailable("no commit"))
        store.fail_next(1, StoreUnavailable("no read"), call="read")
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="no commit"):
                await store.commit([Append("a", [record(1)])])
        with pytest.raises(StoreUnavailable, match="no read"):
            await store.read("a", Position(epoch, 0))
        await append(store, "a", record(2))
        await expect_log(store, "a", [record(2)])

    assert store.calls.failed == 3


async def test_calls_are_counted() -> None:
    async with FaultyStore(MemoryStore(FakeClock())) as store:
        epoch = (await store.create("a")).epoch
        await store.commit([])
        await store.commit([Append("a", [record(1), record(2)]), Append("a")])
        await store.read("a", Position(epoch, 1))

    assert (store.calls.commits, store.calls.appends, store.calls.records) == (2, 2, 2)
    assert (store.calls.reads, store.calls.failed, store.calls.most_at_once) == (1, 0, 1)


async def test_held_commits_wait_in_order_until_they_are_released() -> None:
    async with FaultyStore(MemoryStore(FakeClock())) as store:
        await store.create("a")
        store.hold()
        tasks = [asyncio.create_task(append(store, "a", record(n))) for n in range(4)]
        await store.wait_held(4)
        assert store.calls.most_at_once == 4
        await expect_log(store, "a", [])
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
        assert store.held == 3

        store.release(1)
        assert (await tasks[1]).first == 1
        await expect_log(store, "a", [record(1)])
        store.release()
        assert [(await task).first for task in tasks[2:]] == [2, 3]
        done = await append(store, "a", record(9))
        assert isinstance(done, Appended)
        assert store.held == 0


async def test_a_held_commit_can_be_made_to_fail() -> None:
    async with FaultyStore(MemoryStore(FakeClock())) as store:
        await store.create("a")
        store.hold()
        task = asyncio.create_task(append(store, "a", record(1)))
        await store.wait_held()
        store.fail_next(1, StoreUnavailable("gone"))
        store.release()
        with pytest.raises(StoreUnavailable, match="gone"):
            await task
        await expect_log(store, "a", [])


def test_a_fake_clock_moves_only_when_told_to() -> None:
    clock = FakeClock(time=100.0)
    started = clock.monotonic()
    assert clock.time() == clock.time() == 100.0
    clock.advance(2.5)
    assert (clock.time(), clock.monotonic() - started) == (102.5, 2.5)
    clock.jump(-50)
    assert (clock.time(), clock.monotonic() - started) == (52.5, 2.5)
    with pytest.raises(ValueError, match="jump"):
        clock.advance(-1)
