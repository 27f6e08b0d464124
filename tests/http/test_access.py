"""Access per user: what an application's `authorize` says is what every route does."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

import runcast
from runcast._http.guard import gate
from runcast.errors import InvalidValue
from runcast.events.model import encode_record
from runcast.testing import FakeClock
from tests.http.asking import asking
from tests.waiting import WAIT_S

pytestmark = pytest.mark.anyio

JSON = {"Accept": "application/json"}
ASYNC = {"Prefer": "respond-async"}


@runcast.function
async def report(subject: str = "") -> AsyncIterator[str]:
    answer = await runcast.ask("May I?", interrupt_id="q")
    yield answer.type


@runcast.function
def secret_work() -> int:
    return 1


@runcast.function
def count(n: int = 1) -> int:
    return n


class People:
    """An application's own idea of who may do what."""

    def __init__(self) -> None:
        self.known = {"ada", "bob", "reader"}
        self.asked = 0

    async def authorize(self, request: Request) -> runcast.Access | None:
        self.asked += 1
        name = request.cookies.get("user", "")
        if name == "teapot":
            raise HTTPException(418, "no tea for you")
        if name == "root":
            return runcast.Access(subject="root")
        if name not in self.known:
            return None
        if name == "reader":
            return runcast.Access(
                subject="reader",
                labels={"team": "red"},
                actions=["see", "download"],
            )
        return runcast.Access(
            subject=name,
            labels={"owner": name},
            functions=["report", "count"],
            limits={"delete": {"draft": "yes"}},
        )


@pytest.fixture
def people() -> People:
    return People()


@pytest.fixture
def hub(tmp_path: Path) -> runcast.OpenHub:
    return runcast.OpenHub(f"sqlite:///{tmp_path}/runs.db", functions=[report, secret_work, count])


@pytest.fixture
def app(hub: runcast.OpenHub, people: People) -> Starlette:
    runs = runcast.asgi(hub, authorize=people.authorize)
    return Starlette(routes=[Mount("/runcast", runs)], lifespan=runs.lifespan)


@pytest.fixture
def client(app: Starlette) -> Iterator[TestClient]:
    with TestClient(app, base_url="http://testserver/runcast/") as client:
        yield client


def as_(name: str, **headers: str) -> dict[str, Any]:
    return {"headers": {"cookie": f"user={name}", **headers}}


def begin(client: TestClient, name: str, run_id: str, **body: Any) -> None:
    body = {"run_id": run_id, **body}
    begun = client.post("invoke/report", json=body, **as_(name, **ASYNC))
    assert begun.status_code == 202, begun.text


def problem(answer: Any) -> tuple[int, str, str]:
    body = answer.json()
    return answer.status_code, body["code"], body["detail"]


# --- strangers ------------------------------------------------------------------------------------


def test_a_mount_that_says_nothing_of_access_is_refused(hub: runcast.OpenHub) -> None:
    with pytest.raises(InvalidValue, match=r"authorize=runcast\.everyone"):
        runcast.asgi(hub)


def test_a_stranger_gets_401_everywhere(client: TestClient) -> None:
    begin(client, "ada", "r1")

    for method, path in every_route("r1"):
        answer = client.request(method, path)
        assert answer.status_code == 401, (method, path)


def test_an_answer_of_the_applications_own_is_given_as_it_is(client: TestClient) -> None:
    assert problem(client.get("runs", **as_("teapot")))[::2] == (418, "no tea for you")


# --- two users ------------------------------------------------------------------------------------


def every_route(run_id: str) -> list[tuple[str, str]]:
    """Return each route of the API that says something of runs, filled in for a run."""
    paths = {
        "/runs": [("GET", "runs")],
        "/runs/{run_id}": [("GET", f"runs/{run_id}"), ("DELETE", f"runs/{run_id}")],
        "/runs/{run_id}/cancel": [("POST", f"runs/{run_id}/cancel")],
        "/runs/{run_id}/interrupts/{interrupt_id}": [("POST", f"runs/{run_id}/interrupts/q")],
        "/runs/{run_id}/interrupts/{interrupt_id}/expire": [
            ("POST", f"runs/{run_id}/interrupts/q/expire")
        ],
        "/runs/{run_id}/heartbeat": [("POST", f"runs/{run_id}/heartbeat")],
        "/runs/{run_id}/messages": [("POST", f"runs/{run_id}/messages")],
        "/runs/{run_id}/events": [
            ("GET", f"runs/{run_id}/events"),
            ("GET", f"runs/{run_id}/events?live=false"),
            ("GET", f"runs/{run_id}/events?live=long-poll"),
            ("GET", f"runs/{run_id}/events?view=none&types=content"),
            ("HEAD", f"runs/{run_id}/events"),
            ("POST", f"runs/{run_id}/events?producer=p&sequence=1"),
        ],
        "/runs/{run_id}/files": [("GET", f"runs/{run_id}/files")],
        "/runs/{run_id}/files/{path:path}": [("GET", f"runs/{run_id}/files/a.txt")],
        "/runs/{run_id}/deliveries": [("POST", f"runs/{run_id}/deliveries")],
        "/runs/{run_id}/links": [
            ("GET", f"runs/{run_id}/links"),
            ("POST", f"runs/{run_id}/links"),
        ],
        "/runs/{run_id}/links/{link_id}": [("DELETE", f"runs/{run_id}/links/x")],
        "/events": [("GET", f"events?run={run_id}")],
        "/functions": [("GET", "functions")],
        "/metrics": [("GET", "metrics")],
        "/openapi.json": [("GET", "openapi.json")],
        "/invoke/{name}": [("POST", "invoke/report")],
        "/uploads": [("POST", "uploads?name=x")],
    }
    open_to_all = {"/", "/docs", "/session", "/healthz", "/readyz", "/assets/{name}"}
    proves_itself = {"/answers", "/channels/{name}"}  # by a signature, see their own tests
    runs = runcast.asgi(runcast.OpenHub(), authorize=runcast.everyone)
    assert set(paths) | open_to_all | proves_itself == {route.path for route in runs.routes}
    return [each for found in paths.values() for each in found]


_SENT = {
    "messages": {"data": "hello"},
    "cancel": {"reason": "late"},
    "links": {},
    "deliveries": {"target": "telegram:ops"},
}


def test_of_another_users_run_every_route_says_what_it_says_of_no_run(
    client: TestClient,
) -> None:
    begin(client, "ada", "hers")

    about_run = [(m, p) for m, p in every_route("hers") if "hers" in p]
    for method, path in about_run:
        sent: Any = _SENT.get(path.rpartition("/")[2], {"type": "accept"})
        sent = [{"type": "step"}] if "sequence" in path else sent
        body: dict[str, Any] = {"json": sent} if method == "POST" else {}
        denied = client.request(method, path, **as_("bob", **JSON), **body)
        unknown = client.request(method, path.replace("hers", "none"), **as_("bob", **JSON), **body)
        assert denied.status_code == unknown.status_code == 404, (method, path)
        assert denied.text.replace("hers", "none") == unknown.text, (method, path)

    assert client.get("runs", **as_("bob")).json()["runs"] == []
    assert client.get("runs?label=owner=ada", **as_("bob")).json()["runs"] == []
    mixed = client.get("events?run=hers&run=his", **as_("bob"))
    assert mixed.status_code == 404
    hers = client.get("runs/hers", **as_("ada")).json()
    assert hers["status"] == "waiting"
    assert hers["labels"] == {"owner": "ada"}
    assert [run["run_id"] for run in client.get("runs", **as_("ada")).json()["runs"]] == ["hers"]


def test_an_id_that_is_anothers_is_taken_with_replace_too(client: TestClient) -> None:
    begin(client, "ada", "hers")

    for body in ({"run_id": "hers"}, {"run_id": "hers", "replace": True}):
        refused = client.post("invoke/count", json=body, **as_("bob", **JSON))
        assert problem(refused)[:2] == (409, "conflict")
        assert "ada" not in refused.text

    own = client.post(
        "invoke/count", json={"run_id": "own", "labels": {"draft": "yes"}}, **as_("bob", **JSON)
    )
    again = client.post(
        "invoke/count", json={"run_id": "own", "replace": True}, **as_("bob", **JSON)
    )
    assert (own.status_code, again.status_code) == (200, 200)
    assert client.get("runs/hers", **as_("ada")).json()["status"] == "waiting"


def test_a_user_may_do_what_is_said_and_no_more(client: TestClient) -> None:
    begin(client, "ada", "kept")
    begin(client, "ada", "draft", labels={"draft": "yes"})

    refused = client.delete("runs/kept", **as_("ada"))
    cancelled = client.post("runs/draft/cancel", **as_("ada"))
    deleted = client.delete("runs/draft", **as_("ada"))
    answered = client.post("runs/kept/interrupts/q", json={"type": "accept"}, **as_("ada"))

    assert problem(refused)[:2] == (403, "forbidden")
    assert (cancelled.status_code, deleted.status_code, answered.status_code) == (200, 204, 200)


def test_functions_that_may_not_be_invoked_do_not_exist(client: TestClient) -> None:
    listed = client.get("functions", **as_("ada")).json()["functions"]
    described = client.get("openapi.json", **as_("ada")).text
    refused = client.post("invoke/secret_work", json={}, **as_("ada"))
    unknown = client.post("invoke/nothing", json={}, **as_("ada"))

    assert [function["name"] for function in listed] == ["count", "report"]
    assert "secret_work" not in described
    assert refused.status_code == unknown.status_code == 404
    assert refused.text.replace("secret_work", "nothing") == unknown.text
    assert client.post("invoke/secret_work", json={}, **as_("root", **JSON)).status_code == 200


def test_inputs_are_shown_to_those_who_may_see_the_run(client: TestClient) -> None:
    begin(client, "ada", "given", inputs={"subject": "Tides"})

    shown = client.get("runs/given", **as_("ada")).json()
    hidden = client.get("runs/given", **as_("bob"))
    listed = client.get("runs", **as_("ada"))

    assert shown["inputs"] == {"values": {"subject": "Tides"}}
    assert hidden.status_code == 404
    assert "Tides" not in hidden.text + listed.text


def test_an_answer_is_signed_by_the_one_who_gave_it(client: TestClient) -> None:
    begin(client, "ada", "signed")
    state = client.get("runs/signed", **as_("ada")).json()
    while state["status"] != "waiting":
        after = {"live": "long-poll", "after": state["position"]}
        client.get("runs/signed/events", params=after, **as_("ada"))
        state = client.get("runs/signed", **as_("ada")).json()
    path = "runs/signed/interrupts/q"
    as_another = client.post(path, json={"type": "accept", "by": "bob"}, **as_("ada"))

    answered = client.post(path, json={"type": "accept"}, **as_("ada"))

    assert problem(as_another) == (
        *(400, "invalid_value", "expected no `by`, which this application sets itself"),
    )
    assert answered.json()["decision"]["by"] == "ada"
    repeated = client.post(path, json={"type": "accept", "by": "ada"}, **as_("ada")).json()
    assert (repeated["decision"]["by"], repeated["repeated"]) == ("ada", True)
    (kept,) = client.get("runs/signed", **as_("ada")).json()["state"]["answered"]
    assert (kept["message"], kept["answer"], kept["by"]) == ("May I?", "accept", "ada")


def test_a_message_is_signed_by_the_one_who_sent_it(client: TestClient) -> None:
    begin(client, "ada", "written")
    path = "runs/written/messages"

    as_another = client.post(path, json={"data": 1, "from": "bob"}, **as_("ada"))
    sent = client.post(path, json={"data": 2}, **as_("ada"))

    assert problem(as_another) == (
        *(400, "invalid_value", "expected no `from`, which this application sets itself"),
    )
    assert sent.status_code == 201
    (unread,) = client.get("runs/written", **as_("ada")).json()["state"]["messages"]
    assert (unread["data"], unread["from"]) == (2, "ada")


def test_a_reader_sees_what_its_team_made_and_changes_nothing(client: TestClient) -> None:
    begin(client, "root", "red", labels={"team": "red"})
    begin(client, "root", "blue", labels={"team": "blue"})

    listed = [run["run_id"] for run in client.get("runs", **as_("reader")).json()["runs"]]
    assert listed == ["red"]
    assert client.get("runs/red", **as_("reader")).status_code == 200
    assert client.post("runs/red/cancel", **as_("reader")).status_code == 403
    answer = client.post("runs/red/interrupts/q", json={"type": "accept"}, **as_("reader"))
    assert answer.status_code == 403
    assert client.post("invoke/count", json={}, **as_("reader")).status_code == 404
    assert client.post("uploads?name=x", content=b"x", **as_("reader")).status_code == 403


def test_labels_that_the_application_sets_are_not_for_users_to_set(client: TestClient) -> None:
    forged = client.post("invoke/count", json={"labels": {"owner": "bob"}}, **as_("ada"))
    same = client.post("invoke/count", json={"labels": {"owner": "ada"}}, **as_("ada", **JSON))

    assert problem(forged)[:2] == (400, "invalid_value")
    assert same.status_code == 200


def test_idempotency_keys_of_two_users_never_meet(client: TestClient) -> None:
    ada = client.post("invoke/count", json={}, **as_("ada", **JSON, **{"Idempotency-Key": "k"}))
    bob = client.post("invoke/count", json={}, **as_("bob", **JSON, **{"Idempotency-Key": "k"}))
    again = client.post("invoke/count", json={}, **as_("ada", **JSON, **{"Idempotency-Key": "k"}))

    assert ada.json()["run_id"] != bob.json()["run_id"]
    assert again.json()["run_id"] == ada.json()["run_id"]
    assert "runcast-repeated" not in bob.headers


def test_an_upload_is_there_for_its_owner_alone(client: TestClient) -> None:
    upload = client.post("uploads?name=a.txt", content=b"hers", **as_("ada")).json()
    assert "owner" not in upload

    body = {"files": {"input": [{"upload_id": upload["upload_id"]}]}}
    stolen = client.post("invoke/count", json=body, **as_("bob"))
    unknown = client.post(
        "invoke/count", json={"files": {"input": [{"upload_id": "0" * 32}]}}, **as_("bob")
    )

    assert stolen.status_code == unknown.status_code == 404
    assert stolen.text.replace(upload["upload_id"], "0" * 32) == unknown.text


async def test_a_run_that_is_not_shown_takes_as_long_as_one_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, waits = FakeClock(), list[float]()
    reading_s = {"hers": 0.004, "nobody": 0.001}

    async def note(seconds: float) -> None:
        waits.append(seconds)

    access = runcast.Access(subject="bob", labels={"owner": "bob"})
    request = Request({"type": "http", "runcast.access": access})
    async with runcast.OpenHub("memory://", functions=[count], clock=clock) as hub:
        await hub.start(count, run_id="hers", labels={"owner": "ada"})
        read = hub.hub.info

        async def read_slowly(run_id: str) -> runcast.LogInfo:
            clock.advance(reading_s[run_id])
            return await read(run_id)

        monkeypatch.setattr(hub.hub, "info", read_slowly)
        guard = gate.Gate(hub.hub, None, note)
        for run_id in reading_s:
            with pytest.raises(runcast.NotFound):
                await guard.check(request, run_id)

    assert waits == pytest.approx([0.01 - spent_s for spent_s in reading_s.values()])


# --- streams that are open ------------------------------------------------------------------------


def ask(app: Starlette, path: str, user: str) -> Any:
    headers = {"cookie": f"user={user}", "accept": "text/event-stream"}
    path, _, query = path.partition("?")
    scope = {"path": f"/runcast/{path}", "query_string": query.encode()}
    return asking(app, method="GET", headers=headers, **scope)


async def until(sent: "asyncio.Queue[dict[str, Any]]", text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        message = await asyncio.wait_for(sent.get(), WAIT_S)
        seen += message.get("body", b"")
    return seen


async def end_of(sent: "asyncio.Queue[dict[str, Any]]") -> None:
    while True:
        message = await asyncio.wait_for(sent.get(), WAIT_S)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            return


@pytest.mark.parametrize("path", ["runs/r1/events", "events?run=r1"])
async def test_revoked_access_ends_the_streams_of_a_subject_and_of_nobody_else(
    app: Starlette, hub: runcast.OpenHub, people: People, path: str
) -> None:
    path, _, query = path.partition("?")
    headers = {"accept": "text/event-stream"}
    scope = {"method": "GET", "path": f"/runcast/{path}", "query_string": query.encode()}
    async with app.router.lifespan_context(app):
        await hub.start(report, run_id="r1", labels={"owner": "ada"})
        async with (
            asking(app, headers={**headers, "cookie": "user=ada"}, **scope) as hers,
            asking(app, headers={**headers, "cookie": "user=root"}, **scope) as roots,
        ):
            await until(hers, b"interrupt_request")
            await until(roots, b"interrupt_request")
            await hub.revoke("ada")  # she may still see it: nothing happens
            await hub.revoke("root")
            people.known.discard("ada")
            await hub.revoke("ada")
            await end_of(hers)
            assert roots.empty()
            await hub.answer("r1", "q", {"type": "accept"})
            await end_of(roots)


async def test_a_list_that_is_followed_has_ones_own_runs_and_ends_with_other_access(
    app: Starlette, hub: runcast.OpenHub, people: People
) -> None:
    headers = {"accept": "text/event-stream", "cookie": "user=ada"}
    async with app.router.lifespan_context(app):
        await hub.start(report, run_id="hers-1", labels={"owner": "ada"})
        await hub.start(report, run_id="his-1", labels={"owner": "bob"})
        async with asking(app, headers=headers, method="GET", path="/runcast/runs") as sent:
            seen = await until(sent, b"hers-1")
            await hub.hub.delete("his-1")
            await hub.start(report, run_id="his-2", labels={"owner": "bob"})
            await hub.start(report, run_id="hers-2", labels={"owner": "ada"})
            seen += await until(sent, b"hers-2")
            await hub.revoke("ada")  # she may see the same as before: nothing happens
            await hub.hub.delete("hers-1")
            seen += await until(sent, b'"deleted":"hers-1"')
            people.known.discard("ada")
            await hub.revoke("ada")
            await end_of(sent)

    assert b"his-" not in seen


async def test_every_process_of_a_store_hears_of_revoked_access(
    app: Starlette, hub: runcast.OpenHub, people: People, tmp_path: Path
) -> None:
    other = runcast.OpenHub(f"sqlite:///{tmp_path}/runs.db", functions=[report])
    async with app.router.lifespan_context(app), other:
        await hub.start(report, run_id="r1", labels={"owner": "ada"})
        async with ask(app, "runs/r1/events", "ada") as sent:
            await until(sent, b"interrupt_request")
            people.known.discard("ada")
            await other.revoke("ada")
            await end_of(sent)


@pytest.mark.parametrize("path", ["runs/r1/events", "events?run=r1&run=r2"])
async def test_nothing_comes_of_another_users_run_that_begins_empty(
    app: Starlette, hub: runcast.OpenHub, path: str
) -> None:
    async with app.router.lifespan_context(app):
        for run_id in ("r1", "r2"):
            await hub.start(report, run_id=run_id, labels={"owner": "ada"})
        async with ask(app, path, "ada") as sent:
            await until(sent, b"interrupt_request")
            theirs = await hub.hub.create("r1", labels={"owner": "bob"}, replace=True)
            seen = b""
            for number in range(3):
                await theirs.append([encode_record("step", {"secret": number}, 1.0)])
            await hub.answer("r2", "q", {"type": "accept"})
            while True:
                message = await asyncio.wait_for(sent.get(), WAIT_S)
                seen += message.get("body", b"")
                if not message.get("more_body"):
                    break
        assert b"secret" not in seen


async def test_a_stream_does_not_go_on_in_another_users_run_of_the_same_id(
    app: Starlette, hub: runcast.OpenHub
) -> None:
    async with app.router.lifespan_context(app):
        await hub.start(report, run_id="r1", labels={"owner": "ada"})
        async with ask(app, "runs/r1/events", "ada") as sent:
            await until(sent, b"interrupt_request")
            await hub.start(report, run_id="r1", labels={"owner": "bob"}, replace=True)
            rest = b""
            while True:
                message = await asyncio.wait_for(sent.get(), WAIT_S)
                rest += message.get("body", b"")
                if not message.get("more_body"):
                    break
        async with ask(app, "runs/r1/events", "ada") as sent:
            assert (await asyncio.wait_for(sent.get(), WAIT_S))["status"] == 404

    assert b'"type":"started"' not in rest


async def test_a_cursor_that_keeps_to_its_epoch_ends_behind_the_gap(hub: runcast.OpenHub) -> None:
    async with hub:
        first = await hub.hub.create("log")
        await first.append([b'"time":1,"type":"a","data":{}}'])
        cursor = await hub.hub.cursor("log")
        assert cursor.keep_to(first.epoch)
        assert not cursor.keep_to("other")
        again = await hub.hub.create("log", replace=True)
        chunk = cursor.poll()
        cursor.close()

    assert chunk is not None
    assert chunk.gap is not None
    assert (chunk.gap.after.epoch, chunk.ended, cursor.ended) == (again.epoch, True, True)


@pytest.mark.parametrize("subject", ["", "x" * 1025, 7])
async def test_what_is_no_subject_cannot_be_revoked(hub: runcast.OpenHub, subject: Any) -> None:
    async with hub:
        with pytest.raises(InvalidValue, match="subject"):
            await hub.revoke(subject)


# --- a route of one's own -------------------------------------------------------------------------


async def test_a_route_of_ones_own_answers_with_a_stream(hub: runcast.OpenHub) -> None:
    async def events(request: Request) -> Any:
        return await runcast.sse_response(hub, request.path_params["name"], request)

    app = Starlette(routes=[Route("/articles/{name}", events)])
    async with hub:
        await hub.start(count, run_id="a1")
        async with asking(app, method="GET", path="/articles/a1") as sent:
            start = await asyncio.wait_for(sent.get(), WAIT_S)
            seen = b""
            while True:
                message = await asyncio.wait_for(sent.get(), WAIT_S)
                seen += message.get("body", b"")
                if not message.get("more_body"):
                    break
        position = seen.split(b"id: ")[1].split(b"\n")[0].decode()
        async with asking(
            app, method="GET", path="/articles/a1", headers={"last-event-id": position}
        ) as sent:
            await asyncio.wait_for(sent.get(), WAIT_S)
            rest = b""
            while b'"done"' not in rest:
                rest += (await asyncio.wait_for(sent.get(), WAIT_S))["body"]

    assert dict(start["headers"])[b"content-type"] == b"text/event-stream"
    assert seen.startswith(b"retry: ")
    assert b'"seq":1' in seen
    assert b'"seq":1,' not in rest
    assert b'"seq":2' in rest


async def test_hubs_list_runs_for_pages_of_ones_own(hub: runcast.OpenHub) -> None:
    async with hub:
        for number in range(3):
            run = await hub.start(count, run_id=f"r{number}", labels={"owner": "ada"})
            await run.wait()
        await hub.start(report, run_id="other", labels={"owner": "bob"})

        first = await hub.runs(labels={"owner": "ada"}, limit=2)
        rest = await hub.runs(labels={"owner": "ada"}, before=first[-1])
        done = await hub.runs(status="done")
        info = await hub.info("r0")

    assert [run.log_id for run in (*first, *rest)] == ["r2", "r1", "r0"]
    assert {run.log_id for run in done} == {"r0", "r1", "r2"}
    assert info.status == "done"
    assert json.dumps(info.labels["owner"]) == '"ada"'


async def test_a_run_that_takes_the_id_while_a_body_arrives_is_not_that_requests(
    tmp_path: Path, people: People
) -> None:
    """One user begins a request for a run, deletes the run, and waits until another one begins a
    run of its id."""
    channels = tmp_path / "channels.toml"
    channels.write_text('[webhook.audit]\nto = "http://127.0.0.1:9/"\nallow = "127.0.0.0/8"\n')
    settings = runcast.Settings.load(channels_file=str(channels), shutdown_grace_s=0)
    bodies = {
        "deliveries": {"target": "webhook:audit"},
        "links": {},
        "messages": {"data": "hello"},
        "interrupts/q": {"type": "accept"},
        "cancel": {"reason": "no"},
    }
    async with runcast.OpenHub(functions=[report], settings=settings) as hub:
        transport = httpx2.ASGITransport(runcast.asgi(hub, authorize=people.authorize))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            for path, body in bodies.items():
                await hub.start(report, run_id="r", labels={"owner": "bob"}, replace=True)

                async def arriving(body: object = body) -> AsyncIterator[bytes]:
                    await hub.start(report, run_id="r", labels={"owner": "ada"}, replace=True)
                    yield json.dumps(body).encode()

                headers = {"cookie": "user=bob", "content-type": "application/json"}
                late = await client.post(f"/runs/r/{path}", content=arriving(), headers=headers)
                assert late.status_code == 404, path
                assert not hub.deliveries.of("r")
