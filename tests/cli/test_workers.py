"""`runcast serve --workers N`: several processes behave as one server."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from runcast._cli.workers import shared_folder
from runcast._settings import Settings
from tests.cli.inside import run
from tests.crash.checks import check_all, ending_of
from tests.crash.served import Server, children_of, within
from tests.stores.servers import namespace_url, stop_all
from tests.waiting import until

pytestmark = pytest.mark.anyio

WORKERS = 3

MAKES_A_FILE = """
import runcast

@runcast.function
def make():
    (runcast.workspace() / "data" / "outputs" / "a.txt").write_text("a")
"""


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


async def all_workers(server: Server) -> list[int]:
    """Return the workers, once there are as many as were asked for."""
    async with within():
        await until(lambda: len(children_of(server.process.pid)) >= WORKERS)
    return children_of(server.process.pid)


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
        async with within():
            for each in runs:
                await each.follow(server.address, most=2)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        async with within():
            await until(lambda: not set(children_of(server.process.pid)) & set(before))
            await all_workers(server)
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
            await until(lambda: all(is_gone(pid) for pid in workers))

    assert code == {signal.SIGTERM: 0, signal.SIGINT: 130, signal.SIGKILL: -9}[number]


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_ctrl_c_ends_all_workers_without_waiting_for_runs(
    tmp_path: Path, number: signal.Signals
) -> None:
    grace = {"shutdown_grace_s": 600.0}
    server = await Server.start(tmp_path / "runs.db", "--workers", "2", settings=grace)
    try:
        async with within():
            runs = [await server.start_and_watch(f"run-{n}", n=10**6, rate=20) for n in range(4)]
            for each in runs:
                await each.follow(server.address, most=2)
        server.process.send_signal(number)
        async with within():
            await until_refused(server)
        assert server.process.returncode is None
        server.process.send_signal(signal.SIGINT)
        async with within():
            code = await server.process.wait()
    finally:
        await server.kill()

    assert code == (130 if number == signal.SIGINT else 0)
    assert (tmp_path / "runs.err").read_text() == ""


NEVER_READY = """
import os, pathlib, signal
pathlib.Path(__file__).with_name(f"{os.getpid()}.begun").touch()
signal.pause()
"""


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_workers_that_are_starting_end_without_a_word(
    tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "never_ready.py").write_text(NEVER_READY)
    arguments = [str(tmp_path / "never_ready.py"), "--workers", "2"]
    process = await Server.spawn(tmp_path / "runs.db", *arguments)
    try:
        async with within():
            await until(lambda: len(list(tmp_path.glob("*.begun"))) == 2)
        process.send_signal(number)
        async with within():
            code = await process.wait()
    finally:
        with suppress(ProcessLookupError):
            process.kill()

    assert code == (130 if number == signal.SIGINT else 0)
    assert (tmp_path / "runs.err").read_text() == ""


EARLY = """
import os, pathlib, signal, time
if "_RUNCAST_SOCKET" in os.environ:
    pathlib.Path(__file__).with_name(f"{os.getpid()}.begun").touch()
    while signal.SIGINT not in signal.sigpending():
        time.sleep(0.01)
"""
"""What Python runs in a worker before runcast."""


@pytest.mark.heavy
async def test_workers_whose_interpreter_is_starting_end_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(EARLY)
    more = {"PYTHONPATH": str(tmp_path)}
    process = await Server.spawn(tmp_path / "runs.db", "--workers", "2", env=more)
    try:
        async with within():
            await until(lambda: len(list(tmp_path.glob("*.begun"))) == 2)
        process.send_signal(signal.SIGINT)
        async with within():
            assert await process.wait() == 130
    finally:
        with suppress(ProcessLookupError):
            process.kill()

    assert (tmp_path / "runs.err").read_text() == ""


HOLD = """
import os
import runcast

@runcast.function
def hold(leave: str):
    os.close(os.open(leave, os.O_RDONLY))
"""


@pytest.mark.heavy
async def test_nobody_can_connect_while_workers_wait_for_their_functions(tmp_path: Path) -> None:
    (tmp_path / "hold.py").write_text(HOLD)
    leave = tmp_path / "leave"
    os.mkfifo(leave)
    grace = {"shutdown_grace_s": 60.0}
    target = str(tmp_path / "hold.py")
    server = await Server.start(tmp_path / "runs.db", target, "--workers", "2", settings=grace)
    try:
        for n in range(6):  # so that each worker has one
            assert (await server.start_run("hold", f"run-{n}", leave=str(leave))).status == 202
        server.process.terminate()
        async with within():
            await until_refused(server)
        assert server.process.returncode is None
        let_go = os.open(leave, os.O_RDWR)  # does not wait for readers, and lets them go
        async with within():
            assert await server.process.wait() == 0
        os.close(let_go)
    finally:
        await server.kill()


async def until_refused(server: Server) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection(*server.address)
        except ConnectionRefusedError:
            return
        except ConnectionResetError:  # the address was closed while we connected
            continue
        writer.close()


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


@pytest.mark.parametrize(
    ("store", "settings"),
    [
        ("sqlite:///runs.db", Settings()),
        ("redis://host", Settings(data_dir="files")),
        ("redis://host", Settings(files="s3://bucket")),
        ("redis://host", Settings(launcher="celery")),
    ],
)
def test_workers_get_no_folder_where_files_have_a_place(store: str, settings: Settings) -> None:
    with shared_folder(store, settings) as environ:
        assert environ == {}


@pytest.mark.heavy
async def test_without_a_place_for_files_any_worker_has_the_files_of_all(tmp_path: Path) -> None:
    file = tmp_path / "work.py"
    file.write_text(MAKES_A_FILE)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    server = await Server.start(
        namespace_url("valkey"),
        *(str(file), "--workers", str(WORKERS)),
        errors=tmp_path / "log",
        env={"TMPDIR": str(temporary)},
    )
    try:
        await all_workers(server)
        for n in range(6):
            answer = await server.ask("POST", "/invoke/make", {"run_id": f"run-{n}"})
            assert answer.status == 200, answer
        async with within():
            downloads = [
                await server.ask("GET", f"/runs/run-{n}/files/a.txt")
                for n in range(6)
                for _ in "abcd"
            ]
        assert {answer.status for answer in downloads} == {200}
    finally:
        server.process.terminate()
        async with within():
            await server.process.wait()
        stop_all()
    assert not list(temporary.glob("runcast-*"))


def test_a_count_that_is_no_count_is_refused(tmp_path: Path) -> None:
    ended = run("serve", "--workers", "0", cwd=tmp_path)

    assert ended.returncode == 2
    assert "expected 1 to 64, got '0'" in ended.stderr
