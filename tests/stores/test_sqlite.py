"""What holds for a store in a file beyond the contract: its file, its journal, its statements."""

import asyncio
import contextlib
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from runcast.errors import BackendError, Gone, NotFound, StoreUnavailable, StoreUnusable
from runcast.events.position import Position
from runcast.stores.base import PAGE_BYTES, Append, Appended, Once, Owner, Page
from runcast.stores.sqlite import file as sqlite_file
from runcast.stores.sqlite import journal as sqlite_journal
from runcast.stores.sqlite import reading as sqlite_reading
from runcast.stores.sqlite import tables as sqlite_tables
from runcast.stores.sqlite import upkeep as sqlite_upkeep
from runcast.stores.sqlite import wal as sqlite_wal
from runcast.stores.sqlite.schema import SCHEMA_VERSION
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing import FakeClock
from runcast.testing.contract.harness import append, expect_log, padded, read_all, record
from tests.opening import eventually
from tests.stores.spy import Spy, ask, ask_all, is_checkpointed, make_file, names_in, tell, until

NEVER_S = 3600.0
QUIET_S = 0.0001
pytestmark = pytest.mark.anyio


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    return Spy(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("runcast")}


@pytest.fixture
def older() -> set[threading.Thread]:
    """Threads that the tests before this one have left: some live on, others are still ending."""
    return threads()


def open_files() -> list[str]:
    """Return what this process holds open; nothing where that cannot be known."""
    held: list[str] = []
    with contextlib.suppress(OSError):
        for fd in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                held.append(os.readlink(fd))
    return held


# The file.


async def test_a_new_file_says_what_it_is(path: Path) -> None:
    await make_file(path)

    assert ask(path, "PRAGMA user_version") == SCHEMA_VERSION
    assert ask(path, "PRAGMA application_id") == int.from_bytes(b"RCST", "big")
    assert ask(path, "PRAGMA auto_vacuum") == 2
    assert ask(path, "PRAGMA journal_mode") == "wal"
    assert ask(path, "PRAGMA integrity_check") == "ok"


async def test_closing_leaves_one_file_no_thread_and_nothing_open(
    path: Path, older: set[threading.Thread]
) -> None:
    async with SQLiteStore(str(path)) as store:
        await store.create("a")
        await store.info("a")
        assert threads() - older

    await eventually(lambda: not threads() - older)
    assert names_in(path.parent) == ["runs.db"]
    assert not [name for name in open_files() if name.startswith(str(path))]


async def test_a_newer_schema_is_refused(path: Path, older: set[threading.Thread]) -> None:
    await make_file(path)
    tell(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    content = content_of(path)
    with pytest.raises(StoreUnusable, match="newer"):
        await SQLiteStore(str(path)).open()

    await eventually(lambda: not threads() - older)
    assert content_of(path) == content
    tell(path, f"PRAGMA user_version = {SCHEMA_VERSION}")
    async with SQLiteStore(str(path)) as store:
        await expect_log(store, "a", [record(1), record(2)])


def another_programs(path: Path) -> None:
    tell(path, "CREATE TABLE notes (text)")


def another_programs_version(path: Path) -> None:
    tell(path, "CREATE TABLE notes (text)")
    tell(path, "PRAGMA user_version = 1")


def text(path: Path) -> None:
    path.write_text("# Notes\n" * 1000)


def short_text(path: Path, content: str = "short") -> None:
    path.write_text(content)


def damaged(path: Path) -> None:
    asyncio.run(make_file(path))
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))


@pytest.mark.parametrize(
    "make", [another_programs, another_programs_version, text, short_text, damaged]
)
async def test_what_is_no_store_is_refused_and_left_alone(
    make: Callable[[Path], None], path: Path, older: set[threading.Thread]
) -> None:
    await asyncio.to_thread(make, path)
    content = content_of(path)
    with pytest.raises(StoreUnusable, match=r"runs\.db"):
        await SQLiteStore(str(path)).open()

    await eventually(lambda: not threads() - older)
    assert content_of(path) == content


@pytest.mark.parametrize("make", [another_programs, text, short_text, damaged])
async def test_a_refused_file_is_closed_at_once(
    make: Callable[[Path], None], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(make, path)
    opened: list[Closing] = []

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        opened.append(real_connect(*arguments, factory=Closing, **options))
        return opened[-1]

    real_connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", connect)
    with pytest.raises(StoreUnusable):
        await SQLiteStore(str(path)).open()
    with pytest.raises(StoreUnusable):
        await asyncio.to_thread(sqlite_file.open_reader, str(path))

    assert opened
    assert all(connection.is_closed for connection in opened)


class Closing(sqlite3.Connection):
    """A connection that says whether it was closed: CPython warns of those that were not only
    from 3.13 on, and only once they are collected."""

    is_closed = False

    def close(self) -> None:
        self.is_closed = True
        super().close()


async def test_what_cannot_be_opened_is_told_clearly(
    tmp_path: Path, older: set[threading.Thread]
) -> None:
    (tmp_path / "directory").mkdir()
    for name, said in (("directory", "directory"), ("missing/runs.db", "missing' of .* make it")):
        with pytest.raises(BackendError, match=said):
            await SQLiteStore(str(tmp_path / name)).open()
    await eventually(lambda: not threads() - older)


async def test_an_empty_file_becomes_a_store(path: Path) -> None:
    short_text(path, "")
    await make_file(path)
    async with SQLiteStore(str(path)) as store:
        await expect_log(store, "a", [record(1), record(2)])


async def test_a_path_may_hold_anything(tmp_path: Path) -> None:
    directory = tmp_path / "a b?mode=ro&x=%41#é'\""
    directory.mkdir()
    await make_file(directory / "r?u#n%s.db")

    assert names_in(directory) == ["r?u#n%s.db"]


async def test_a_network_file_system_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "_file_system", lambda path: "nfs4")
    with pytest.raises(StoreUnusable, match="network file system"):
        await SQLiteStore(str(path)).open()

    assert names_in(path.parent) == []


async def test_a_store_that_is_not_open_says_so(path: Path) -> None:
    store = SQLiteStore(str(path))
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.info("a")
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.commit([Append("a", [record(1)])])
        async with store:
            pass


# Commits, the journal and checkpoints.


async def test_a_commit_is_one_statement(path: Path, spy: Spy) -> None:
    async with SQLiteStore(str(path), poll_s=NEVER_S) as store:
        for number in range(20):
            await store.create(f"log-{number}")
        for turn in range(3):
            spy.statements.clear()
            group = [
                Append(f"log-{number % 20}", [record(number)] * 5, labels={"turn": str(turn)})
                for number in range(100)
            ]
            outcomes = await store.commit(group)
            assert all(isinstance(outcome, Appended) for outcome in outcomes)

            assert len(spy.statements) == 1
            assert spy.statements[0].startswith("INSERT INTO journal")


async def test_checkpoints_trim_the_journal(
    path: Path, spy: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_journal, "CHECKPOINT_BYTES", 100_000)
    records = [padded(number, 5000) for number in range(200)]
    async with SQLiteStore(str(path), poll_s=NEVER_S) as store:
        await store.create("a")
        for body in records:
            await append(store, "a", body)
            assert ask(path, "SELECT sum(length(commands)) FROM journal") < 110_000
        assert ask(path, "SELECT sum(length(frames)) FROM segments") > 850_000
        assert ask(path, "SELECT count(*) FROM segments") <= 20
        await expect_log(store, "a", records)

    assert ask(path, "SELECT count(*) FROM journal") == 1
    assert sum("BEGIN" in statement for statement in spy.statements) < 100


@pytest.mark.parametrize("kilobytes", [70, 150, 250])
async def test_reading_a_log_from_its_beginning_reads_each_segment_once(
    kilobytes: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [padded(number, 10_000) for number in range(200)]
    async with SQLiteStore(str(path)) as store:
        await store.create("a")
        for start in range(0, len(records), kilobytes // 10):
            await append(store, "a", *records[start : start + kilobytes // 10])
    read: list[int] = []
    real = sqlite_tables.read_segments

    def count(*asked: Any) -> list[Page]:
        pages = real(*asked)
        read.extend(page.first for page in pages)
        return pages

    monkeypatch.setattr(sqlite_reading, "read_segments", count)
    async with SQLiteStore(str(path)) as store:
        await expect_log(store, "a", records)

    assert read == sorted(set(read))
    assert len(read) == ask(path, "SELECT count(*) FROM segments") > 7


def sweep_some(path: Path) -> None:
    """Delete some of what a deleted log left, as a store does by and by."""
    tell(path, "DELETE FROM segments WHERE last < 150 AND key = (SELECT min(key) FROM segments)")


async def trim(path: Path) -> None:
    async with SQLiteStore(str(path)) as store:
        await store.trim("a", 150, b"{}")


async def begin_anew(path: Path) -> None:
    async with SQLiteStore(str(path)) as store:
        await store.create("a", replace=True)
    await asyncio.to_thread(sweep_some, path)


async def delete(path: Path) -> None:
    async with SQLiteStore(str(path)) as store:
        await store.delete("a")
    await asyncio.to_thread(sweep_some, path)


@pytest.mark.parametrize(
    ("change", "said"),
    [(trim, "is kept from 150 on only"), (begin_anew, "began again"), (delete, "there is no run")],
)
@pytest.mark.parametrize("is_active", [False, True])
async def test_what_another_process_removes_while_it_is_read_is_never_skipped(
    change: Callable[[Path], Coroutine[Any, Any, None]],
    said: str,
    is_active: bool,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with SQLiteStore(str(path)) as store:
        epoch = (await store.create("a")).epoch
        for number in range(200):
            await append(store, "a", padded(number, 10_000))
    changes = [change]
    real = sqlite_tables.read_segments

    def read(*asked: Any) -> list[Page]:
        if changes:
            asyncio.run(changes.pop()(path))  # closing it makes a checkpoint
        return real(*asked)

    monkeypatch.setattr(sqlite_reading, "read_segments", read)
    async with SQLiteStore(str(path), poll_s=NEVER_S) as store:
        if is_active:  # it is known to the journal then, which is asked first
            await append(store, "a", record(200))
        with pytest.raises((Gone, NotFound), match=said):
            await store.read("a", Position(epoch, 100))


@pytest.mark.parametrize("where", ["first = 1", "first > 1", "last = 200"])
async def test_a_file_that_lost_events_is_said_to_be_damaged(where: str, path: Path) -> None:
    records = [padded(number, 10_000) for number in range(200)]
    async with SQLiteStore(str(path)) as store:
        epoch = (await store.create("a")).epoch
        for body in records:
            await append(store, "a", body)
    tell(path, f"DELETE FROM segments WHERE {where}")

    async with SQLiteStore(str(path)) as store:
        with pytest.raises(StoreUnusable, match="is damaged"):
            await read_all(store, "a", Position(epoch, 0))
        assert (await append(store, "a", record(200))).first == 201


async def test_an_idle_store_moves_the_journal_into_the_tables(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_upkeep, "_QUIET_S", 0.0)
    async with SQLiteStore(str(path), poll_s=QUIET_S) as store:
        await store.create("a")
        await append(store, "a", record(1))
        await until(store, lambda: is_checkpointed(path))
        await expect_log(store, "a", [record(1)])


async def test_leases_that_are_renewed_are_no_reason_to_leave_the_journal_as_it_is(
    path: Path,
) -> None:
    async with SQLiteStore(str(path), FakeClock(), poll_s=0.4) as store:
        await store.create("a")
        parts = store._opened
        for _ in range(3):
            await parts.writer.run(parts.upkeep.when_idle)  # so long that nothing came
            await store.renew(Owner(owner_id="p"), 15.0)

        assert is_checkpointed(path)


async def test_two_idle_stores_do_not_answer_each_others_checkpoints(
    path: Path, spy: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither would ever rest: each checkpoint is a row that the other one reads."""
    monkeypatch.setattr(sqlite_upkeep, "_QUIET_S", 0.0)
    async with (
        SQLiteStore(str(path), poll_s=QUIET_S) as store,
        SQLiteStore(str(path), poll_s=QUIET_S),
    ):
        await store.create("a")
        await until(store, lambda: is_checkpointed(path))
        rows = ask(path, "SELECT max(id) FROM journal")
        spy.statements.clear()
        await until(store, lambda: spy.statements.count("PRAGMA data_version") > 50)
        assert ask(path, "SELECT max(id) FROM journal") == rows


async def test_a_checkpoint_moves_what_another_process_has_just_appended(path: Path) -> None:
    """Beside processes that never rest it would always come too late."""
    async with (
        SQLiteStore(str(path), poll_s=NEVER_S) as one,
        SQLiteStore(str(path), poll_s=NEVER_S) as other,
    ):
        await one.create("a")
        await append(other, "a", record(1))
        parts = one._opened
        await parts.writer.run(parts.journal.checkpoint)

        assert is_checkpointed(path)
        assert (await append(other, "a", record(2))).last == 2
        await expect_log(one, "a", [record(1), record(2)])


async def test_space_of_deleted_logs_is_given_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def size() -> int:
        return int(ask(path, "PRAGMA page_count")) * int(ask(path, "PRAGMA page_size"))

    monkeypatch.setattr(sqlite_upkeep, "_QUIET_S", 0.0)
    monkeypatch.setattr(sqlite_upkeep, "_SWEEP_S", 0.0)
    monkeypatch.setattr(sqlite_journal, "CHECKPOINT_BYTES", 500_000)
    async with SQLiteStore(str(path), poll_s=QUIET_S) as store:
        for log_id in ("a", "b", "kept"):
            await store.create(log_id)
            for number in range(10):
                await append(store, log_id, padded(number, 100_000))
        await until(store, lambda: is_checkpointed(path))
        assert size() > 3_000_000
        await store.delete("a")
        await store.create("b", replace=True)
        await until(store, lambda: size() < 1_400_000)
        assert ask(path, "SELECT count(*) FROM dead") == 0
        await expect_log(store, "kept", [padded(number, 100_000) for number in range(10)])
    assert len(content_of(path)) < 1_400_000


@pytest.mark.parametrize(("count", "size"), [(60, 1_000_000), (6_000, 2_000)], ids=["long", "many"])
async def test_logs_that_are_deleted_as_fast_as_they_are_written_take_little_space(
    path: Path, monkeypatch: pytest.MonkeyPatch, count: int, size: int
) -> None:
    monkeypatch.setattr(sqlite_journal, "CHECKPOINT_BYTES", 500_000)
    living = max(1, 1_000_000 // size)  # so that it is in the tables before it is deleted
    async with SQLiteStore(str(path), FakeClock(), poll_s=NEVER_S) as store:  # no time passes
        for number in range(count):
            await store.create(f"log-{number}")
            await append(store, f"log-{number}", padded(number, size), once=Once("key"))
            if number >= living:
                await store.delete(f"log-{number - living}")

        assert ask(path, "PRAGMA page_count") * 4096 < count * size / 3
        assert ask(path, "SELECT count(*) FROM dead") < count / 4


async def test_a_store_that_is_never_quiet_keeps_no_space_of_deleted_logs(path: Path) -> None:
    """With a commit now and then, for ever, the file would grow for ever."""
    clock = FakeClock()
    log_ids = [f"log-{number}" for number in range(200)]
    async with SQLiteStore(str(path), clock, poll_s=NEVER_S) as store:
        for log_id in [*log_ids, "large"]:
            await store.create(log_id)
            await append(store, log_id, padded(0, 4000), once=Once("key"))
        for number in range(100):
            await append(store, "large", padded(number, 100_000))
        for log_id in [*log_ids, "large"]:
            await store.delete(log_id)
        await store.create("kept")

        for turn in range(90):
            clock.advance(1)
            await append(store, "kept", record(turn))
        await until(store, lambda: ask(path, "SELECT count(*) FROM segments") == 1)
        assert ask(path, "SELECT count(*) FROM dead") == 0
        assert ask(path, "SELECT count(*) FROM once_uses") == 0
        assert ask(path, "PRAGMA page_count") < 100
        await expect_log(store, "kept", [record(turn) for turn in range(90)])


async def test_what_sweeping_writes_is_copied_too(
    path: Path, spy: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write-ahead log would grow as long as only deletions write into it."""
    monkeypatch.setattr(sqlite_wal, "_COPY_BYTES", 1_000_000)
    clock = FakeClock()
    async with SQLiteStore(str(path), clock) as store:
        await store.create("large")
        for number in range(100):
            await append(store, "large", padded(number, 100_000))
    async with SQLiteStore(str(path), clock, poll_s=NEVER_S) as store:
        await store.delete("large")
        spy.statements.clear()
        for _ in range(100):
            clock.advance(1)
            await store.commit([])
        await until(store, lambda: any("wal_checkpoint" in each for each in spy.statements))


async def test_a_look_at_a_log_copies_no_events_that_are_not_asked_for(path: Path) -> None:
    """The writer would wait for it, and the journal may hold tens of thousands."""
    async with SQLiteStore(str(path), poll_s=NEVER_S) as store:
        await store.create("a")
        for number in range(1, 101):
            await append(store, "a", record(number), once=Once(str(number)))
        journal = store._opened.journal

        look, rest = journal.peek("a"), journal.peek("a", after_seq=90)
        few = journal.peek("a", after_seq=90, max_bytes=100)
        assert look is not None
        assert rest is not None
        assert few is not None
        assert (look.info.head, look.pages, look.once) == (100, [], {})
        assert [page.first for page in rest.pages] == list(range(91, 101))
        assert rest.pages[: len(few.pages)] == few.pages
        assert 2 < len(few.pages) < 5


async def test_replay_is_few_large_reads(path: Path, spy: Spy) -> None:
    async with SQLiteStore(str(path)) as store:
        epoch = (await store.create("a")).epoch
        for start in range(0, 6000, 20):
            await append(store, "a", *[padded(start + n, 500) for n in range(20)])
    async with SQLiteStore(str(path), poll_s=NEVER_S) as store:
        info = await store.info("a")
        spy.statements.clear()
        assert len(await read_all(store, "a", Position(epoch, 0))) == 6000

        least = info.bytes // PAGE_BYTES
        reads = [statement for statement in spy.statements if ", frames FROM" in statement]
        looks = [statement for statement in spy.statements if "length(frames)" in statement]
        assert least < len(reads) <= 2 * least + 2
        assert len(looks) == len(reads)


@pytest.mark.parametrize("sizes", [[200_000, *[100] * 40], [*[100] * 40, 200_000]])
async def test_a_page_from_the_middle_of_a_segment_is_full(
    path: Path, spy: Spy, sizes: list[int]
) -> None:
    """However uneven its events are: neither is too little read, nor anything for nothing."""
    async with SQLiteStore(str(path)) as store:
        epoch = (await store.create("a")).epoch
        await append(store, "a", *[padded(n, size) for n, size in enumerate(sizes)])
        for start in range(100, 1100, 100):
            await append(store, "a", *[padded(start + n, 1000) for n in range(100)])
    async with SQLiteStore(str(path), poll_s=NEVER_S) as store:
        _, second, third = ask_all(path, "SELECT first, length(frames) FROM segments LIMIT 3")
        after = Position(epoch, 2)
        rest = sum(map(len, await read_all(store, "a", after))) - sum(
            map(len, await read_all(store, "a", Position(epoch, second[0] - 1)))
        )
        fits = rest + second[1] + third[1] - 1
        spy.statements.clear()
        page = await store.read("a", after, fits)

        read = sum("SELECT first, last, frames" in statement for statement in spy.statements)
        assert fits - third[1] < len(page.frames) <= fits
        assert page.last < third[0]
        assert read <= 2


async def test_lists_beside_commits_see_every_log(path: Path) -> None:
    log_ids = [f"log-{number}" for number in range(600)]
    async with SQLiteStore(str(path)) as store:
        for log_id in log_ids:
            await store.create(log_id, owner_id="nobody")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # as if many threads were busy
    try:
        # Opened anew, so that each commit has to load its log while others list all of them.
        async with SQLiteStore(str(path)) as store:

            async def write() -> None:
                for log_id in log_ids:
                    await append(store, log_id, record(1))

            writing, lists = asyncio.create_task(write()), 0
            while not writing.done():
                assert len(await store.orphans(limit=1000)) == len(log_ids)
                lists += 1
            await writing
            assert lists > 3
    finally:
        sys.setswitchinterval(interval)
