"""Logs that are no runs: nothing that is said of runs over HTTP shows or reaches them."""

import json
from typing import Final

import pytest

from runcast._hub.inlets import Inlet
from runcast.errors import NotFound
from runcast.events.model import encode_record
from tests.http.serving import Server, serving_here

JSON: Final = {"Content-Type": "application/json"}
pytestmark = pytest.mark.anyio


async def begin(server: Server, name: str, kind: str) -> Inlet:
    """Begin a log of that kind with one event."""

    async def begin() -> Inlet:
        inlet = await server.hub.hub.create(name, kind=kind)
        await inlet.append([encode_record("log", {"message": kind}, 1.5)])
        return inlet

    return await server.call(begin)


async def test_a_list_of_runs_has_no_other_logs() -> None:
    async with serving_here() as server:
        await server.closed_log("a", 1)
        await begin(server, "a", "delivery")
        await begin(server, "b", "stream")

        shown = (await server.fetch("GET", "/runs")).json()

        assert [run["run_id"] for run in shown["runs"]] == ["a"]


@pytest.mark.parametrize("run_id", ["b", "delivery%2Fb", "delivery/b", "%2e%2e/delivery%2Fb"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/events"),
        ("GET", "/files"),
        ("DELETE", ""),
        ("POST", "/cancel"),
        ("POST", "/interrupts/q"),
    ],
)
async def test_no_path_of_a_run_reaches_another_log(method: str, path: str, run_id: str) -> None:
    async with serving_here() as server:
        await begin(server, "b", "delivery")

        body, headers = b"", {}
        if "interrupts" in path:
            body, headers = b'{"type": "accept"}', JSON
        answer = await server.fetch(method, f"/runs/{run_id}{path}", headers, body)

        assert answer.status == 404
        assert (await server.call(lambda: server.hub.hub.info("delivery/b"))).head == 1


@pytest.mark.parametrize("query", ["run=delivery/b", "run=a&run=delivery%2Fb"])
async def test_no_stream_of_runs_has_another_log(query: str) -> None:
    async with serving_here() as server:
        await server.closed_log("a", 1)
        await begin(server, "b", "delivery")

        answer = await server.fetch("GET", f"/events?{query}")

        assert answer.status == 400
        assert b"delivery/b" in answer.body


async def test_no_run_begins_under_the_id_of_another_log() -> None:
    async with serving_here() as server:
        body = b'{"run_id": "delivery/b"}'
        answer = await server.fetch("POST", "/invoke/echo", JSON, body)

        assert (answer.status, json.loads(answer.body)["code"]) == (400, "invalid_value")
        with pytest.raises(NotFound, match="there is no delivery 'b'"):
            await server.call(lambda: server.hub.hub.info("delivery/b"))
