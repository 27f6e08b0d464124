"""Requests that get one answer: pages, lists, states, cancelling, deleting; and what is refused."""

import json
from collections.abc import Callable

import pytest

from tests.http.serving import Server

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


async def test_the_start_page_may_run_no_foreign_script_and_be_framed_by_nobody(
    server: Server,
) -> None:
    answer = await server.fetch("GET", "/")

    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.body.startswith(b"<!doctype html>")


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/functions", "/runs", "/nowhere"])
async def test_every_answer_bears_safe_headers(server: Server, path: str) -> None:
    answer = await server.fetch("GET", path)

    assert {name: answer.headers[name] for name in SAFE} == SAFE


async def test_functions_are_described_with_their_inputs(server: Server) -> None:
    functions = {each["name"]: each for each in (await server.fetch("GET", "/functions")).json()["functions"]}

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
    }
    assert functions["count"]["streaming"]


async def test_a_run_is_shown_with_its_present_state(server: Server, name: Name) -> None:
    log = await server.log(name())
    await log.emit(1)
    position = await log.emit(type="progress", data={"percent": 40.0}, *[0])

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
        ("GET", f"/runs/{unknown}/events?live=long-poll"),
        ("GET", f"/events?run={unknown}"),
        ("POST", f"/invoke/{unknown}"),
        ("GET", f"/runs?before={unknown}"),
    ):
        answer = await server.fetch(method, path)
        assert answer.problem() == (404, "not_found"), path

    found = (await server.fetch("GET", "/runs?limit=500")).json()["runs"]
    assert unknown not in [run["run_id"] for run in found]
