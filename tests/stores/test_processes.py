"""Several processes on one SQLite file, some of which are killed."""

import asyncio
import contextlib
import itertools
import random
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runcast.events.position import Position, frame_record
from runcast.stores.sqlite.store import SQLiteStore
from tests.stores.appender import records_of
from tests.waiting import WAIT_S

APPENDER = Path(__file__).with_name("appender.py")
pytestmark = pytest.mark.anyio


@dataclass
class Ack:
    """What an appender said of one commit."""

    number: int
    shared: int
    own: int
    size: int


@dataclass
class Appender:
    """An appender process and what it said so far."""

    name: str
    process: asyncio.subprocess.Process
    acks: list[Ack] = field(default_factory=list)

    async def read_line(self) -> bytes:
        assert self.process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            return await self.process.stdout.readline()

    async def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        await self.process.stdin.drain()

    async def hear(self, count: int | None = None) -> None:
        """Read `count` acknowledgements, or with None all there will be."""
        heard = 0
        while heard != count and (line := await self.read_line()):
            if line.endswith(b"\n"):
                self.acks.append(Ack(*map(int, line.split())))
                heard += 1

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.hear()
        async with asyncio.timeout(WAIT_S):
            await self.process.wait()


@asynccontextmanager
async def appender(path: Path, name: str, commits: int) -> AsyncIterator[Appender]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(APPENDER), str(path), name, str(commits)),
        stdin=pipe,
        stdout=pipe,
    )
    started = Appender(name, process)
    try:
        assert await started.read_line() == b"ready\n"
        yield started
    finally:
        await started.kill()


async def frames_of(store: SQLiteStore, log_id: str) -> list[bytes]:
    """Return all frames of a log, having checked that they are dense."""
    info = await store.info(log_id)
    head = b"id: %b-" % info.epoch.encode()
    frames: list[bytes] = []
    after = Position(info.epoch, 0)
    while after.seq < info.head:
        page = await store.read(log_id, after)
        found = [frame + b"\n\n" for frame in page.frames.split(b"\n\n")[:-1]]
        assert page.first == after.seq + 1
        assert page.last == after.seq + len(found)
        assert found
        frames += found
        after = page.position
    for seq, frame in enumerate(frames, 1):
        start = frame_record(head, seq, b"")
        assert frame.startswith(start[: start.index(b",") + 1])
    return frames


def body_of(frame: bytes) -> bytes:
    """Return the record in a frame."""
    return frame.split(b",", 1)[1].removesuffix(b"\n\n")


async def check(path: Path, appenders: list[Appender]) -> None:
    """Everything acknowledged is where it was said to be, whole, and nothing is there twice."""
    async with SQLiteStore(str(path)) as store:
        shared = [body_of(frame) for frame in await frames_of(store, "shared")]
        for each in appenders:
            own = [body_of(frame) for frame in await frames_of(store, f"own-{each.name}")]
            expected: list[bytes] = []
            for number, ack in enumerate(each.acks):
                records = records_of(each.name, number)
                assert ack == Ack(number, ack.shared, len(expected) + 1, len(records))
                assert shared[ack.shared - 1 : ack.shared - 1 + ack.size] == records
                expected += records
            # Killing may have cut short the answer to one commit more.
            unheard = records_of(each.name, len(each.acks))
            assert own in (expected, expected + unheard)
            assert [body for body in shared if b'"by":"%b",' % each.name.encode() in body] == own
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def make_logs(path: Path, names: list[str]) -> None:
    async with SQLiteStore(str(path)) as store:
        for log_id in ("shared", *(f"own-{name}" for name in names)):
            await store.create(log_id)


async def test_processes_append_to_one_log_and_lose_nothing(tmp_path: Path) -> None:
    path, names = tmp_path / "runs.db", ["a", "b", "c"]
    await make_logs(path, names)
    async with contextlib.AsyncExitStack() as stack:
        all_of_them = [await stack.enter_async_context(appender(path, n, 100)) for n in names]
        for each in all_of_them:
            await each.begin()
        async with asyncio.TaskGroup() as group:
            for each in all_of_them:
                group.create_task(each.hear())
        for each in all_of_them:
            assert await asyncio.wait_for(each.process.wait(), WAIT_S) == 0
            assert len(each.acks) == 100

    # They did work at the same time: nobody's commits came in one piece.
    order = sorted((ack.shared, each.name) for each in all_of_them for ack in each.acks)
    turns = sum(one[1] != following[1] for one, following in itertools.pairwise(order))
    assert turns > len(names)
    await check(path, all_of_them)


async def kill_again_and_again(path: Path, rounds: int) -> None:
    chance = random.Random(rounds)
    names = [f"victim-{number}" for number in range(rounds)]
    await make_logs(path, [*names, "survivor"])
    victims: list[Appender] = []
    async with appender(path, "survivor", 0) as survivor:
        await survivor.begin()
        for name in names:
            async with appender(path, name, 0) as victim:
                await victim.begin()
                await victim.hear(chance.randrange(1, 40))
                await victim.kill()
            victims.append(victim)
            heard = len(survivor.acks)
            await survivor.hear(1)
            assert len(survivor.acks) == heard + 1
        await survivor.hear(20)  # nobody who was killed holds a lock
        await survivor.kill()
    assert all(victim.acks for victim in victims)

    await check(path, [*victims, survivor])


async def test_what_a_killed_process_was_told_is_kept(tmp_path: Path) -> None:
    await kill_again_and_again(tmp_path / "runs.db", rounds=3)


@pytest.mark.heavy
@pytest.mark.timeout(600)
async def test_many_killed_processes_lose_nothing(tmp_path: Path) -> None:
    await kill_again_and_again(tmp_path / "runs.db", rounds=60)


@pytest.mark.heavy
@pytest.mark.timeout(600)
async def test_a_file_killed_in_every_state_can_be_opened(tmp_path: Path) -> None:
    """One process at a time, so that each opening replays the journal that a kill left."""
    path, chance = tmp_path / "runs.db", random.Random(7)
    names = [f"victim-{number}" for number in range(60)]
    await make_logs(path, names)
    victims: list[Appender] = []
    for name in names:
        async with appender(path, name, 0) as victim:
            await victim.begin()
            await victim.hear(chance.randrange(1, 60))
            await victim.kill()
        victims.append(victim)

        await check(path, victims[-3:])
    await check(path, victims)
