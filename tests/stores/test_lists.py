"""Lists by label: as many rows are read as are asked for, whatever happens to the logs."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from runcast.stores.base import Append, LogInfo
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing.contract.harness import record
from tests.stores.spy import Spy, ask_all
from tests.stores.test_sqlite import spy  # noqa: F401 - a fixture

pytestmark = pytest.mark.anyio

LISTED = "SELECT of_log, name, value FROM labelled ORDER BY of_log, name"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


async def checkpoint(store: SQLiteStore) -> None:
    parts = store._opened
    await parts.writer.run(parts.journal.checkpoint)


def names(infos: list[LogInfo]) -> list[str]:
    return [info.log_id for info in infos]


@pytest.mark.parametrize("more", [{}, {"limit": 1}, {"before": (1e12, "z")}, {"status": "queued"}])
async def test_a_list_by_label_is_read_in_its_order(
    path: Path,
    spy: Spy,  # noqa: F811
    more: dict[str, object],
) -> None:
    async with SQLiteStore(str(path)) as store:
        for number in range(10):
            await store.create(f"r-{number}", labels={"function": f"f-{number % 2}", "team": "a"})
        await checkpoint(store)
        spy.statements.clear()
        found = await store.list(labels={"function": "f-1"}, **more)  # type: ignore[arg-type]
        asked = [each for each in spy.statements if "FROM labelled" in each]

    limit = more.get("limit", 5)
    assert names(found) == ["r-9", "r-7", "r-5", "r-3", "r-1"][: int(str(limit))]
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {asked[0]}").fetchall()
    steps = [row[3] for row in rows]
    assert len(steps) == 2
    assert steps[0].startswith(
        "SEARCH labelled USING PRIMARY KEY (of_kind=? AND name=? AND value=?"
    )
    assert steps[1].startswith("SEARCH logs USING INDEX sqlite_autoindex_logs_1 (log_id=?)")


async def test_lists_by_label_follow_what_becomes_of_logs(path: Path) -> None:
    async with SQLiteStore(str(path)) as store:
        await store.create("a", labels={"team": "x", "runcast.digest": "1"})
        await store.create("b", labels={"team": "x"})
        await store.create("c", kind="delivery", labels={"team": "x"})
        await checkpoint(store)
        assert ask_all(path, LISTED) == [
            ("a", "team", "x"),
            ("b", "team", "x"),
            ("delivery/c", "team", "x"),
        ]

        await store.commit([Append("a", [record(1)], labels={"team": "y", "more": "z"})])
        await store.commit([Append("b", [record(1)])])
        await checkpoint(store)
        await store.commit([Append("a", [record(2)], labels={"more": ""})])
        assert names(await store.list(labels={"team": "x"})) == ["b"]
        assert names(await store.list(labels={"team": "y"})) == ["a"]
        assert names(await store.list(labels={"more": "z"})) == []
        assert names(await store.list(labels={"runcast.digest": "1"})) == ["a"]
        assert set(names(await store.list(labels={"team": "x"}, kind=None))) == {"b", "delivery/c"}

        await store.create("b", labels={"team": "y"}, replace=True)
        await store.delete("a")
        await checkpoint(store)
        assert ask_all(path, LISTED) == [("b", "team", "y"), ("delivery/c", "team", "x")]
        assert names(await store.list(labels={"team": "x"})) == []
        assert names(await store.list(labels={"team": "y"})) == ["b"]


async def test_labels_that_stay_are_not_written_again(path: Path, spy: Spy) -> None:  # noqa: F811
    async with SQLiteStore(str(path)) as store:
        await store.create("a", labels={"team": "x"})
        await checkpoint(store)
        await store.commit([Append("a", [record(1)])])
        await checkpoint(store)
        spy.statements.clear()
        await store.commit([Append("a", [record(2)])])
        await checkpoint(store)

        assert [each for each in spy.statements if "INTO labelled" in each and '"a"' in each] == []
