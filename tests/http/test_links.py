"""Links: each shows one run to anyone who has it, and nothing else to anybody."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount
from starlette.testclient import TestClient

import runcast
from runcast._app import OpenHub
from runcast._hub import links
from runcast._settings import Settings
from runcast.testing import FakeClock
from tests.http.client import Answer
from tests.http.serving import Server, serving_here, serving_in_thread
from tests.http.test_access import every_route

pytestmark = pytest.mark.anyio

TOKEN = {"Authorization": "Bearer the-token"}
JSON = {"Content-Type": "application/json"}


async def make(server: Server, run_id: str = "a", **given: Any) -> dict[str, Any]:
    """Make a link with the access token."""
    body = json.dumps(given).encode()
    answer = await server.fetch("POST", f"/runs/{run_id}/links", {**TOKEN, **JSON}, body)
    assert answer.status == 201, answer.body
    found: dict[str, Any] = answer.json()
    return found


def by(link: dict[str, Any]) -> dict[str, str]:
    return {"Runcast-Link": link["token"]}


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving_here(token="the-token") as server:
        yield server


async def ask(server: Server, link: dict[str, Any], path: str, **more: str) -> Answer:
    return await server.fetch("GET", path, {**by(link), **more})


async def test_a_link_shows_its_run_and_its_events_without_a_token(server: Server) -> None:
    log = await server.closed_log("a", 1, 2)
    link = await make(server)

    shown = await ask(server, link, "/runs/a")
    events = await ask(server, link, "/runs/a/events")
    lines = await ask(server, link, "/runs/a/events", Accept="application/x-ndjson")
    after = await ask(server, link, f"/runs/a/events?after={log.epoch}-1&live=false")
    page = await ask(server, link, "/runs/a/events?live=long-poll")

    assert shown.json()["status"] == "done"
    assert events.body.count(b"data: ") == lines.body.count(b"\n") == 3
    assert after.body.count(b"data: ") == 2
    assert len(page.json()["events"]) == 3
    assert (await server.fetch("GET", "/runs/a")).status == 401


async def test_the_url_holds_the_secret_in_its_fragment_only(server: Server) -> None:
    await server.closed_log("a")
    link = await make(server)
    path, _, fragment = link["url"].partition("#")

    assert (path, fragment) == ("/", f"/s/a/{link['token']}")
    page = await server.fetch("GET", path)
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["referrer-policy"] == "no-referrer"


async def test_only_the_answer_that_makes_a_link_holds_its_secret(server: Server) -> None:
    await server.closed_log("a")
    link = await make(server)
    secret = link["token"].partition(".")[2]

    listed = await server.fetch("GET", "/runs/a/links", TOKEN)
    kept = await server.call(lambda: server.hub.hub.store.list(kind=None, limit=500))

    (shown,) = listed.json()["links"]
    assert shown == {name: link[name] for name in link if name not in ("token", "url")}
    assert secret not in listed.body.decode() + repr(kept)
    assert len(secret) >= 43


async def test_a_link_does_nothing_else(server: Server) -> None:
    await server.closed_log("a", 1)
    await server.closed_log("b", 1)
    link = await make(server, files=True)
    allowed = {"runs/a", "runs/a/events", "runs/a/files", "runs/a/files/a.txt"}
    for method, path in every_route("a") + every_route("b"):
        if method in ("GET", "HEAD") and path.partition("?")[0] in allowed:
            continue
        answer = await server.fetch(method, f"/{path}", {**by(link), **JSON}, b"{}")
        assert answer.status in (403, 404), (method, path, answer.status)
        assert b'"n":1' not in answer.body
    both = await server.fetch("GET", "/runs/b", {**by(link), **TOKEN})
    assert both.status == 404  # the link counts


async def test_inputs_and_labels_are_left_out(server: Server) -> None:
    body = json.dumps({"inputs": {"a": 4111}, "run_id": "e", "labels": {"user": "ada"}})
    await server.post("/invoke/add", body.encode(), {**TOKEN, "Prefer": "respond-async"})
    await server.fetch("GET", "/runs/e/events", TOKEN)
    own = await server.fetch("GET", "/runs/e", TOKEN)
    link = await make(server, "e")
    shown = await ask(server, link, "/runs/e")
    events = await ask(server, link, "/runs/e/events?types=started")

    assert own.json()["inputs"]["values"] == {"a": 4111}
    assert (shown.json()["inputs"], shown.json()["labels"]) == (None, {})
    assert b"ada" not in shown.body + events.body
    assert b"4111" not in shown.body + events.body


async def test_files_are_shown_only_by_links_that_say_so(server: Server) -> None:
    await server.closed_log("a")
    without, with_files = await make(server), await make(server, files=True)

    for path in ("/runs/a/files", "/runs/a/files/a.txt"):
        assert (await ask(server, without, path)).problem() == (403, "forbidden")
    assert (await ask(server, with_files, "/runs/a/files")).json()["files"] == []
    assert (await ask(server, with_files, "/runs/a/files/a.txt")).status == 404


@pytest.mark.parametrize("end", ["", ".", ".x", "x"])
async def test_another_secret_opens_nothing(server: Server, end: str) -> None:
    await server.closed_log("a", 1)
    link = await make(server)
    link_id, _, secret = link["token"].partition(".")
    for token in (f"{link_id}{end}", f"{link_id}.{secret[:-1]}{end}", f"{link_id[::-1]}x.{secret}"):
        answer = await server.fetch("GET", "/runs/a", {"Runcast-Link": token})
        assert answer.problem() == (401, "unauthorized")


async def test_secrets_are_compared_in_constant_time(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.closed_log("a", 1)
    link = await make(server)
    compared: list[tuple[int, int]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr("runcast._hub.links.hmac.compare_digest", compare)
    assert (await ask(server, link, "/runs/a")).status == 200
    assert (await ask(server, {"token": f"{link['link_id']}.x"}, "/runs/a")).status == 401
    assert compared == [(64, 64)] * 2  # digests, so that not even the length is revealed


async def test_a_link_is_of_one_epoch(server: Server) -> None:
    log = await server.log("a")
    await log.emit(1)
    link = await make(server)
    async with server.watch("/runs/a/events", by(link)) as stream:
        assert (await stream.json())["seq"] == 1
        again = await server.log("a", replace=True)
        await again.emit(7)
        rest = await stream.rest()
    assert b'"n":7' not in stream.raw
    assert [json.loads(each.data)["type"] for each in rest] in ([], ["gap"])
    for path in ("/runs/a", "/runs/a/events"):
        assert (await ask(server, link, path)).status == 404
    assert (await server.fetch("GET", "/runs/a/links", TOKEN)).json() == {"links": []}


async def test_a_link_that_is_revoked_ends_what_it_shows(server: Server) -> None:
    log = await server.log("a")
    await log.emit(1)
    link, other = await make(server), await make(server)
    async with (
        server.watch("/runs/a/events", by(link)) as shown,
        server.watch("/runs/a/events", by(other)) as stays,
    ):
        for stream in (shown, stays):
            assert (await stream.json())["seq"] == 1
        path = f"/runs/a/links/{link['link_id']}"
        assert (await server.fetch("DELETE", path, TOKEN)).status == 204
        assert await shown.rest() == []
        await log.emit(2)
        assert (await stays.json())["seq"] == 2
    assert b"come back" in shown.raw
    assert (await ask(server, link, "/runs/a")).problem() == (401, "unauthorized")
    assert (await server.fetch("DELETE", path, TOKEN)).status == 404
    assert (await server.fetch("DELETE", "/runs/none/links/x", TOKEN)).status == 404
    listed = (await server.fetch("GET", "/runs/a/links", TOKEN)).json()["links"]
    assert [each["link_id"] for each in listed] == [other["link_id"]]


async def test_a_link_is_revoked_by_way_of_its_own_run_only(server: Server) -> None:
    await server.closed_log("a")
    await server.closed_log("b")
    link = await make(server)
    assert (await server.fetch("DELETE", f"/runs/b/links/{link['link_id']}", TOKEN)).status == 404
    assert (await ask(server, link, "/runs/a")).status == 200


async def test_a_long_poll_of_a_link_that_is_revoked_says_nothing(server: Server) -> None:
    log = await server.log("a")
    link = await make(server)
    waiting = asyncio.ensure_future(ask(server, link, "/runs/a/events?live=long-poll"))
    await server.eventually(lambda: bool(server.hub.hub._windows._tails.get("a")))
    await server.fetch("DELETE", f"/runs/a/links/{link['link_id']}", TOKEN)
    await log.emit(1)
    assert (await waiting).problem() == (401, "unauthorized")


async def test_every_process_of_a_store_ends_what_a_revoked_link_shows(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/runs.db"
    async with (
        serving_here(token="the-token", store=store) as one,
        serving_here(token="the-token", store=store) as two,
    ):
        log = await one.log("a")
        await log.emit(1)
        link = await make(one)
        async with two.watch("/runs/a/events", by(link)) as stream:
            assert (await stream.json())["seq"] == 1
            await one.fetch("DELETE", f"/runs/a/links/{link['link_id']}", TOKEN)
            assert await stream.rest() == []
        assert (await ask(two, link, "/runs/a")).status == 401


async def test_a_link_expires_and_so_do_its_streams() -> None:
    clock = FakeClock()
    settings = Settings(heartbeat_s=0.04)
    async with serving_here(token="the-token", clock=clock, settings=settings) as server:
        log = await server.log("a")
        await log.emit(1)
        link = await make(server, expires_s=60)
        assert link["expires_at"] == pytest.approx(link["created_at"] + 60)
        async with server.watch("/runs/a/events", by(link)) as stream:
            assert (await stream.json())["seq"] == 1
            clock.advance(59)
            assert (await ask(server, link, "/runs/a")).status == 200
            clock.advance(2)
            await stream.rest()
        assert (await ask(server, link, "/runs/a")).problem() == (401, "unauthorized")
        assert (await server.fetch("GET", "/runs/a/links", TOKEN)).json() == {"links": []}
        assert await server.call(server.hub.hub.store.expired) == [f"link/{link['link_id']}"]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (b'{"expires_s": 0}', 400),
        (b'{"expires_s": 1e9}', 400),
        (b'{"expires_s": "1"}', 400),
        (b'{"files": 1}', 400),
        (b"[]", 400),
        (b"", 201),
        (b'{"unknown": 1}', 400),
    ],
)
async def test_what_a_link_cannot_be_is_refused(server: Server, given: bytes, status: int) -> None:
    await server.closed_log("a")
    answer = await server.fetch("POST", "/runs/a/links", {**TOKEN, **JSON}, given)
    assert answer.status == status


async def test_a_run_has_a_bounded_number_of_links_and_a_server_may_make_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(links, "MAX_LINKS", 1)
    async with serving_here(token="the-token") as server:
        await server.closed_log("a")
        await make(server)
        answer = await server.fetch("POST", "/runs/a/links", {**TOKEN, **JSON}, b"{}")
        assert answer.problem() == (409, "conflict")
    async with serving_here(settings=Settings(max_link_s=0)) as server:
        await server.closed_log("a")
        answer = await server.fetch("POST", "/runs/a/links", JSON, b"{}")
        assert answer.problem() == (403, "forbidden")


async def test_who_may_share_makes_links_that_need_no_login() -> None:
    async def authorize(request: Request) -> runcast.Access | None:
        name = request.headers.get("user", "")
        if name == "reader":
            return runcast.Access(subject=name, actions=["see"])
        return runcast.Access(subject=name, labels={"owner": name}) if name else None

    async with serving_here(authorize=authorize) as server:
        hub = server.hub.hub
        await server.call(lambda: hub.create("a", labels={"owner": "ada"}))
        made: list[dict[str, Any]] = []
        for user, status in (("ada", 201), ("bob", 404), ("reader", 403), ("", 401)):
            headers = {"User": user} if user else {}
            answer = await server.fetch("POST", "/runs/a/links", {**headers, **JSON}, b"{}")
            assert answer.status == status
            made += [answer.json()] if status == 201 else []
        link = made[0]
        assert link["by"] == "ada"
        assert (await ask(server, link, "/runs/a")).json()["labels"] == {}
        for user in ("bob", "reader"):
            refused = await server.fetch("GET", "/runs/a/links", {"User": user})
            assert refused.status in (403, 404)


async def test_an_event_source_may_put_it_into_the_query_of_a_stream_only(server: Server) -> None:
    await server.closed_log("a", 1)
    link = await make(server)
    assert (await server.fetch("GET", f"/runs/a/events?link={link['token']}")).status == 200
    for path in ("/runs/a", "/runs/a/files", "/runs"):
        assert (await server.fetch("GET", f"{path}?link={link['token']}")).status == 401


def test_the_client_of_a_link_sees_its_run_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving_in_thread("plain-uvicorn", token="the-token") as server:
        host, port = server.address
        url = f"http://{host}:{port}"
        with runcast.Client(url, token="the-token") as owner:
            run_id = owner.invoke("count", {"n": 2})
            owner.result(run_id)
            other = owner.invoke("count", {"n": 1})
            link = owner.share(run_id)
        monkeypatch.setenv("RUNCAST_TOKEN", "the-token")  # it is not for visitors

        with runcast.Client(url, link=link.token) as visitor:
            assert [event.type for event in visitor.watch(run_id)][-1] == "done"
            assert visitor.snapshot(run_id).status == "done"
            with pytest.raises(runcast.RuncastError):
                visitor.snapshot(other)
            with pytest.raises(runcast.RuncastError):
                visitor.runs()
            assert link.token not in repr(visitor)


def test_the_logs_of_other_servers_do_not_get_the_secret(caplog: pytest.LogCaptureFixture) -> None:
    async def use(server: Server) -> str:
        await server.closed_log("a", 1)
        link = await make(server)
        path = f"/runs/a/events?x=1&link={link['token']}&live=false"
        assert (await server.fetch("GET", path)).status == 200
        await server.fetch("GET", f"/runs/a?link={link['token']}")
        return str(link["token"]).partition(".")[2]

    logger = logging.getLogger("uvicorn.access")
    with serving_in_thread("plain-uvicorn", token="the-token") as server:
        logger.addHandler(caplog.handler)
        try:
            with caplog.at_level(logging.INFO, "uvicorn.access"):
                secret = asyncio.run(use(server))
        finally:
            logger.removeHandler(caplog.handler)
    assert "/runs/a/events?x=1&live=false" in caplog.text
    assert secret not in caplog.text


def test_the_page_of_a_link_lies_below_the_mount() -> None:
    def add(a: int) -> int:
        return a

    runs = runcast.asgi(OpenHub(functions=[add]), authorize=runcast.everyone)
    app = Starlette(routes=[Mount("/house", runs)], lifespan=runs.lifespan)
    with TestClient(app) as client:
        client.post("/house/invoke/add", json={"inputs": {"a": 1}, "run_id": "a"})
        made = client.post("/house/runs/a/links", json={}).json()
        assert made["url"].startswith("/house/#/s/")
        assert client.get(made["url"]).status_code == 200
        shown = client.get("/house/runs/a", headers={"Runcast-Link": made["token"]})
        assert shown.status_code == 200
