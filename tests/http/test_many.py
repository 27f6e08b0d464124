"""Several runs on one connection, since browsers allow six connections."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from runcast._wire.sse import Decoder, SSEvent
from tests.http.client import Watching
from tests.http.serving import Log, Server

pytestmark = pytest.mark.anyio

Name = Callable[[], str]

OPENING = b"retry: 2000\n: runcast\n\n"


def target(*logs: Log) -> str:
    return "/events?" + "&".join(f"run={log.run_id}" for log in logs)


def told(event: SSEvent) -> tuple[str, int]:
    data = json.loads(event.data)
    return data["run"], data["event"]["seq"]


async def take(stream: Watching, count: int) -> list[tuple[str, int]]:
    return [told(await stream.event()) for _ in range(count)]


async def test_events_of_all_runs_come_with_the_run_they_belong_to(
    server: Server, name: Name
) -> None:
    a, b = await server.log(name()), await server.log(name())
    await a.emit(1)
    async with server.watch(target(a, b)) as stream:
        await stream.read_until(OPENING)
        first = await stream.event()
        await b.emit(1)
        second = await stream.event()
        await a.emit(2)
        third = await stream.event()

    assert list(map(told, (first, second, third))) == [
        (a.run_id, 1),
        (b.run_id, 1),
        (a.run_id, 2),
    ]
    assert first.id == f"{a.run_id}={a.epoch}-1,{b.run_id}={b.epoch}-0"
    assert second.id == f"{a.run_id}={a.epoch}-1,{b.run_id}={b.epoch}-1"
    assert third.id == f"{a.run_id}={a.epoch}-2,{b.run_id}={b.epoch}-1"
    assert json.loads(first.data)["event"]["data"] == {"n": 1}


async def test_the_stream_ends_when_all_its_runs_have(server: Server, name: Name) -> None:
    a, b = await server.log(name()), await server.closed_log(name(), 1)
    async with server.watch(target(a, b)) as stream:
        assert await take(stream, 2) == [(b.run_id, 1), (b.run_id, 2)]
        await a.end()

        assert list(map(told, await stream.rest())) == [(a.run_id, 1)]


async def test_whoever_has_seen_all_runs_end_is_told_not_to_come_back(
    server: Server, name: Name
) -> None:
    a, b = await server.closed_log(name(), 1), await server.closed_log(name())
    seen = (await server.fetch("GET", target(a, b))).body
    decoder = Decoder()
    decoder.feed(seen)

    answer = await server.fetch("GET", target(a, b), {"Last-Event-ID": decoder.last_event_id})
    again = await server.fetch(
        "GET", target(a, b), {"Last-Event-ID": f"{a.run_id}={a.epoch}-2,{b.run_id}={b.epoch}-0"}
    )

    assert (answer.status, answer.body) == (204, b"")
    assert again.body.count(b"data: ") == 1


async def test_a_connection_lost_behind_any_frame_is_resumed_exactly(
    server: Server, name: Name
) -> None:
    logs = [await server.log(name()) for _ in range(3)]
    for log in logs:
        await log.emit(*range(1, 8))
        await log.end()
    whole = (await server.fetch("GET", target(*logs))).body.removeprefix(OPENING)
    frames = [frame + b"\n\n" for frame in whole.split(b"\n\n")[:-1]]
    every = Decoder().feed(whole)
    assert len(frames) == len(every) == 24

    for lost_behind in range(24):
        decoder = Decoder()
        seen = decoder.feed(b"".join(frames[: lost_behind + 1]))
        headers = {"Last-Event-ID": decoder.last_event_id}
        rest = (await server.fetch("GET", target(*logs), headers)).body
        seen += Decoder().feed(rest)

        assert sorted(map(told, seen)) == sorted(map(told, every))


async def test_a_vector_may_name_some_runs_and_others_that_are_not_asked_for(
    server: Server, name: Name
) -> None:
    a, b = await server.closed_log(name(), 1, 2), await server.closed_log(name(), 1)
    vector = f"other={a.epoch}-9,{a.run_id}={a.epoch}-2"

    answer = await server.fetch("GET", f"{target(a, b)}&after={vector}")

    found = Decoder().feed(answer.body)
    assert list(map(told, found)) == [(a.run_id, 3), (b.run_id, 1), (b.run_id, 2)]


async def test_the_same_run_twice_is_one_run(server: Server, name: Name) -> None:
    log = await server.closed_log(name(), 1)

    answer = await server.fetch("GET", target(log, log))

    assert list(map(told, Decoder().feed(answer.body))) == [(log.run_id, 1), (log.run_id, 2)]


async def test_one_run_that_is_missing_is_not_found_for_all(server: Server, name: Name) -> None:
    log = await server.log(name())
    before = (await server.look(server.hub.hub.statistics)).watchers

    answer = await server.fetch("GET", f"{target(log)}&run={name()}")

    assert answer.problem() == (404, "not_found")
    assert (await server.look(server.hub.hub.statistics)).watchers == before


async def test_32_runs_are_allowed_and_33_are_not(server: Server, name: Name) -> None:
    logs = [await server.closed_log(name()) for _ in range(33)]

    assert (await server.fetch("GET", target(*logs[:32]))).body.count(b"data: ") == 32
    refused = await server.fetch("GET", target(*logs))
    assert refused.problem() == (400, "invalid_value")
    assert "33" in refused.detail()


async def test_a_long_vector_fits_into_a_request(server: Server, name: Name) -> None:
    logs = [await server.log(f"{name()}-{'x' * 110}") for _ in range(32)]
    async with server.watch(target(*logs)) as stream:
        await logs[31].emit(1)
        vector = (await stream.event()).id
    assert len(vector) > 4000

    async with server.watch(target(*logs), {"Last-Event-ID": vector}) as stream:
        await logs[31].emit(2)
        assert told(await stream.event()) == (logs[31].run_id, 2)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", "run="),
        ("run=", "run"),
        ("run=a/b", "run"),
        ("run=%00", "run"),
        ("run=a%0d%0aSet-Cookie:x", "run"),
        ("run=a&after=x", "after"),
        ("run=a&after=a=x", "after"),
        ("run=a&after=a=0123456789-1,b", "after"),
        ("run=a&after==,", "after"),
        ("run=a&dialect=task", "dialect"),
        ("run=a&live=false", "live"),
        ("run=a&view=x", "view"),
        ("run=a&types=log", "types"),
        ("run=a&nodes=x", "nodes"),
        ("run=a&agents=x", "agents"),
    ],
)
async def test_what_is_said_wrong_is_refused_by_name(
    server: Server, query: str, names: str
) -> None:
    answer = await server.fetch("GET", f"/events?{query}")

    assert answer.problem() == (400, "invalid_value")
    assert names in answer.detail()


async def test_a_run_that_begins_anew_is_told_and_goes_on(server: Server, name: Name) -> None:
    a, b = await server.log(name()), await server.closed_log(name(), 1)
    async with server.watch(target(a, b)) as stream:
        await take(stream, 2)
        new = await server.log(b.run_id, replace=True)  # although b's end was seen
        await new.emit(1)
        gap: dict[str, Any] = json.loads((await stream.event()).data)
        event = await stream.event()

    assert gap["run"] == b.run_id
    assert (gap["event"]["type"], gap["event"]["data"]["reason"]) == ("gap", "replaced")
    assert event.id == f"{a.run_id}={a.epoch}-0,{b.run_id}={new.epoch}-1"


async def test_a_gap_has_no_id(server: Server, name: Name) -> None:
    a, b = await server.log(name()), await server.log(name())
    old = f"{a.run_id}={a.epoch}-0,{b.run_id}=0000000000-7"
    async with server.watch(f"{target(a, b)}&after={old}") as stream:
        gap = await stream.event()

        assert gap.id == ""
        assert json.loads(gap.data)["event"]["data"] == {
            "reason": "replaced",
            "before": "0000000000-7",
            "after": f"{b.epoch}-0",
        }


async def test_deleting_a_run_that_was_seen_to_its_end_ends_nobody_elses_stream(
    server: Server, name: Name
) -> None:
    a, b = await server.log(name()), await server.closed_log(name(), 1)
    async with server.watch(target(a, b)) as stream:
        await take(stream, 2)
        await server.fetch("DELETE", f"/runs/{b.run_id}")
        await a.emit(1)
        assert await take(stream, 1) == [(a.run_id, 1)]
        await a.end()
        assert list(map(told, await stream.rest())) == [(a.run_id, 2)]


async def test_a_busy_run_does_not_keep_the_others_waiting(here: Server) -> None:
    """What one write holds is bounded, and every run gets its turn."""
    logs = [await here.log(f"run-{number}") for number in range(4)]
    for log in logs:
        for _ in range(4):
            await log.emit(*range(20), data={"text": "x" * 10_000})
    async with here.watch(target(*logs)) as stream:
        seen = await take(stream, 4 * 80)

    firsts = [seen.index((log.run_id, 1)) for log in logs]
    assert max(firsts) < 4 * 20
    assert sorted(seen) == sorted((log.run_id, seq) for log in logs for seq in range(1, 81))
