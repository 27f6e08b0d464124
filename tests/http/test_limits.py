"""Limits, as clients are told of them: each refusal names the limit and its value."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

import runcast
from runcast import Answer
from runcast._producing.writer import Writer
from runcast._settings import Settings
from tests.http.serving import Server, serving_here
from tests.waiting import WAIT_S

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


async def _until_waiting(server: Server, writer: Writer) -> None:
    await server.eventually(lambda: writer.is_waiting)


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.heavy)])
async def test_a_body_may_be_nested_500_deep_and_no_deeper(step: int) -> None:
    """R-10.2: no routine that a body meets may run out of stack, whichever is called from deepest.

    The depths of the second kind are around the interpreter's own bound of 1,000.
    """
    settings = Settings(shutdown_grace_s=0.0)
    key = {"Idempotency-Key": "again"}
    async with serving_here(functions=[asks], settings=settings) as server:
        await begin(server, "asks", "asked")
        await begin(server, "asks", "answered")
        for run_id in ("asked", "answered"):
            asking = server.hub.runner.runs[run_id].writer
            await _until_waiting(server, asking)
            await server.hub.flush(run_id)
        await server.post("/runs/answered/interrupts/q", b'{"type": "accept"}')
        for depth in (490, 501, *range(930, 1000, step), 100_000):
            for nested in (b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth):
                answers = [
                    await server.post("/invoke/echo", b'{"inputs": {"no": %b}}' % nested),
                    await server.post("/invoke/echo", b'{"inputs": {}, "x": %b}' % nested, key),
                    await server.post("/invoke/echo", b'{"labels": {"a": %b}}' % nested),
                    await server.post("/invoke/echo", nested),
                ]
                for run_id in ("asked", "answered", "nowhere"):
                    for given in (b'{"type": "edit", "args": %b}', b'{"approved": %b}'):
                        target = f"/runs/{run_id}/interrupts/q"
                        answers.append(await server.post(target, given % nested))
                if depth > 500:
                    assert {answer.problem() for answer in answers} == {(400, "invalid_value")}
                    assert all("500 deep" in answer.detail() for answer in answers)
                else:  # read, and then judged by what it is for
                    assert {answer.status for answer in answers} <= {200, 400, 404, 409, 422}
                    assert not any(b"500 deep" in answer.body for answer in answers)


# --- bounds on watchers ---------------------------------------------------------------------------


@runcast.function
async def asks() -> str:
    """Ask, and return how the question was answered."""
    answer: Answer = await runcast.ask("Go on?", interrupt_id="q")
    return answer.type


@pytest.mark.parametrize("bound", ["max_watchers", "max_watchers_per_run"])
async def test_a_run_gets_its_answer_though_as_many_watch_as_may(bound: str) -> None:
    """R-18.1: a run that waits for an answer is no watcher."""
    settings = replace(Settings(), **{bound: 2})  # type: ignore[arg-type]
    async with serving_here(functions=[asks], settings=settings) as server:
        await begin(server, "asks", "run")
        async with (
            server.watch("/runs/run/events") as watching,
            server.watch("/runs/run/events") as other,
        ):
            await watching.read_until(b"interrupt_request")
            refused = await server.fetch("GET", "/runs/run/events")
            answered = await server.post("/runs/run/interrupts/q", b'{"type": "accept"}')
            assert b'"result":"accept"' in await watching.read_all()
            assert b'"result":"accept"' in await other.read_all()
        left = await server.fetch("GET", "/runs/run/events")

    assert refused.problem() == (503, "overloaded")
    assert bound in refused.detail()
    assert answered.status == 200
    assert left.status == 200


async def test_a_function_may_watch_another_run_though_as_many_watch_as_may() -> None:
    """R-18.1: neither is a function of this process."""

    async def follows(other: str) -> list[str]:
        return [event.type async for event in server.hub.watch(other)]

    async with serving_here(functions=[follows], settings=Settings(max_watchers=1)) as server:
        log = await server.log("other")
        async with server.watch("/runs/other/events"):
            await begin(server, "follows", "run", other="other")
            await log.emit(1)
            await log.end()
            async with asyncio.timeout(WAIT_S):
                await server.hub.runner.runs["run"].wait()
        shown = (await server.fetch("GET", "/runs/run")).json()

    assert shown["state"]["result"] == ["step", "done"]


async def test_a_stream_of_several_runs_is_one_stream_and_counts_for_each_of_its_runs() -> None:
    """R-18.1."""
    settings = Settings(max_watchers=2, max_watchers_per_run=1)
    async with serving_here(settings=settings) as server:
        for run_id in ("a", "b", "c", "d"):
            await server.log(run_id)
        async with server.watch("/events?run=a&run=b&run=c"):
            of_a = await server.fetch("GET", "/runs/a/events")
            async with server.watch("/runs/d/events"):
                more = await server.fetch("GET", "/events?run=a&run=d")
        await server.eventually(lambda: server.hub.hub.statistics().watchers == 0)
        async with server.watch("/events?run=a&run=d") as stream:
            assert stream.head.status == 200

    assert of_a.problem() == more.problem() == (503, "overloaded")
    assert "run 'a'" in of_a.detail()
    assert "max_watchers_per_run" in of_a.detail()
    assert "2 streams are open (max_watchers)" in more.detail()


@pytest.mark.parametrize(
    "target",
    [
        "/runs/gone/events",
        "/events?run=run&run=gone",
        "/runs/ended/events?after={}-2",
        "/runs/ended/events?live=false",
        "/runs/run/events?live=long-poll&after={}-9",
        "/runs/ended/events?view=none&types=step",
    ],
)
async def test_a_watcher_that_was_answered_makes_room(target: str) -> None:
    """R-18.1: whatever its answer was."""
    async with serving_here(settings=Settings(max_watchers=1)) as server:
        ended = await server.closed_log("ended", 1)
        await server.log("run")
        for _ in range(2):
            answer = await server.fetch("GET", target.format(ended.epoch))
            assert answer.status != 503
        await server.fetch("HEAD", "/runs/run/events")
        async with server.watch("/runs/run/events") as stream:
            assert stream.head.status == 200
