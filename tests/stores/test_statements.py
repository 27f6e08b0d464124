"""How many statements of SQLite a store keeps: a compiled one takes memory for each row in it."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any, Final

import pytest

from runcast.stores.base import Append
from runcast.stores.sqlite import journal as sqlite_journal
from runcast.stores.sqlite import upkeep as sqlite_upkeep
from runcast.stores.sqlite.heap import give_back_memory
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing.contract.harness import append, padded, record
from tests.stores.spy import is_checkpointed, until
from tests.waiting import WAIT_S

pytestmark = pytest.mark.anyio

MOST_TOGETHER: Final = 20
NEVER_S: Final = 3600.0


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The texts of all statements: Python keeps a compiled one for each, 128 a connection."""
    seen: set[str] = set()
    real_connect = sqlite3.connect

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            seen.add(sql)
            return super().execute(sql, *parameters)

    def connect(database: str, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = real_connect(database, factory=Connection, **options)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect)
    return seen


async def test_statements_do_not_grow_with_the_sizes_of_checkpoints_and_sweeps(
    tmp_path: Path, texts: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each of the three kinds of rows that are inserted one statement for each power of two."""
    monkeypatch.setattr(sqlite_upkeep, "_QUIET_S", 0.0001)
    monkeypatch.setattr(sqlite_upkeep, "_SWEEP_S", 0.0)
    path = tmp_path / "runs.db"

    async def move(store: SQLiteStore) -> None:
        await until(store, lambda: is_checkpointed(path))

    async def write_and_delete(store: SQLiteStore, many: int) -> None:
        names = [f"r-{many}-{number}" for number in range(many)]
        await asyncio.gather(*(store.create(name) for name in names))
        await move(store)
        await store.commit([Append(name, [record(1)], close=True) for name in names])
        await move(store)
        await asyncio.gather(*(store.delete(name) for name in names))
        await move(store)

    async with asyncio.timeout(WAIT_S), SQLiteStore(str(path), poll_s=0.0005) as store:
        monkeypatch.setattr(sqlite_journal, "CHECKPOINT_BYTES", 1)
        await write_and_delete(store, 1)
        before = len(texts)
        for many in range(2, MOST_TOGETHER + 1):
            await write_and_delete(store, many)

    assert len(texts) - before <= 4 * MOST_TOGETHER.bit_length()


async def test_a_checkpoint_describes_a_log_again_only_if_more_than_its_length_has_changed(
    tmp_path: Path, texts: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_journal, "CHECKPOINT_BYTES", 1)
    path = tmp_path / "runs.db"

    async def written(store: SQLiteStore, change: Append) -> set[str]:
        texts.clear()
        await store.commit([change])
        await until(store, lambda: is_checkpointed(path))
        changing = [text for text in texts if " logs " in text and not text.startswith("SELECT")]
        return {text[:11] for text in changing if "json_each" not in text}

    async with asyncio.timeout(WAIT_S), SQLiteStore(str(path), poll_s=0.0005) as store:
        await store.create("a")
        grown = {"WITH grown "}
        assert "INSERT INTO" in await written(store, Append("a", [record(1)]))
        assert await written(store, Append("a", [record(2)])) == grown
        assert await written(store, Append("a", [record(3)])) == grown
        assert "INSERT INTO" in await written(store, Append("a", [], labels={"b": "c"}))
        assert await written(store, Append("a", [record(4)])) == grown
        assert "INSERT INTO" in await written(store, Append("a", [record(5)], close=True))
        info = await store.info("a")
    async with SQLiteStore(str(path)) as store:
        assert await store.info("a") == info
        assert (info.head, info.closed, info.labels["b"]) == (5, True, "c")


async def test_memory_is_given_back_once_after_a_burst(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    monkeypatch.setattr(sqlite_upkeep, "give_back_memory", lambda: given.append("all"))
    monkeypatch.setattr(sqlite_upkeep, "_BURST_BYTES", 100_000)
    path = str(tmp_path / "runs.db")
    async with asyncio.timeout(WAIT_S), SQLiteStore(path, poll_s=NEVER_S) as store:
        parts = store._opened

        async def be_quiet() -> None:
            await parts.writer.run(parts.upkeep.when_idle)  # after so long that nothing came

        await store.create("r")
        await be_quiet()
        for number in range(4):
            await append(store, "r", padded(number, 50_000))
        assert not given  # neither while it is at work, nor for less than a burst
        await be_quiet()
        assert given == ["all"]

        await append(store, "r", record(5))
        await be_quiet()
        assert given == ["all"]


def test_giving_memory_back_does_no_harm() -> None:
    give_back_memory()
