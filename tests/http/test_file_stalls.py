"""Large files, slow servers and silent name servers hold up nobody else, and not the end."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast._app import open_hub
from runcast._files import collecting, workspace
from runcast._files.fair_threads import Steps
from runcast._files.model import FileReference
from runcast._files.removing import removing
from runcast._functions.function import Function
from runcast._settings import Settings
from runcast.errors import Overloaded, PeerError
from tests.cli.served import serve
from tests.files.test_uploads import pieces_of
from tests.http.serving import Server, serving_here
from tests.opening import eventually, soon
from tests.waiting import WAIT_S

JSON = {"Accept": "application/json", "Content-Type": "application/json"}
BYTES = {"Content-Type": "application/octet-stream"}


def leave(name: str, size: int) -> None:
    """Leave a file that takes no room on the disk."""
    with (runcast.workspace() / "data" / "outputs" / name).open("wb") as file:
        file.truncate(size)


def take() -> list[str]:
    """Return the names of the inputs."""
    return sorted(file.name for file in (runcast.workspace() / "data" / "inputs" / "k").iterdir())


@asynccontextmanager
async def serving(tmp_path: Path, **options: Any) -> AsyncIterator[Server]:
    store = f"sqlite:///{tmp_path}/runs.db"
    functions = [leave, take, *options.pop("functions", [])]
    async with serving_here(functions=functions, store=store, **options) as server:
        yield server


async def invoke(server: Server, name: str, **body: Any) -> tuple[int, Any]:
    answer = await server.fetch("POST", f"/invoke/{name}", JSON, json.dumps(body).encode())
    return answer.status, json.loads(answer.body)


async def upload(server: Server, content: bytes = b"x") -> str:
    answer = await server.fetch("POST", "/uploads?name=a.txt", BYTES, content)
    assert answer.status == 201, answer.body
    return str(json.loads(answer.body)["upload_id"])


async def use_files(server: Server) -> None:
    """Do with small files all that there is to be done."""
    files = {"k": [{"upload_id": await upload(server)}]}
    assert await invoke(server, "take", files=files, run_id="small-in") == (
        200,
        {"result": ["a.txt"], "run_id": "small-in"},
    )
    status, ended = await invoke(
        server, "leave", inputs={"name": "s", "size": 3}, run_id="small-out"
    )
    assert (status, len(ended["files"])) == (200, 1)
    assert (await server.fetch("GET", ended["files"][0]["url"])).body == bytes(3)
    assert (await server.fetch("DELETE", "/runs/small-out")).status == 204


# --- large files ----------------------------------------------------------------------------------


async def test_runs_that_leave_large_files_hold_up_nobody(tmp_path: Path) -> None:
    """Each of them would take some minutes."""
    settings = Settings(max_output_bytes=1 << 40, shutdown_grace_s=0.0)
    made = {"name": "large", "size": 1 << 38}
    async with serving(tmp_path, settings=settings) as server:
        large = [asyncio.ensure_future(invoke(server, "leave", inputs=made)) for _ in range(8)]
        await eventually(lambda: server.hub.files._threads._ends.under_way >= 8)
        await soon(use_files(server))

        assert not any(each.done() for each in large)
        await soon(server.app.close())
        answers = await soon(asyncio.gather(*large))
        assert {status for status, _ in answers} <= {500, 503}


async def test_runs_that_are_given_large_files_hold_up_nobody(tmp_path: Path) -> None:
    root = tmp_path / "given"
    root.mkdir()
    with (root / "large").open("wb") as file:
        file.truncate(1 << 38)
    settings = Settings(
        max_input_bytes=1 << 40, workspace_roots=(str(tmp_path),), shutdown_grace_s=0.0
    )
    async with serving(tmp_path, settings=settings) as server:
        body = {"workspace": str(root), "files": {"k": ["large"]}}
        large = [asyncio.ensure_future(invoke(server, "take", **body)) for _ in range(8)]
        await eventually(lambda: server.hub.files._threads._copies.under_way >= 8)
        await soon(use_files(server))

        await soon(server.app.close())
        answers = await soon(asyncio.gather(*large))
        assert {(status, problem["code"]) for status, problem in answers} == {(503, "overloaded")}


async def test_code_that_fills_the_executor_of_the_loop_holds_up_no_files(tmp_path: Path) -> None:
    is_over = threading.Event()

    async def fill() -> None:
        await asyncio.gather(*(asyncio.to_thread(is_over.wait, 4 * WAIT_S) for _ in range(64)))

    async with serving(tmp_path, functions=[Function(fill)]) as server:
        filling = await server.hub.start("fill")
        try:
            await eventually(lambda: filling.status == "running")
            await soon(use_files(server))
        finally:
            is_over.set()
        await soon(filling.wait())


async def test_a_hub_ends_while_large_files_are_hashed(tmp_path: Path) -> None:
    settings = Settings(max_output_bytes=1 << 40, shutdown_grace_s=0.0)
    async with open_hub(f"sqlite:///{tmp_path}/runs.db", settings=settings) as hub:
        large = await hub.start(leave, {"name": "large", "size": 1 << 38})
        small = await hub.start(leave, {"name": "small", "size": 1 << 20})
        jobs = hub.files._threads._ends._jobs
        await eventually(lambda: any(job.done > 1 << 24 for job in tuple(jobs)))
        await soon(hub.close())
        ending = await large.wait()

        assert (ending.type, ending.data["code"]) == ("failed", "interrupted")
        assert ending.data["retryable"]
        assert (await small.wait()).type in ("done", "cancelled")


async def test_no_descriptor_is_held_by_a_file_that_waits_for_its_turn(tmp_path: Path) -> None:
    def held() -> int:
        links = (f"/proc/self/fd/{each}" for each in os.listdir("/proc/self/fd"))
        found = 0
        for link in links:
            with contextlib.suppress(OSError):
                found += str(tmp_path / "runs.db.data") in os.readlink(link)
        return found

    settings = Settings(max_output_bytes=1 << 40, shutdown_grace_s=0.0, file_threads=1)
    async with open_hub(f"sqlite:///{tmp_path}/runs.db", settings=settings) as hub:
        for _ in range(20):
            await hub.start(leave, {"name": "a", "size": 1 << 38})
        await eventually(lambda: hub.files._threads._ends.under_way >= 20)

        assert held() <= 4
        await soon(hub.close())


async def test_a_file_that_is_replaced_while_it_is_hashed_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that was given up may write still."""
    monkeypatch.setattr(collecting, "_STEP_BYTES", 1024)
    async with open_hub(f"sqlite:///{tmp_path}/runs.db") as hub:
        hashing = collecting._hashing

        def replaced(root: Path, entry: Any, *, fsync: bool) -> Any:
            for step in (steps := hashing(root, entry, fsync=fsync)):
                (root / "new").write_bytes(bytes(entry.size))
                os.rename(root / "new", root / entry.path)
                yield step
                yield from steps
            return ""

        monkeypatch.setattr(collecting, "_hashing", replaced)
        run = await hub.start(leave, {"name": "a", "size": 4096}, run_id="r")
        await soon(run.wait())
        found = await hub.files.of("r")

    assert [each.reason for each in found.skipped] == ["changed while it was read"]


async def test_runs_that_leave_much_to_remove_hold_up_no_endings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of them there are."""
    may_end = threading.Event()

    def endless(folder: Path) -> Steps[None]:
        while not may_end.is_set():
            yield 1
        yield from removing(folder)

    monkeypatch.setattr(workspace, "removing", endless)
    async with open_hub(f"sqlite:///{tmp_path}/runs.db") as hub:
        runs = [await hub.start(leave, {"name": "a", "size": 1}) for _ in range(20)]
        endings = await soon(asyncio.gather(*(run.wait() for run in runs)))
        may_end.set()

        assert {ending.type for ending in endings} == {"done"}
        workspaces = tmp_path / "runs.db.data" / "workspaces"
        await eventually(lambda: not list(workspaces.glob("*/work")))


# --- slow servers ---------------------------------------------------------------------------------


class Slow:
    """A server that answers a byte now and then, or nothing."""

    def __init__(self) -> None:
        self.is_over = threading.Event()
        self.connections: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.origin = f"http://127.0.0.1:{self._listening.getsockname()[1]}/"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx")
                self.connections.append(connection)

    def go_on(self) -> None:
        """Send the rest to all who came."""
        while self.connections:
            with contextlib.suppress(OSError), self.connections.pop() as connection:
                connection.sendall(b"y")

    def close(self) -> None:
        self._listening.close()
        for connection in self.connections:
            connection.close()


@pytest.fixture
def slow() -> Iterator[Slow]:
    server = Slow()
    yield server
    server.close()


async def test_slow_fetches_hold_up_nobody_and_are_bounded(tmp_path: Path, slow: Slow) -> None:
    settings = Settings(url_allow=(slow.origin,), max_fetches=16)
    fetched = {"files": {"k": [{"url": f"{slow.origin}a"}]}}
    async with serving(tmp_path, settings=settings) as server:
        fetching = [asyncio.ensure_future(invoke(server, "take", **fetched)) for _ in range(16)]
        await eventually(lambda: len(slow.connections) == 16)
        await soon(use_files(server))

        status, problem = await soon(invoke(server, "take", **fetched))
        assert (status, problem["code"]) == (503, "overloaded")
        assert "max_fetches" in problem["detail"]
        assert len((await server.fetch("GET", "/runs?function=take")).json()["runs"]) == 1

        slow.go_on()
        assert {status for status, _ in await soon(asyncio.gather(*fetching))} == {200}
        fetching = [asyncio.ensure_future(invoke(server, "take", **fetched))]
        await eventually(lambda: len(slow.connections) == 1)
        slow.go_on()
        assert (await soon(fetching[0]))[0] == 200


async def test_a_slow_fetch_takes_no_room_from_runs_of_the_same_function(
    tmp_path: Path, slow: Slow
) -> None:
    url = {"k": [FileReference(url=f"{slow.origin}a")]}
    once = Function(take, max_runs=1)
    settings = Settings(url_allow=(slow.origin,), max_runs=1)
    async with open_hub(f"sqlite:///{tmp_path}/runs.db", settings=settings) as hub:
        fetching = asyncio.ensure_future(hub.start(once, files=url))
        await eventually(lambda: len(slow.connections) == 1)
        upload = await hub.files.receive("b", "", pieces_of(b"x"))
        given = {"k": [FileReference(upload_id=upload.upload_id)]}

        run = await soon(hub.start(once, files=given))
        assert await soon(run.result()) == ["b"]
        slow.go_on()
        assert await soon((await soon(fetching)).result()) == ["a"]


async def test_no_more_runs_are_promised_room_than_there_is(tmp_path: Path, slow: Slow) -> None:
    url = {"k": [FileReference(url=f"{slow.origin}a")]}
    settings = Settings(url_allow=(slow.origin,), max_runs=1, max_queue=1)
    async with open_hub(f"sqlite:///{tmp_path}/runs.db", settings=settings) as hub:
        fetching = [asyncio.ensure_future(hub.start(take, files=url)) for _ in range(3)]
        await eventually(lambda: len(slow.connections) == 2)
        with pytest.raises(Overloaded, match="max_queue"):
            await soon(fetching[2])

        slow.go_on()
        for run in await soon(asyncio.gather(*fetching[:2])):
            assert await soon(run.result()) == ["a"]
        assert hub.runner.statistics().queued == 0


async def test_a_client_that_leaves_breaks_off_what_is_fetched_for_it(
    tmp_path: Path, slow: Slow
) -> None:
    settings = Settings(url_allow=(slow.origin,), max_fetches=1)
    url = FileReference(url=f"{slow.origin}a")
    async with open_hub(f"sqlite:///{tmp_path}/runs.db", settings=settings) as hub:
        starting = asyncio.ensure_future(hub.start(take, files={"k": [url]}))
        await eventually(lambda: len(slow.connections) == 1)
        with pytest.raises(Overloaded, match="max_fetches"):
            await hub.start(take, files={"k": [url]})
        starting.cancel()
        await asyncio.wait([starting])

        await eventually(lambda: hub.files._threads._fetches.under_way == 0)
        await eventually(lambda: not os.listdir(tmp_path / "runs.db.data" / "workspaces"))


async def test_a_hub_ends_while_files_are_fetched(tmp_path: Path, slow: Slow) -> None:
    settings = Settings(url_allow=(slow.origin,))
    url = FileReference(url=f"{slow.origin}a")
    async with open_hub(f"sqlite:///{tmp_path}/runs.db", settings=settings) as hub:
        starting = asyncio.ensure_future(hub.start(take, files={"k": [url]}))
        await eventually(lambda: len(slow.connections) == 1)
        await soon(hub.close())

        with pytest.raises((Overloaded, PeerError)):
            await soon(starting)


# --- silent name servers --------------------------------------------------------------------------


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names that are asked for; for none of which there is an answer."""
    asked: list[str] = []
    is_over = threading.Event()
    real = socket.getaddrinfo

    def look_up(host: str, *args: Any, **more: Any) -> Any:
        if not str(host).endswith(".example.org"):
            return real(host, *args, **more)
        asked.append(host)
        is_over.wait(4 * WAIT_S)
        raise socket.gaierror(socket.EAI_AGAIN, "nobody answered")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield asked
    is_over.set()


async def test_a_silent_name_server_holds_up_nobody(tmp_path: Path, silent: list[str]) -> None:
    settings = Settings(url_allow=("http://files.example.org/",), fetch_wait_s=1.0)
    fetched = {"files": {"k": [{"url": "http://files.example.org/a"}]}}
    async with serving(tmp_path, settings=settings) as server:
        fetching = [asyncio.ensure_future(invoke(server, "take", **fetched)) for _ in range(16)]
        await eventually(lambda: len(silent) == 1)
        await soon(use_files(server))
        answers = await soon(asyncio.gather(*fetching))

        assert {(status, problem["code"]) for status, problem in answers} == {(502, "peer_error")}
        assert all("fetch_wait_s" in problem["detail"] for _, problem in answers)
        assert silent == ["files.example.org"]


async def test_a_hub_ends_while_a_name_server_is_silent(tmp_path: Path, silent: list[str]) -> None:
    settings = Settings(url_allow=("http://files.example.org/",), fetch_wait_s=1000.0)
    url = FileReference(url="http://files.example.org/a")
    async with open_hub(f"sqlite:///{tmp_path}/runs.db", settings=settings) as hub:
        starting = asyncio.ensure_future(hub.start(take, files={"k": [url]}))
        await eventually(lambda: len(silent) == 1)
        await soon(hub.close())

        with pytest.raises((Overloaded, PeerError)):
            await soon(starting)


SILENT = """
import socket, sys, time
import runcast

def look_up(*_, real=socket.getaddrinfo, **__):
    if not str(_[0]).endswith(".example.org"):
        return real(*_, **__)
    print("asked", file=sys.stderr, flush=True)
    time.sleep(1000)

socket.getaddrinfo = look_up

@runcast.function
def take() -> None: ...
"""


def test_a_server_ends_while_a_name_server_is_silent(tmp_path: Path) -> None:
    (tmp_path / "target.py").write_text(SILENT, "utf-8")
    env = {"RUNCAST_URL_ALLOW": "http://files.example.org/", "RUNCAST_FETCH_WAIT_S": "1000"}
    body = {"files": {"k": [{"url": "http://files.example.org/a"}]}}
    with serve("target.py", cwd=tmp_path, env=env) as server:

        def ask() -> None:
            with contextlib.suppress(OSError):
                server.ask("POST", "/invoke/take", body)

        asking = threading.Thread(target=ask)
        asking.start()
        assert server.process.stderr is not None
        while server.process.stderr.readline() != "asked\n":
            assert server.process.poll() is None
        code, _, _ = server.end(signal.SIGTERM)
        asking.join(WAIT_S)

    assert code == 0


async def test_a_small_upload_is_given_while_another_run_fetches(
    tmp_path: Path, slow: Slow
) -> None:
    settings = Settings(url_allow=(slow.origin,))
    async with open_hub(f"sqlite:///{tmp_path}/runs.db", settings=settings) as hub:
        url = FileReference(url=f"{slow.origin}a")
        starting = asyncio.ensure_future(hub.start(take, files={"k": [url]}))
        given = await hub.files.receive("a", "", pieces_of(b"x"))
        upload_id = FileReference(upload_id=given.upload_id)
        run = await soon(hub.start(take, files={"k": [upload_id]}))
        assert await soon(run.result()) == ["a"]
        await eventually(lambda: len(slow.connections) == 1)
        slow.go_on()
        assert await soon((await soon(starting)).result()) == ["a"]
