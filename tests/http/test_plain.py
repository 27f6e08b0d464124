"""Requests that get one answer: pages, lists, states, cancelling, deleting; and what is refused."""

import asyncio
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from runcast.errors import StoreUnavailable
from runcast.stores.memory import MemoryStore
from runcast.testing import FaultyStore
from tests.http.serving import Server, serving_here

pytestmark = pytest.mark.anyio

Name = Callable[[], str]

SAFE = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


async def test_health_and_readiness_are_told(server: Server) -> None:
    assert (await server.fetch("GET", "/healthz")).json() == {"status": "ok"}
    assert (await server.fetch("GET", "/readyz")).json() == {"status": "ready"}


async def test_a_server_whose_store_fails_is_not_ready_but_healthy() -> None:
    class Failing(FaultyStore):
        async def list(self, **_: object) -> list[object]:  # type: ignore[override]
            raise StoreUnavailable("the disk is gone")

    async with serving_here(store=Failing(MemoryStore())) as server:
        ready = await server.fetch("GET", "/readyz")

        assert ready.problem() == (503, "store_unavailable")
        assert ready.headers["retry-after"] == "1"
        assert (await server.fetch("GET", "/healthz")).status == 200


async def test_a_server_whose_store_does_not_answer_says_so_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Silent(FaultyStore):
        async def list(self, **_: object) -> list[object]:  # type: ignore[override]
            await asyncio.Event().wait()
            return []

    monkeypatch.setattr("runcast._http.api.health._CHECK_S", 0.05)
    async with serving_here(store=Silent(MemoryStore())) as server:
        ready = await server.fetch("GET", "/readyz")

        assert ready.problem() == (503, "store_unavailable")
        assert "within 0.05 s" in ready.detail()
        assert (await server.fetch("GET", "/healthz")).status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/functions", "/runs", "/nowhere"])
async def test_every_answer_bears_safe_headers(server: Server, path: str) -> None:
    answer = await server.fetch("GET", path)

    assert {name: answer.headers[name] for name in SAFE} == SAFE


async def test_functions_are_described_with_their_inputs(server: Server) -> None:
    listed = (await server.fetch("GET", "/functions")).json()["functions"]
    functions = {each["name"]: each for each in listed}

    assert functions["add"] == {
        "name": "add",
        "description": "Add two numbers.",
        "streaming": False,
        "inputs": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 1}},
            "required": ["a"],
            "additionalProperties": False,
        },
        "events": {},
        "files": [],
        "secrets": [],
        "dialect": "runcast",
    }
    assert functions["count"]["streaming"] is True


# --- a run ----------------------------------------------------------------------------------------


async def test_a_run_is_shown_with_its_present_state(server: Server, name: Name) -> None:
    log = await server.log(name())
    position = await log.emit(1, 2)

    shown = (await server.fetch("GET", f"/runs/{log.run_id}")).json()

    assert shown["run_id"] == log.run_id
    assert shown["position"] == str(position)
    assert shown["events"] == 2
    assert shown["ended_at"] is None
    assert shown["state"]["seq"] == 2


async def test_an_unknown_run_is_not_found_and_not_made(server: Server, name: Name) -> None:
    unknown = name()
    for method, path in (
        ("GET", f"/runs/{unknown}"),
        ("DELETE", f"/runs/{unknown}"),
        ("POST", f"/runs/{unknown}/cancel"),
        ("GET", f"/runs/{unknown}/events"),
        ("HEAD", f"/runs/{unknown}/events"),
        ("GET", f"/runs/{unknown}/events?live=long-poll"),
        ("GET", f"/events?run={unknown}"),
        ("POST", f"/invoke/{unknown}"),
    ):
        answer = await server.fetch(method, path)
        assert answer.status == 404, path
        assert answer.headers["content-type"] == "application/problem+json"
        assert method == "HEAD" or answer.problem() == (404, "not_found")

    found = (await server.fetch("GET", "/runs?limit=500")).json()["runs"]
    assert unknown not in [run["run_id"] for run in found]


async def test_an_ended_run_is_deleted_and_gone(server: Server, name: Name) -> None:
    log = await server.closed_log(name(), 1)

    assert (await server.fetch("DELETE", f"/runs/{log.run_id}")).status == 204

    assert (await server.fetch("GET", f"/runs/{log.run_id}")).problem() == (404, "not_found")


async def test_deleting_a_run_at_work_cancels_it_first(server: Server, name: Name) -> None:
    script = await server.begin(name())

    assert (await server.fetch("DELETE", f"/runs/{script.key}")).status == 204

    assert script.finished.is_set()
    assert (await server.fetch("GET", f"/runs/{script.key}")).status == 404


async def test_a_run_that_its_owner_is_still_cancelling_is_not_deleted(
    server: Server, name: Name
) -> None:
    log = await server.log(name())  # nobody's here: it is as if another process ran it

    answer = await server.fetch("DELETE", f"/runs/{log.run_id}")

    assert answer.problem() == (409, "conflict")
    assert (await server.fetch("GET", f"/runs/{log.run_id}")).status == 200


async def test_a_run_is_cancelled_for_a_reason_of_any_characters(
    server: Server, name: Name
) -> None:
    reason = "\r\nid: 1\n\ndata: x\0</script>\u2028 \U0001f600"
    script = await server.begin(name())
    async with server.watch(f"/runs/{script.key}/events") as stream:
        answer = await server.post(f"/runs/{script.key}/cancel?reason={quote(reason)}")
        told = json.loads((await stream.rest())[-1].data)

    assert answer.json()["status"] == "cancelled"
    assert (told["type"], told["data"]) == ("cancelled", {"reason": reason})


async def test_cancelling_a_run_that_has_ended_changes_nothing(server: Server, name: Name) -> None:
    log = await server.closed_log(name(), 1)

    answer = await server.post(f"/runs/{log.run_id}/cancel")

    assert (answer.status, answer.json()["status"]) == (200, "done")
    assert answer.json()["events"] == 2


async def test_a_run_of_another_process_is_told_to_end(server: Server, name: Name) -> None:
    log = await server.log(name())

    answer = await server.post(f"/runs/{log.run_id}/cancel?reason=enough")

    assert answer.status == 202
    info = await server.call(lambda: server.hub.hub.info(log.run_id))
    assert info.labels["runcast.cancel"] == "enough"


@pytest.mark.parametrize("body", [b"", b'{"reason": "enough"}'])
async def test_a_reason_has_a_bound(server: Server, name: Name, body: bytes) -> None:
    log = await server.log(name())

    answer = await server.post(f"/runs/{log.run_id}/cancel?reason={'x' * 501}", body)

    assert answer.problem() == (400, "invalid_value")


# --- lists ----------------------------------------------------------------------------------------


async def test_runs_are_listed_newest_first_page_by_page() -> None:
    async with serving_here() as server:
        made = [(await server.closed_log(f"run-{number}")).run_id for number in range(7)]
        found: list[str] = []
        target = "/runs?limit=3"
        while True:
            page = (await server.fetch("GET", target)).json()
            found += [run["run_id"] for run in page["runs"]]
            if page["before"] is None:
                break
            target = f"/runs?limit=3&before={quote(page['before'])}"

        assert found == made[::-1]


async def test_paging_goes_on_although_the_run_it_goes_on_from_is_deleted() -> None:
    async with serving_here() as server:
        for number in range(4):
            await server.closed_log(f"run-{number}")
        page = (await server.fetch("GET", "/runs?limit=2")).json()
        await server.fetch("DELETE", f"/runs/{page['runs'][-1]['run_id']}")

        following = await server.fetch("GET", f"/runs?before={quote(page['before'])}")

        assert [run["run_id"] for run in following.json()["runs"]] == ["run-1", "run-0"]


async def test_runs_are_found_by_status_function_and_labels() -> None:
    async with serving_here() as server:
        labels = b'{"inputs": {"n": 1}, "run_id": "%b", "labels": {"team": "%b"}}'
        await server.post("/invoke/count", labels % (b"a", b"x=y"))
        await server.post("/invoke/count", labels % (b"b", b"other"))
        await server.post("/invoke/echo", b'{"run_id": "c"}')
        written = await server.log("d")
        await server.begin("e")

        async def found(query: str) -> list[str]:
            answer = (await server.fetch("GET", f"/runs?{query}")).json()
            return sorted(run["run_id"] for run in answer["runs"])

        assert await found("status=done") == ["a", "b", "c"]
        assert await found("status=queued") == await found("label=status=queued") == ["d"]
        await written.emit(1)
        assert len(await found("status=running")) == 2
        assert await found("function=count") == ["a", "b"]
        assert await found("label=team%3Dx%3Dy") == ["a"]
        assert await found("label=team=other&status=done") == ["b"]
        assert await found("status=waiting") == []


async def test_labels_of_our_own_are_not_shown_as_the_users(server: Server, name: Name) -> None:
    run_id = name()
    body = b'{"inputs": {"a": 1}, "run_id": "%b", "labels": {"team": "x"}}' % run_id.encode()
    await server.post("/invoke/add", body)

    shown = (await server.fetch("GET", f"/runs/{run_id}")).json()

    assert shown["labels"] == {"team": "x"}
    assert (shown["function"], shown["status"]) == ("add", "done")


@pytest.mark.parametrize(
    "query",
    [
        "status=ended",
        "limit=0",
        "limit=501",
        "limit=-1",
        "limit=1e3",
        "limit=%C2%B2",
        "limit=99999999999999999999",
        "label=team",
        "label==x",
        "before=x",
        "before=nan_x",
        "before=inf_x",
        "before=1.5_",
        "before=1.5_%00",
        "before=1.5_" + "x" * 200,
    ],
)
async def test_what_a_list_does_not_understand_is_refused_by_name(
    server: Server, query: str
) -> None:
    answer = await server.fetch("GET", f"/runs?{query}")

    assert answer.problem() == (400, "invalid_value")
    assert query.partition("=")[0] in answer.detail()


# --- routing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/nowhere", "/runs/", "/runs/a/b", "/functions/", "//runs"])
async def test_a_path_that_leads_nowhere_is_a_problem_and_no_redirect(
    server: Server, path: str
) -> None:
    answer = await server.fetch("GET", path)

    assert answer.problem() == (404, "not_found")
    assert "/docs for all paths" in answer.detail()


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/runs", {"GET", "HEAD", "POST"}),
        ("PUT", "/runs/x", {"GET", "HEAD", "DELETE"}),
        ("GET", "/invoke/add", {"POST"}),
        ("GET", "/runs/x/cancel", {"POST"}),
        ("PUT", "/runs/x/events", {"GET", "HEAD", "POST"}),
        ("OPTIONS", "/runs", {"GET", "HEAD", "POST"}),
        ("PATCH", "/events", {"GET", "HEAD"}),
    ],
)
async def test_a_method_that_is_not_allowed_is_told_which_are(
    server: Server, method: str, path: str, allowed: set[str]
) -> None:
    answer = await server.fetch(method, path)

    assert answer.problem() == (405, "method_not_allowed")
    assert answer.detail().endswith(f"{path} takes {answer.headers['allow']}, not {method}")
    assert {each.strip() for each in answer.headers["allow"].split(",")} == allowed


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/functions", "/runs", "/runs/{}"])
async def test_head_says_what_get_would(server: Server, name: Name, path: str) -> None:
    log = await server.closed_log(name(), 1)

    head = await server.fetch("HEAD", path.format(log.run_id))
    got = await server.fetch("GET", path.format(log.run_id))

    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


async def test_a_fault_of_ours_is_a_problem_that_tells_nothing(
    here: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(run_id: str) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(here.hub, "inputs", fail)

    answer = await here.fetch("GET", "/runs/x")

    assert answer.problem() == (500, "internal")
    assert b"secret" not in answer.body
    await here.eventually(lambda: "a secret" in caplog.text)


async def test_requests_share_a_connection(server: Server) -> None:
    async with await server.connect() as connection:
        for _ in range(3):
            await connection.ask("GET", server.prefix + "/healthz")
            assert (await connection.read_answer()).status == 200
            await connection.ask("GET", server.prefix + "/nowhere")
            assert (await connection.read_answer()).status == 404


async def test_the_store_is_opened_once_however_many_come_first() -> None:
    class Slow(FaultyStore):
        opened = 0
        may_open = asyncio.Event()

        async def open(self) -> "Slow":
            self.opened += 1
            await self.may_open.wait()
            await super().open()
            return self

    store = Slow(MemoryStore())
    async with serving_here(store=store, is_open=False) as server:
        first = [asyncio.create_task(server.fetch("GET", "/runs")) for _ in range(5)]
        await server.eventually(lambda: store.opened > 0)
        store.may_open.set()

        assert [answer.status for answer in await asyncio.gather(*first)] == [200] * 5
        assert store.opened == 1


async def test_a_store_that_could_not_be_opened_is_tried_again() -> None:
    class Down(FaultyStore):
        is_down = True

        async def open(self) -> "Down":
            if self.is_down:
                raise StoreUnavailable("not yet")
            await super().open()
            return self

    store = Down(MemoryStore())
    async with serving_here(store=store, is_open=False) as server:
        assert (await server.fetch("GET", "/runs")).problem() == (503, "store_unavailable")
        store.is_down = False

        assert (await server.fetch("GET", "/runs")).status == 200
