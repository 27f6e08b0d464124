"""Files over HTTP: sent ahead, given to runs, made by them, downloaded; and attacks on it all."""

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast._functions.function import Function
from runcast._settings import Settings
from tests.http.client import WAIT_S, Answer
from tests.http.serving import FLAVOURS, Server, serving_here, serving_in_thread
from tests.opening import soon, wait_for

REPORT = b"<h1>Report</h1>" * 100


def write(files: dict[str, str]) -> str:
    """Write files, by their paths, into the run's workspace."""
    folder = runcast.workspace()
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, "utf-8")
    return "written"


def read() -> dict[str, str]:
    """Return what is in the run's inputs, by path."""
    inputs = runcast.workspace() / "data" / "inputs"
    found = (path for path in sorted(inputs.rglob("*")) if path.is_file())
    return {path.relative_to(inputs).as_posix(): path.read_text("utf-8") for path in found}


def report() -> Iterator[Any]:
    """Make a report, and say so."""
    (runcast.workspace() / "data" / "outputs" / "report.html").write_bytes(REPORT)
    yield {"type": "start", "data": {}}
    yield {"type": "done", "data": {"ok": True}}


def link(target: str) -> None:
    """Leave a link among the outputs."""
    (runcast.workspace() / "data" / "outputs" / "link").symlink_to(target)


def fail() -> None:
    """Write a file and fail."""
    write({"data/outputs/partial.txt": "so far"})
    raise RuntimeError


FUNCTIONS: list[Any] = [write, read, report, link, fail]


@asynccontextmanager
async def serving(tmp_path: Path, **options: Any) -> AsyncIterator[Server]:
    functions: list[Any] = [Function(each, name=f"{each.__name__}_files") for each in FUNCTIONS]
    functions += options.pop("functions", [])
    store = options.pop("store", f"sqlite:///{tmp_path}/runs.db")
    async with serving_here(functions=functions, store=store, **options) as server:
        yield server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(tmp_path) as served:
        yield served


async def invoke(server: Server, name: str, **body: Any) -> Any:
    """Invoke a function and return its result."""
    answer = await server.post(f"/invoke/{name}", json.dumps(body).encode(), JSON)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


async def refused(server: Server, name: str, **body: Any) -> tuple[int, str, str]:
    """Invoke a function and return status, code and detail of the refusal."""
    answer = await server.post(f"/invoke/{name}", json.dumps(body).encode(), JSON)
    problem = json.loads(answer.body)
    return answer.status, problem["code"], problem["detail"]


async def events(server: Server, run_id: str) -> list[dict[str, Any]]:
    accept = {"Accept": "application/x-ndjson"}
    answer = await server.fetch("GET", f"/runs/{run_id}/events", accept)
    return [json.loads(line) for line in answer.body.splitlines() if line]


async def upload(server: Server, content: bytes, name: str = "a.txt") -> str:
    answer = await server.fetch("POST", f"/uploads?name={name}", BYTES, content)
    assert answer.status == 201, answer.body
    return str(json.loads(answer.body)["upload_id"])


JSON = {"Accept": "application/json"}
BYTES = {"Content-Type": "application/octet-stream"}


# --- outputs --------------------------------------------------------------------------------------


async def test_outputs_are_announced_right_before_the_end(server: Server) -> None:
    answer = await server.post("/invoke/report_files", b'{"run_id": "r"}')
    assert answer.status == 200

    found = await events(server, "r")

    assert [event["type"] for event in found] == ["started", "start", "files", "done"]
    assert found[-2]["data"] == {
        "files": [
            {
                "path": "report.html",
                "name": "report.html",
                "size": len(REPORT),
                "sha256": sha256(REPORT).hexdigest(),
                "type": "text/html",
                "url": "/runs/r/files/report.html",
            }
        ]
    }
    assert found[-1]["data"] == {"summary": {"ok": True}}


async def test_outputs_can_be_downloaded_and_do_not_act_as_a_page(server: Server) -> None:
    await invoke(
        server, "write_files", inputs={"files": {"data/outputs/a.html": "<p>"}}, run_id="r"
    )

    answer = await server.fetch("GET", "/runs/r/files/a.html")

    assert (answer.status, answer.body) == (200, b"<p>")
    assert answer.headers["content-type"] == "text/html"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["etag"] == f'"{sha256(b"<p>").hexdigest()}"'


async def test_a_result_tells_of_the_files(server: Server) -> None:
    inputs = {"files": {"data/outputs/a": "x"}}
    told = await invoke(server, "write_files", inputs=inputs, run_id="r")

    assert told["result"] == "written"
    assert [file["url"] for file in told["files"]] == ["/runs/r/files/a"]
    assert set(await invoke(server, "echo")) == {"result", "run_id"}


async def test_files_are_listed(server: Server) -> None:
    await invoke(
        server, "write_files", inputs={"files": {"data/outputs/b/c d.txt": "x"}}, run_id="r"
    )

    answer = json.loads((await server.fetch("GET", "/runs/r/files")).body)

    (file,) = answer["files"]
    assert (file["path"], file["url"]) == ("b/c d.txt", "/runs/r/files/b/c%20d.txt")
    assert (await server.fetch("GET", file["url"])).body == b"x"
    assert (answer["skipped"], answer["skipped_count"]) == ([], 0)


async def test_a_list_of_files_is_read_once_however_many_are_downloaded(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = {"files": {f"data/outputs/{number}": str(number) for number in range(10)}}
    told = await invoke(server, "write_files", inputs=inputs, run_id="r")
    reads: list[Path] = []
    read_bytes = Path.read_bytes

    def reading(path: Path) -> bytes:
        reads.append(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", reading)
    answers = [await server.fetch("GET", file["url"]) for file in told["files"]]

    assert sorted(answer.body for answer in answers) == [b"%d" % number for number in range(10)]
    assert len(reads) == 1


async def test_a_file_that_is_gone_is_not_found_though_its_list_is_known(
    server: Server, tmp_path: Path
) -> None:
    told = await invoke(
        server, "write_files", inputs={"files": {"data/outputs/a": "x"}}, run_id="r"
    )
    url = told["files"][0]["url"]
    assert (await server.fetch("GET", url)).status == 200
    (folder,) = (tmp_path / "runs.db.data" / "workspaces").iterdir()
    folder.rename(folder.with_name(".going-0"))

    assert (await server.fetch("GET", url)).status == 404
    assert (await server.fetch("GET", "/runs/r/files")).json()["files"] == []


async def test_a_run_without_files_tells_of_none(server: Server) -> None:
    await invoke(server, "echo", run_id="r")

    assert [event["type"] for event in await events(server, "r")] == ["started", "done"]
    assert json.loads((await server.fetch("GET", "/runs/r/files")).body)["files"] == []


async def test_files_stay_that_a_run_made_under_the_id_of_one_that_is_being_deleted(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = {"files": {"data/outputs/a": "x"}}
    await invoke(server, "write_files", inputs=inputs, run_id="r")
    is_removing, may_remove = asyncio.Event(), threading.Event()
    loop, workspaces = asyncio.get_running_loop(), server.hub.files.workspaces
    hide = workspaces.hide

    def slow(*gone: Any) -> Path | None:
        loop.call_soon_threadsafe(is_removing.set)
        wait_for(may_remove)
        return hide(*gone)

    monkeypatch.setattr(workspaces, "hide", slow)
    deleting = asyncio.ensure_future(server.fetch("DELETE", "/runs/r"))
    await soon(is_removing.wait())
    assert (await server.fetch("GET", "/runs/r")).status == 404
    told = await invoke(server, "write_files", inputs=inputs, run_id="r")
    may_remove.set()
    assert (await deleting).status == 204

    assert (await server.fetch("GET", told["files"][0]["url"])).body == b"x"
    assert len(json.loads((await server.fetch("GET", "/runs/r/files")).body)["files"]) == 1


async def test_the_state_of_a_run_has_its_files(server: Server) -> None:
    await server.post("/invoke/report_files", b'{"run_id": "r"}')

    state = json.loads((await server.fetch("GET", "/runs/r")).body)["state"]

    assert [file["path"] for file in state["files"]] == ["report.html"]


async def test_a_run_that_failed_keeps_what_it_made(server: Server) -> None:
    answer = await server.post("/invoke/fail_files", b'{"run_id": "r"}')

    assert answer.status == 500
    assert [event["type"] for event in await events(server, "r")] == ["started", "files", "failed"]
    assert (await server.fetch("GET", "/runs/r/files/partial.txt")).body == b"so far"


async def test_a_cancelled_run_keeps_what_it_made(tmp_path: Path) -> None:
    is_ready = asyncio.Event()

    async def hold() -> None:
        (runcast.workspace() / "data" / "outputs" / "a").touch()
        is_ready.set()
        await asyncio.Event().wait()

    async with serving(tmp_path, functions=[hold]) as server:
        await server.post("/invoke/hold", b'{"run_id": "r"}', {"Prefer": "respond-async"})
        await is_ready.wait()
        await server.fetch("POST", "/runs/r/cancel")

        found = [event["type"] for event in await events(server, "r")]
        assert found == ["started", "files", "cancelled"]


async def test_files_go_with_their_run(server: Server, tmp_path: Path) -> None:
    await invoke(server, "write_files", inputs={"files": {"data/outputs/a": "x"}}, run_id="r")
    folder = tmp_path / "runs.db.data" / "workspaces"
    assert len(list(folder.iterdir())) == 1

    assert (await server.fetch("DELETE", "/runs/r")).status == 204

    assert list(folder.iterdir()) == []
    assert (await server.fetch("GET", "/runs/r/files/a")).status == 404
    assert (await server.fetch("GET", "/runs/r/files")).status == 404


async def test_a_run_begun_anew_does_not_show_the_files_of_the_one_before(server: Server) -> None:
    await invoke(server, "write_files", inputs={"files": {"data/outputs/a": "x"}}, run_id="r")
    await invoke(server, "echo", run_id="r", replace=True)

    assert json.loads((await server.fetch("GET", "/runs/r/files")).body)["files"] == []
    assert (await server.fetch("GET", "/runs/r/files/a")).status == 404


async def test_files_outlive_the_server(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await invoke(server, "write_files", inputs={"files": {"data/outputs/a": "x"}}, run_id="r")
    async with serving(tmp_path) as server:
        assert (await server.fetch("GET", "/runs/r/files/a")).body == b"x"


async def test_files_of_a_store_in_memory_go_with_the_server(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path))
    async with serving(tmp_path, store="memory://", settings=settings) as server:
        await invoke(server, "write_files", inputs={"files": {"data/outputs/a": "x"}}, run_id="r")
        assert (await server.fetch("GET", "/runs/r/files/a")).body == b"x"

    assert os.listdir(tmp_path) == []


# --- declared outputs -----------------------------------------------------------------------------


def declared(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": {"type": kind}, **more}


async def test_a_declared_output_that_is_missing_fails_the_run(tmp_path: Path) -> None:
    def forget() -> str:
        return "done"

    function = Function(forget, files={"output": declared("OutputFile")})
    async with serving(tmp_path, functions=[function]) as server:
        answer = await server.post("/invoke/forget", b"{}", JSON)

    problem = json.loads(answer.body)
    assert (answer.status, problem["code"]) == (500, "invalid_outputs")
    assert "output: expected 1 or more files, got 0" in problem["detail"]


async def test_what_was_made_of_declared_outputs_is_kept_all_the_same(tmp_path: Path) -> None:
    files = {"a": declared("OutputFile"), "b": declared("OutputFile")}
    function = Function(write, files=files)
    async with serving(tmp_path, functions=[function]) as server:
        body = {"inputs": {"files": {"data/outputs/a/x": "x"}}, "run_id": "r"}
        await server.post("/invoke/write", json.dumps(body).encode(), JSON)

        found = await events(server, "r")
        assert [event["type"] for event in found] == ["started", "files", "failed"]
        assert found[1]["data"]["files"][0]["key"] == "a"
        assert found[2]["data"]["code"] == "invalid_outputs"


# --- downloads ------------------------------------------------------------------------------------


@pytest.fixture
async def digits(server: Server) -> Server:
    """A server with a run `r` that has made a file of ten bytes and an empty one."""
    files = {
        "data/outputs/n": "0123456789",
        "data/outputs/empty": "",
        "data/outputs/big": "x" * 3_000_000,
    }
    await invoke(server, "write_files", inputs={"files": files}, run_id="r")
    return server


@pytest.mark.parametrize(
    ("asked", "status", "body", "shown"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-30", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=8-100", 206, b"89", "bytes 8-9/10"),
        ("bytes=9-9", 206, b"9", "bytes 9-9/10"),
        ("bytes=5-2", 200, b"0123456789", None),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("lines=0-1", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("bytes=" + "9" * 30 + "-", 200, b"0123456789", None),
        ("", 200, b"0123456789", None),
    ],
)
async def test_a_part_of_a_file(
    digits: Server, asked: str, status: int, body: bytes, shown: str | None
) -> None:
    answer = await digits.fetch("GET", "/runs/r/files/n", {"Range": asked})

    assert (answer.status, answer.body) == (status, body)
    assert answer.headers.get("content-range") == shown
    assert answer.headers["content-length"] == str(len(body))
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=10-20", "bytes=-0"])
async def test_a_part_that_is_not_there_is_416(digits: Server, asked: str) -> None:
    answer = await digits.fetch("GET", "/runs/r/files/n", {"Range": asked})

    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */10")
    assert json.loads(answer.body)["code"] == "range_not_satisfiable"


async def test_a_part_of_another_version_is_the_whole(digits: Server) -> None:
    same = (await digits.fetch("GET", "/runs/r/files/n")).headers["etag"]

    for tag, status in ((same, 206), ('"other"', 200), (f"W/{same}", 200)):
        headers = {"Range": "bytes=0-1", "If-Range": tag}
        assert (await digits.fetch("GET", "/runs/r/files/n", headers)).status == status


async def test_a_file_that_the_client_has_is_not_sent_again(digits: Server) -> None:
    tag = (await digits.fetch("GET", "/runs/r/files/n")).headers["etag"]

    for given, status in ((tag, 304), (f'"x", W/{tag}', 304), ("*", 304), ('"x"', 200)):
        answer = await digits.fetch("GET", "/runs/r/files/n", {"If-None-Match": given})
        assert answer.status == status


async def test_head_tells_all_but_the_content(digits: Server) -> None:
    answer = await digits.fetch("HEAD", "/runs/r/files/n")

    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "10")


@pytest.mark.parametrize("asked", ["bytes=0-1", "bytes=10-"])
async def test_head_is_about_the_whole_file(digits: Server, asked: str) -> None:
    answer = await digits.fetch("HEAD", "/runs/r/files/n", {"Range": asked})

    assert (answer.status, answer.headers["content-length"]) == (200, "10")
    assert "content-range" not in answer.headers


async def test_large_and_empty_files_come_whole(digits: Server) -> None:
    assert (await digits.fetch("GET", "/runs/r/files/big")).body == b"x" * 3_000_000
    assert (await digits.fetch("GET", "/runs/r/files/empty")).body == b""
    part = await digits.fetch("GET", "/runs/r/files/big", {"Range": "bytes=1000000-2999999"})
    assert len(part.body) == 2_000_000


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a b.txt", "filename=\"a b.txt\"; filename*=UTF-8''a%20b.txt"),
        ("文.txt", "filename=\"_.txt\"; filename*=UTF-8''%E6%96%87.txt"),
        ('a"b;c.txt', "filename=\"a_b;c.txt\"; filename*=UTF-8''a%22b%3Bc.txt"),
        ("a%20b", "filename=\"a_20b\"; filename*=UTF-8''a%2520b"),
    ],
)
async def test_a_file_is_saved_under_its_name_and_no_other(
    server: Server, name: str, shown: str
) -> None:
    await invoke(server, "write_files", inputs={"files": {f"data/outputs/{name}": "x"}}, run_id="r")
    (file,) = json.loads((await server.fetch("GET", "/runs/r/files")).body)["files"]

    answer = await server.fetch("GET", file["url"])

    assert answer.headers["content-disposition"] == f"attachment; {shown}"


# --- attacks on downloads -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "../files.json",
        "%2e%2e/files.json",
        "%2e%2e%2ffiles.json",
        "..%2f..%2f..%2fruns.db",
        "%252e%252e/files.json",
        "./n",
        "/n",
        "//n",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "n/",
        "n/.",
        "N",
        "n%00",
        "n%00.txt",
        "n%0a",
        "..%5cfiles.json",
        "n%20",
        "%ff",
        "%c0%ae%c0%ae/files.json",
        "n" * 30_000,
        "a/" * 10_000,
        "",
        ".",
        "..",
        "run.json",
    ],
)
async def test_no_path_leads_out_of_the_outputs(digits: Server, path: str) -> None:
    answer = await raw(digits, f"/runs/r/files/{path}")

    assert answer.status in (400, 404, 431)
    assert b"root:" not in answer.body
    assert b"0123456789" not in answer.body


async def raw(server: Server, target: str) -> Answer:
    return await server.fetch("GET", target)


async def test_a_link_among_the_outputs_is_told_and_not_followed(
    server: Server, tmp_path: Path
) -> None:
    await invoke(server, "link_files", inputs={"target": "/etc/passwd"}, run_id="r")

    (told,) = [event["data"] for event in await events(server, "r") if event["type"] == "files"]
    assert told["files"] == []
    assert told["skipped"] == [{"path": "link", "reason": "a symbolic link"}]
    assert (await server.fetch("GET", "/runs/r/files/link")).status == 404


@pytest.mark.parametrize("part", ["b", "b/c"])
async def test_a_link_put_there_later_is_not_followed(
    server: Server, tmp_path: Path, part: str
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "c").write_text("0123456789", "utf-8")
    await invoke(server, "write_files", inputs={"files": {"data/outputs/b/c": "x"}}, run_id="r")
    (folder,) = (tmp_path / "runs.db.data" / "workspaces").iterdir()
    (folder / "outputs" / part).rename(tmp_path / "moved")
    (folder / "outputs" / part).symlink_to(secret if part == "b" else secret / "c")

    answer = await server.fetch("GET", "/runs/r/files/b/c")

    assert (answer.status, json.loads(answer.body)["code"]) == (404, "not_found")


async def test_a_file_that_is_gone_is_404(server: Server, tmp_path: Path) -> None:
    await invoke(server, "write_files", inputs={"files": {"data/outputs/a": "x"}}, run_id="r")
    (folder,) = (tmp_path / "runs.db.data" / "workspaces").iterdir()
    (folder / "outputs" / "a").unlink()

    assert (await server.fetch("GET", "/runs/r/files/a")).status == 404


# --- uploads --------------------------------------------------------------------------------------


async def test_a_file_is_uploaded_as_a_body(server: Server) -> None:
    answer = await server.fetch("POST", "/uploads?name=a%20b.csv", BYTES, b"1,2")

    body = json.loads(answer.body)
    assert answer.status == 201
    assert (body["name"], body["size"]) == ("a b.csv", 3)
    assert body["sha256"] == sha256(b"1,2").hexdigest()
    assert set(body) == {"upload_id", "name", "size", "sha256", "type", "expires_at"}


async def test_a_file_is_uploaded_as_a_form(server: Server) -> None:
    form = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n'
        b"Content-Type: text/csv\r\n\r\n1,2\r\n--x--\r\n"
    )
    answer = await server.fetch(
        "POST", "/uploads", {"Content-Type": "multipart/form-data; boundary=x"}, form
    )

    body = json.loads(answer.body)
    assert (answer.status, body["name"], body["size"], body["type"]) == (
        201,
        "a.csv",
        3,
        "text/csv",
    )


async def test_an_empty_file_is_a_file(server: Server) -> None:
    upload_id = await upload(server, b"")

    result = await invoke(server, "read_files", files={"k": [{"upload_id": upload_id}]})

    assert result["result"] == {"k/a.txt": ""}


@pytest.mark.parametrize(
    ("target", "headers", "body", "problem"),
    [
        ("/uploads", BYTES, b"x", "name"),
        ("/uploads", {"Content-Type": "multipart/form-data"}, b"x", "boundary"),
        ("/uploads", {"Content-Type": "multipart/form-data; boundary=x"}, b"x", "boundary"),
        ("/uploads", {"Content-Type": "multipart/form-data; boundary=x"}, b"--x\r\n", "cut off"),
        ("/uploads", {"Content-Type": "multipart/form-data; boundary=x"}, b"--x--", "file"),
    ],
)
async def test_what_is_wrong_with_an_upload_is_told(
    server: Server, tmp_path: Path, target: str, headers: dict[str, str], body: bytes, problem: str
) -> None:
    answer = await server.fetch("POST", target, headers, body)

    assert answer.status == 400
    assert problem in json.loads(answer.body)["detail"]


async def test_an_upload_that_is_too_large_is_refused(tmp_path: Path) -> None:
    settings = Settings(max_upload_bytes=1000)
    async with serving(tmp_path, settings=settings) as server:
        for size in (1001, 1_000_000):
            answer = await server.fetch("POST", "/uploads?name=a", BYTES, b"x" * size)
            assert (answer.status, json.loads(answer.body)["code"]) == (413, "file_too_large")
        await upload(server, b"x" * 1000)


async def test_pages_of_others_cannot_upload(server: Server) -> None:
    headers = {**BYTES, "Origin": "https://evil.example"}

    assert (await server.fetch("POST", "/uploads?name=a", headers, b"x")).status == 403


# --- inputs ---------------------------------------------------------------------------------------


async def test_an_upload_is_found_in_the_workspace(server: Server) -> None:
    upload_id = await upload(server, b"hello")

    result = await invoke(server, "read_files", files={"video": [{"upload_id": upload_id}]})

    assert result["result"] == {"video/a.txt": "hello"}


async def test_the_group_input_is_found_flat_as_well(server: Server) -> None:
    files = {
        "input": [
            {"upload_id": await upload(server, b"1")},
            {"upload_id": await upload(server, b"2")},
        ]
    }

    result = await invoke(server, "read_files", files=files)

    assert result["result"] == {
        "a-2.txt": "2",
        "a.txt": "1",
        "input/a-2.txt": "2",
        "input/a.txt": "1",
    }


async def test_a_file_may_be_given_another_name(server: Server) -> None:
    file = {"upload_id": await upload(server, b"1"), "name": "../b.txt"}

    assert (await invoke(server, "read_files", files={"k": [file]}))["result"] == {"k/b.txt": "1"}


async def test_two_runs_do_not_share_an_upload(server: Server) -> None:
    def spoil() -> str:
        (file,) = (runcast.workspace() / "data" / "inputs" / "k").iterdir()
        before = file.read_text("utf-8")
        file.write_text("spoilt", "utf-8")
        return before

    server.hub.add(Function(spoil))
    files = {"k": [{"upload_id": await upload(server, b"clean")}]}

    for _ in range(2):
        assert (await invoke(server, "spoil", files=files))["result"] == "clean"


@pytest.mark.parametrize(
    ("files", "status", "code", "detail"),
    [
        ({"k": [{"upload_id": "0" * 32}]}, 422, "invalid_inputs", "files.k[0]: there is no upload"),
        ({"k": [{}]}, 400, "invalid_value", "one of upload_id, path and url"),
        ({"k": [{"upload_id": "x", "url": "http://x/"}]}, 400, "invalid_value", "one of"),
        ({"k": [{"path": "a"}]}, 400, "invalid_value", "expected a workspace"),
        ({"k": [{"url": "http://127.0.0.1/"}]}, 403, "forbidden", "url_allow is empty"),
        ({"k": ["http://127.0.0.1/"]}, 403, "forbidden", "url_allow is empty"),
        ({"k": ["s3://bucket/key"]}, 403, "forbidden", "url_allow is empty"),
        ({"../k": [{"upload_id": "x"}]}, 400, "invalid_value", "group of files"),
        ({"k": [{"strange": "x"}]}, 400, "invalid_value", "strange"),
        ({"k": {"upload_id": "x"}}, 400, "invalid_value", "array"),
    ],
)
async def test_what_is_wrong_with_files_is_told_and_begins_no_run(
    server: Server, files: Any, status: int, code: str, detail: str
) -> None:
    found = await refused(server, "read_files", files=files, run_id="r")

    assert found[:2] == (status, code)
    assert detail in found[2]
    assert (await server.fetch("GET", "/runs/r")).status == 404


async def test_files_are_checked_against_what_is_declared(tmp_path: Path) -> None:
    files = {
        "video": declared("InputFile", minItems=1, maxItems=1),
        "more": declared("InputFile", required=False),
    }
    function = Function(read, files=files)
    async with serving(tmp_path, functions=[function]) as server:
        reference = {"upload_id": await upload(server, b"x")}
        for given, problem in (
            ({}, "files.video: expected 1 or more files, got 0"),
            ({"video": [reference] * 2}, "files.video: expected at most 1 files, got 2"),
            ({"video": [reference], "x": [reference]}, "files.x: there is no such group"),
        ):
            status, code, detail = await refused(server, "read", files=given)
            assert (status, code) == (422, "invalid_inputs")
            assert problem in detail
        assert (await invoke(server, "read", files={"video": [reference]}))["result"] == {
            "video/a.txt": "x"
        }


async def test_there_are_bounds_on_inputs(tmp_path: Path) -> None:
    settings = Settings(max_files=2, max_input_bytes=5)
    async with serving(tmp_path, settings=settings) as server:
        reference = {"upload_id": await upload(server, b"xxx")}
        for count, named in ((2, "max_input_bytes"), (3, "max_files")):
            found = await refused(server, "read_files", files={"k": [reference] * count})
            assert found[:2] == (413, "file_too_large")
            assert named in found[2]


# --- workspaces of a platform ---------------------------------------------------------------------


@pytest.fixture
def platform(tmp_path: Path) -> Path:
    folder = tmp_path / "platform" / "request-1"
    (folder / "data" / "inputs" / "video").mkdir(parents=True)
    (folder / "data" / "inputs" / "video" / "v.txt").write_text("video", "utf-8")
    (tmp_path / "secret.txt").write_text("secret", "utf-8")
    return folder


async def test_paths_are_meant_in_the_workspace(tmp_path: Path, platform: Path) -> None:
    settings = Settings(workspace_roots=(str(platform.parent),))
    async with serving(tmp_path, settings=settings) as server:
        files = {"k": [{"path": "data/inputs/video/v.txt"}]}
        result = await invoke(server, "read_files", files=files, workspace=str(platform))

    assert result["result"] == {"k/v.txt": "video"}


async def test_what_lies_in_the_workspace_is_given_without_being_named(
    tmp_path: Path, platform: Path
) -> None:
    (platform / "data" / "inputs" / "flat.txt").write_text("flat", "utf-8")
    settings = Settings(workspace_roots=(str(platform.parent),))
    async with serving(tmp_path, settings=settings) as server:
        result = await invoke(server, "read_files", workspace=str(platform))

    assert result["result"] == {"input/flat.txt": "flat", "video/v.txt": "video"}


async def test_workspaces_are_ignored_until_they_are_allowed(
    server: Server, platform: Path
) -> None:
    result = await invoke(server, "read_files", workspace=str(platform))
    assert result["result"] == {}

    files = {"k": [{"path": "data/inputs/video/v.txt"}]}
    found = await refused(server, "read_files", files=files, workspace=str(platform))
    assert found[:2] == (403, "forbidden")
    assert "workspace_roots is empty" in found[2]


@pytest.mark.parametrize(
    "path",
    [
        "../../secret.txt",
        "/etc/passwd",
        "data/../../../secret.txt",
        "data/inputs/video/../../../../../secret.txt",
        "link",
        "linked/secret.txt",
        "data//inputs/video/v.txt",
        "./data/inputs/video/v.txt",
        "data\\inputs",
        "data",
        "data/inputs/video/v.txt\x00",
        "a/" * 600 + "a",
    ],
)
async def test_no_path_leads_out_of_the_workspace(
    tmp_path: Path, platform: Path, path: str
) -> None:
    (platform / "link").symlink_to(tmp_path / "secret.txt")
    (platform / "linked").symlink_to(tmp_path)
    settings = Settings(workspace_roots=(str(platform.parent),))
    async with serving(tmp_path, settings=settings) as server:
        found = await refused(
            server, "read_files", files={"k": [{"path": path}]}, workspace=str(platform)
        )

    assert found[0] in (400, 422)


@pytest.mark.parametrize(
    "workspace",
    ["/", "..", "request-1", "{root}", "{root}/nowhere", "{root}/../..", "{root}/out", "\x00"],
)
async def test_a_workspace_must_be_below_the_roots(
    tmp_path: Path, platform: Path, workspace: str
) -> None:
    (platform.parent / "out").symlink_to(tmp_path)
    settings = Settings(workspace_roots=(str(platform),))
    async with serving(tmp_path, settings=settings) as server:
        given = workspace.replace("{root}", str(platform.parent))
        found = await refused(server, "read_files", workspace=given)

    assert found[:2] == (403, "forbidden")


# --- limits ---------------------------------------------------------------------------------------


async def test_there_is_a_bound_on_transfers(tmp_path: Path) -> None:
    async with serving(tmp_path, settings=Settings(max_transfers=1)) as server:
        connection = await server.connect()
        await connection.send(
            b"POST /uploads?name=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n12"
        )
        await server.eventually(lambda: bool(server.hub.files.uploads._arriving))

        answer = await server.fetch("POST", "/uploads?name=b", BYTES, b"x")
        assert (answer.status, json.loads(answer.body)["code"]) == (503, "overloaded")

        await connection.close()
        async with asyncio.timeout(WAIT_S):
            while answer.status == 503:
                answer = await server.fetch("POST", "/uploads?name=b", BYTES, b"x")
        assert answer.status == 201


@pytest.mark.parametrize("flavour", ["direct-httptools", "direct-h11", "plain-httptools"])
async def test_a_client_that_takes_nothing_of_a_download_is_cut_off(
    tmp_path: Path, flavour: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(stall_s=0.05, max_transfers=1)
    async with serving(tmp_path, settings=settings, flavour=flavour) as server:
        await make_large(server)
        connection = await server.connect(receive_bytes=4096)
        await connection.ask("GET", "/runs/r/files/large")
        await read_nothing_until_it_is_over(server)
        if "direct" in flavour:
            await connection.read_rest()
        await connection.close()
    assert "direct" not in flavour or caplog.text == ""


async def test_a_client_that_leaves_a_download_frees_its_place(tmp_path: Path) -> None:
    async with serving(tmp_path, settings=Settings(max_transfers=1)) as server:
        await make_large(server)
        connection = await server.connect(receive_bytes=4096)
        await connection.ask("GET", "/runs/r/files/large")
        await connection.read_head()
        connection.reset()
        await read_nothing_until_it_is_over(server)


async def test_a_server_that_ends_cuts_downloads(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path, settings=Settings(max_transfers=1)) as server:
        await make_large(server)
        connection = await server.connect(receive_bytes=4096)
        await connection.ask("GET", "/runs/r/files/large")
        await connection.read_head()
        server.app.end_streams()
        await read_nothing_until_it_is_over(server)
        await connection.close()
    assert caplog.text == ""


async def make_large(server: Server) -> None:
    """Have a run `r` make a file that no socket's buffers hold."""

    def large() -> None:
        with (runcast.workspace() / "data" / "outputs" / "large").open("wb") as file:
            file.truncate(64 * 1024 * 1024)

    server.hub.add(Function(large))
    await invoke(server, "large", run_id="r")


async def read_nothing_until_it_is_over(server: Server) -> None:
    """Wait until there is room for another transfer."""
    headers = {"If-None-Match": "*"}
    async with asyncio.timeout(WAIT_S):
        while (await server.fetch("GET", "/runs/r/files/large", headers)).status == 503:
            pass


async def test_an_upload_that_drips_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, settings=Settings(request_wait_s=0.05)) as server:
        connection = await server.connect()
        await connection.send(
            b"POST /uploads?name=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n12"
        )

        assert (await connection.read_answer()).problem() == (408, "request_too_slow")
        assert not server.hub.files.uploads._arriving
        await connection.close()


# --- URLs -----------------------------------------------------------------------------------------


async def test_a_file_is_fetched_from_an_allowed_url(tmp_path: Path) -> None:
    """From another server of runcast, which is as good as any."""
    async with serving(tmp_path) as source:
        await invoke(source, "write_files", inputs={"files": {"data/outputs/a b": "x"}}, run_id="r")
        address = f"http://127.0.0.1:{source.port}/runs/r/files"
        settings = Settings(url_allow=(f"{address}/",))
        async with serving(tmp_path / "other", settings=settings, store="memory://") as server:
            files = {"k": [{"url": f"{address}/a%20b"}, f"{address}/a%20b"]}
            result = await invoke(server, "read_files", files=files)
            assert result["result"] == {"k/a b": "x", "k/a b-2": "x"}

            files = {"k": [{"url": f"{address}/missing"}]}
            found = await refused(server, "read_files", files=files)
            assert found[:2] == (502, "peer_error")

            files = {"k": [{"url": f"{address.replace('files', 'events')}"}]}
            assert (await refused(server, "read_files", files=files))[:2] == (403, "forbidden")


# --- connections that are kept --------------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_connection_goes_on_after_a_download(flavour: str) -> None:
    async def download(server: Server) -> None:
        await server.post("/invoke/report_files", b'{"run_id": "r"}')
        target = f"{server.prefix}/runs/r/files/report.html"
        async with await server.connect() as kept:
            for _ in range(20):
                await kept.ask("GET", target)
                assert (await kept.read_answer()).body == REPORT
                await kept.ask("GET", target, {"Range": "bytes=0-3"})
                assert (await kept.read_answer()).status == 206
                await kept.ask("GET", f"{server.prefix}/healthz")
                assert (await kept.read_answer()).status == 200

    with serving_in_thread(flavour, functions=[Function(report, name="report_files")]) as server:
        asyncio.run(download(server))
