"""Limits, as clients are told of them: each refusal names the limit and its value."""

import asyncio
import json
from collections.abc import Iterator

import pytest

import runcast
from runcast.settings import Settings
from tests.http.serving import Server, serving_here

pytestmark = pytest.mark.anyio

ASYNC = {"Prefer": "respond-async"}


async def begin(server: Server, function: str, run_id: str, **inputs: object) -> None:
    body = json.dumps({"inputs": inputs, "run_id": run_id}).encode()
    assert (await server.post(f"/invoke/{function}", body, ASYNC)).status == 202


async def test_a_run_that_waits_shows_its_place_in_the_queue() -> None:
    """R-13.11, R-14.4."""
    gate = asyncio.Event()

    @runcast.function(max_runs=1)
    async def one_by_one() -> None:
        await gate.wait()

    async with serving_here(functions=[one_by_one]) as server:
        for number in range(3):
            await begin(server, "one_by_one", f"run-{number}")
        await server.eventually(lambda: server.hub.runner.runs["run-0"].status == "running")
        shown = [(await server.fetch("GET", f"/runs/run-{n}")).json() for n in range(3)]
        echoed = await server.post("/invoke/echo")  # there is room for others

        assert [(run["status"], run["queue_position"]) for run in shown] == [
            ("running", 0),
            ("queued", 1),
            ("queued", 2),
        ]
        assert echoed.status == 200
        gate.set()


async def test_a_full_queue_is_told_with_its_limits_and_when_to_come_back() -> None:
    """R-13.11."""
    gate = asyncio.Event()

    async def wait() -> None:
        await gate.wait()

    settings = Settings(max_runs=1, max_queue=1, shutdown_grace_s=0.0)
    async with serving_here(functions=[wait], settings=settings) as server:
        await begin(server, "wait", "a")
        await begin(server, "wait", "b")
        answer = await server.post("/invoke/wait", b'{"run_id": "c"}')

        assert answer.problem() == (503, "overloaded")
        assert answer.headers["retry-after"].isdigit()
        assert "at most 1 (max_runs)" in answer.detail()
        assert "at most 1 (max_queue)" in answer.detail()
        assert (await server.fetch("GET", "/runs/c")).status == 404
        gate.set()


async def test_a_run_that_takes_too_long_is_told_to_who_waits_for_it() -> None:
    """R-18.3."""

    async def wait() -> None:
        await asyncio.Event().wait()

    async with serving_here(functions=[wait], settings=Settings(run_time_s=0.01)) as server:
        answer = await server.post("/invoke/wait")

    assert answer.problem() == (500, "timed_out")
    assert "0.01 s" in answer.detail()
    assert "run_time_s" in answer.detail()


@pytest.mark.parametrize(
    ("settings", "code", "told"),
    [
        (Settings(max_event_bytes=1000), "event_too_large", "1000"),
        (Settings(max_events_per_run=5), "run_too_large", "5 (max_events_per_run)"),
        (Settings(max_bytes_per_run=5000), "run_too_large", "5000 (max_bytes_per_run)"),
    ],
)
async def test_a_run_that_emits_more_than_it_may_fails_and_says_why(
    settings: Settings, code: str, told: str
) -> None:
    """R-1.7, R-18.3."""

    def talk() -> Iterator[object]:
        for number in range(1, 100):
            yield {"type": "step", "data": "x" * number * 100}

    async with serving_here(functions=[talk], settings=settings) as server:
        answer = await server.post("/invoke/talk")

    assert f'"code":"{code}"'.encode() in answer.body
    assert told.encode() in answer.body


async def test_a_body_that_is_too_large_is_told_the_limit() -> None:
    """R-10.2."""
    async with serving_here(settings=Settings(max_body_bytes=1000)) as server:
        answer = await server.post("/invoke/echo", json.dumps({"inputs": "x" * 2000}).encode())

    assert answer.problem() == (413, "body_too_large")
    assert "1000" in answer.detail()
    assert "max_body_bytes" in answer.detail()
