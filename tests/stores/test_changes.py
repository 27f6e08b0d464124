"""Changes across processes, and the ends of what is remembered."""

import asyncio
import sys
from pathlib import Path

import pytest

from runcast._hub.hub import Hub
from runcast.errors import Gone
from runcast.events.model import encode_record
from runcast.stores import changes as recent_changes
from runcast.stores.base import Append, ChangePage, LogInfo, Store
from runcast.stores.memory import MemoryStore
from runcast.stores.sqlite import journal
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing.contract.harness import append, only, outcome_of
from tests.opening import WAIT_S, clock, soon, store

__all__ = ("clock", "store")

pytestmark = pytest.mark.anyio

_ELSEWHERE = """
import asyncio, sys
from runcast.stores import Append, SQLiteStore

async def main():
    async with SQLiteStore(sys.argv[1]) as store:
        await store.create("made", labels={"thread": "t"})
        await store.commit([Append("ended", close=True)])
        await store.delete("gone")

asyncio.run(main())
"""


def names(page: ChangePage) -> list[str]:
    return [change.log_id for change in page.changes]


async def test_what_another_process_did_is_found(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with SQLiteStore(str(path)) as store, asyncio.timeout(WAIT_S * 2):
        for log_id in ("ended", "gone", "left"):
            await store.create(log_id)
        point = (await store.changes()).after

        process = await asyncio.create_subprocess_exec(sys.executable, "-c", _ELSEWHERE, str(path))
        assert await process.wait() == 0

        found = (await store.changes(point)).changes
        assert [(each.log_id, each.is_deleted) for each in found] == [
            ("made", False),
            ("ended", False),
            ("gone", True),
        ]
        assert found[0].info.labels == {"thread": "t"}
        assert found[1].info.closed


async def test_more_changes_than_are_remembered_are_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent_changes, "MAX_CHANGES", 3)
    async with store:
        first = (await store.changes()).after
        await store.create("a")
        second = (await store.changes(first)).after
        for log_id in "bcd":
            await store.create(log_id)

        assert [each.log_id for each in (await store.changes(second)).changes] == ["b", "c", "d"]
        with pytest.raises(Gone) as error:
            await store.changes(first)
        assert error.value.reason == "trimmed"


async def test_a_log_that_changes_often_pushes_no_other_out(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent_changes, "MAX_CHANGES", 3)
    async with store:
        point = (await store.changes()).after
        await store.create("quiet")
        await store.create("busy")
        for number in range(50):
            only(await outcome_of(store, Append("busy", labels={"n": str(number)})))

        assert [each.log_id for each in (await store.changes(point)).changes] == ["quiet", "busy"]


async def test_a_point_of_other_logs_is_refused(tmp_path: Path) -> None:
    async with (
        SQLiteStore(str(tmp_path / "one.db")) as one,
        SQLiteStore(str(tmp_path / "two.db")) as two,
        MemoryStore() as memory,
    ):
        for here, there in ((one, two), (two, memory), (memory, MemoryStore())):
            point = (await here.changes()).after
            with pytest.raises(Gone) as error:
                await there.changes(point)
            assert error.value.reason == "replaced"


async def test_a_process_that_came_later_knows_the_last_changes_before_it(tmp_path: Path) -> None:
    path = str(tmp_path / "runs.db")
    async with SQLiteStore(path) as store:
        before = (await store.changes()).after
        await store.create("a")
        async with SQLiteStore(path) as late:
            now = (await late.changes()).after
            await store.create("b")

            for each in (store, late):
                assert names(await each.changes(now)) == ["b"]
                assert names(await each.changes(before)) == ["a", "b"]


async def test_after_a_restart_the_last_changes_are_known_and_older_ones_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_NOTED", 2)
    path = str(tmp_path / "runs.db")
    async with SQLiteStore(path) as store:
        first = (await store.changes()).after
        for log_id in "abc":
            await store.create(log_id)
        await store.delete("c")
        second = (await store.changes(first, limit=1)).after
    async with SQLiteStore(path) as store:
        page = await store.changes(second)
        assert (names(page), page.changes[-1].is_deleted) == (["b", "c"], True)
        with pytest.raises(Gone) as error:
            await store.changes(first)
        assert error.value.reason == "trimmed"


async def test_changes_outlive_the_checkpoints_of_other_processes(tmp_path: Path) -> None:
    path = str(tmp_path / "runs.db")
    async with SQLiteStore(path) as store:
        point = (await store.changes()).after
        await store.create("a")
        async with SQLiteStore(path) as other:
            await append(other, "a", close=True)
        # It was closed, and has moved the journal into the tables.
        found = (await store.changes(point)).changes
        assert [(each.log_id, each.info.closed) for each in found] == [("a", True)]


# --- what a hub is handed -------------------------------------------------------------------------


class Counted(SQLiteStore):
    """Counts what is asked about logs."""

    asked = 0

    async def info(self, log_id: str) -> LogInfo:
        self.asked += 1
        return await super().info(log_id)


async def test_what_another_process_appends_costs_no_questions(tmp_path: Path) -> None:
    path = str(tmp_path / "runs.db")
    watched = Counted(path)
    async with Hub(SQLiteStore(path)) as writer, Hub(watched) as watcher:
        inlet = await writer.create("r")
        await inlet.append([encode_record("log", {"message": "first"}, 1.0)])
        watch = await watcher.watch("r")
        seen = [event.seq for event in (await soon(anext(watch))).events()]
        watched.asked = 0
        cached = watcher.statistics().cache_bytes

        for number in range(20):
            await inlet.append([encode_record("log", {"message": str(number)}, 1.0)])
            seen += [event.seq for event in (await soon(anext(watch))).events()]

        assert seen == list(range(1, 22))
        assert (watched.asked, watcher.statistics().cache_bytes) == (0, cached)
        watch.close()


async def test_an_owned_log_is_cancelled_by_what_another_process_wrote(tmp_path: Path) -> None:
    path = str(tmp_path / "runs.db")
    store = Counted(path)
    async with Hub(store) as hub, SQLiteStore(path) as other:
        log = await hub.begin("r")
        store.asked = 0
        only(await outcome_of(other, Append("r", labels={"n": "1"})))
        only(await outcome_of(other, Append("r", labels={"runcast.cancel": "stop"})))
        await soon(log.left.wait())
        assert store.asked == 0
        _, state = await hub.present("r")
        assert state.status == "cancelled"
