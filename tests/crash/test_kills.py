"""A server is killed at any moment, again and again: watchers lose nothing and see no ghosts."""

import asyncio
import os
import random
import secrets
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.crash.checks import check_all
from tests.crash.served import FUNCTIONS, Server, Watcher, complaints_of, within
from tests.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.heavy, pytest.mark.timeout(400)]

ROUNDS: Final = 10
RUNS: Final = 20
WATCHERS_PER_RUN: Final = 5

BASE_SEED: Final = int(os.environ.get("CRASH_SEED") or secrets.randbelow(1_000_000))
"""Another one each time; the seed of a failure is told with it, to be given again."""


class Siege:
    """A store, the servers that are killed on it, and all who watch."""

    def __init__(self, store: Path, seed: int) -> None:
        self.store = store
        self.chance = random.Random(seed)
        self.server: Server | None = None
        self.watchers: list[Watcher] = []
        self.following: list[asyncio.Task[None]] = []
        self.checked = 0
        self.endings: Counter[str] = Counter()

    async def begin_runs(self, server: Server, number: int, stop_after: int) -> None:
        """Start runs, some short and some without an end, and watch each."""
        for index in range(RUNS):
            if index == stop_after:
                return
            run_id = f"run-{number}-{index}"
            function, inputs = self.choose()
            first = await server.start_and_watch(run_id, function, **inputs)
            joined = [first, *(Watcher(run_id) for _ in range(WATCHERS_PER_RUN - 1))]
            self.watchers += joined
            self.follow(server, joined)

    def choose(self) -> tuple[str, dict[str, Any]]:
        """Return a function and its inputs: at a rate, one commit for each, or from a thread."""
        pick, size = self.chance.choice, self.chance.choice([50, 500, 5000])
        match pick(["emit_events", "emit_events", "insist", "pour"]):
            case "emit_events":
                n, rate = pick([1, 30, 200, 1_000_000, 1_000_000]), pick([20, 100, 400])
                return "emit_events", {"n": n, "rate": rate, "size": size}
            case function:
                return function, {"n": pick([1, 100, 1000]), "size": size // 10}

    def follow(self, server: Server, watchers: list[Watcher]) -> None:
        for watcher in watchers:
            self.following.append(asyncio.create_task(self.stay(server, watcher)))

    async def stay(self, server: Server, watcher: Watcher) -> None:
        """Watch until the end or until the server is gone; some leave in between and resume."""
        while not watcher.has_ended:
            most, before = self.chance.choice([0, 0, 0, 3, 50]), len(watcher.seen)
            await watcher.follow(server.address, most=most)
            if not most or len(watcher.seen) - before < most:
                return

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with within():
            await until(lambda: is_so() or all(task.done() for task in self.following))

    async def everybody_leaves(self) -> None:
        following, self.following = self.following, []  # waited for once, also if it fails
        async with within():
            await asyncio.gather(*following)

    async def round(self, number: int) -> None:
        """Serve, let everybody who was cut off resume, begin runs, and kill."""
        moment = self.chance.choice(["opening", "resuming", "starting", *["streaming"] * 4])
        if moment == "opening":
            await self.kill_while_it_opens()
            return
        server = await Server.start(self.store, FUNCTIONS)
        try:
            self.follow(server, [watcher for watcher in self.watchers if not watcher.has_ended])
            if moment == "resuming":
                stop = self.chance.randrange(len(self.following) + 1)
                await self.until(lambda: sum(t.done() for t in self.following) >= stop)
                return
            await self.everybody_leaves()
            await self.check(server)
            stop = self.chance.randrange(1, RUNS) if moment == "starting" else RUNS
            await self.begin_runs(server, number, stop)
            if moment == "streaming":
                enough = self.chance.randrange(1, 6000)
                await self.until(lambda: sum(len(w.seen) for w in self.watchers) >= enough)
        finally:
            await server.kill()
            await self.everybody_leaves()

    async def kill_while_it_opens(self) -> None:
        process = await Server.spawn(self.store, FUNCTIONS)
        database = os.fspath(self.store)
        async with within():
            await until(lambda: is_open(process.pid, database))
        for _ in range(self.chance.randrange(2000)):
            await asyncio.sleep(0)
        process.kill()
        await process.wait()

    async def check(self, server: Server) -> None:
        """Compare what each watcher has seen with the log, now that all runs have ended."""
        self.endings.update(await check_all(server, self.watchers))
        self.checked += len(self.watchers)
        self.watchers.clear()


def is_open(pid: int, path: str) -> bool:
    """Tell whether a process has a file open; True if it is gone."""
    try:
        held = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    except FileNotFoundError:
        return not os.path.exists(f"/proc/{pid}")
    return path in held


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc to kill at hard moments")
@pytest.mark.parametrize("part", range(5))
async def test_a_server_killed_at_any_moment_loses_and_invents_nothing(
    tmp_path: Path, part: int
) -> None:
    seed = BASE_SEED + part
    sys.stdout.write(f"CRASH_SEED={BASE_SEED}, part {part}\n")
    siege = Siege(tmp_path / "runs.db", seed)
    try:
        for number in range(ROUNDS):
            await siege.round(number)
        server = await Server.start(siege.store, FUNCTIONS)
        siege.follow(server, [watcher for watcher in siege.watchers if not watcher.has_ended])
        await siege.everybody_leaves()
        await siege.check(server)
        assert await server.stop() == 0
    except BaseException as error:
        error.add_note(f"CRASH_SEED={BASE_SEED}, part {part}")
        error.add_note(complaints_of(siege.store).read_text()[-4000:])
        raise
    sys.stdout.write(
        f"{siege.checked} watchers of {siege.endings.total()} runs, of which "
        f"{siege.endings['failed']} were lost\n"
    )
    assert siege.checked
