"""Store files that earlier versions left are opened, and everything in them is found.

`versions/N.tar.gz` is such a file, with the journal and write-ahead log of a process that was
killed, and the files beside it; `versions/N.json` says what it holds. `versions/make.py` made both.
"""

import asyncio
import json
import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from runcast._app import open_hub
from runcast._hub.hub import Hub
from runcast.events.fold import fold
from runcast.events.lifecycle import STATUSES, Standing, advance
from runcast.events.model import decode_event, encode_record
from runcast.events.position import Position, split_frames
from runcast.events.snapshot import Snapshot
from runcast.stores.base import Append, LogInfo, Once
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing import FakeClock
from runcast.testing.contract.harness import only, outcome_of, read_all
from tests.opening import events_of, soon
from tests.stores.versions import make

VERSIONS: Final = [file.stem for file in sorted(make.HERE.glob("*.json"))]
pytestmark = pytest.mark.anyio


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(version: str, tmp_path: Path) -> Path:
    """The file as the killed process left it."""
    with tarfile.open(make.HERE / f"{version}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "runs.db"


@pytest.fixture
def expected(version: str) -> dict[str, dict[str, Any]]:
    """What was in it, by run."""
    found: dict[str, dict[str, Any]] = json.loads((make.HERE / f"{version}.json").read_text())
    return found


def lasting(info: LogInfo | dict[str, Any]) -> dict[str, Any]:
    """Return what every version knows of a log, without its status."""
    known = info if isinstance(info, dict) else msgspec.to_builtins(info)
    names = ("log_id", "epoch", "created_at", "first", "head", "closed", "closed_at", "bytes")
    labels = {name: value for name, value in known["labels"].items() if name != "status"}
    rest = {name: known[name] for name in (*names, "ttl_s", "owner_id", "fence")}
    return {**rest, "labels": labels}


def known_then(now: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """Return a state without what versions after `then` tell besides."""
    return {
        name: known_then(value, then[name]) if isinstance(then[name], dict) else value
        for name, value in now.items()
        if name in then
    }


def folded(run: dict[str, Any]) -> Snapshot:
    """Return the state after a run's events, with all that this version makes of them."""
    kept = run["snapshot"]
    start = msgspec.json.decode(kept[1], type=Snapshot) if kept else None
    return fold(map(decode_event, split_frames(run["frames"].encode())), start)


async def check(store: SQLiteStore, expected: dict[str, dict[str, Any]]) -> None:
    """Expect everything that a killed process left."""
    for status in STATUSES:
        found = {info.log_id for info in await store.list(status=status)}
        told = {name for name, run in expected.items() if run["state"]["status"] == status}
        assert found == told
    infos = {info.log_id: info for info in await store.list(limit=500)}
    assert {name: lasting(info) for name, info in infos.items()} == {
        name: lasting(run["info"]) for name, run in expected.items()
    }
    for run_id, run in expected.items():
        info = await store.info(run_id)
        frames = await read_all(store, run_id, Position(info.epoch, info.first - 1))
        kept = await store.snapshot(run_id)
        asked = [each["interrupt_id"] for each in run["state"].get("interrupts", [])]
        assert info == infos[run_id]
        assert (info.kind, info.standing) == ("run", Standing(run["state"]["status"], tuple(asked)))
        assert "status" not in info.labels
        assert b"".join(frames).decode() == run["frames"]
        assert (kept and [kept[0], kept[1].decode()]) == run["snapshot"]


async def test_a_file_of_an_earlier_version_holds_what_it_held(
    path: Path, expected: dict[str, dict[str, Any]]
) -> None:
    for _ in range(2):  # the second time it is in the form that this version gave it
        async with SQLiteStore(str(path), FakeClock()) as store:
            await check(store, expected)


async def test_two_processes_open_a_file_of_an_earlier_version(
    path: Path, expected: dict[str, dict[str, Any]]
) -> None:
    stores = [SQLiteStore(str(path), FakeClock()) for _ in range(2)]
    await asyncio.gather(*(store.open() for store in stores))
    try:
        for store in stores:
            await check(store, expected)
    finally:
        for store in stores:
            await store.close()


def put_where_nothing_can_be_written(path: Path, folder: Path) -> Path:
    for name in (path.name, f"{path.name}-wal"):
        shutil.copy(path.with_name(name), folder)
    with closing(sqlite3.connect(folder / path.name)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)
    return folder / path.name


async def test_a_file_of_an_earlier_version_can_be_read_where_nothing_can_be_written(
    path: Path,
    expected: dict[str, dict[str, Any]],
    open_directory: Path,
    powerless: Callable[[], AbstractContextManager[None]],
) -> None:
    path = await asyncio.to_thread(put_where_nothing_can_be_written, path, open_directory)
    with powerless():
        async with SQLiteStore(str(path), FakeClock()) as store:
            await check(store, expected)
            assert {info.log_id for info in await store.orphans()} == {
                name for name, run in expected.items() if not run["info"]["closed"]
            }


async def test_runs_of_an_earlier_version_go_on_with_their_status(
    path: Path, expected: dict[str, dict[str, Any]]
) -> None:
    resolved = encode_record("interrupt_resolved", {"interrupt_id": "first"}, 1.5)
    async with SQLiteStore(str(path), FakeClock()) as store:
        for run_id in ("waiting", "half-answered"):
            before = (await store.info(run_id)).standing
            only(await outcome_of(store, Append(run_id, [resolved])))
            after = (await store.info(run_id)).standing
            assert after == advance(before, "interrupt_resolved", "first")
            assert run_id in {info.log_id for info in await store.list(status=after.status)}


async def test_the_state_of_each_run_is_what_it_was(
    path: Path, expected: dict[str, dict[str, Any]]
) -> None:
    async with Hub(SQLiteStore(str(path), FakeClock())) as hub:
        for run_id, run in expected.items():
            _, state = await hub.present(run_id)
            assert known_then(msgspec.to_builtins(state), run["state"]) == run["state"]
            assert state == folded(run)


async def test_keys_that_were_used_are_known(path: Path) -> None:
    async with SQLiteStore(str(path), FakeClock()) as store:
        for run_id in ("answered", "answered-late"):
            outcome = await outcome_of(store, Append(run_id, once=Once("terminal")))
            assert only(outcome).repeated


async def test_its_runs_go_on_or_are_ended(path: Path) -> None:
    functions = [make.asks_and_can_go_on]
    async with open_hub(f"sqlite:///{path}", functions=functions) as hub:
        for run_id in ("running-0", "queued", "asking", "trimmed-open", "asked"):
            info, state = await hub.present(run_id)
            assert info.closed
            assert state.failure is not None
            assert state.failure.code == "lost"
        await hub.answer("waiting", "second", {"type": "accept"})
        events = await events_of(hub, "waiting")
        assert events[-1].data["result"] == "accept"
        download = await hub.files.download("with-files", "output.txt")
        content = download.content.read(100, 0)
        download.content.close()
        assert content == b"what it wrote"
        again = await hub.start(make.finishes, {"count": 1}, run_id="finished", replace=True)
        assert (await soon(again.wait())).type == "done"
