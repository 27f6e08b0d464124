"""`GET /metrics`: the numbers of a process, in the form that Prometheus reads."""

import re
from collections.abc import Iterator

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

import runcast
from tests.http.client import Answer
from tests.http.serving import Server, serving_here

pytestmark = pytest.mark.anyio

NAME = re.compile(r"runcast_[a-z]+(_[a-z]+)*")


def read(answer: Answer) -> dict[str, float]:
    """Return each sample by its name and labels. Checks the form of every line."""
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return dict(_samples(answer.body.decode()))


def _samples(text: str) -> Iterator[tuple[str, float]]:
    assert text.endswith("\n")
    described: list[str] = []
    kind = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, name, about = line.split(" ", 3)
            assert NAME.fullmatch(name), name
            assert about.endswith("."), line
            assert name not in described, "described twice"
            described.append(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == described[-1]
            assert (kind == "counter") == name.endswith("_total")
        else:
            found = re.fullmatch(r'(\w+)(\{\w+="[^"\\]*"\})? (\S+)', line)
            assert found is not None, line
            assert found[1] == described[-1]
            yield f"{found[1]}{found[2] or ''}", float(found[3])


async def metrics(server: Server) -> dict[str, float]:
    return read(await server.fetch("GET", "/metrics"))


async def test_the_numbers_are_those_of_the_process() -> None:
    async with serving_here() as server:
        before = await metrics(server)
        log = await server.log("run")
        async with server.watch("/runs/run/events") as watching:
            await log.emit(1, 2, 3)
            await watching.event()
            during = await metrics(server)
        for _ in range(2):
            assert (await server.fetch("GET", "/runs/none")).status == 404
        after = await metrics(server)

    assert before["runcast_appended_events_total"] == before["runcast_open_streams"] == 0
    assert during["runcast_appended_events_total"] >= 3
    assert during["runcast_commits_total"] >= 1
    assert (during["runcast_open_streams"], during["runcast_watchers"]) == (1, 1)
    assert during["runcast_max_watchers"] == server.hub.settings.max_watchers
    assert after['runcast_refused_requests_total{code="not_found"}'] == 2
    assert any(name.startswith('runcast_build_info{version="') for name in after)


async def test_runs_at_work_are_counted(here: Server) -> None:
    script = await here.begin("work")
    during = await metrics(here)
    script.end()
    await here.eventually(lambda: not here.hub.runner.statistics().running)

    assert during["runcast_running_runs"] == during["runcast_busy_threads"] == 1
    assert (await metrics(here))["runcast_running_runs"] == 0


def test_only_who_may_see_every_run_sees_the_numbers() -> None:
    async def authorize(request: Request) -> runcast.Access:
        name = request.headers["user"]
        return runcast.Access(labels={} if name == "operator" else {"owner": name})

    app = runcast.asgi(runcast.OpenHub(), authorize=authorize)
    with TestClient(app, base_url="http://localhost") as client:
        refused = client.get("/metrics", headers={"user": "ada"})
        allowed = client.get("/metrics", headers={"user": "operator"})

    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert allowed.status_code == 200
    assert "runcast_running_runs 0\n" in allowed.text


def test_the_numbers_need_the_access_token() -> None:
    app = runcast.asgi(runcast.OpenHub(), token="s3cret" * 4)
    with TestClient(app, base_url="http://localhost") as client:
        assert client.get("/metrics").status_code == 401
        bearer = {"authorization": f"Bearer {'s3cret' * 4}"}
        assert client.get("/metrics", headers=bearer).status_code == 200
