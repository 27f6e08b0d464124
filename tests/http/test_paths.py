"""What clients are told of a server's failures names no file and no folder of its machine."""

import http.client
import json
import os
import resource
import shutil
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import runcast
from runcast import Settings
from tests.cli.served import Served, serve
from tests.http.serving import serving_here
from tests.waiting import WAIT_S

pytestmark = pytest.mark.anyio

FUNCTIONS = """
import runcast

@runcast.function
def leave() -> None:
    (runcast.workspace() / "data" / "outputs" / "out.txt").write_text("out")

@runcast.function(isolation="process")
def apart() -> int:
    return 1
"""

JSON = {"Content-Type": "application/json", "Accept": "application/json"}
BYTES = {"Content-Type": "application/octet-stream"}

REQUESTS: list[tuple[str, str, dict[str, str], bytes | None]] = [
    ("POST", "/uploads?name=a.txt", BYTES, b"content"),
    ("POST", "/invoke/leave", JSON, b'{"run_id": "{}-thread"}'),
    ("POST", "/invoke/apart", JSON, b'{"run_id": "{}-process"}'),
    ("POST", "/invoke/leave", JSON, b'{"files": {"input": [{"upload_id": "<upload>"}]}}'),
    ("GET", "/runs/whole/files", {}, None),
    ("GET", "/runs/whole/files/out.txt", {}, None),
    ("GET", "/runs/whole/events?live=false", {}, None),
    ("GET", "/runs/whole", {}, None),
    ("GET", "/runs", {}, None),
    ("GET", "/readyz", {}, None),
    ("DELETE", "/runs/whole-{}", {}, None),
]


class Table:
    """A server's table of descriptors."""

    def __init__(self, served: Served) -> None:
        self._pid = served.process.pid
        self._usual = resource.prlimit(self._pid, resource.RLIMIT_NOFILE)

    def leave_free(self, count: int) -> None:
        """Let the server open so many files more, and then no other."""
        used = {int(name) for name in os.listdir(f"/proc/{self._pid}/fd")}
        free = [number for number in range(len(used) + count + 1) if number not in used]
        limit = free[count]
        resource.prlimit(self._pid, resource.RLIMIT_NOFILE, (limit, self._usual[1]))

    def empty(self) -> None:
        resource.prlimit(self._pid, resource.RLIMIT_NOFILE, self._usual)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits other processes")
def test_a_full_table_of_descriptors_is_told_without_a_path(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(FUNCTIONS)
    told, statuses = b"", set()
    with serve("work.py", "--store", "sqlite:///runs.db", cwd=tmp_path) as served:
        assert served.ask("POST", "/invoke/leave", {"run_id": "whole"}).status == 200
        kept = served.ask("POST", "/uploads?name=b.txt", "content")
        upload = kept.json["upload_id"]
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=WAIT_S)
        with closing(connection):
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            table = Table(served)
            for count in range(6):
                for method, target, headers, body in REQUESTS:
                    table.leave_free(count)
                    sent = body and body.replace(b"{}", b"r%d" % count)
                    sent = sent and sent.replace(b"<upload>", upload.encode())
                    connection.request(method, target.format(count), sent, headers)
                    response = connection.getresponse()
                    content = response.read()
                    told += content
                    assert b"may have expired" not in content
                    statuses.add(response.status)
                    if "whole" in target and method == "GET":  # it is there, whatever is lacking
                        assert response.status in (200, 503), target
            table.empty()
            for run in json.loads(served.ask("GET", "/runs").body)["runs"]:
                told += served.ask("GET", f"/runs/{run['run_id']}/events?live=false").body
            assert served.ask("POST", "/invoke/leave", {}).status == 200

    assert 503 in statuses, "the table was not full"
    for word in (str(tmp_path), "runs.db", "/tmp", str(Path(sys.prefix)), ".py"):
        assert word.encode() not in told, told[told.index(word.encode()) - 300 :][:600]


def _remove(path: Path) -> None:
    path.unlink()


def _move_the_folder(path: Path) -> None:
    shutil.move(path.parent, path.parent.with_name("elsewhere"))


def _damage(path: Path) -> None:
    for file in (path, path.with_name(f"{path.name}-wal")):
        with file.open("r+b") as opened:
            opened.write(b"?" * file.stat().st_size)


@pytest.mark.parametrize("harm", [_remove, _move_the_folder, _damage])
async def test_a_store_that_fails_is_told_without_a_path(
    harm: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is in the log, for whom the file concerns."""
    folder = tmp_path / "store"
    folder.mkdir()
    async with serving_here(store=f"sqlite:///{folder}/runs.db") as server:
        await server.closed_log("before", 1)
        harm(folder / "runs.db")
        answers = [
            await server.post("/invoke/add", b'{"inputs": {"a": 1}}', JSON),
            await server.fetch("GET", "/readyz"),
            await server.fetch("GET", "/runs"),
        ]

    failed = [answer for answer in answers if answer.status >= 500]
    assert failed
    assert all(answer.problem() for answer in failed)
    assert not any(str(tmp_path).encode() in answer.body for answer in answers)
    assert all(b"runs.db" not in answer.body for answer in answers)
    assert "runs.db" in caplog.text


async def test_a_function_that_meets_a_failing_store_ends_without_a_path(tmp_path: Path) -> None:
    """Of our own errors a run's ending has the words."""
    error = runcast.errors.StoreUnavailable(f"{tmp_path} is full", "the store is full")

    def meets() -> None:
        raise error

    async with serving_here(functions=[meets]) as server:
        answer = await server.post("/invoke/meets", b"", JSON)

    assert answer.problem() == (500, "store_unavailable")
    assert answer.detail() == "the store is full"
    assert str(error) == f"{tmp_path} is full"


@pytest.mark.parametrize("kept", ["a file", "another store's"])
async def test_a_folder_for_files_that_cannot_be_used_is_told_without_its_path(
    kept: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "data"
    settings = Settings(data_dir=str(data))
    async with serving_here(store=f"sqlite:///{tmp_path}/runs.db", settings=settings) as server:
        await server.hub.files.sweep()  # the one at the start is over: it may take the folder
        if kept == "a file":
            data.write_text("in the way")
        else:
            data.mkdir()
            (data / "store").write_text("/srv/other.db")
        upload = await server.fetch("POST", "/uploads?name=a.txt", BYTES, b"content")

    assert upload.problem() == (503, "backend_error")
    assert str(tmp_path) not in upload.detail()
    assert "other.db" not in upload.detail()
    assert str(data) in caplog.text
