"""`runcast serve --workers N`: several processes behave as one server."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.cli.inside import run
from tests.crash.checks import check_all, ending_of
from tests.crash.served import Server, within

pytestmark = pytest.mark.anyio

WORKERS = 3


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Server]:
    server = await Server.start(
        folder / "runs.db", "--workers", str(WORKERS), settings={"lease_s": 1.0}
    )
    try:
        yield server
    finally:
        with suppress(ProcessLookupError):
            server.process.terminate()
        async with within():
            await server.process.wait()


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def all_workers(server: Server) -> list[int]:
    """Return the workers, once there are as many as were asked for."""
    async with within():
        while len(found := children_of(server.process.pid)) < WORKERS:  # noqa: ASYNC110
            await asyncio.sleep(0)
    return found


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.heavy
async def test_any_worker_watches_cancels_and_lists_the_runs_of_all(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        await all_workers(server)
        runs = [await server.start_and_watch(f"run-{n}", n=40, rate=40) for n in range(8)]
        endless = await server.start_and_watch("endless", n=10**6, rate=40)
        async with within():
            await asyncio.gather(*(each.follow_to_the_end(server.address) for each in runs))
            answer = await server.ask("POST", "/runs/endless/cancel")
            await endless.follow_to_the_end(server.address)
        listed = json.loads((await server.ask("GET", "/runs")).body)["runs"]

        assert answer.status in (200, 202)
        assert await check_all(server, runs) == ["done"] * 8
        assert ending_of(endless)["type"] == "cancelled"
        assert len(listed) == 9


@pytest.mark.heavy
async def test_a_worker_that_dies_is_replaced_and_its_runs_end_as_lost(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        before = await all_workers(server)
        runs = [await server.start_and_watch(f"run-{n}", n=10**6, rate=20) for n in range(6)]
        for each in runs:
            await each.follow(server.address, most=2)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        async with within():
            while set(await all_workers(server)) & set(before):  # noqa: ASYNC110
                await asyncio.sleep(0)
            await asyncio.gather(*(each.follow_to_the_end(server.address) for each in runs))

        assert await check_all(server, runs) == ["failed"] * 6


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_no_worker_outlives_the_first_process(tmp_path: Path, number: signal.Signals) -> None:
    async with served(tmp_path) as server:
        workers = await all_workers(server)
        server.process.send_signal(number)
        async with within():
            code = await server.process.wait()
            while not all(is_gone(pid) for pid in workers):  # noqa: ASYNC110
                await asyncio.sleep(0)

    assert code == {signal.SIGTERM: 0, signal.SIGINT: 130, signal.SIGKILL: -9}[number]


@pytest.mark.heavy
async def test_workers_that_cannot_start_end_the_command(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("import nothing_of_this_name\n")
    process = await Server.spawn(tmp_path / "runs.db", str(file), "--workers", "2")
    async with within():
        code = await process.wait()

    assert code > 0
    assert "nothing_of_this_name" in (tmp_path / "runs.err").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--store", "memory://"), "a store that processes share"),
        (("--reload",), "--workers or --reload, not both"),
    ],
)
def test_what_workers_cannot_do_is_refused(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    ended = run("serve", "--workers", "2", "--port", "0", *arguments, cwd=tmp_path)

    assert ended.returncode == 2
    assert said in ended.stderr


def test_a_count_that_is_no_count_is_refused(tmp_path: Path) -> None:
    ended = run("serve", "--workers", "0", cwd=tmp_path)

    assert ended.returncode == 2
    assert "expected 1 to 64, got '0'" in ended.stderr
