"""Folds of long logs: once at a time, and never again from the beginning."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from runcast._hub import present as hub_present
from runcast._hub.hub import Hub
from runcast._settings import Settings
from runcast.errors import NotFound, Stale
from runcast.events.model import encode_record
from runcast.events.position import Position
from runcast.stores.base import Page, Store
from runcast.stores.memory import MemoryStore
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing import FaultyStore
from tests.stores.spy import ask
from tests.waiting import WAIT_S

pytestmark = pytest.mark.anyio

EVENTS = 500
UNSAVED = 100


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs count as long from 100 events on."""
    monkeypatch.setattr(hub_present, "_UNSAVED_EVENTS", UNSAVED)


@pytest.fixture(params=["memory", "sqlite"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else SQLiteStore(str(tmp_path / "runs.db"))


def text(number: int) -> bytes:
    return encode_record("content", {"text": f"{number} "}, 1.0)


async def write(hub: Hub, run_id: str, count: int) -> None:
    inlet = await hub.create(run_id, replace=True)
    for start in range(0, count, 50):
        await inlet.append([text(start + number) for number in range(50)])


async def test_a_long_log_is_folded_once_however_often_hubs_come_and_go(kept: Store) -> None:
    async with asyncio.timeout(WAIT_S), Hub(kept) as hub:
        await write(hub, "r", EVENTS)
        _, first = await hub.present("r")
        assert hub._present.folded == EVENTS

    store = FaultyStore(kept)
    async with asyncio.timeout(WAIT_S), Hub(store) as again:
        _, state = await again.present("r")
        assert state == first
        assert (again._present.folded, store.calls.reads) == (0, 0)
        await again.inlet("r").append([text(EVENTS)])
        _, state = await again.present("r")
        assert (state.counts, again._present.folded) == ({"content": EVENTS + 1}, 1)


@pytest.mark.parametrize(
    "damage",
    [
        "state = 7",
        "state = substr(state, 1, 100)",
        "seq = 'many'",
        "seq = seq - 1",
        """state = CAST(replace(CAST(state AS TEXT), '"seq":500', '"seq":501') AS BLOB)""",
    ],
)
async def test_a_damaged_state_is_folded_again(tmp_path: Path, damage: str) -> None:
    path = str(tmp_path / "runs.db")
    async with asyncio.timeout(WAIT_S), Hub(SQLiteStore(path)) as hub:
        await write(hub, "r", EVENTS)
        _, first = await hub.present("r")
    with closing(sqlite3.connect(path)) as file, file:
        assert file.execute(f"UPDATE states SET {damage} WHERE seq = {EVENTS}").rowcount == 1

    async with asyncio.timeout(WAIT_S), Hub(SQLiteStore(path)) as again:
        _, state = await again.present("r")

        assert state == first
        assert again._present.folded == EVENTS


async def test_a_state_that_did_not_fit_in_memory_is_not_folded_again(kept: Store) -> None:
    settings = Settings(page_cache_bytes=0)
    async with asyncio.timeout(WAIT_S), Hub(kept, settings) as hub:
        await write(hub, "r", EVENTS)
        await hub.present("r")
        await hub._present.settle()
        for _ in range(3):
            await hub.present("r")

        assert hub._present.folded == EVENTS


async def test_a_run_is_folded_once_at_a_time_whatever_is_asked_for_meanwhile(
    kept: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States of others pushed the one that was being folded out: the next request began again."""
    monkeypatch.setattr(hub_present, "_KEPT", 2)
    monkeypatch.setattr(hub_present, "_UNSAVED_EVENTS", 10**9)
    async with asyncio.timeout(WAIT_S), Hub(kept) as hub:
        await write(hub, "r", EVENTS)
        # Many pages, so that others get their turns while it is folded.
        read = hub.store.read

        async def read_little(run_id: str, after: Position, most: int = 500) -> Page:
            return await read(run_id, after, most)

        monkeypatch.setattr(hub.store, "read", read_little)
        for number in range(5):
            await hub.create(f"s-{number}")

        async def ask_late(number: int) -> None:
            for _ in range(number):
                await hub.present(f"s-{number % 5}")
            assert (await hub.present("r"))[1].counts == {"content": EVENTS}

        await asyncio.gather(*(ask_late(number) for number in range(10)))
        assert hub._present.folded == EVENTS


async def test_what_an_impatient_client_had_folded_is_not_lost(
    kept: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asyncio.timeout(WAIT_S), Hub(kept) as hub:
        await write(hub, "r", EVENTS)
        read, asked = hub.store.read, asyncio.Event()

        async def read_half(run_id: str, after: Position, most: int = 0) -> Page:
            if after.seq >= EVENTS // 2:
                asked.set()
                await asyncio.Event().wait()
            return await read(run_id, after, 500)

        monkeypatch.setattr(hub.store, "read", read_half)
        asking = asyncio.create_task(hub.present("r"))
        await asked.wait()
        asking.cancel()
        await asyncio.wait([asking])
        monkeypatch.setattr(hub.store, "read", read)
        await hub._present.settle()

        assert (await hub.present("r"))[1].counts == {"content": EVENTS}
        assert hub._present.folded == EVENTS


async def test_a_state_of_another_version_is_not_used(
    kept: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asyncio.timeout(WAIT_S), Hub(kept) as hub:
        await write(hub, "r", EVENTS)
        await hub.present("r")
    monkeypatch.setattr(hub_present, "_FORM", "a later version")
    async with asyncio.timeout(WAIT_S), Hub(kept) as again:
        await again.present("r")
        assert again._present.folded == EVENTS


async def test_a_state_goes_with_its_epoch(kept: Store) -> None:
    async with asyncio.timeout(WAIT_S), Hub(kept) as hub:
        await write(hub, "r", EVENTS)
        info, _ = await hub.present("r")
        await write(hub, "r", 50)
        after, state = await hub.present("r")

        assert state.counts == {"content": 50}
        assert await hub.store.saved_state("r", info.epoch) is None
        with pytest.raises(Stale):
            await hub.store.save_state("r", info.epoch, 1, b"{}")
        await hub.delete("r", after.epoch)
        with pytest.raises(NotFound):
            await hub.store.saved_state("r", after.epoch)
        with pytest.raises(NotFound):
            await hub.store.save_state("r", after.epoch, 1, b"{}")


async def test_a_state_in_a_file_is_removed_with_its_log(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with asyncio.timeout(WAIT_S), Hub(SQLiteStore(str(path), poll_s=0.001)) as hub:
        await write(hub, "r", EVENTS)
        await hub.present("r")
        await hub._present.settle()
        assert ask(path, "SELECT count(*) FROM states") == 1
        await hub.delete("r")
        journal = hub.store._opened.journal  # type: ignore[attr-defined]
        worker = hub.store._opened.writer  # type: ignore[attr-defined]
        await worker.run(journal.checkpoint)
        while await worker.run(journal.sweep):
            pass
        assert ask(path, "SELECT count(*) FROM states") == 0
