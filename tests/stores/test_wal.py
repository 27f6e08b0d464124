"""SQLite's write-ahead log: it stays short, whatever is written and whoever reads."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runcast._clock import Clock
from runcast.events.position import Position
from runcast.stores.base import Owner
from runcast.stores.sqlite import upkeep as sqlite_upkeep
from runcast.stores.sqlite import wal as sqlite_wal
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing import FakeClock
from runcast.testing.contract.harness import append, expect_log, padded, read_all
from tests.opening import eventually, soon
from tests.stores.spy import until
from tests.waiting import WAIT_S

BOUND = 2 * 1024 * 1024
RECORD_BYTES = 50_000
NEVER_S = 3600.0
pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def wal_bytes(path: Path) -> int:
    log = path.with_name(f"{path.name}-wal")
    return log.stat().st_size if log.exists() else 0


@asynccontextmanager
async def opened(path: Path, clock: Clock | None = None) -> AsyncIterator[SQLiteStore]:
    async with SQLiteStore(str(path), clock, wal_bytes=BOUND, poll_s=NEVER_S) as store:
        yield store


async def flood(store: SQLiteStore, path: Path, log_id: str, count: int) -> int:
    """Append as fast as it goes; return the longest that the write-ahead log was seen."""
    longest = 0
    for number in range(count):
        await append(store, log_id, padded(number, RECORD_BYTES))
        longest = max(longest, wal_bytes(path))
    return longest


@contextlib.contextmanager
def reader(path: Path) -> Iterator[None]:
    """Hold a snapshot of the file, as a backup does."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM logs").fetchone()
        yield


async def passing(clock: FakeClock, claim: Callable[[], bool]) -> None:
    """Let time pass until a claim holds."""
    async with asyncio.timeout(2 * WAIT_S):
        while not claim():
            clock.advance(1)
            await asyncio.sleep(0)


async def test_a_flood_leaves_the_log_within_twice_its_bound(path: Path) -> None:
    async with opened(path) as store:
        await store.create("a")
        longest = await flood(store, path, "a", 400)

        assert 0 < longest <= 2 * BOUND
        await expect_log(store, "a", [padded(number, RECORD_BYTES) for number in range(400)])


async def test_floods_of_several_processes_leave_it_within_twice_its_bound(
    path: Path,
) -> None:
    async with opened(path) as one, opened(path) as other:
        await one.create("a")
        await other.create("b")
        both = await asyncio.gather(flood(one, path, "a", 200), flood(other, path, "b", 200))

        assert 0 < max(both) <= 2 * BOUND
        await expect_log(one, "b", [padded(number, RECORD_BYTES) for number in range(200)])


async def test_replays_beside_a_flood_leave_it_within_twice_its_bound(path: Path) -> None:
    async with opened(path) as store:
        epoch = (await store.create("a")).epoch
        await flood(store, path, "a", 50)
        flooding = asyncio.create_task(flood(store, path, "a", 200))

        async def replay() -> int:
            replays = 0
            while not flooding.done():
                assert len(await read_all(store, "a", Position(epoch, 0))) >= 50
                replays += 1
            return replays

        assert min(await asyncio.gather(*[replay() for _ in range(3)])) > 0
        assert 0 < await flooding <= 2 * BOUND


async def test_a_reader_that_holds_a_snapshot_makes_commits_slow_and_loses_none(
    path: Path,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sqlite_wal, "_EMPTY_S", 0.01)
    async with opened(path, clock) as store:
        await store.create("a")
        wal = store._opened.wal
        with reader(path):
            flooding = asyncio.create_task(flood(store, path, "a", 200))
            heads = []
            for _ in range(60):
                await until(store, lambda: wal.must_wait)
                assert wal_bytes(path) <= 2 * BOUND
                heads.append((await store.info("a")).head)
                # What keeps the process's runs does not wait in line.
                await soon(store.renew(Owner(owner_id="p"), 15.0))
                clock.advance(1)
            assert not flooding.done()
            assert 0 < heads[0] < heads[-1] < 200
            # However long the disk takes for a copy: it is said why this takes so long.
            await passing(clock, lambda: bool(caplog.records))
            assert len(caplog.records) == 1
            assert "cannot be emptied" in caplog.records[0].message
        await passing(clock, flooding.done)
        await flooding
        await expect_log(store, "a", [padded(number, RECORD_BYTES) for number in range(200)])


async def test_the_log_is_cut_short_in_a_silence(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SQLiteStore(str(path), clock, wal_bytes=BOUND, poll_s=0.001) as store:
        await store.create("a")
        with reader(path):
            await flood(store, path, "a", 15)
            assert wal_bytes(path) > BOUND // 4
        monkeypatch.setattr(sqlite_upkeep, "_QUIET_S", 0.0)
        await eventually(lambda: not wal_bytes(path))
