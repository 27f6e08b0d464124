"""A loss of power takes the end of the write-ahead log: what is left is sound, and the loss is
told."""

import asyncio
import contextlib
import os
import random
import secrets
import sqlite3
import sys
from pathlib import Path
from typing import Final

import pytest

from runcast.stores.machine import this_process
from tests.crash.checks import check_log, ending_of
from tests.crash.served import Server, Watcher, serving, within

pytestmark = [pytest.mark.anyio, pytest.mark.heavy, pytest.mark.timeout(120)]

RUNS: Final = 10
BASE_SEED: Final = int(os.environ.get("CRASH_SEED") or secrets.randbelow(1_000_000))


async def stream_and_kill(store: Path, enough: int) -> list[Watcher]:
    """Have runs stream to watchers, of whom one saw so many events, and kill the server."""
    async with serving(store) as server:
        watchers = [
            await server.start_and_watch(f"run-{n}", n=10**6, rate=200, size=200)
            for n in range(RUNS)
        ]
        watching = [asyncio.create_task(w.follow(server.address)) for w in watchers]
        await watchers[0].until(enough)
        await server.kill()
        async with within():
            await asyncio.gather(*watching)
    return watchers


async def make(store: Path) -> None:
    """Make the file, so that it is older than the loss."""
    async with serving(store) as server:
        assert await server.stop() == 0


def cut(store: Path, chance: random.Random) -> int:
    """Take the end off the write-ahead log, anywhere; return how much is left of 100."""
    log = store.with_name(f"{store.name}-wal")
    left = chance.choice([0, chance.randrange(100), 100])
    os.truncate(log, log.stat().st_size * left // 100)
    with contextlib.suppress(FileNotFoundError):  # only shared memory: lost with the power
        os.unlink(store.with_name(f"{store.name}-shm"))
    return left


def begin_another_boot(store: Path) -> None:
    """Let owners be of a boot before this one, under a process id that another process has now."""
    mine = this_process()
    with contextlib.closing(sqlite3.connect(store)) as connection:
        connection.execute(
            "UPDATE owners SET machine = '00000000-0000-0000-0000-000000000000/pid:[1]', "
            "pid = ?, started = ?, expires_at = 1e12",
            (mine.pid, mine.started),
        )
        connection.commit()


async def resume(server: Server, watcher: Watcher) -> None:
    while not (watcher.has_ended or watcher.is_gone or watcher.is_dismissed):
        await watcher.follow(server.address)


@pytest.mark.parametrize("part", range(6))
async def test_after_a_loss_of_power_what_is_left_is_sound_and_what_was_lost_is_told(
    tmp_path: Path, part: int
) -> None:
    sys.stdout.write(f"CRASH_SEED={BASE_SEED}, part {part}\n")
    chance = random.Random(BASE_SEED + part)
    store = tmp_path / "runs.db"
    await make(store)
    watchers = await stream_and_kill(store, chance.randrange(5, 200))
    before = [list(watcher.seen) for watcher in watchers]
    left = cut(store, chance)
    begin_another_boot(store)

    async with serving(store) as server:
        async with within():
            await asyncio.gather(*(resume(server, watcher) for watcher in watchers))
        for watcher, seen in zip(watchers, before, strict=True):
            if watcher.is_gone:
                assert left < 100
                continue
            log = await server.log_of(watcher.run_id)
            assert check_log(log)["data"]["code"] == "lost"
            if watcher.is_dismissed:
                # The ending took the very position that it had seen something else at.
                assert len(log) == len(seen)
                assert log[:-1] == seen[:-1]
                continue
            assert watcher.seen == log
            assert ending_of(watcher)["type"] == "failed"
            # What is left is what there was, up to the cut.
            kept = min(len(seen), len(log) - 1)
            assert log[:kept] == seen[:kept]
            assert {gap["reason"] for gap in watcher.gaps} <= {"rewound"}
            if len(seen) > len(log):
                assert len(watcher.gaps) == 1
            if left == 100:
                assert watcher.gaps == []
        assert await server.stop() == 0


async def test_runs_of_a_boot_before_this_one_are_ended_at_once(tmp_path: Path) -> None:
    store = tmp_path / "runs.db"
    watchers = await stream_and_kill(store, 5)
    begin_another_boot(store)

    async with serving(store) as server:
        # Their lease runs for ever, and there is a process of that id: only the boot tells.
        for watcher in watchers:
            assert check_log(await server.log_of(watcher.run_id))["data"]["code"] == "lost"
