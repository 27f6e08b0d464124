"""Invoking functions: what is answered, and what becomes of the run when its client leaves."""

import asyncio
import fcntl
import functools
import gzip
import json
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast._settings import Settings
from runcast.errors import RunFailed, StoreUnavailable
from runcast.events.position import Position
from runcast.stores.base import Page
from runcast.stores.memory import MemoryStore
from runcast.testing import FaultyStore
from tests.http.client import Connection, Watching
from tests.http.serving import PROTOCOLS, Script, Server, serving_here, wait_for

pytestmark = pytest.mark.anyio

Name = Callable[[], str]

JSON = {"Content-Type": "application/json"}


async def statuses(server: Server, run_id: str) -> tuple[str, str]:
    """Return a run's status and the type of its last event."""
    shown = (await server.fetch("GET", f"/runs/{run_id}")).json()
    history = (await server.fetch("GET", f"/runs/{run_id}/events?live=false")).body
    last = json.loads(history.split(b"data: ")[-1])
    return shown["status"], last["type"]


async def until_ended(server: Server, run_id: str) -> None:
    async with server.watch(f"/runs/{run_id}/events") as stream:
        await stream.rest()


# --- what is answered -----------------------------------------------------------------------------


async def test_a_streaming_function_answers_with_its_stream(server: Server, name: Name) -> None:
    run_id = name()
    body = b'{"inputs": {"n": 2}, "run_id": "%b"}' % run_id.encode()
    async with server.watch("/invoke/count", JSON, method="POST", body=body) as stream:
        events = [json.loads(event.data) for event in await stream.rest()]

    headers = stream.head.headers
    assert [event["type"] for event in events] == ["started", "step", "step", "done"]
    assert headers["content-type"] == "text/event-stream"
    assert headers["runcast-run-id"] == run_id
    assert headers["location"] == f"{server.prefix}/runs/{run_id}"
    again = await server.fetch("GET", f"/runs/{run_id}/events")
    assert again.body == stream.raw


async def test_where_a_run_is_can_be_followed(server: Server) -> None:
    answer = await server.post("/invoke/count", b'{"inputs": {"n": 1}}')

    location = answer.headers["location"].removeprefix(server.prefix)
    shown = (await server.fetch("GET", location)).json()

    assert shown["run_id"] == answer.headers["runcast-run-id"]


async def test_a_plain_function_answers_with_its_result(server: Server) -> None:
    answer = await server.post("/invoke/add", b'{"inputs": {"a": 1, "b": 2}}')

    assert answer.json() == {"result": 3, "run_id": answer.headers["runcast-run-id"]}


def words(n: int = 2) -> Iterator[str]:
    for number in range(n):
        yield f"{number} "


@functools.wraps(words)
def wrapped(n: int = 2) -> Any:
    return words(n)


@functools.wraps(words)
def collected(n: int = 2) -> list[str]:
    return list(words(n))


def returned(n: int = 2) -> Any:
    return words(n)


@pytest.mark.parametrize("accept", [{}, {"Accept": "*/*"}, {"Accept": "text/event-stream"}])
@pytest.mark.parametrize("name", ["wrapped", "returned"])
async def test_what_turns_out_to_yield_is_answered_with_its_stream(
    name: str, accept: dict[str, str]
) -> None:
    functions = [runcast.Function(wrapped, name="wrapped"), returned]
    async with serving_here(functions=functions) as server:
        async with server.watch(
            f"/invoke/{name}", {**JSON, **accept}, method="POST", body=b'{"inputs": {"n": 3}}'
        ) as stream:
            types = [json.loads(event.data)["type"] for event in await stream.rest()]
        assert stream.head.headers["content-type"] == "text/event-stream"
        assert types == ["started", "content", "content", "content", "done"]


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        *(("*/*", "collected"), ("application/json", "collected")),
        *(("application/json", "wrapped"), ("application/json", "returned")),
    ],
)
async def test_what_turns_out_to_return_is_answered_with_its_result(accept: str, name: str) -> None:
    result = ["0 ", "1 "] if name == "collected" else None
    functions = [
        runcast.Function(each, name=each_name)
        for each, each_name in ((wrapped, "wrapped"), (collected, "collected"), (returned, ""))
    ]
    async with serving_here(functions=functions) as server:
        answer = await server.post(f"/invoke/{name}", b"{}", {"Accept": accept})
        assert answer.json()["result"] == result


class OneByOne(FaultyStore):
    """Gives no more than one event at a time, as a store may."""

    async def read(self, log_id: str, after: Position, max_bytes: int = 1) -> Page:
        return await super().read(log_id, after, 1)


async def test_a_result_is_found_however_much_the_store_gives_at_a_time() -> None:
    async with serving_here(PROTOCOLS[0], store=OneByOne(MemoryStore())) as server:
        answer = await server.post("/invoke/add", b'{"inputs": {"a": 1, "b": 2}}')

    assert answer.json() == {"result": 3, "run_id": answer.headers["runcast-run-id"]}


@pytest.mark.parametrize("data", ["text", ["a"], {"result": "forged", "run_id": "other"}])
async def test_a_function_that_tells_of_files_itself_changes_no_result(
    server: Server, name: Name, data: Any
) -> None:
    script = server.scripts.new(name())
    script.tell({"type": "files", "data": data})
    script.end()

    answer = await server.post("/invoke/script", script.body, {"Accept": "application/json"})

    assert (answer.json()["result"], answer.json()["run_id"]) == (None, script.key)


@pytest.mark.parametrize("body", [b"", b"  \n", b"{}", b'{"inputs": {}}'])
async def test_a_function_without_inputs_needs_no_body(server: Server, body: bytes) -> None:
    assert (await server.post("/invoke/echo", body)).json()["result"] is None


@pytest.mark.parametrize("function", ["add", "count"])
@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/event-stream", "text/event-stream"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("application/json", "application/json"),
        ("*/*", None),
    ],
)
async def test_who_invokes_gets_the_form_it_accepts(
    server: Server, function: str, accept: str, expected: str | None
) -> None:
    usual = {"add": "application/json", "count": "text/event-stream"}[function]
    inputs = {"add": b'{"inputs": {"a": 1}}', "count": b'{"inputs": {"n": 1}}'}[function]

    answer = await server.post(f"/invoke/{function}", inputs, {"Accept": accept})

    assert answer.headers["content-type"].partition(";")[0] == (expected or usual)
    assert answer.status == 200


async def test_who_does_not_want_to_wait_is_told_where_the_run_is(
    server: Server, name: Name
) -> None:
    script = await server.begin(name())
    body = script.body.replace(script.key.encode(), name().encode())

    answer = await server.post(
        "/invoke/echo",
        b'{"run_id": "w%b"}' % body[-7:-2],
        {"Prefer": 'respond-async; wait=10, handling="strict"'},
    )

    assert answer.status == 202
    location = answer.headers["location"]
    assert answer.json()["events"] == f"{location}/events"
    script.end()


@pytest.mark.parametrize("function", ["add", "count"])
@pytest.mark.parametrize("query", ["dialect=named", "dialect=named&types=done"])
async def test_a_dialect_may_be_asked_for(server: Server, function: str, query: str) -> None:
    inputs = {"add": b'{"inputs": {"a": 1}}', "count": b'{"inputs": {"n": 1}}'}[function]

    answer = await server.post(f"/invoke/{function}?{query}", inputs)

    assert b"event: done\n" in answer.body


async def test_who_asks_for_some_events_of_a_function_that_gives_none_is_shown_them(
    server: Server,
) -> None:
    answer = await server.post("/invoke/add?types=done", b'{"inputs": {"a": 1}}')

    assert answer.headers["content-type"] == "text/event-stream"
    assert b'"type":"done"' in answer.body
    assert b'"type":"started"' not in answer.body
    answer = await server.post(
        "/invoke/add?types=done", b'{"inputs": {"a": 1}}', {"Accept": "application/json"}
    )
    assert answer.json()["result"] is not None


async def test_what_a_function_returns_is_answered_as_watchers_see_it() -> None:
    @dataclass
    class Point:
        x: float
        where: Path

    async def point() -> Any:
        return Point(float("nan"), Path("a/b"))

    async with serving_here(functions=[point]) as server:
        answer = await server.post("/invoke/point")
        stream = await server.post("/invoke/point", b"", {"Accept": "text/event-stream"})

    assert answer.json()["result"] == {"x": None, "where": "a/b"}
    assert b'"result":{"x":null,"where":"a/b"}' in stream.body


async def test_a_result_that_cannot_be_stored_is_a_failure_for_all() -> None:
    async def strange() -> object:
        return object()

    async with serving_here(functions=[strange]) as server:
        answer = await server.post("/invoke/strange")

    assert answer.problem() == (500, "invalid_value")


async def test_what_a_function_raises_is_not_told_to_anybody(server: Server) -> None:
    answer = await server.post("/invoke/fail", b'{"inputs": {"message": "the password"}}')

    assert answer.problem() == (500, "function_error")
    assert b"password" not in answer.body
    assert json.loads(answer.body)["run_id"] == answer.headers["runcast-run-id"]


async def test_a_function_can_say_why_it_failed() -> None:
    async def refuse() -> None:
        raise RunFailed("there is no such city", "no_city")

    async with serving_here(functions=[refuse]) as server:
        answer = await server.post("/invoke/refuse")

    assert answer.problem() == (500, "no_city")
    assert answer.detail() == "there is no such city"


async def test_whoever_waits_for_a_result_is_told_that_the_run_was_cancelled(
    server: Server, name: Name
) -> None:
    script = server.scripts.new(name())
    waiting = asyncio.create_task(
        server.post("/invoke/script", script.body, {"Accept": "application/json"})
    )
    await wait_for(script.begun)
    await server.post(f"/runs/{script.key}/cancel?reason=enough")

    answer = await waiting
    assert answer.problem() == (500, "cancelled")
    assert "enough" in answer.detail()


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"inputs": {"value": "cut \\ud83d"}}', "cut \ufffd"),
        (b'{"inputs": {"value": "\\udE00 \\ud83d\\ude00"}}', "\ufffd \U0001f600"),
        (b'\xef\xbb\xbf{"inputs": {"value": "marked"}}', "marked"),
        (b'{"inputs": {"value": 1}, "_trace": {"id": 7}}', 1),
        (b'{"inputs": {}, "_trace": 1}', None),
    ],
)
async def test_a_body_is_mended_as_events_are(
    server: Server, name: Name, body: bytes, value: object
) -> None:
    answer = await server.post("/invoke/echo", body, {"Accept": "application/json"})
    again = await server.post("/invoke/echo", body, {"Idempotency-Key": name()})

    assert answer.status == 200, answer
    assert answer.json()["result"] == value
    assert again.status == 200


@pytest.mark.parametrize(
    ("body", "names"),
    [(b'{"input": {"value": "mine"}}', "'input'"), (b'{"value": 1, "x": 2}', "'value', 'x'")],
)
async def test_inputs_of_another_servers_format_are_refused(
    server: Server, body: bytes, names: str
) -> None:
    answer = await server.post("/invoke/echo", body)

    assert answer.problem() == (422, "invalid_inputs")
    assert names in answer.detail()
    assert "'inputs'" in answer.detail()


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (gzip.compress(b'{"inputs": {}}', mtime=0), {"Content-Encoding": "gzip"}, "gzip"),
        (b'{"inputs": {}}', {"Content-Encoding": "br"}, "br"),
        ('{"inputs": {}}'.encode("utf-16"), {}, "UTF-16"),
    ],
)
async def test_a_body_in_another_encoding_is_refused_by_name(
    server: Server, body: bytes, headers: dict[str, str], said: str
) -> None:
    answer = await server.post("/invoke/echo", body, headers)

    assert answer.problem() == (400, "invalid_value")
    assert said in answer.detail()


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff",
        b'{"inputs": []}',
        b'{"inputs": {"value": "\xff"}}',
        b'{"inputs": {"value": NaN}}',
        b'{"inputs": {"value": 1e999}}',
        b'{"inputs": ' + b'{"value": ' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b'{"inputs": {"value": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"run_id": 1}',
        b'{"labels": {"a": 1}}',
        b'{"labels": []}',
        b'{"replace": "yes"}',
        b'{"on_disconnect": "explode"}',
    ],
    ids=lambda body: repr(body[:40]),
)
async def test_a_body_that_is_no_invocation_is_refused(server: Server, body: bytes) -> None:
    answer = await server.post("/invoke/echo", body)

    assert answer.problem() == (400, "invalid_value")


async def test_a_number_of_a_million_digits_is_no_reason_to_fail(server: Server) -> None:
    answer = await server.post("/invoke/echo", b'{"inputs": {"value": %b}}' % (b"9" * 1_000_000))

    assert answer.status in (200, 400)


async def test_everything_that_is_wrong_with_the_inputs_is_named(server: Server) -> None:
    answer = await server.post("/invoke/add", b'{"inputs": {"b": "x", "c": 1}}')

    assert answer.problem() == (422, "invalid_inputs")
    problems = json.loads(answer.body)["problems"]
    assert [problem.partition(":")[0] for problem in problems] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "run_id", ["a/b", "..", "\u202e", "a b", "-a", "a\r\nSet-Cookie: x", "\0", "x" * 129, "é"]
)
async def test_a_run_id_that_is_none_is_refused(server: Server, run_id: str) -> None:
    body = json.dumps({"run_id": run_id}).encode()

    answer = await server.post("/invoke/echo", body)

    assert answer.problem() == (400, "invalid_value")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "labels",
    [
        {"": "x"},
        {"runcast.cancel": "x"},
        {f"label-{number}": "x" for number in range(100)},
        {"a": "x" * 100_000},
        {"a" * 100_000: "x"},
        {"a": "\0"},
    ],
    ids=["empty", "ours", "many", "long", "long-name", "nul"],
)
async def test_labels_have_bounds(server: Server, labels: dict[str, str]) -> None:
    answer = await server.post("/invoke/echo", json.dumps({"labels": labels}).encode())

    assert answer.problem() == (400, "invalid_value")


async def test_hostile_labels_and_inputs_are_data(server: Server, name: Name) -> None:
    hostile = "\r\nid: 9\r\n\r\ndata: {}</script>\u2028"
    run_id = name()
    body = json.dumps(
        {"inputs": {"value": hostile}, "labels": {hostile: hostile}, "run_id": run_id}
    )

    answer = await server.post("/invoke/echo", body.encode())
    shown = (await server.fetch("GET", f"/runs/{run_id}")).json()

    assert answer.json()["result"] == hostile
    assert shown["labels"] == {hostile: hostile}


async def test_a_run_that_is_there_is_not_begun_again_unless_asked_to(
    server: Server, name: Name
) -> None:
    run_id = name()
    body = b'{"inputs": {"value": 1}, "run_id": "%b"%b}'
    first = await server.post("/invoke/echo", body % (run_id.encode(), b""))
    second = await server.post("/invoke/echo", body % (run_id.encode(), b""))
    third = await server.post("/invoke/echo", body % (run_id.encode(), b', "replace": true'))

    assert first.status == third.status == 200
    assert second.problem() == (409, "conflict")


@pytest.mark.parametrize("name_", ["nothing", "add%00", "add%0A", "..%2Fadd", "%ff", "x" * 5000])
async def test_a_function_that_there_is_not_is_not_found(server: Server, name_: str) -> None:
    answer = await server.post(f"/invoke/{name_}")

    assert answer.problem() == (404, "not_found")
    assert len(answer.body) < 1000


@pytest.mark.parametrize("query", ["cancel_on_disconnect=maybe", "dialect=x", "after=x", "view=x"])
async def test_nothing_is_begun_by_an_invocation_that_is_refused(
    server: Server, name: Name, query: str
) -> None:
    run_id = name()

    answer = await server.post(f"/invoke/echo?{query}", b'{"run_id": "%b"}' % run_id.encode())

    assert answer.problem() == (400, "invalid_value")
    assert query.partition("=")[0] in answer.detail()
    assert (await server.fetch("GET", f"/runs/{run_id}")).status == 404


# --- leaving --------------------------------------------------------------------------------------


async def leave_quietly(connection: Connection) -> None:
    await connection.close()


async def leave_with_a_bang(connection: Connection) -> None:
    connection.reset()


ways_to_leave = pytest.mark.parametrize("leave", [leave_quietly, leave_with_a_bang])

Leave = Callable[[Connection], Any]


@asynccontextmanager
async def invoke(
    server: Server, script: Script, query: str = "", **fields: Any
) -> AsyncIterator[Connection]:
    """Invoke a script and wait until it is at work."""
    body = json.dumps({**json.loads(script.body), **fields}).encode()
    async with await server.connect() as connection:
        await connection.ask("POST", f"{server.prefix}/invoke/script{query}", JSON, body)
        await wait_for(script.begun)
        yield connection


async def streaming(connection: Connection) -> Watching:
    """Return a stream once its first event has come."""
    stream = Watching(connection, await connection.read_head())
    assert (await stream.json())["type"] == "started"
    return stream


@ways_to_leave
async def test_leaving_is_not_cancelling(server: Server, name: Name, leave: Leave) -> None:
    script = server.scripts.new(name())
    async with invoke(server, script) as connection:
        await streaming(connection)
        await leave(connection)
    await server.eventually(lambda: len(server.app.streams) == 0)

    assert not script.finished.is_set()
    script.tell("more")
    script.end()
    await until_ended(server, script.key)
    assert await statuses(server, script.key) == ("done", "done")


@ways_to_leave
@pytest.mark.parametrize("how", ["query", "body"])
async def test_leaving_cancels_if_that_was_asked_for(
    server: Server, name: Name, leave: Leave, how: str
) -> None:
    script = server.scripts.new(name())
    query = "?cancel_on_disconnect=true" if how == "query" else ""
    fields = {} if how == "query" else {"on_disconnect": "cancel"}
    async with invoke(server, script, query, **fields) as connection:
        await streaming(connection)
        await leave(connection)

    await wait_for(script.finished)
    await until_ended(server, script.key)
    assert await statuses(server, script.key) == ("cancelled", "cancelled")


@ways_to_leave
async def test_leaving_while_one_waits_for_a_result(
    server: Server, name: Name, leave: Leave
) -> None:
    bound, free = server.scripts.new(name()), server.scripts.new(name())
    headers = {**JSON, "Accept": "application/json"}
    for script, query in ((bound, "?cancel_on_disconnect=1"), (free, "")):
        target = f"{server.prefix}/invoke/script{query}"
        async with await server.connect() as connection:
            await connection.ask("POST", target, headers, script.body)
            await wait_for(script.begun)
            await leave(connection)

    await wait_for(bound.finished)
    await until_ended(server, bound.key)
    assert await statuses(server, bound.key) == ("cancelled", "cancelled")
    assert not free.finished.is_set()
    free.end()
    await until_ended(server, free.key)
    assert await statuses(server, free.key) == ("done", "done")


async def test_a_bound_run_that_ends_by_itself_is_not_cancelled(server: Server, name: Name) -> None:
    run_id = name()
    body = b'{"inputs": {"n": 3}, "run_id": "%b", "on_disconnect": "cancel"}' % run_id.encode()

    await server.post("/invoke/count", body)

    assert await statuses(server, run_id) == ("done", "done")


async def test_a_second_watcher_that_leaves_does_not_cancel_a_bound_run(
    server: Server, name: Name
) -> None:
    script = server.scripts.new(name())
    async with invoke(server, script, on_disconnect="cancel") as connection:
        stream = await streaming(connection)
        async with server.watch(f"/runs/{script.key}/events") as other:
            await other.event()
        await server.eventually(lambda: len(server.app.streams) == 1)
        script.tell("more")
        script.end()
        types = [json.loads(event.data)["type"] for event in await stream.rest()]

    assert types == ["content", "done"]


@pytest.mark.parametrize("flavour", PROTOCOLS)
async def test_a_store_that_fails_does_not_cancel_a_bound_run(flavour: str) -> None:
    """The stream is ended, but it was not the client who left."""
    store = FaultyStore(MemoryStore())
    settings = Settings(store_retry_s=0.01)
    async with serving_here(flavour, store=store, settings=settings) as server:
        script = server.scripts.new("run")
        async with invoke(server, script, on_disconnect="cancel") as connection:
            stream = await streaming(connection)
            store.fail_next(1, StoreUnavailable("the disk is full"))
            script.tell("a")
            assert await stream.rest() == []
            assert b"come back" in stream.raw
        async with server.watch("/runs/run/events?after=" + stream.last_event_id) as again:
            assert (await again.json())["data"]["text"] == "a"
            script.tell("b")
            assert (await again.json())["data"]["text"] == "b"
            script.end()
            assert json.loads((await again.rest())[-1].data)["type"] == "done"


# --- what a function holds ------------------------------------------------------------------------


class Holding:
    """Generators that each hold something real, and say who let go of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.threads: dict[str, list[int]] = {}
        self.let_go = {kind: threading.Event() for kind in ("file", "lock", "sqlite", "task")}

    def _note(self, kind: str) -> None:
        self.threads.setdefault(kind, []).append(threading.get_ident())

    def functions(self) -> list[Callable[..., Any]]:
        def write() -> Iterator[str]:
            with (self.folder / "file").open("w") as held:
                self._note("file")
                try:
                    while True:
                        held.write("x")
                        yield "x"
                finally:
                    held.write("end")
                    self._note("file")

        def file() -> Iterator[str]:
            try:
                yield from write()
            finally:
                self.let_go["file"].set()

        def lock() -> Iterator[str]:
            with (self.folder / "lock").open("w") as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                self._note("lock")
                try:
                    while True:
                        runcast.emit("step")
                        yield "x"
                finally:
                    fcntl.flock(held, fcntl.LOCK_UN)
                    self._note("lock")
                    self.let_go["lock"].set()

        def sqlite() -> Iterator[int]:
            # Its connections refuse to be used, and closed, by any thread but their own.
            with closing(sqlite3.connect(self.folder / "db")) as connection:
                connection.execute("BEGIN EXCLUSIVE")
                self._note("sqlite")
                try:
                    while True:
                        yield connection.execute("SELECT 1").fetchone()[0]
                finally:
                    connection.rollback()
                    self._note("sqlite")
                    self.let_go["sqlite"].set()

        async def task() -> AsyncIterator[str]:
            inner = asyncio.create_task(asyncio.Event().wait())
            mine = asyncio.current_task()
            self._note("task")
            try:
                while True:
                    yield "x"
                    await asyncio.sleep(0)
            finally:
                inner.cancel()
                await asyncio.gather(inner, return_exceptions=True)
                assert asyncio.current_task() is mine
                self._note("task")
                self.let_go["task"].set()

        return [file, lock, sqlite, task]

    def is_free(self, kind: str) -> bool:
        if kind == "lock":
            with (self.folder / "lock").open("w") as other:
                try:
                    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
        if kind == "sqlite":
            with closing(sqlite3.connect(self.folder / "db", timeout=0)) as other_connection:
                try:
                    other_connection.execute("BEGIN EXCLUSIVE")
                except sqlite3.OperationalError:
                    return False
        return kind != "file" or (self.folder / "file").read_text().endswith("end")


@pytest.mark.parametrize("kind", ["file", "lock", "sqlite", "task"])
@pytest.mark.parametrize("how", ["cancel", "leave", "reset", "delete", "replace"])
@pytest.mark.parametrize("flavour", ["direct-httptools", "plain-h11"])
async def test_what_a_function_holds_is_let_go_in_its_own_thread(
    flavour: str, kind: str, how: str, tmp_path: Path
) -> None:
    holding = Holding(tmp_path)
    async with serving_here(flavour, functions=holding.functions()) as server:
        body = b'{"run_id": "run", "on_disconnect": "cancel"}'
        async with server.watch(f"/invoke/{kind}", JSON, method="POST", body=body) as stream:
            for _ in range(5):
                await stream.event()
            if how == "cancel":
                assert (await server.post("/runs/run/cancel")).json()["status"] == "cancelled"
            elif how == "delete":
                assert (await server.fetch("DELETE", "/runs/run")).status == 204
            elif how == "replace":
                again = await server.post("/invoke/echo", b'{"run_id": "run", "replace": true}')
                assert again.status == 200
            elif how == "reset":
                stream.connection.reset()
        await wait_for(holding.let_go[kind])
        await server.eventually(lambda: not server.hub.runner.runs)

        assert holding.is_free(kind)
        first, last = holding.threads[kind]
        assert first == last


# --- not mixing -----------------------------------------------------------------------------------


async def test_runs_at_once_never_mix(server: Server, name: Name) -> None:
    """Each gets its own words, whoever else runs the same function at the same time."""
    count, words = 12, 30
    scripts = [server.scripts.new(name()) for _ in range(count)]
    together = asyncio.Barrier(count)

    async def one(script: Script) -> list[str]:
        async with invoke(server, script) as connection:
            stream = await streaming(connection)
            await together.wait()
            for number in range(words):
                script.tell(f"{script.key}/{number}")
                await asyncio.sleep(0)
            script.end()
            events = [json.loads(event.data) for event in await stream.rest()]
        return [event["data"]["text"] for event in events if event["type"] == "content"]

    found = await asyncio.gather(*map(one, scripts))

    assert found == [[f"{script.key}/{number}" for number in range(words)] for script in scripts]


async def test_what_is_emitted_deep_inside_reaches_its_own_run_only() -> None:
    together = threading.Barrier(4)

    def work(who: str) -> Iterator[None]:
        def deep(number: int) -> None:
            runcast.emit("step", {"who": who, "n": number})

        together.wait(5)
        for number in range(50):
            deep(number)
            if number % 10 == 0:
                yield None
        threads = [threading.Thread(target=runcast.bind(deep), args=(n,)) for n in range(50, 54)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    async with serving_here(functions=[work]) as server:
        answers = await asyncio.gather(
            *(server.post("/invoke/work", b'{"inputs": {"who": "%d"}}' % who) for who in range(4))
        )

    for who, answer in enumerate(answers):
        lines = [line[6:] for line in answer.body.split(b"\n") if line.startswith(b"data: ")]
        steps = [event for event in map(json.loads, lines) if event["type"] == "step"]
        assert {event["data"]["who"] for event in steps} == {str(who)}
        assert sorted(event["data"]["n"] for event in steps) == list(range(54))
