"""Files of nodes that share a store: in a folder that they share, in a bucket, or on each alone."""

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import runcast
import runcast.stores.redis.store  # now, because importing it on the loop would block
from runcast._app import OpenHub
from runcast._settings import Settings
from runcast.errors import BackendError, InvalidValue, RunFailed
from tests.files.bucket_server import bucket_server
from tests.http.serving import Server, serving_here
from tests.stores.servers import namespace_url, stop_all

JSON = {"Accept": "application/json", "Content-Type": "application/json"}
LONG_S = 30.0
"""Longest wait for a bucket, which is asked several times before it counts as failed."""

ODD = "a?versionId=1 [x]*#%.txt"


def write(files: dict[str, str]) -> str:
    """Write files, by their paths, into the run's workspace."""
    outputs = runcast.workspace() / "data" / "outputs"
    for path, content in files.items():
        target = outputs / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, "utf-8")
    return "written"


def read() -> dict[str, str]:
    """Return what is in the run's inputs, by name."""
    inputs = runcast.workspace() / "data" / "inputs" / "input"
    return {path.name: path.read_text("utf-8") for path in inputs.iterdir()}


@pytest.fixture(scope="module", autouse=True)
def _no_server_stays() -> Iterator[None]:
    yield
    stop_all()


@pytest.fixture
def store() -> str:
    return namespace_url("valkey")


@pytest.fixture
def other_store() -> str:
    return namespace_url("valkey")


@pytest.fixture(scope="module")
def bucket_address() -> Iterator[str]:
    with bucket_server("runs") as address:
        yield address


@pytest.fixture
def bucket(
    bucket_address: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The URL of a prefix of its own."""
    importlib.import_module("s3fs")  # now, because importing it on the loop would block
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return f"s3://runs/{request.node.name[:40]}?endpoint={bucket_address}"


@pytest.fixture
def dying(bucket: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """The URL of a bucket, and what ends its server."""
    with ExitStack() as stack:
        address = stack.enter_context(bucket_server("runs"))
        yield f"s3://runs/fails?endpoint={address}", stack.close


@asynccontextmanager
async def node(store: str, name: str, **settings: Any) -> AsyncIterator[Server]:
    given = Settings(node_name=name, **settings)
    async with serving_here(functions=[write, read], store=store, settings=given) as server:
        yield server


async def invoke(server: Server, name: str, **body: Any) -> tuple[int, Any]:
    answer = await server.fetch("POST", f"/invoke/{name}", JSON, json.dumps(body).encode())
    return answer.status, json.loads(answer.body)


async def run_with_files(server: Server, run_id: str, **files: str) -> None:
    given = {name.replace("_", "."): content for name, content in files.items()}
    status, body = await invoke(server, "write", inputs={"files": given}, run_id=run_id)
    assert status == 200, body


async def upload(server: Server, content: bytes) -> dict[str, Any]:
    answer = await server.fetch("POST", "/uploads?name=a.txt", {}, content)
    assert answer.status == 201, answer
    return dict(json.loads(answer.body))


async def listed(server: Server, run_id: str) -> list[str]:
    answer = await server.fetch("GET", f"/runs/{run_id}/files")
    assert answer.status == 200, answer
    return [file["path"] for file in json.loads(answer.body)["files"]]


LEASE = {"Runcast-Lease": "a secret of the writer"}


async def begin(server: Server, run_id: str = "run") -> None:
    """Begin a run as a remote writer."""
    given = {"name": "train", "run_id": run_id, "lease_id": LEASE["Runcast-Lease"]}
    answer = await server.fetch("POST", "/runs", JSON, json.dumps(given).encode())
    assert answer.status == 201, answer


async def put(server: Server, path: str, content: bytes = b"x") -> tuple[int, str]:
    """Send a file as a remote writer; return the status, and why it was refused."""
    answer = await server.fetch("PUT", f"/runs/run/files/{path}", LEASE, content)
    return answer.status, str(json.loads(answer.body).get("detail", ""))


async def end(server: Server) -> list[Any]:
    """End the run of a remote writer, and return the types of its events."""
    path, done = "/runs/run/events", b'[{"type": "done"}]'
    headers = {**JSON, **LEASE}
    answer = await server.fetch("POST", f"{path}?producer=p&sequence=1", headers, done)
    assert answer.status == 200, answer
    page = await server.fetch("GET", f"{path}?live=long-poll")
    return [(each["type"], each["data"]) for each in json.loads(page.body)["events"]]


# --- on each node alone ---------------------------------------------------------------------------


async def test_a_node_without_the_files_of_a_run_names_the_node_that_has_them(store: str) -> None:
    async with node(store, "left") as left, node(store, "right") as right:
        await run_with_files(left, "run", a_txt="a")
        await run_with_files(left, "none")

        assert await listed(left, "run") == ["a.txt"]
        assert await listed(right, "none") == []
        for path in ("/runs/run/files", "/runs/run/files/a.txt"):
            answer = await right.fetch("GET", path)
            assert answer.status == 503
            assert "are on the node left, not on right" in json.loads(answer.body)["detail"]


async def test_files_that_went_away_with_their_server_are_said_to_be_gone(store: str) -> None:
    async with node(store, "left") as left:
        await run_with_files(left, "run", a_txt="a")
    async with node(store, "left") as left:
        answer = await left.fetch("GET", "/runs/run/files")

    assert answer.status == 503
    assert "were on the node left, and are gone" in json.loads(answer.body)["detail"]


async def test_an_upload_to_another_node_is_refused_with_that_nodes_name(store: str) -> None:
    async with node(store, "left.example.org") as left, node(store, "right") as right:
        uploaded = await upload(left, b"content")
        files = {"input": [{"upload_id": uploaded["upload_id"]}]}

        status, body = await invoke(left, "read", files=files)
        assert (status, body["result"]) == (200, {"a.txt": "content"})
        status, body = await invoke(right, "read", files=files)
        assert status == 422
        assert "on the node left.example.org" in body["detail"]


async def test_files_of_a_writer_that_come_to_another_node_are_refused_with_the_first_nodes_name(
    store: str,
) -> None:
    async with node(store, "left") as left, node(store, "right") as right:
        await begin(left)
        assert (await put(left, "a.txt"))[0] == 201
        status, why = await put(right, "b.txt")
        events = await end(left)

        assert (status, "on the node left" in why, "data_dir" in why) == (503, True, True)
        assert [kind for kind, _ in events] == ["started", "files", "done"]
        assert await listed(left, "run") == ["a.txt"]


async def test_a_run_that_ends_on_another_node_than_its_files_is_not_done(store: str) -> None:
    async with node(store, "left") as left, node(store, "right") as right:
        await begin(left)
        await put(left, "a.txt")
        kind, ending = (await end(right))[-1]

    assert (kind, ending["code"]) == ("failed", "invalid_outputs")
    assert "on the node left" in ending["message"]


async def test_first_files_that_come_to_two_nodes_at_once_are_not_split(store: str) -> None:
    async with node(store, "left") as left, node(store, "right") as right:
        await begin(left)
        answers = await asyncio.gather(put(left, "a.txt"), put(right, "b.txt"))
        taken, refused = sorted(answers)
        owner, path = (left, "a.txt") if answers[0] == taken else (right, "b.txt")
        await end(owner)

        assert (taken[0], refused[0]) == (201, 503)
        assert await listed(owner, "run") == [path]


async def test_an_upload_that_does_not_arrive_binds_the_run_to_no_node(store: str) -> None:
    """The writer sends the file again, perhaps to another node."""
    async with node(store, "left", max_upload_bytes=3) as left, node(store, "right") as right:
        await begin(left)
        connection = await left.connect()
        headers = {**LEASE, "Transfer-Encoding": "chunked"}
        await connection.ask("PUT", "/runs/run/files/a.txt", headers)
        await connection.send(b"4\r\nxxxx\r\n")  # too much, which is known only now
        refused = await connection.read_answer()
        await connection.close()
        sent = await put(right, "a.txt", b"xxxx")
        kind, _ = (await end(right))[-1]

        assert refused.status == 413
        assert (sent[0], kind) == (201, "done")
        assert await listed(right, "run") == ["a.txt"]


# --- in a folder that the nodes share -------------------------------------------------------------


async def test_nodes_with_one_folder_show_and_remove_each_others_files(
    tmp_path: Path, store: str
) -> None:
    folder = str(tmp_path / "shared")
    async with (
        node(store, "left", data_dir=folder) as left,
        node(store, "right", data_dir=folder) as right,
    ):
        await run_with_files(left, "run", a_txt="a")
        files = {"input": [{"upload_id": (await upload(left, b"content"))["upload_id"]}]}

        assert await listed(right, "run") == ["a.txt"]
        assert (await right.fetch("GET", "/runs/run/files/a.txt")).body == b"a"
        status, body = await invoke(right, "read", files=files, run_id="reads")
        assert (status, body["result"]) == (200, {"a.txt": "content"})

        await right.hub.files.sweep()
        assert await listed(left, "run") == ["a.txt"]
        await right.hub.hub.delete("run")
        assert [*(tmp_path / "shared" / "workspaces").glob("*/outputs/a.txt")] == []


async def test_files_of_a_writer_come_to_any_node_of_one_folder(tmp_path: Path, store: str) -> None:
    folder = str(tmp_path / "shared")
    async with (
        node(store, "left", data_dir=folder) as left,
        node(store, "right", data_dir=folder) as right,
    ):
        await begin(left)
        sent = [put(left, "a.txt"), put(right, "b.txt"), put(right, "a.txt", b"new")]
        statuses = [(await each)[0] for each in sent]
        await end(right)

        assert statuses == [201, 201, 200]
        assert await listed(left, "run") == ["a.txt", "b.txt"]
        assert (await left.fetch("GET", "/runs/run/files/a.txt")).body == b"new"


async def test_a_folder_of_another_namespace_is_refused(
    tmp_path: Path, store: str, other_store: str
) -> None:
    folder = str(tmp_path / "shared")
    async with node(store, "left", data_dir=folder) as left:
        await run_with_files(left, "run", a_txt="a")
    async with node(other_store, "other", data_dir=folder) as other:
        answer = await other.fetch("POST", "/uploads?name=a.txt", {}, b"content")

    assert answer.status == 503
    assert "another store" in json.loads(answer.body)["detail"]


# --- in a bucket ----------------------------------------------------------------------------------

in_bucket = pytest.mark.heavy


@in_bucket
async def test_files_in_a_bucket_are_served_by_each_node_after_their_own_has_gone(
    bucket: str, store: str
) -> None:
    content = "0123456789" * 30_000
    async with node(store, "left", files=bucket) as left:
        given = {"out/long.txt": content, ODD: "odd", "out/empty": ""}
        await invoke(left, "write", inputs={"files": given}, run_id="run")
    async with node(store, "right", files=bucket) as right:
        assert await listed(right, "run") == sorted(given)
        path = "/runs/run/files/out/long.txt"
        whole = await right.fetch("GET", path)
        assert whole.body == content.encode()
        digest = sha256(content.encode()).hexdigest()
        assert whole.headers["etag"] == f'"{digest}"'
        part = await right.fetch("GET", path, {"Range": "bytes=100005-100009"})
        assert (part.status, part.body) == (206, b"56789")
        same = await right.fetch("GET", path, {"If-None-Match": f'"{digest}"'})
        assert same.status == 304
        assert (await right.fetch("GET", "/runs/run/files/out/empty")).body == b""
        odd = json.loads((await right.fetch("GET", "/runs/run/files")).body)["files"][0]
        assert (await right.fetch("GET", odd["url"])).body == b"odd"
        assert (await right.fetch("GET", "/runs/run/files/a")).status == 404


@in_bucket
async def test_files_of_a_writer_come_to_any_node_of_one_bucket(bucket: str, store: str) -> None:
    async with (
        node(store, "left", files=bucket, max_files=2, max_output_bytes=9) as left,
        node(store, "right", files=bucket, max_files=2, max_output_bytes=9) as right,
    ):
        await begin(left)
        sent = [
            put(left, quote(ODD)),
            put(right, "b/c.txt"),
            put(left, "b/c.txt", b"new"),
        ]
        statuses = [(await each)[0] for each in sent]
        refused = [await put(right, "d.txt"), await put(right, "b/c.txt", b"x" * 9)]
        again = [await end(right), await end(left)]
        late = await put(left, "late.txt")

        assert statuses == [201, 201, 200]
        assert [("max_files" in why, "max_output" in why) for _, why in refused] == [
            (True, False),
            (False, True),
        ]
        assert late[0] == 409
        assert again[0] == again[1]
        assert await listed(left, "run") == [ODD, "b/c.txt"]
        assert (await left.fetch("GET", "/runs/run/files/b/c.txt")).body == b"new"
        await left.hub.hub.delete("run")
        objects = left.hub.files._bucket
        assert objects is not None
        await left.hub.files.sweep()
        for folder in ("lists", "files", "sent"):
            assert await asyncio.to_thread(list, objects.objects(folder)) == []


@in_bucket
async def test_an_upload_in_a_bucket_is_used_on_another_node(bucket: str, store: str) -> None:
    async with node(store, "left", files=bucket, max_uploads=1) as left:
        uploaded = await upload(left, b"content")
    async with node(store, "right", files=bucket, max_uploads=1) as right:
        status, body = await invoke(
            right, "read", files={"input": [{"upload_id": uploaded["upload_id"]}]}
        )
        assert (status, body["result"]) == (200, {"a.txt": "content"})
        # The bounds count the uploads of all nodes.
        refused = await right.fetch("POST", "/uploads?name=b.txt", {}, b"b")
        assert refused.status == 503
        assert "max_uploads" in json.loads(refused.body)["detail"]


@in_bucket
async def test_an_upload_that_somebody_replaced_in_the_bucket_is_not_used(
    bucket: str, store: str
) -> None:
    async with node(store, "left", files=bucket) as left:
        upload_id = (await upload(left, b"content"))["upload_id"]
    async with node(store, "right", files=bucket) as right:
        objects = right.hub.files._bucket
        assert objects is not None
        await asyncio.to_thread(objects.save, f"uploads/{upload_id}", b"another")
        status, body = await invoke(right, "read", files={"input": [{"upload_id": upload_id}]})

    assert (status, body.get("result")) == (503, None)


@in_bucket
async def test_files_leave_the_bucket_with_their_run_and_by_their_age(
    bucket: str, store: str
) -> None:
    async with node(store, "left", files=bucket) as left:
        for run_id in ("deleted", "replaced", "kept"):
            await run_with_files(left, run_id, a_txt=run_id)
        await left.hub.hub.delete("deleted")
        again = {"inputs": {"files": {"b.txt": "new"}}, "run_id": "replaced", "replace": True}
        assert (await invoke(left, "write", **again))[0] == 200
        await upload(left, b"content")
        await left.hub.files.sweep()

        assert await listed(left, "replaced") == ["b.txt"]
        assert await listed(left, "kept") == ["a.txt"]
    async with node(store, "right", files=bucket, keep_files_s=0.01, keep_uploads_s=1) as right:
        objects = right.hub.files._bucket
        assert objects is not None
        kept = [
            each.name.split("/")[1]
            for each in await asyncio.to_thread(list, objects.objects("files"))
        ]
        assert sorted(kept) == ["kept", "replaced"]
        # What a killed process left: files whose list was never finished.
        await asyncio.to_thread(objects.save, "lists/lost/epoch", b"")
        await asyncio.to_thread(objects.save, "files/lost/epoch/sha", b"x")
        # What somebody else put there.
        foreign = ["lists/a/b/c", "lists/notes.txt"]
        for name in foreign:
            await asyncio.to_thread(objects.save, name, b"x")
        await right.hub.files.sweep()

        for folder, left_there in (("lists", foreign), ("files", [])):
            found = await asyncio.to_thread(list, objects.objects(folder))
            assert [each.name for each in found] == left_there
        assert await listed(right, "kept") == []


@in_bucket
async def test_a_bucket_of_another_store_or_without_a_lasting_store_is_refused(
    bucket: str, store: str, other_store: str
) -> None:
    async with node(store, "left", files=bucket):
        pass
    with pytest.raises(InvalidValue, match="files of another store"):
        async with node(other_store, "right", files=bucket):
            pass
    with pytest.raises(InvalidValue, match="a store that lasts"):
        async with node("memory://", "right", files=bucket):
            pass


@in_bucket
async def test_a_run_whose_bucket_fails_ends_as_failed(
    store: str, dying: tuple[str, Callable[[], None]]
) -> None:
    url, stop = dying
    async with node(store, "left", files=url) as left:
        await asyncio.to_thread(stop)
        async with asyncio.timeout(LONG_S):
            run = await left.hub.start(write, {"files": {"a.txt": "a"}}, run_id="run")
            with pytest.raises(RunFailed, match="cannot be collected") as failed:
                await run.result()
            with pytest.raises(BackendError, match="the bucket for files failed"):
                await left.hub.files.of("run")

    assert failed.value.code == "invalid_outputs"


@pytest.mark.parametrize(
    "url", ["s3:///x", "gs://b/x", "s3://key:secret@b/x", "s3://b/x?region=eu", "b"]
)
def test_a_url_of_a_bucket_that_is_not_one_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(InvalidValue, match="expected files to be kept in s3://") as refused:
        OpenHub("memory://", settings=Settings(files=url))

    assert "secret" not in str(refused.value)
