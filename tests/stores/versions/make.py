"""Makes a store file of the present version, as a killed process leaves it, and what it holds.

    python -m tests.stores.versions.make

It writes `N.tar.gz` and `N.json`, N being the version of the schema. Run it before the schema or
the journal changes, never afterwards: `test_versions.py` opens each of them.
"""

import asyncio
import json
import os
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

import runcast
from runcast._app import OpenHub
from runcast._runs.retention import Retention
from runcast.events.position import Position
from runcast.stores.base import Owner
from runcast.stores.sqlite.schema import SCHEMA_VERSION
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing import FakeClock
from tests.opening import soon

HERE = Path(__file__).parent
OWNER = Owner(owner_id="the-killed-process", machine="another-boot/pid:[1]", pid=1, started="1")
SETTINGS = runcast.Settings(
    shutdown_grace_s=0.0, keep_bytes_per_run=2000, keep_runs_s=86400.0, max_runs=8
)
NEVER_S = 3600.0


@runcast.function
def finishes(count: int) -> Iterator[Any]:
    for number in range(count):
        runcast.progress(number + 1, count)
        yield {"type": "step_progress", "data": {"message": "半分"}, "node": "n"}
    yield {"type": "done", "data": {"type": "done", "counted": count}}


@runcast.function
def leaves_a_file() -> str:
    (runcast.workspace() / "data" / "outputs" / "output.txt").write_text("what it wrote")
    return "written"


@runcast.function
def fails() -> None:
    raise runcast.RunFailed("it went wrong", "went_wrong")


@runcast.function
async def blocks() -> None:
    await asyncio.Event().wait()


@runcast.function
async def asks() -> str:
    answer: runcast.Answer = await runcast.ask("Go on?", interrupt_id="go-on", args={"n": 1})
    return answer.type


async def goes_on(interrupt_id: str, answer: runcast.Answer) -> str:
    return answer.type


@runcast.function
async def asks_twice() -> str:
    asking = [runcast.ask(f"{name}?", interrupt_id=name) for name in ("first", "second")]
    return str(await asyncio.gather(*asking))


@runcast.function(resume=goes_on)
async def asks_and_can_go_on() -> str:
    asking = [runcast.ask(f"{name}?", interrupt_id=name) for name in ("first", "second")]
    return str(await asyncio.gather(*asking))


def asks_without_waiting(interrupt_id: str) -> None:
    runcast.StreamWriter("node").interrupt_request(interrupt_id, "search", {"q": "x"}, "Search?")


@runcast.function
async def says_much() -> None:
    asks_without_waiting("of-long-ago")
    for number in range(100):
        runcast.log(f"line {number}")


@runcast.function
async def says_much_and_blocks() -> None:
    asks_without_waiting("of-long-ago")
    for number in range(100):
        runcast.log(f"line {number}")
    await asyncio.Event().wait()


@runcast.function
async def asks_in_an_event() -> None:
    asks_without_waiting("in-an-event")
    await asyncio.Event().wait()


def hub_on(path: Path, clock: FakeClock) -> OpenHub:
    return OpenHub(SQLiteStore(str(path), clock, poll_s=NEVER_S), settings=SETTINGS, clock=clock)


async def first_life(path: Path, clock: FakeClock) -> None:
    """Write what is in the tables when the process is killed."""
    async with hub_on(path, clock) as hub:
        await hub.start(finishes, {"count": 3}, run_id="finished", labels={"team": "a", "é": "\t"})
        clock.advance(1)
        await hub.start(leaves_a_file, run_id="with-files", labels={"team": "b"})
        await hub.start(fails, run_id="failed")
        await hub.start(blocks, run_id="cancelled")
        clock.advance(1)
        await hub.start(asks, run_id="answered")
        await hub.start(asks_and_can_go_on, run_id="waiting", labels={"team": "a"})
        await hub.start(finishes, {"count": 9}, run_id="replaced")
        await hub.start(finishes, {"count": 1}, run_id="deleted")
        for run_id in ("answered", "waiting"):
            await until(hub, run_id, "waiting")
        await until(hub, "replaced", "done")
        await hub.answer("answered", "go-on", {"type": "edit", "args": {"n": 2}, "by": "ann"})
        await hub.cancel("cancelled", "no longer wanted")
        clock.advance(1)
        await hub.start(finishes, {"count": 2}, run_id="replaced", replace=True)
        await hub.start(says_much, run_id="trimmed")
        for run_id in ("replaced", "trimmed", "answered", "with-files", "deleted", "failed"):
            run = hub.runner.runs.get(run_id)
            if run is not None:
                await soon(run.wait())
        await Retention(hub.hub, lambda: ["trimmed"]).shorten()
        await hub.start(finishes, {"count": 1}, run_id="replaced-later")
        await soon(hub.runner.runs["replaced-later"].wait())


async def second_life(path: Path, clock: FakeClock) -> dict[str, Any]:
    """Write what is in the journal only; return what the file holds then."""
    hub = await hub_on(path, clock).open()
    clock.advance(1)
    for function, run_id in ((asks_in_an_event, "asking"), (says_much_and_blocks, "trimmed-open")):
        await hub.start(function, run_id=run_id, labels={"team": "a"})
        await until(hub, run_id, "waiting")
    await Retention(hub.hub, lambda: ["trimmed-open"]).shorten()
    clock.advance(1)
    await hub.start(asks, run_id="asked")
    await until(hub, "asked", "waiting")
    await hub.start(finishes, {"count": 4}, run_id="replaced-later", replace=True)
    await soon(hub.runner.runs["replaced-later"].wait())
    await hub.start(asks, run_id="answered-late")
    await until(hub, "answered-late", "waiting")
    await hub.answer("answered-late", "go-on", {"type": "reject"})
    await until(hub, "answered-late", "done")
    await hub.start(asks_twice, run_id="half-answered")
    await until(hub, "half-answered", "waiting")
    await hub.answer("half-answered", "first", {"type": "accept"})
    await hub.hub.delete("deleted")
    for number in range(4):
        await hub.start(blocks, run_id=f"running-{number}")
    for number in range(4):
        await until(hub, f"running-{number}", "running")
    clock.advance(1)
    await hub.start(blocks, run_id="queued")
    await hub.start(finishes, {"count": 1}, run_id="queued-too")
    return await contents(hub)


async def until(hub: OpenHub, run_id: str, status: str) -> None:
    async with asyncio.timeout(10):
        while (await hub.present(run_id))[1].status != status:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def contents(hub: OpenHub) -> dict[str, Any]:
    """Return all that is known of each run, as JSON has it."""
    found: dict[str, Any] = {}
    for info in await hub.hub.store.list(limit=500):
        frames, position = "", Position(info.epoch, info.first - 1)
        while position.seq < info.head:
            page = await hub.hub.store.read(info.log_id, position)
            frames, position = frames + page.frames.decode(), page.position
        kept = await hub.hub.store.snapshot(info.log_id)
        _, state = await hub.present(info.log_id)
        found[info.log_id] = {
            "info": msgspec.to_builtins(info),
            "frames": frames,
            "snapshot": kept and [kept[0], kept[1].decode()],
            "state": msgspec.to_builtins(state),
        }
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, expected = Path(folder, "runs.db"), HERE / f"{SCHEMA_VERSION}.json"
        child = os.fork()
        if not child:
            setattr(sys.modules["runcast._app"], "this_process", lambda: OWNER)  # noqa: B010

            async def live() -> None:
                clock = FakeClock()
                await first_life(path, clock)
                told = await second_life(path, clock)
                expected.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")
                os._exit(0)  # nothing is closed

            asyncio.run(live())
        assert os.waitpid(child, 0)[1] == 0
        Path(f"{path}-shm").unlink()
        with tarfile.open(HERE / f"{SCHEMA_VERSION}.tar.gz", "w:gz") as archive:
            for file in sorted(Path(folder).rglob("*")):
                archive.add(file, file.relative_to(folder), recursive=False, filter=_as_nobodys)


def _as_nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()
