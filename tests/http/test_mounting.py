"""A hub mounted in somebody's application: its tests, its middleware, its life."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.testclient import TestClient

import runcast
from tests.http.asking import asking
from tests.waiting import WAIT_S

JSON = {"Accept": "application/json"}


@runcast.function
async def count(n: int = 3) -> AsyncIterator[int]:
    for number in range(n):
        yield number
        await asyncio.sleep(0)


def application(store: str = "memory://", *middleware: Middleware) -> Starlette:
    runs = runcast.asgi(runcast.OpenHub(store, functions=[count]), authorize=runcast.everyone)
    return Starlette(
        routes=[Mount("/runcast", runs)], lifespan=runs.lifespan, middleware=list(middleware)
    )


# --- test clients ---------------------------------------------------------------------------------


def test_one_application_is_tested_again_and_again(tmp_path: Path) -> None:
    app = application(f"sqlite:///{tmp_path}/runs.db")
    for turn in range(3):
        with TestClient(app) as client:
            answer = client.post("/runcast/invoke/count", json={"run_id": f"r{turn}"}, headers=JSON)
            runs = client.get("/runcast/runs").json()["runs"]
            ready = client.get("/runcast/readyz").json()

        assert answer.status_code == 200, answer.text
        assert len(runs) == turn + 1
        assert ready == {"status": "ready"}


def test_without_a_lifespan_the_second_loop_is_refused_with_what_to_do() -> None:
    client = TestClient(application())

    first = client.post("/runcast/invoke/count", json={}, headers=JSON)
    second = client.post("/runcast/invoke/count", json={}, headers=JSON)

    assert first.status_code == 200
    assert second.status_code == 503
    assert "with TestClient(app)" in second.json()["detail"]


def test_a_host_that_is_not_known_is_refused_with_what_a_mount_can_do() -> None:
    with TestClient(application(), base_url="http://elsewhere.example") as client:
        host = client.get("/runcast/functions")
        origin = client.get(
            "/runcast/functions", headers={"Host": "localhost", "Origin": "http://other.example"}
        )

    assert host.status_code == origin.status_code == 403
    assert "hosts=" in host.json()["detail"]
    assert "origins=" in origin.json()["detail"]
    assert "--allow" not in host.text + origin.text


@pytest.mark.anyio
async def test_httpx_streams_a_run_without_a_server() -> None:
    app = application()
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
        client.stream("POST", "/runcast/invoke/count", json={}) as answer,
    ):
        lines = [line async for line in answer.aiter_lines() if line.startswith("id:")]

    assert len(lines) == 5


# --- middleware -----------------------------------------------------------------------------------


class Passing(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


STOCK = {
    "base": Middleware(Passing),
    "gzip": Middleware(GZipMiddleware, minimum_size=10),
    "cors": Middleware(
        CORSMiddleware,
        allow_origins=["http://app.example"],
        allow_methods=["*"],
        allow_headers=["*"],
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
@pytest.mark.parametrize("name", STOCK)
async def test_events_pass_stock_middleware_when_they_happen(name: str, accept: str) -> None:
    go_on = asyncio.Event()

    @runcast.function
    async def slow() -> AsyncIterator[str]:
        yield "first"
        await go_on.wait()
        yield "second"

    runs = runcast.asgi(runcast.OpenHub(functions=[slow]), authorize=runcast.everyone)
    app = Starlette(
        routes=[Mount("/runcast", runs)], lifespan=runs.lifespan, middleware=[STOCK[name]]
    )
    headers = {"accept": accept, "accept-encoding": "gzip"}
    async with (
        app.router.lifespan_context(app),
        asking(app, path="/runcast/invoke/slow", headers=headers) as sent,
    ):
        start = await asyncio.wait_for(sent.get(), WAIT_S)
        seen = b""
        while b"first" not in seen:  # the function goes on only once this was seen
            seen += (await asyncio.wait_for(sent.get(), WAIT_S))["body"]
        go_on.set()
        while b'"done"' not in seen:
            seen += (await asyncio.wait_for(sent.get(), WAIT_S))["body"]

    assert start["status"] == 200
    assert dict(start["headers"]).get(b"content-encoding") != b"gzip"


@pytest.mark.anyio
@pytest.mark.parametrize("name", STOCK)
async def test_a_client_that_leaves_is_noticed_behind_stock_middleware(name: str) -> None:
    @runcast.function
    async def endless() -> AsyncIterator[str]:
        while True:
            yield "more"
            await asyncio.sleep(0)

    hub = runcast.OpenHub(functions=[endless])
    runs = runcast.asgi(hub, authorize=runcast.everyone)
    app = Starlette(
        routes=[Mount("/runcast", runs)], lifespan=runs.lifespan, middleware=[STOCK[name]]
    )
    body = json.dumps({"run_id": "left", "on_disconnect": "cancel"}).encode()
    async with app.router.lifespan_context(app):
        async with asking(app, path="/runcast/invoke/endless", body=body) as sent:
            await asyncio.wait_for(sent.get(), WAIT_S)
        async with asyncio.timeout(WAIT_S):
            events = [event.type async for event in hub.watch("left")]

    assert events[-1] == "cancelled"


def test_an_applications_own_cors_answers_for_the_mount() -> None:
    with TestClient(application("memory://", STOCK["cors"])) as client:
        preflight = client.options(
            "/runcast/invoke/count",
            headers={
                "Origin": "http://app.example",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type",
            },
        )

    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "http://app.example"
