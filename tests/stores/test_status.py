"""A log's status is the one that the fold of its events has, at every seq and on every store."""

import asyncio
import itertools
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runcast._hub.hub import Hub
from runcast.events.fold import fold
from runcast.events.lifecycle import STATUSES, Standing
from runcast.events.model import Event, record_of
from runcast.events.snapshot import Snapshot
from runcast.stores.base import Append, Store
from runcast.stores.memory import MemoryStore
from runcast.stores.sqlite import journal
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing import FakeClock
from runcast.testing.contract.harness import only, outcome_of
from tests.events.strategies import lives
from tests.stores.spy import Spy

NEVER_S: Final = 3600.0

Make = Callable[[Path], list[Store]]


def memory(path: Path) -> list[Store]:
    return [MemoryStore(FakeClock())]


def sqlite(path: Path) -> list[Store]:
    return [SQLiteStore(f"{path}.db", FakeClock(), poll_s=NEVER_S)]


def two_sqlite(path: Path) -> list[Store]:
    clock = FakeClock()
    return [SQLiteStore(f"{path}.db", clock, poll_s=NEVER_S) for _ in range(2)]


def standing_of(snapshot: Snapshot) -> Standing:
    return Standing(snapshot.status, tuple(each.interrupt_id for each in snapshot.interrupts))


async def check(stores: list[Store], events: list[Event]) -> None:
    """Expect every store to know where a log stands after these events."""
    expected = standing_of(fold(events))
    for store in stores:
        assert (await store.info("a")).standing == expected
        for status in STATUSES:
            found = await store.list(status=status)
            assert [info.log_id for info in found] == ["a"] * (status == expected.status)


async def live(stores: list[Store], events: list[Event], data: st.DataObject) -> None:
    """Append events in parts, by one store or another, with all that may come between."""
    turns = itertools.cycle(stores)
    told: list[Event] = []
    while len(told) < len(events):
        store = next(turns)
        size = data.draw(st.integers(1, 4))
        part = events[len(told) : len(told) + size]
        only(await outcome_of(store, Append("a", [record_of(event) for event in part])))
        told += part
        await check(stores, told)
        match data.draw(st.sampled_from(["", "", "", "trim", "restart", "replace", "fold"])):
            case "trim":
                await store.trim("a", len(told), b"a snapshot of another form")
            case "restart":
                await store.close()
                await store.open()
            case "replace":
                await store.create("a", replace=True)
                events, told = events[len(told) :], []
            case "fold":
                if (await store.info("a")).first == 1:
                    hub = Hub(store)
                    _, snapshot = await hub.present("a")
                    assert standing_of(snapshot) == standing_of(fold(told))
        await check(stores, told)


@pytest.mark.parametrize("make", [memory, sqlite, two_sqlite])
@pytest.mark.parametrize(
    "examples", [pytest.param(20, id="few"), pytest.param(100, id="many", marks=pytest.mark.heavy)]
)
def test_a_status_is_that_of_the_fold(
    make: Make, examples: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "CHECKPOINT_BYTES", 1500)
    paths = (tmp_path / str(number) for number in itertools.count())

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(lives(24), st.data())
    def check_all(events: list[Event], data: st.DataObject) -> None:
        async def run() -> None:
            stores = make(next(paths))
            for store in stores:
                await store.open()
            await stores[0].create("a")
            await live(stores, events, data)
            for store in stores:
                await store.close()

        asyncio.run(run())

    check_all()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "asked",
    [
        {"status": "waiting"},
        {"status": "waiting", "before": (1763715600.0, "log-7")},
        {"status": "done", "kind": "delivery"},
        {},
        {"before": (1763715600.0, "log-7")},
    ],
)
async def test_lists_by_status_read_an_index_in_its_order(
    asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a list costs must not grow with the runs that are kept."""
    path, spy = tmp_path / "runs.db", Spy(monkeypatch)
    async with SQLiteStore(str(path), FakeClock()) as store:
        await store.create("a")
        await store.list(**asked)

    (statement,) = [each for each in spy.statements if "ORDER BY created_at" in each]
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
    index = "logs_by_status" if "status" in asked else "logs_by_age"
    assert [row[3].partition(" (")[0] for row in rows] == [f"SEARCH logs USING INDEX {index}"]
