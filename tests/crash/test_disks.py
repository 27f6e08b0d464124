"""Disks that are full, cannot be written, or are slow: real ones, under a real server."""

import asyncio
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.crash.checks import check_all
from tests.crash.served import FUNCTIONS, Server, Watcher, serving, within
from tests.http.client import Answer

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.heavy,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's disks and limits"),
]

MIB: Final = 1024 * 1024
EVENTS: Final = {"n": 1500, "size": 2000}
"""3 MiB for each run: together more than there is room for."""


class SmallDisk:
    """A file system in memory, of a given size."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def mount(self, options: str) -> None:
        run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path))

    def remount(self, options: str) -> None:
        run("mount", "-o", f"remount,{options}", str(self.path))

    def unmount(self) -> None:
        run("umount", "-l", str(self.path))


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    made = SmallDisk(tmp_path / "disk")
    try:
        made.mount(f"size={4 * MIB}")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield made
    made.unmount()


async def begin(server: Server, count: int = 4) -> list[Watcher]:
    return [await server.start_and_watch(f"run-{n}", "insist", **EVENTS) for n in range(count)]


def watch(server: Server, watchers: list[Watcher]) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(w.follow_to_the_end(server.address)) for w in watchers]


async def until_refused(server: Server) -> Answer:
    """Begin runs until one is refused because the store cannot take it."""
    number = 0
    async with within():
        while True:
            answer = await server.start_run("insist", f"more-{number}", n=1, size=1)
            if answer.status != 202:
                return answer
            number += 1


# --- full -----------------------------------------------------------------------------------------


async def test_runs_go_on_without_loss_once_a_full_disk_has_room_again(disk: SmallDisk) -> None:
    store = disk.path / "runs.db"
    async with serving(store, FUNCTIONS) as server:
        watchers = await begin(server)
        watching = watch(server, watchers)
        refused = await until_refused(server)
        assert refused.problem() == (503, "store_unavailable")
        assert (await server.ask("GET", "/readyz")).status == 503
        assert (await server.ask("GET", "/healthz")).status == 200
        # What is there can be read.
        known = await server.log_of("run-0")
        assert known

        disk.remount(f"size={200 * MIB}")
        async with within():
            await asyncio.gather(*watching)
        assert await check_all(server, watchers) == ["done"] * 4
        assert watchers[0].seen[: len(known)] == known
        assert (await server.ask("GET", "/readyz")).status == 200
        assert await server.stop() == 0


async def test_a_server_killed_on_a_full_disk_serves_what_there_is_and_ends_the_rest_later(
    disk: SmallDisk,
) -> None:
    store = disk.path / "runs.db"
    async with serving(store, FUNCTIONS) as server:
        watchers = await begin(server)
        watching = watch(server, watchers)
        await until_refused(server)
        await server.kill()
        for task in watching:
            task.cancel()
        await asyncio.wait(watching)

    async with serving(store, FUNCTIONS, settings={"lease_s": 0.2}) as server:
        log = await server.log_of("run-0")
        assert watchers[0].seen == log[: len(watchers[0].seen)]
        disk.remount(f"size={200 * MIB}")
        async with within():
            await asyncio.gather(*watch(server, watchers))
        assert await check_all(server, watchers) == ["failed"] * 4


async def test_runs_go_on_once_a_file_may_be_larger_again(tmp_path: Path) -> None:
    async with serving(tmp_path / "runs.db", FUNCTIONS) as server:
        watchers = await begin(server)
        watching = watch(server, watchers)
        _, most = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (4 * MIB, most))
        assert (await until_refused(server)).problem() == (503, "store_unavailable")

        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (most, most))
        async with within():
            await asyncio.gather(*watching)
        assert await check_all(server, watchers) == ["done"] * 4


# --- read-only ------------------------------------------------------------------------------------


async def test_a_file_on_a_disk_that_cannot_be_written_is_served_to_watchers(
    disk: SmallDisk,
) -> None:
    store = disk.path / "runs.db"
    async with serving(store) as server:
        ended = await server.start_and_watch("ended", n=10, rate=0)
        await ended.follow_to_the_end(server.address)
        assert await server.stop() == 0
    disk.remount("ro")

    async with serving(store, errors=disk.path.with_suffix(".err")) as server:
        assert await server.log_of("ended") == ended.seen
        refused = await server.start_run("emit_events", "another", n=1)
        assert refused.problem() == (503, "store_read_only")
        late = Watcher("ended")
        await late.follow_to_the_end(server.address)
        assert late.seen == ended.seen
        assert (await server.ask("GET", "/runs")).json()["runs"][0]["run_id"] == "ended"
        assert await server.stop() == 0


async def test_a_disk_that_turns_read_only_ends_no_server_and_nothing_is_lost(
    disk: SmallDisk,
) -> None:
    """As Linux does with a disk that has errors."""
    disk.remount(f"size={200 * MIB}")
    store = disk.path / "runs.db"
    async with serving(store, FUNCTIONS, errors=disk.path.with_suffix(".err")) as server:
        watchers = await begin(server, 2)
        watching = watch(server, watchers)
        for watcher in watchers:
            await watcher.until(50)
        # A file that is open for writing keeps a disk from turning read-only by command.
        await server.kill()
        for task in watching:
            task.cancel()
        await asyncio.wait(watching)
    disk.remount("ro")

    async with serving(store, errors=disk.path.with_suffix(".err")) as server:
        for watcher in watchers:
            log = await server.log_of(watcher.run_id)
            assert log[: len(watcher.seen)] == watcher.seen
    disk.remount("rw")

    async with serving(store) as server:
        async with within():
            await asyncio.gather(*watch(server, watchers))
        assert await check_all(server, watchers) == ["failed"] * 2


# --- slow -----------------------------------------------------------------------------------------

SLOW_SYNC: Final = r"""
#include <stdlib.h>
#include <unistd.h>
/* The disk stands still while a file called $STALL is there. */
static int stall(int fd) {
    while (access(getenv("STALL"), F_OK) == 0) usleep(1000);
    return 0;
}
int fsync(int fd) { return stall(fd); }
int fdatasync(int fd) { return stall(fd); }
"""


@pytest.fixture
def stalling(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """What a server must have in its environment, and the file that makes its disk stand still."""
    compiler = shutil.which("cc") or pytest.skip("a C compiler makes the slow disk")
    source, library, stall = (tmp_path / name for name in ("slow.c", "slow.so", "stall"))
    source.write_text(SLOW_SYNC)
    run(compiler, "-shared", "-fPIC", "-o", str(library), str(source))
    return {"LD_PRELOAD": str(library), "STALL": str(stall)}, stall


@pytest.mark.parametrize("is_killed", [False, True])
async def test_while_a_disk_stands_still_nothing_is_shown_and_everything_else_goes_on(
    tmp_path: Path, stalling: tuple[dict[str, str], Path], is_killed: bool
) -> None:
    env, stall = stalling
    store, settings = tmp_path / "runs.db", {"sqlite_full_sync": "true"}
    async with serving(store, env=env, settings=settings) as server:
        watchers = [await server.start_and_watch(f"run-{n}", n=400, rate=200) for n in range(20)]
        watching = watch(server, watchers)
        for watcher in watchers:
            await watcher.until(10)
        stall.touch()
        waiting = asyncio.create_task(server.start_run("emit_events", "late", n=1, rate=0))
        for _ in range(20):
            assert (await server.ask("GET", "/healthz")).status == 200
        seen = [len(watcher.seen) for watcher in watchers]
        for _ in range(20):
            assert (await server.ask("GET", "/healthz")).status == 200
        assert not waiting.done()
        assert [len(watcher.seen) for watcher in watchers] == seen
        if is_killed:
            await server.kill()
            for task in (*watching, waiting):
                task.cancel()
            await asyncio.wait([*watching, waiting])
        stall.unlink()
        if not is_killed:
            assert (await waiting).status == 202
            async with within():
                await asyncio.gather(*watching)
            assert await check_all(server, watchers) == ["done"] * 20
            return

    async with serving(store) as server:
        async with within():
            await asyncio.gather(*watch(server, watchers))
        assert await check_all(server, watchers) == ["failed"] * 20
