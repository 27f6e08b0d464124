"""The SQLite store when something below it fails: statements, locks, disks, permissions, processes.

A fault is injected where it would come from: SQLite refuses a statement, the disk is full, the file
goes away, the process is killed.
"""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from runcast.errors import BackendError, NotFound, StoreReadOnly, StoreUnavailable, StoreUnusable
from runcast.events.position import Position
from runcast.stores.base import Append, Appended, Once, Owner, Store
from runcast.stores.sqlite import file as sqlite_file
from runcast.stores.sqlite import journal as sqlite_journal
from runcast.stores.sqlite import upkeep as sqlite_upkeep
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing import FakeClock
from runcast.testing.contract.harness import append, expect_log, padded, read_all, record
from tests.stores.appender import records_of
from tests.stores.spy import Spy, ask, is_checkpointed, make_file, names_in, tell, until
from tests.waiting import WAIT_S

APPENDER = Path(__file__).with_name("appender.py")
NEVER_S = 3600.0
QUIET_S = 0.0001
NOBODY = 65534
pytestmark = pytest.mark.anyio


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    return Spy(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@asynccontextmanager
async def bounded(store: SQLiteStore) -> AsyncIterator[SQLiteStore]:
    """A store of which nothing may take longer than 10 s in all.

    One that is at fault is not closed: closing would wait for a thread that may never end.
    """
    async with asyncio.timeout(2 * WAIT_S):
        yield await store.open()
    await store.close()


# Statements and locks.


CHECKPOINT_STEPS = [
    pytest.param(sqlite3.SQLITE_INSERT, "journal", id="its journal row"),
    pytest.param(sqlite3.SQLITE_INSERT, "segments", id="segments"),
    pytest.param(sqlite3.SQLITE_INSERT, "logs", id="logs"),
    pytest.param(sqlite3.SQLITE_INSERT, "once_uses", id="keys"),
    pytest.param(sqlite3.SQLITE_DELETE, "journal", id="trimming"),
    pytest.param(sqlite3.SQLITE_TRANSACTION, "COMMIT", id="commit"),
]


@pytest.mark.parametrize(("action", "name"), CHECKPOINT_STEPS)
async def test_a_checkpoint_that_fails_changes_nothing(
    action: int, name: str, path: Path, spy: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [record(number) for number in range(4)]
    monkeypatch.setattr(sqlite_upkeep, "_QUIET_S", NEVER_S)
    async with bounded(SQLiteStore(str(path), poll_s=QUIET_S)) as store:
        await store.create("a")
        for number in range(3):
            await append(store, "a", record(number), once=Once(str(number)))
        refused = spy.refuse(action, name)
        # From now on each quiet moment is used for a checkpoint.
        monkeypatch.setattr(sqlite_upkeep, "_QUIET_S", 0.0)
        for _ in range(3):
            refused.clear()
            await refused.wait()
        monkeypatch.setattr(sqlite_upkeep, "_QUIET_S", NEVER_S)
        spy.allow()

        await expect_log(store, "a", expected[:3])
        assert (await append(store, "a", record(3))).first == 4
        assert (await append(store, "a", record(1), once=Once("1"))).repeated
        await expect_log(store, "a", expected)
        async with SQLiteStore(str(path), poll_s=NEVER_S) as other:
            await expect_log(other, "a", expected)
        monkeypatch.setattr(sqlite_upkeep, "_QUIET_S", 0.0)
        await until(store, lambda: is_checkpointed(path))
        await expect_log(store, "a", expected)
    async with bounded(SQLiteStore(str(path))) as again:
        await expect_log(again, "a", expected)
        assert (await append(again, "a", record(1), once=Once("1"))).repeated


async def test_upkeep_that_keeps_failing_does_not_flood_the_log(
    path: Path, spy: Spy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with bounded(SQLiteStore(str(path), poll_s=QUIET_S)) as store:
        for _ in range(2):
            monkeypatch.setattr(sqlite_upkeep, "_QUIET_S", NEVER_S)
            await store.create("a", replace=True)
            caplog.clear()
            refused = spy.refuse(sqlite3.SQLITE_INSERT, "logs")
            monkeypatch.setattr(sqlite_upkeep, "_QUIET_S", 0.0)
            for _ in range(5):
                refused.clear()
                await refused.wait()
            spy.allow()
            await until(store, lambda: is_checkpointed(path))
            assert caplog.text.count("will be tried again") == 1


WRITES: dict[str, Callable[[Store], Any]] = {
    "create": lambda store: store.create("new"),
    "replace": lambda store: store.create("a", replace=True),
    "commit": lambda store: store.commit([Append("a", [record(9)])]),
    "trim": lambda store: store.trim("a", 2, b"snapshot"),
    "delete": lambda store: store.delete("a"),
    "claim": lambda store: store.claim("a", "second"),
    "renew": lambda store: store.renew(Owner(owner_id="first"), 60),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    ("action", "name"),
    [
        pytest.param(sqlite3.SQLITE_INSERT, "journal", id="statement"),
        pytest.param(sqlite3.SQLITE_TRANSACTION, "COMMIT", id="commit"),
    ],
)
async def test_a_write_that_fails_changes_nothing_and_can_be_repeated(
    write: str, action: int, name: str, path: Path, spy: Spy
) -> None:
    async with bounded(SQLiteStore(str(path), FakeClock(), poll_s=NEVER_S)) as store:
        await store.create("a", owner_id="first")
        await append(store, "a", record(1), record(2), record(3))
        before = await store.info("a")
        spy.refuse(action, name)
        try:
            await WRITES[write](store)
        except BackendError:
            spy.allow()
            assert await store.info("a") == before
            with pytest.raises(NotFound):
                await store.info("new")
            await WRITES[write](store)
        spy.allow()  # what has no such step cannot fail by it
        await store.create("next")
        await append(store, "next", record(1))
        await expect_log(store, "next", [record(1)])
        if write == "claim":
            assert (await store.info("a")).fence == before.fence + 1


@pytest.mark.parametrize("table", ["logs", "counters"])
async def test_what_another_process_appended_is_never_applied_twice(
    table: str, path: Path, spy: Spy
) -> None:
    """A read that fails half-way would double events, and the next checkpoint keep them so."""
    await make_file(path)
    async with (
        bounded(SQLiteStore(str(path), poll_s=NEVER_S)) as store,
        SQLiteStore(str(path), poll_s=NEVER_S) as other,
    ):
        await store.create("both")
        await append(other, "both", record(1))
        await other.create("new")  # for this, one has to look what the tables have
        await append(other, "new", record(2))
        spy.refuse(sqlite3.SQLITE_READ, table)
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await store.commit([Append("both", [record(9)])])
        spy.allow()

        assert (await append(store, "both", record(2))).first == 2
        await expect_log(store, "both", [record(1), record(2)])
        await expect_log(store, "new", [record(2)])
        assert (await store.info("both")).bytes == (await other.info("both")).bytes
    async with bounded(SQLiteStore(str(path))) as again:
        await expect_log(again, "both", [record(1), record(2)])


async def test_a_read_that_cannot_be_ended_keeps_no_commit_from_the_file(
    path: Path, spy: Spy
) -> None:
    """What is committed inside it would be acknowledged and never be seen by anybody."""
    async with (
        bounded(SQLiteStore(str(path), poll_s=NEVER_S)) as store,
        SQLiteStore(str(path), poll_s=NEVER_S) as other,
    ):
        await store.create("both")
        await append(other, "both", record(1))
        spy.refuse(sqlite3.SQLITE_TRANSACTION, "COMMIT")
        await store.commit([Append("both", [record(2)])])
        await expect_log(other, "both", [record(1), record(2)])


async def test_a_locked_file_delays_commits_and_loses_none(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "_BUSY_TIMEOUT_S", 0.05)
    async with bounded(SQLiteStore(str(path))) as store:
        await store.create("a")
        await append(store, "a", record(1))
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as rival:
            rival.execute("BEGIN IMMEDIATE")
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    await store.commit([Append("a", [record(2)])])
            with pytest.raises(StoreUnavailable):
                await store.claim("a", "me")
            await expect_log(store, "a", [record(1)])
            rival.execute("ROLLBACK")
        assert (await append(store, "a", record(2))).first == 2
        await expect_log(store, "a", [record(1), record(2)])


# Processes and files.


def kill_appender(path: Path, commits: int) -> None:
    """Let another process make commits, and kill it before it can do anything more."""
    # It goes on until it is killed: no checkpoint may empty the journal meanwhile.
    never = str(10**12)
    command = [sys.executable, str(APPENDER), str(path), "killed", "0", never]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.stdin.write(b"\n")
        process.stdin.flush()
        for _ in range(commits):
            process.stdout.readline()
        process.kill()


async def make_logs_and_kill(path: Path) -> list[bytes]:
    """Leave a file behind whose last commits are only in the journal; return what they hold."""
    async with bounded(SQLiteStore(str(path))) as store:
        await store.create("shared")
        await store.create("own-killed")
    await asyncio.to_thread(kill_appender, path, 5)
    return [body for number in range(5) for body in records_of("killed", number)]


async def test_what_only_the_journal_holds_survives_kill_9(path: Path) -> None:
    expected = await make_logs_and_kill(path)
    copy = path.parent / "copy"
    shutil.copytree(path.parent, copy)  # looking at the file itself would change it
    assert ask(copy / "runs.db", "SELECT count(*) FROM journal") > 1
    async with bounded(SQLiteStore(str(path))) as store:
        for log_id in ("shared", "own-killed"):
            info = await store.info(log_id)
            frames = await read_all(store, log_id, Position(info.epoch, 0))
            found = [frame.split(b",", 1)[1].removesuffix(b"\n\n") for frame in frames]
            assert found[: len(expected)] == expected


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_deleted_underneath_takes_no_more_commits(path: Path, replaced: bool) -> None:
    store = await SQLiteStore(str(path)).open()
    try:
        await store.create("a")
        await append(store, "a", record(1))
        for name in names_in(path.parent):
            os.unlink(path.parent / name)
        if replaced:
            await make_file(path)
        # It could be neither read again nor found by anybody: it must not be acknowledged.
        with pytest.raises(BackendError):
            await store.commit([Append("a", [record(2)])])
    finally:
        await store.close()
    async with SQLiteStore(str(path)) as again:
        if replaced:
            await expect_log(again, "a", [record(1), record(2)])
        else:
            assert await again.list() == []


# Disks and permissions.


def make_read_only(directory: Path, mode: int) -> None:
    for file in directory.iterdir():
        file.chmod(0o444)
    directory.chmod(mode)


@pytest.mark.parametrize("is_directory_read_only", [True, False])
@pytest.mark.parametrize("is_killed", [False, True])
async def test_a_read_only_file_serves_readers(
    open_directory: Path,
    powerless: Callable[[], AbstractContextManager[None]],
    is_directory_read_only: bool,
    is_killed: bool,
) -> None:
    path = open_directory / "runs.db"
    if is_killed:
        expected, log_id = await make_logs_and_kill(path), "own-killed"
    else:
        expected, log_id = [record(1), record(2)], "a"
        async with bounded(SQLiteStore(str(path))) as store:
            await store.create("a", owner_id="somebody")
            await append(store, "a", *expected)
    make_read_only(open_directory, 0o555 if is_directory_read_only else 0o777)
    with powerless():
        async with bounded(SQLiteStore(str(path))) as store:
            info = await store.info(log_id)
            frames = await read_all(store, log_id, Position(info.epoch, 0))
            found = [frame.split(b",", 1)[1].removesuffix(b"\n\n") for frame in frames]
            assert found[: len(expected)] == expected
            assert log_id in [each.log_id for each in await store.list()]
            for name, write in WRITES.items():
                if name == "renew" or log_id == "a":
                    with pytest.raises(StoreReadOnly):
                        await write(store)
            with pytest.raises(StoreReadOnly):
                await store.commit([Append(log_id, [record(9)])])
            assert await store.info(log_id) == info


class PageLimit:
    """A disk that is full after so many pages of the file, on any machine."""

    def __init__(self, path: Path, spy: Spy) -> None:
        self.path = path
        self.spy = spy

    def fill(self) -> None:
        self.spy.before_next_write(_allow_no_more_pages)

    def free(self) -> None:
        self.spy.before_next_write(lambda it: it.execute("PRAGMA max_page_count = 1000000"))


def _allow_no_more_pages(connection: sqlite3.Connection) -> None:
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")


class SmallDisk:
    """A file system of 4 MB; needs root."""

    def __init__(self, path: Path, spy: Spy) -> None:
        self.path = path
        self.filler = path.parent / "filler"

    def fill(self) -> None:
        with self.filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"\0" * 4096) == 4096:
                pass

    def free(self) -> None:
        self.filler.unlink()


def can_mount() -> bool:
    """Tell whether this process may mount file systems."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as directory:
        if subprocess.run(["mount", "-t", "tmpfs", "none", directory], check=False).returncode:
            return False
        subprocess.run(["umount", directory], check=True)
    return True


@pytest.fixture(params=[PageLimit, *([SmallDisk] if can_mount() else [])])
def disk(request: pytest.FixtureRequest, path: Path, spy: Spy) -> Iterator[PageLimit | SmallDisk]:
    if request.param is not SmallDisk:
        yield PageLimit(path, spy)
        return
    mounted = path.parent / "disk"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(mounted)], check=True)
    yield SmallDisk(mounted / "runs.db", spy)
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)  # a failed test left it in use


async def test_a_full_disk_refuses_commits_until_there_is_space(
    disk: PageLimit | SmallDisk,
) -> None:
    async with bounded(SQLiteStore(str(disk.path), FakeClock())) as store:
        await store.create("a")
        expected = [padded(0, 10_000)]
        await append(store, "a", expected[0])
        disk.fill()
        refusals = 0
        for number in range(1, 400):
            body = padded(number, 10_000)
            try:
                await store.commit([Append("a", [body])])
            except StoreUnavailable:
                refusals += 1
                if refusals == 3:
                    break
            else:
                expected.append(body)
        assert refusals == 3
        await expect_log(store, "a", expected)
        for write in (
            lambda: store.create("new", labels={"x": "y" * 256}),
            lambda: store.claim("a", "me"),
            lambda: store.renew(Owner(owner_id="me"), 60),
            lambda: store.trim("a", 1, b"x" * 100_000),
        ):
            with contextlib.suppress(StoreUnavailable):  # a small one may find room
                await write()
        await expect_log(store, "a", expected)
        disk.free()
        assert (await append(store, "a", record(1))).first == len(expected) + 1
        expected.append(record(1))
        await expect_log(store, "a", expected)
    async with SQLiteStore(str(disk.path), FakeClock()) as again:
        await expect_log(again, "a", expected)
    assert ask(disk.path, "PRAGMA integrity_check") == "ok"


async def test_a_checkpoint_on_a_full_disk_loses_nothing(
    disk: PageLimit | SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_journal, "CHECKPOINT_BYTES", 300_000)
    async with bounded(SQLiteStore(str(disk.path), poll_s=QUIET_S)) as store:
        await store.create("a")
        expected: list[bytes] = []
        for number in range(29):
            expected.append(padded(number, 10_000))
            await append(store, "a", expected[-1])
        disk.fill()
        refusals = 0
        for number in range(29, 500):
            body = padded(number, 500)  # room for a little may be left, for a checkpoint is not
            try:
                await store.commit([Append("a", [body])])
            except StoreUnavailable:
                refusals += 1
            else:
                expected.append(body)
        await expect_log(store, "a", expected)
        disk.free()
        for number in range(30):
            expected.append(padded(number, 10_000))
            assert (await append(store, "a", expected[-1])).last == len(expected)
        await expect_log(store, "a", expected)
    async with SQLiteStore(str(disk.path)) as again:
        await expect_log(again, "a", expected)
    assert ask(disk.path, "PRAGMA integrity_check") == "ok"


# Threads.


async def test_closing_finishes_what_was_begun(path: Path) -> None:
    for turn in range(20):
        store = await SQLiteStore(str(path)).open()
        log_id = f"log-{turn}"
        await store.create(log_id)
        tasks = [asyncio.create_task(append(store, log_id, record(n))) for n in range(20)]
        for _ in range(turn):
            await asyncio.sleep(0)
        async with asyncio.timeout(2 * WAIT_S):
            await store.close()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        told = [done.first for done in outcomes if isinstance(done, Appended)]
        refused = [error for error in outcomes if isinstance(error, StoreUnavailable)]
        assert len(told) + len(refused) == len(tasks), outcomes
        async with bounded(SQLiteStore(str(path))) as again:
            assert (await again.info(log_id)).head == len(told)


async def test_a_damaged_journal_is_told(path: Path) -> None:
    async with bounded(SQLiteStore(str(path), poll_s=QUIET_S)) as store:
        await store.create("a")
        await append(store, "a", record(1))
        tell(path, "INSERT INTO journal SELECT max(id) + 1, x'c1' FROM journal")
        for _ in range(2):
            with pytest.raises(BackendError):
                await store.commit([Append("a", [record(2)])])
        tell(path, "DELETE FROM journal WHERE commands = x'c1'")
        assert (await append(store, "a", record(2))).first == 2
    tell(path, "INSERT INTO journal SELECT max(id) + 1, x'c1' FROM journal")
    with pytest.raises(StoreUnusable):
        await SQLiteStore(str(path)).open()
