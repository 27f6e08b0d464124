"""One log in every form it can be had in: five dialects, NDJSON, and pages of JSON."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from runcast._hub import lens
from runcast._settings import Settings
from runcast._wire.dialects import DIALECTS, LogRef
from runcast.events.model import decode_event, encode_record
from runcast.events.position import Position, split_frames
from runcast.events.vocabulary import TERMINAL
from tests.http.serving import Server, serving_here
from tests.wire.parts import PARTS
from tests.wire.reference import load

pytestmark = pytest.mark.anyio

Name = Callable[[], str]

OPENING = b"retry: 2000\n: runcast\n\n"
NDJSON = {"Accept": "application/x-ndjson"}
JSON = {"Accept": "application/json"}


def _is_a_log(vector: dict[str, Any]) -> bool:
    seqs = [event["seq"] for event in vector["events"]]
    types = [event["type"] for event in vector["events"]]
    return (
        "gap" not in vector
        and seqs == list(range(1, len(seqs) + 1))
        and not any(each in TERMINAL for each in types[:-1])
    )


VECTORS = [each.values[0] for each in load("dialects.json") if _is_a_log(each.values[0])]


async def write(server: Server, run_id: str, events: list[dict[str, Any]]) -> str:
    """Make a log of exactly these events, with their times, and return its epoch."""
    records, closes = [], False
    for event in events:
        path = tuple(event.get("path", ()))
        place = (event.get("node", ""), event.get("agent", ""), path, event.get("duration"))
        records.append(encode_record(event["type"], event["data"], event["time"], place))
        closes = event["type"] in TERMINAL
    inlet = await server.call(lambda: server.hub.hub.create(run_id))
    await server.call(lambda: inlet.append(records, close=closes))
    return inlet.epoch


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_dialect_has_its_golden_forms_over_the_wire(here: Server, dialect: str) -> None:
    async def check(vector: dict[str, Any]) -> None:
        run_id = vector["run_id"]
        epoch = await write(here, run_id, vector["events"])

        target = f"/runs/{run_id}/events?live=false&dialect={dialect}"
        answer = await here.fetch("GET", target)

        golden = "".join(vector["expected"]).replace(vector["epoch"], epoch)
        assert answer.body.decode() == OPENING.decode() + golden, vector["name"]
        await here.call(lambda: here.hub.hub.delete(run_id))

    for vector in VECTORS:
        if vector["dialect"] == dialect:
            await check(vector)


def test_there_are_golden_forms_of_all_dialects() -> None:
    found = {vector["dialect"] for vector in VECTORS}

    assert found == set(DIALECTS)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_dialect_is_the_same_live_as_from_history_and_resumed(
    server: Server, name: Name, dialect: str
) -> None:
    log = await server.log(name())
    target = f"/runs/{log.run_id}/events?dialect={dialect}"
    async with server.watch(target) as stream:
        await stream.read_until(OPENING)
        await log.emit(1)
        await log.emit(2, type="content", data={"text": "a\nb\r\nc"})
        await log.emit(3, type="progress", data={"current": 1, "total": 2, "percent": 50.0})
        await log.emit(4, 5, type="log", data={"level": "info", "message": "x"})
        await log.end()
        live = await stream.read_all()
    history = (await server.fetch("GET", target)).body
    resumed = (await server.fetch("GET", f"{target}&after={log.epoch}-2")).body

    assert live == history
    assert history.endswith(resumed.removeprefix(OPENING))
    assert resumed.removeprefix(OPENING).startswith(b"id: %b-3\n" % log.epoch.encode())
    start = Position(log.epoch, 0)
    frames = (await server.call(lambda: server.hub.hub.read_page(log.run_id, start))).frames
    encoder = DIALECTS[dialect].start(LogRef(log.run_id, log.epoch))
    events = [decode_event(canonical) for canonical in split_frames(frames)]
    golden = b"".join(encoder.group([event]) for event in events)
    assert live == OPENING + golden + encoder.end(events[-1])


# --- a dialect that remembers ---------------------------------------------------------------------


async def test_a_dialect_that_remembers_is_resumed_at_every_position(
    here: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lens, "DIALECTS", {**DIALECTS, "parts": PARTS})
    target = "/runs/run/events?dialect=parts"
    log = await here.log("run")
    async with here.watch(target) as stream:
        await stream.read_until(b'{"n":0,"type":"begin","run":"run"}\n\n')  # before any event
        await log.emit(1)
        for text in ("a", "b", "c"):
            await log.emit(1, type="content", data={"text": text})
        await log.emit(1, type="tool_call", data={})
        await log.emit(1, 2, type="thinking", data={"text": "x"})
        await log.emit(1, 2, 3)
        await log.end()
        whole = (await stream.read_all()).removeprefix(OPENING)

    frames = [json.loads(data) for data in re.findall(rb"^data: ({.*)$", whole, re.MULTILINE)]
    assert [each["n"] for each in frames] == list(range(len(frames)))
    assert [each["type"] for each in frames][-3:] == ["part_end", "call_end", "finish"]
    assert whole.endswith(b"\n\ndata: [DONE]\n\n")
    shown = [int(seq) for seq in re.findall(rb"^id: \w+-(\d+)$", whole, re.MULTILINE)]
    assert shown == [2, 3, 4, 5, 6, 7, 11]  # the last events but the end show nothing
    for after in range(11):
        answer = await here.fetch("GET", f"{target}&after={log.epoch}-{after}")
        rest = whole if after == 0 else whole.partition(b"\n\n")[2]  # without the prelude
        for seq in shown:
            if seq <= after:  # what follows the frame of the last id that was seen
                rest = rest.partition(b"id: %b-%d\n" % (log.epoch.encode(), seq))[2]
                rest = rest.partition(b"\n\n")[2]
        assert answer.body.removeprefix(OPENING) == rest
    assert (await here.fetch("GET", f"{target}&after={log.epoch}-11")).status == 204
    assert here.hub.hub.rendered.computed < 100


# --- NDJSON ---------------------------------------------------------------------------------------


async def test_ndjson_is_a_canonical_event_a_line(server: Server, name: Name) -> None:
    log = await server.log(name())
    async with server.watch(f"/runs/{log.run_id}/events", NDJSON) as stream:
        assert stream.head.headers["content-type"] == "application/x-ndjson"
        await log.emit(1, data="a\nb")
        await stream.read_until(b"\n")
        await log.end()
        body = await stream.read_all()

    assert body.endswith(b"\n")
    lines = [json.loads(line) for line in body.split(b"\n")[:-1]]
    assert [(line["seq"], line["type"]) for line in lines] == [(1, "step"), (2, "done")]
    sse = (await server.fetch("GET", f"/runs/{log.run_id}/events")).body
    assert [b"data: " + line for line in body.split(b"\n")[:-1]] == [
        line for line in sse.split(b"\n") if line.startswith(b"data: ")
    ]


async def test_ndjson_tells_a_gap_and_resumes(server: Server, name: Name) -> None:
    run_id = name()
    old = await server.closed_log(run_id, 1)
    new = await server.log(run_id, replace=True)
    await new.emit(1, 2)

    answer = await server.fetch(
        "GET", f"/runs/{run_id}/events?live=false&after={old.epoch}-1", NDJSON
    )

    gap, *events = map(json.loads, answer.body.splitlines())
    assert (gap["type"], gap["data"]["reason"]) == ("gap", "replaced")
    assert [event["seq"] for event in events] == [1, 2]


async def test_ndjson_has_no_dialects(server: Server, name: Name) -> None:
    log = await server.closed_log(name())

    answer = await server.fetch("GET", f"/runs/{log.run_id}/events?dialect=task", NDJSON)

    assert answer.problem() == (400, "invalid_value")
    assert "dialect" in answer.detail()


# --- history --------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, NDJSON])
async def test_history_ends_where_the_log_ended_when_it_was_asked_for(
    server: Server, name: Name, headers: dict[str, str]
) -> None:
    log = await server.log(name())
    target = f"/runs/{log.run_id}/events?live=false"

    assert (await server.fetch("GET", target, headers)).body in (OPENING, b"")

    await log.emit(*range(1, 6))
    answer = await server.fetch("GET", target, headers)
    assert answer.body.count(b'"seq":') == 5
    rest = await server.fetch("GET", f"{target}&after={log.epoch}-5", headers)
    assert rest.body in (OPENING, b"")


async def test_a_long_history_is_whole(server: Server, name: Name) -> None:
    log = await server.log(name())
    for _ in range(5):
        await log.emit(*range(2000), data={"text": "x" * 100})
    await log.end()

    answer = await server.fetch("GET", f"/runs/{log.run_id}/events?live=false")

    ids = [line for line in answer.body.split(b"\n") if line.startswith(b"id: ")]
    assert ids == [b"id: %b-%d" % (log.epoch.encode(), seq) for seq in range(1, 10_002)]


# --- pages of JSON, with and without waiting ------------------------------------------------------


async def test_a_page_tells_where_the_next_begins(server: Server, name: Name) -> None:
    log = await server.log(name())
    await log.emit(1, 2)
    target = f"/runs/{log.run_id}/events"
    first = (await server.fetch("GET", target, JSON)).json()
    second = (await server.fetch("GET", f"{target}?after={first['position']}", JSON)).json()
    await log.end()
    third = (await server.fetch("GET", f"{target}?after={second['position']}", JSON)).json()
    fourth = (await server.fetch("GET", f"{target}?after={third['position']}", JSON)).json()

    assert [event["seq"] for event in first["events"]] == [1, 2]
    assert (first["position"], first["closed"]) == (f"{log.epoch}-2", False)
    assert second == {"events": [], "position": f"{log.epoch}-2", "closed": False}
    assert [event["type"] for event in third["events"]] == ["done"]
    assert (third["position"], third["closed"]) == (f"{log.epoch}-3", True)
    assert fourth == {"events": [], "position": f"{log.epoch}-3", "closed": True}


async def test_pages_give_every_event_once(server: Server, name: Name) -> None:
    log = await server.log(name())
    for _ in range(5):
        await log.emit(*range(500), data={"text": "x" * 300})
    await log.end()
    found: list[int] = []
    target, pages = f"/runs/{log.run_id}/events?live=long-poll", 0
    after = ""
    while True:
        page = (await server.fetch("GET", target + after)).json()
        found += [event["seq"] for event in page["events"]]
        after = f"&after={page['position']}"
        pages += 1
        if page["closed"]:
            break

    assert found == list(range(1, 2502))
    assert pages > 2


async def test_a_long_poll_waits_for_the_next_event(server: Server, name: Name) -> None:
    log = await server.log(name())
    await log.emit(1)
    async with await server.connect() as connection:
        await connection.ask(
            "GET", f"{server.prefix}/runs/{log.run_id}/events?live=long-poll&after={log.epoch}-1"
        )
        await server.eventually(lambda: server.hub.hub.statistics().watchers > 0)
        await log.emit(2)
        page = (await connection.read_answer()).json()

    assert [event["seq"] for event in page["events"]] == [2]


async def test_a_long_poll_that_waits_in_vain_answers_with_nothing() -> None:
    async with serving_here(settings=Settings(long_poll_s=0.05)) as server:
        log = await server.log("run")
        await log.emit(1)

        answer = await server.fetch("GET", f"/runs/run/events?live=long-poll&after={log.epoch}-1")

        assert answer.json() == {"events": [], "position": f"{log.epoch}-1", "closed": False}


async def test_a_long_poll_ends_when_its_client_leaves(here: Server) -> None:
    await here.log("run")
    connection = await here.connect()
    await connection.ask("GET", "/runs/run/events?live=long-poll")
    await here.eventually(lambda: here.hub.hub.statistics().watchers == 1)
    await connection.close()

    await here.eventually(lambda: here.hub.hub.statistics().watchers == 0)


async def test_a_long_poll_ends_when_the_server_does(here: Server) -> None:
    log = await here.log("run")
    asked = asyncio.create_task(here.fetch("GET", "/runs/run/events?live=long-poll"))
    await here.eventually(lambda: here.hub.hub.statistics().watchers == 1)
    here.app.end_streams()

    assert (await asked).json() == {"events": [], "position": f"{log.epoch}-0", "closed": False}


# --- which form -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "text/event-stream"),
        ("*/*", "text/event-stream"),
        ("text/html, image/png", "text/event-stream"),
        ("text/event-stream", "text/event-stream"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("APPLICATION/X-NDJSON", "application/x-ndjson"),
        ("application/json;q=0.5, application/x-ndjson", "application/x-ndjson"),
        ("application/x-ndjson;q=0, */*", "text/event-stream"),
        ("application/json;q=x, application/x-ndjson;q=nan", "text/event-stream"),
        ("application/json", "application/json"),
        ("application/json, text/event-stream", "application/json"),
        (";;,,;q=", "text/event-stream"),
    ],
)
async def test_a_watcher_gets_the_form_it_accepts(
    server: Server, name: Name, accept: str, expected: str
) -> None:
    log = await server.closed_log(name(), 1)

    answer = await server.fetch("GET", f"/runs/{log.run_id}/events", {"Accept": accept})

    assert (answer.status, answer.headers["content-type"]) == (200, expected)
