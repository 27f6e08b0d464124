"""Files that remote writers send into their runs, over HTTP."""

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runcast._settings import Settings
from tests.http.client import Answer
from tests.http.serving import Server, serving_here

pytestmark = pytest.mark.anyio

LEASE = "a secret of the writer"
OCTETS = {"Content-Type": "application/octet-stream"}


def code(answer: Answer) -> str:
    return str(json.loads(answer.body)["code"])


def detail(answer: Answer) -> str:
    return str(json.loads(answer.body)["detail"])


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    settings = Settings(max_files=3, max_output_bytes=100, max_upload_bytes=80)
    async with serving_here(settings=settings) as server:
        yield server


async def begin(server: Server, run_id: str = "r", lease: str = LEASE, **more: Any) -> Answer:
    body = {"name": "train", "run_id": run_id, "lease_id": lease, **more}
    return await server.post("/runs", json.dumps(body).encode())


async def put(
    server: Server, path: str, content: bytes = b"x", *, lease: str = LEASE, run_id: str = "r"
) -> Answer:
    headers = {**OCTETS, "Runcast-Lease": lease}
    return await server.fetch("PUT", f"/runs/{run_id}/files/{path}", headers, content)


async def end(server: Server, run_id: str = "r", kind: str = "done", number: int = 1) -> Answer:
    return await server.post(
        f"/runs/{run_id}/events?producer=p&sequence={number}",
        json.dumps([{"type": "step"}, {"type": kind, "data": {}}]).encode(),
        {"Runcast-Lease": LEASE},
    )


async def log(server: Server, run_id: str = "r") -> list[Any]:
    page = await server.fetch("GET", f"/runs/{run_id}/events?live=long-poll")
    return [[each["type"], each["data"]] for each in page.json()["events"]]


async def listed(server: Server, run_id: str = "r") -> list[str]:
    answer = await server.fetch("GET", f"/runs/{run_id}/files")
    assert answer.status == 200, answer
    return [file["path"] for file in answer.json()["files"]]


async def test_files_of_a_writer_are_listed_before_the_end_and_can_be_downloaded(
    server: Server,
) -> None:
    await begin(server)
    sent = await put(server, "plots/loss%20one.csv", b"1,2")
    before = await listed(server)
    ended = await end(server)
    events = await log(server)
    found = await server.fetch("GET", "/runs/r/files/plots/loss%20one.csv")

    assert sent.status == 201
    assert sent.json() == {
        "path": "plots/loss one.csv",
        "name": "loss one.csv",
        "size": 3,
        "sha256": hashlib.sha256(b"1,2").hexdigest(),
        "type": "text/csv",
        "url": "/runs/r/files/plots/loss%20one.csv",
    }
    assert before == []
    assert ended.status == 200
    assert [kind for kind, _ in events] == ["started", "step", "files", "done"]
    assert events[2][1] == {"files": [sent.json()]}
    assert (found.body, found.headers["content-type"]) == (b"1,2", "text/csv")


async def test_a_file_that_is_sent_again_is_stored_once_and_the_last_content_counts(
    server: Server,
) -> None:
    await begin(server)
    statuses = [
        (await put(server, "a.txt", content)).status
        for content in (b"old" * 20, b"old" * 20, b"new" * 20)
    ]
    await end(server)
    found = await server.fetch("GET", "/runs/r/files/a.txt")

    assert statuses == [201, 200, 200]
    assert await listed(server) == ["a.txt"]
    assert found.body == b"new" * 20


async def test_the_times_of_a_run_with_files_do_not_go_back(server: Server) -> None:
    await begin(server)
    await put(server, "a.txt")
    told = {"step": 5.5, "done": 7.0}
    batch = [{"type": kind, "data": {}, "time": time} for kind, time in told.items()]
    path = "/runs/r/events?producer=p&sequence=1"
    await server.post(path, json.dumps(batch).encode(), {"Runcast-Lease": LEASE})
    page = await server.fetch("GET", "/runs/r/events?live=long-poll")

    times = {event["type"]: event["time"] for event in page.json()["events"]}
    assert (times["step"], times["files"], times["done"]) == (5.5, 7, 7)


async def test_an_end_that_is_sent_again_is_recognised_with_its_files(server: Server) -> None:
    await begin(server)
    await put(server, "a.txt")
    first, again = await end(server), await end(server)
    other = await end(server, kind="failed")

    assert (first.json()["repeated"], again.json()["repeated"]) == (False, True)
    assert again.json()["position"] == first.json()["position"]
    assert other.status == 409
    assert [kind for kind, _ in await log(server)] == ["started", "step", "files", "done"]


async def test_only_the_writer_of_a_run_that_goes_on_may_send_files(server: Server) -> None:
    await begin(server)
    answers = [await put(server, "a", lease=lease) for lease in ("", "another one's secret")]
    unknown = await put(server, "a", run_id="nobody")
    await end(server)
    late = await put(server, "a")

    assert [(each.status, code(each)) for each in (*answers, unknown, late)] == [
        (403, "forbidden"),
        (403, "forbidden"),
        (404, "not_found"),
        (409, "run_closed"),
    ]
    assert await listed(server) == []
    # A writer whose run another one has begun again has lost its lease.
    await begin(server, lease="that of the next writer", replace=True)
    assert (await put(server, "a")).status == 403


@pytest.mark.parametrize(
    ("replaces", "problem"), [(True, (409, "run_closed")), (False, (404, "not_found"))]
)
async def test_a_file_whose_run_goes_while_it_arrives_is_not_said_to_be_stored(
    server: Server, replaces: bool, problem: tuple[int, str]
) -> None:
    await begin(server)
    connection = await server.connect()
    headers = {**OCTETS, "Runcast-Lease": LEASE, "Transfer-Encoding": "chunked"}
    await connection.ask("PUT", "/runs/r/files/a.txt", headers)
    await connection.send(b"4\r\nxxxx\r\n")
    await end(server)
    gone = await server.fetch("DELETE", "/runs/r")
    if replaces:
        await begin(server)
    await connection.send(b"0\r\n\r\n")
    answer = await connection.read_answer()
    await connection.close()

    assert gone.status == 204
    assert (answer.status, code(answer)) == problem


@pytest.mark.parametrize(
    "path", ["..%2Fa", "a/%2E%2E/b", "a%5Cb", "a%0Ab", "a//b", "a%0A", "x" * 1025]
)
async def test_an_odd_path_is_refused(server: Server, path: str) -> None:
    await begin(server)
    answer = await put(server, path)

    assert answer.status in (400, 404)
    await end(server)
    assert await listed(server) == []


async def test_a_path_below_a_file_is_refused(server: Server) -> None:
    await begin(server)
    assert (await put(server, "a")).status == 201

    for path in ("a/b", "%C3%A9" * 150):
        assert code(await put(server, path)) == "invalid_value"
    assert (await put(server, "c/d")).status == 201
    assert code(await put(server, "c")) == "invalid_value"


async def test_limits_of_files_hold_for_those_that_are_sent(server: Server) -> None:
    await begin(server)
    large = await put(server, "large", b"x" * 81)
    first = await put(server, "1", b"x" * 60)
    together = await put(server, "2", b"x" * 60)
    smaller = [(await put(server, path, b"x" * 10)).status for path in ("1", "2", "3")]
    many = await put(server, "4", b"x")
    await end(server)

    assert (large.status, code(large)) == (413, "file_too_large")
    assert "max_upload_bytes" in detail(large)
    assert first.status == 201
    assert (together.status, code(together)) == (413, "run_too_large")
    assert "max_output_bytes" in detail(together)
    assert smaller == [200, 201, 201]
    assert "max_files" in detail(many)
    assert await listed(server) == ["1", "2", "3"]


async def test_a_file_that_is_refused_leaves_no_folders(tmp_path: Path) -> None:
    """A writer could fill the disk with folders, which no limit counts."""
    settings = Settings(max_files=1, data_dir=str(tmp_path / "data"))
    async with serving_here(settings=settings) as server:
        await begin(server)
        assert (await put(server, "a/b")).status == 201
        for path in ("c/d/e", "a/f/g"):
            assert code(await put(server, path)) == "run_too_large"
        assert (await put(server, "a/b", b"new")).status == 200
        kept = {path.name for path in (tmp_path / "data").rglob("*") if path.is_dir()}

    assert "a" in kept
    assert kept.isdisjoint({"c", "d", "f"})


async def test_a_cancelled_run_keeps_the_files_that_were_sent(server: Server) -> None:
    await begin(server)
    await put(server, "a")
    await end(server, kind="cancelled")

    assert [kind for kind, _ in await log(server)] == ["started", "step", "files", "cancelled"]
    assert await listed(server) == ["a"]
