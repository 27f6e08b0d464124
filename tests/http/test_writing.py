"""Runs that are written from elsewhere: begun, appended to once, kept alive, ended, lost."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request

import runcast
from runcast._http.api import bodies
from runcast._http.guard.access import ACTIONS
from runcast._settings import Settings
from tests.http.client import WAIT_S, Answer
from tests.http.serving import Server, serving_here

pytestmark = pytest.mark.anyio

LEASE = "a secret of the writer"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving_here() as server:
        yield server


async def begin(server: Server, run_id: str = "r", **more: Any) -> Answer:
    body = {"name": "train", "run_id": run_id, "lease_id": LEASE, **more}
    return await server.post("/runs", json.dumps(body).encode())


async def write(
    server: Server, sequence: int, *events: object, lease: str = LEASE, producer: str = "p"
) -> Answer:
    return await server.post(
        f"/runs/r/events?producer={producer}&sequence={sequence}",
        json.dumps(events).encode(),
        {"Runcast-Lease": lease},
    )


async def heartbeat(server: Server, query: str = "", lease: str = LEASE) -> Answer:
    return await server.post(f"/runs/r/heartbeat{query}", b"", {"Runcast-Lease": lease})


async def log(server: Server) -> list[Any]:
    page = await server.fetch("GET", "/runs/r/events?live=long-poll")
    return [[each["type"], each["data"]] for each in page.json()["events"]]


def step(n: int) -> dict[str, Any]:
    return {"type": "step", "data": n}


async def test_a_run_is_begun_written_and_ended_from_elsewhere(server: Server) -> None:
    begun = await begin(server, labels={"user": "ada"}, ttl_s=60)
    first = await write(server, 1, step(1), {**step(2), "time": 5.5, "node": "n", "path": ["a"]})
    last = await write(server, 2, step(3), {"type": "done", "data": {"result": 42}})
    shown = (await server.fetch("GET", "/runs/r")).json()

    assert begun.status == 201
    assert begun.headers["location"].endswith("/runs/r")
    told = begun.json()
    assert (told["lease_id"], told["position"]) == (LEASE, f"{told['epoch']}-1")
    assert first.json()["position"] == f"{told['epoch']}-3"
    assert last.json() == {**first.json(), "position": f"{told['epoch']}-5"}
    assert shown["status"] == "done"
    assert (shown["function"], shown["labels"]) == ("train", {"user": "ada"})
    assert await log(server) == [
        ["started", {"function": "train"}],
        *(["step", n] for n in (1, 2, 3)),
        ["done", {"result": 42}],
    ]


async def test_a_request_that_is_sent_again_happens_once(server: Server) -> None:
    first = await begin(server)
    again = await begin(server)
    other = await server.post("/runs", json.dumps({"name": "x", "run_id": "r"}).encode())
    assert (first.status, again.status) == (201, 200)
    assert {**again.json(), "time": 0} == {**first.json(), "time": 0, "repeated": True}
    assert other.problem() == (409, "conflict")

    for sequence, events in ((1, [step(1)]), (2, [step(2), step(3)])):
        once = await write(server, sequence, *events)
        for _ in range(2):
            repeated = await write(server, sequence, *events)
            assert repeated.json() == {**once.json(), "repeated": True}
    ending = {"type": "failed", "data": {"message": "no", "code": "c"}}
    ended = await write(server, 3, ending)
    assert (await write(server, 3, ending)).json() == {**ended.json(), "repeated": True}
    assert [kind for kind, _ in await log(server)] == ["started", *["step"] * 3, "failed"]


async def test_batches_that_are_sent_at_once_are_written_once(server: Server) -> None:
    await begin(server)
    answers = await asyncio.gather(*(write(server, 1, step(1), step(2)) for _ in range(8)))
    assert sorted(each.json()["repeated"] for each in answers) == [False, *[True] * 7]
    assert len(await log(server)) == 3


async def test_a_batch_out_of_sequence_is_refused_with_the_number_that_comes_next(
    server: Server,
) -> None:
    await begin(server)
    await write(server, 1, step(1))
    await write(server, 2, step(2))
    await write(server, 3, step(3))
    for sequence in (2, 5):
        answer = await write(server, sequence, step(9))
        assert answer.problem() == (409, "out_of_sequence")
        assert json.loads(answer.body)["expected"] == 4
    other = await write(server, 3, step(3), step(4))
    assert other.problem() == (409, "conflict")
    assert (await write(server, 1, step(1), producer="q")).status == 200
    assert len(await log(server)) == 5


async def test_other_events_under_a_number_that_was_used_are_no_repetition(server: Server) -> None:
    """As of a writer that was started again, and counts from 1 again."""
    used = {"type": "usage", "data": {"model": "m", "input_tokens": 1}}
    await begin(server)
    await write(server, 1, step(1), used)
    assert (await write(server, 1, step(1), used)).json()["repeated"]
    more = {**used, "data": {"model": "m", "input_tokens": 2}}
    assert (await write(server, 1, step(1), more)).problem() == (409, "conflict")
    others = step(2), {"type": "stop", "data": 1}, {**step(1), "node": "n"}
    for other in (*others, {**step(1), "duration": 2.0}):
        answer = await write(server, 1, other, used)
        assert answer.problem() == (409, "conflict")
        assert b"other events" in answer.body
    assert len(await log(server)) == 3


@pytest.mark.parametrize(
    ("ending", "other"),
    [
        ({"type": "done", "data": {"result": 1}}, {"type": "done", "data": {"result": 2}}),
        ({"type": "done"}, {"type": "done", "data": {"summary": "s"}}),
        ({"type": "failed"}, {"type": "cancelled"}),
        ({"type": "failed", "data": {"message": "a"}}, {"type": "failed", "data": {"code": "b"}}),
        ({"type": "cancelled", "data": {"reason": "a"}}, {"type": "cancelled"}),
    ],
)
async def test_another_ending_under_the_number_of_the_first_is_no_repetition(
    server: Server, ending: object, other: object
) -> None:
    await begin(server)
    await write(server, 1, ending)
    assert (await write(server, 1, ending)).json()["repeated"]
    assert (await write(server, 1, other)).problem() == (409, "conflict")


async def test_the_first_batch_is_known_for_ever(server: Server) -> None:
    await begin(server)
    for n in range(40):
        sent = await server.post("/runs/r/messages", json.dumps({"data": n}).encode())
        assert sent.status == 201
    first = await write(server, 1, step(1))
    assert (await write(server, 1, step(1))).json() == {**first.json(), "repeated": True}
    for n in range(24):
        await server.post("/runs/r/messages", json.dumps({"data": n}).encode())
    assert (await write(server, 2, step(2))).status == 200


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"type": "Bad Type"}, "event type"),
        ({"data": 1}, "type"),
        ([], "object"),
        ({"type": "step", "seq": 7}, "seq"),
        ({"type": "step", "time": "noon"}, "time"),
        ({"type": "step", "node": "n" * 201}, "node"),
        ({"type": "step", "data": "x" * 2_000_000}, "bytes"),
        ({"type": "started"}, "started"),
        ({"type": "gap", "data": {"reason": "trimmed"}}, "gap"),
        ({"type": "message", "data": {"message_id": "m", "data": 1}}, "message"),
        ({"type": "interrupt_response", "data": {"interrupt_id": "q"}}, "interrupt_response"),
        ({"type": "interrupt_resolved", "data": {"interrupt_id": "q"}}, "interrupt_resolved"),
        ({"type": "done", "data": 5}, "object"),
        ({"type": "done", "data": {"value": 5}}, "value"),
        ({"type": "failed", "data": {"message": 5}}, "message"),
        ({"type": "failed", "data": {"retryable": 1}}, "retryable"),
    ],
)
async def test_of_a_batch_with_a_wrong_event_nothing_is_written(
    server: Server, event: object, reason: str
) -> None:
    await begin(server)
    answer = await write(server, 1, step(1), event, step(2))
    assert answer.problem() == (422, "invalid_event")
    assert json.loads(answer.body)["index"] == 1
    assert "event 1: " in answer.detail()
    assert reason in answer.detail()
    assert len(await log(server)) == 1
    assert (await write(server, 1, step(1))).status == 200  # the number was not used


async def test_nothing_follows_a_terminal_event(server: Server) -> None:
    await begin(server)
    early = await write(server, 1, {"type": "done"}, step(1))
    ended = await write(server, 1, {"type": "cancelled"})
    late = await write(server, 2, step(1))
    assert json.loads(early.body)["index"] == 1
    assert ended.status == 200
    assert late.problem() == (409, "run_closed")
    assert (await heartbeat(server)).problem() == (409, "run_closed")


async def test_lines_of_json_are_a_batch_as_well(server: Server) -> None:
    await begin(server)
    fields = {"Content-Type": "application/x-ndjson", "Runcast-Lease": LEASE}
    target = "/runs/r/events?producer=p&sequence="
    wrong = await server.fetch("POST", f"{target}1", fields, b'{"type":"a"}\n{"type":\n')
    right = await server.fetch("POST", f"{target}1", fields, b'{"type":"a"}\n\n{"type":"b"}\n')
    assert wrong.problem() == (422, "invalid_event")
    assert json.loads(wrong.body)["index"] == 1
    assert right.status == 200
    assert [kind for kind, _ in await log(server)] == ["started", "a", "b"]


@pytest.mark.parametrize("data", ['"x"', r'"\ud800"'], ids=["fast", "lenient"])
@pytest.mark.parametrize(
    "body",
    [
        '{"type":"a"}{"type":"b","data":DATA}\n',
        '{"type":"a"}\n{"type":"b",\n"data":DATA}\n',
        '{"type":"a"}\n{"type":"b",\n"data":DATA}{"type":"c"}\n',
    ],
)
async def test_each_line_is_one_event_however_it_is_read(
    server: Server, body: str, data: str
) -> None:
    await begin(server)
    fields = {"Content-Type": "application/x-ndjson", "Runcast-Lease": LEASE}
    sent = body.replace("DATA", data).encode()
    answer = await server.fetch("POST", "/runs/r/events?producer=p&sequence=1", fields, sent)
    assert answer.problem() == (422, "invalid_event")
    assert len(await log(server)) == 1


async def test_far_too_many_events_are_counted_and_not_mended(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To mend a body with half a surrogate pair takes seconds, if it has a million events."""
    mended: list[bytes] = []
    monkeypatch.setattr(bodies, "_mended", mended.append)
    await begin(server)
    odd = rb'{"type":"a","data":["\\ud","\ud800"]}'
    body = b"[" + b",".join([b'{"type":"a"}'] * 1000 + [odd]) + b"]"
    for wrong, expected in ((body, "got 1001"), (body[:-1], "array")):
        answer = await server.fetch(
            "POST",
            "/runs/r/events?producer=p&sequence=1",
            {"Content-Type": "application/json", "Runcast-Lease": LEASE},
            wrong,
        )
        assert answer.problem() == (400, "invalid_value")
        assert expected in answer.detail()
    assert not mended


@pytest.mark.parametrize(
    ("query", "body", "kind", "expected"),
    [
        ("sequence=1", b"[]", "application/json", "producer"),
        ("producer=p", b"[]", "application/json", "sequence"),
        ("producer=p&sequence=0", b"[]", "application/json", "sequence"),
        ("producer=p&sequence=one", b"[]", "application/json", "sequence"),
        ("producer=a/b&sequence=1", b"[]", "application/json", "producer"),
        ("producer=p&sequence=1", b"[]", "application/json", "1 to 1000 events"),
        ("producer=p&sequence=1", b"\n", "application/x-ndjson", "1 to 1000 events"),
        ("producer=p&sequence=1", b'{"type":"a"}', "application/json", "array"),
        ("producer=p&sequence=1", b"[", "application/json", "body"),
        ("producer=p&sequence=1", b"type=a", "application/x-www-form-urlencoded", "batch"),
    ],
)
async def test_malformed_batches_are_refused(
    server: Server, query: str, body: bytes, kind: str, expected: str
) -> None:
    await begin(server)
    fields = {"Content-Type": kind, "Runcast-Lease": LEASE}
    answer = await server.fetch("POST", f"/runs/r/events?{query}", fields, body)
    assert answer.problem() == (400, "invalid_value")
    assert expected in answer.detail()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"lease_s": 0}, "lease_s"),
        ({"lease_s": 1e9}, "lease_s"),
        ({"lease_id": "short"}, "lease_id"),
        ({"lease_id": "é" * 20}, "lease_id"),
        ({"lease_id": " a space at the start"}, "lease_id"),
        ({"ttl_s": -1}, "ttl_s"),
        ({"labels": {"runcast.lease": "1"}}, "labels"),
        ({"run_id": "../x"}, "id"),
    ],
)
async def test_malformed_runs_are_refused(
    server: Server, more: dict[str, Any], expected: str
) -> None:
    answer = await begin(server, **{"run_id": "r", **more})
    assert answer.problem() == (400, "invalid_value")
    assert expected in answer.detail()


async def test_an_idempotency_key_is_refused_rather_than_ignored(server: Server) -> None:
    answer = await server.post("/runs", b'{"name":"x"}', {"Idempotency-Key": "k"})
    assert answer.problem() == (400, "invalid_value")


async def test_only_the_writer_that_began_a_run_writes_it(server: Server) -> None:
    await begin(server)
    begun = await server.log("other")
    for answer in (
        await write(server, 1, step(1), lease="somebody else's"),
        await write(server, 1, step(1), lease=""),
        await heartbeat(server, lease="somebody else's"),
        await server.post("/runs/r/interrupts/q/expire", b"", {"Runcast-Lease": "x" * 20}),
        await server.post(
            "/runs/other/events?producer=p&sequence=1", b'[{"type":"a"}]', {"Runcast-Lease": LEASE}
        ),
    ):
        assert answer.problem() == (403, "forbidden")
    missing = await server.post(
        "/runs/none/events?producer=p&sequence=1", b'[{"type":"a"}]', {"Runcast-Lease": LEASE}
    )
    assert missing.problem() == (404, "not_found")
    await begun.end()
    assert len(await log(server)) == 1


async def test_an_application_decides_who_may_write() -> None:
    async def authorize(request: Request) -> runcast.Access:
        user = request.headers["user"]
        if user == "reader":
            return runcast.Access(actions=set(ACTIONS) - {"write"})
        return runcast.Access(subject=user, labels={"owner": user}, functions=["train"])

    async def ask(server: Server, user: str, target: str, body: object) -> Answer:
        fields = {"user": user, "Runcast-Lease": LEASE}
        return await server.post(target, json.dumps(body).encode(), fields)

    begun = {"name": "train", "run_id": "r", "lease_id": LEASE}
    target = "/runs/r/events?producer=p&sequence=1"
    async with serving_here(authorize=authorize) as server:
        assert (await ask(server, "reader", "/runs", begun)).problem() == (403, "forbidden")
        other = await ask(server, "ada", "/runs", {**begun, "name": "other"})
        assert other.problem() == (403, "forbidden")
        assert (await ask(server, "ada", "/runs", begun)).status == 201
        assert (await ask(server, "bob", target, [step(1)])).problem() == (404, "not_found")
        assert (await ask(server, "reader", target, [step(1)])).problem() == (403, "forbidden")
        assert (await ask(server, "ada", target, [step(1)])).status == 200
        shown = await server.fetch("GET", "/runs/r", {"user": "ada"})
        assert shown.json()["labels"] == {"owner": "ada"}


async def test_a_cancellation_reaches_the_writer(server: Server) -> None:
    await begin(server)
    assert (await write(server, 1, step(1))).json()["cancel"] is None
    waiting = asyncio.create_task(heartbeat(server, "?wait_s=60"))
    await server.eventually(lambda: bool(server.hub.hub.owned._listeners))
    cancelled = await server.post("/runs/r/cancel?reason=enough")
    async with asyncio.timeout(WAIT_S):
        told = await waiting
    assert cancelled.status == 202
    assert told.json()["cancel"] == "enough"
    assert (await heartbeat(server, "?wait_s=60")).json()["cancel"] == "enough"
    assert (await write(server, 2, step(2))).json()["cancel"] == "enough"
    last = await write(server, 3, {"type": "cancelled", "data": {"reason": "enough"}})
    assert last.status == 200
    assert not server.hub.hub.owned._listeners


@pytest.mark.parametrize("wait_s", ["-1", "61", "nan", "soon"])
async def test_a_heartbeat_waits_only_for_so_long(server: Server, wait_s: str) -> None:
    await begin(server)
    assert (await heartbeat(server, f"?wait_s={wait_s}")).problem() == (400, "invalid_value")


async def test_a_run_is_lost_when_its_lease_is_over_and_not_before() -> None:
    async with serving_here(settings=Settings(lease_s=0.2)) as server:
        await begin(server, lease_s=1000)
        body = {"name": "x", "run_id": "short", "lease_s": 0.2}
        await server.post("/runs", json.dumps(body).encode())
        async with server.watch("/runs/short/events") as watching:
            while (event := json.loads((await watching.event()).data))["type"] != "failed":
                pass
        assert event["data"]["code"] == "lost"
        assert (await server.fetch("GET", "/runs/r")).json()["status"] == "running"
        assert (await write(server, 1, step(1))).status == 200


async def test_a_writer_whose_run_was_lost_is_told_so() -> None:
    async with serving_here(settings=Settings(lease_s=0.2)) as server:
        await begin(server, lease_s=0.2)
        async with server.watch("/runs/r/events") as watching:
            while json.loads((await watching.event()).data)["type"] != "failed":
                pass
        assert (await write(server, 1, step(1))).problem() == (409, "run_closed")
        assert (await heartbeat(server)).problem() == (409, "run_closed")


async def test_a_question_that_nobody_answers_is_closed_by_its_writer(server: Server) -> None:
    await begin(server)
    asked = [{"type": "interrupt_request", "data": {"interrupt_id": it}} for it in ("q", "w")]
    await write(server, 1, *asked)
    assert (await server.fetch("GET", "/runs/r")).json()["status"] == "waiting"
    answered = await server.post("/runs/r/interrupts/w", b'{"type":"accept"}')
    fields = {"Runcast-Lease": LEASE}
    over = await server.post("/runs/r/interrupts/q/expire", b"", fields)
    late = await server.post("/runs/r/interrupts/w/expire", b"", fields)
    unknown = await server.post("/runs/r/interrupts/x/expire", b"", fields)
    assert answered.status == 200
    assert over.json()["decision"]["type"] == "expired"
    assert (late.json()["decision"]["type"], late.json()["repeated"]) == ("accept", True)
    assert unknown.problem() == (404, "not_found")
    assert (await server.fetch("GET", "/runs/r")).json()["status"] == "running"


async def test_a_run_has_at_most_so_many_events_and_may_still_end() -> None:
    async with serving_here(settings=Settings(max_events_per_run=3)) as server:
        await begin(server)
        assert (await write(server, 1, step(1), step(2))).status == 200
        assert (await write(server, 2, step(3))).problem() == (413, "run_too_large")
        assert (await write(server, 2, {"type": "done"})).status == 200


async def test_at_most_so_many_runs_are_open() -> None:
    async with serving_here(settings=Settings(max_remote_runs=1)) as server:
        await begin(server)
        other = await begin(server, "s")
        assert other.problem() == (503, "overloaded")
        await write(server, 1, {"type": "done"})
        assert (await begin(server, "s")).status == 201


async def test_a_run_is_begun_again_in_place_of_one_that_works(server: Server) -> None:
    script = await server.begin("r")
    refused = await begin(server)
    begun = await begin(server, replace=True)
    script.tell(StopIteration)
    assert refused.problem() == (409, "conflict")
    assert begun.status == 201
    assert (await write(server, 1, step(1))).status == 200
    assert [kind for kind, _ in await log(server)] == ["started", "step"]


async def test_what_models_used_is_priced_by_the_server(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runcast.events.prices import Prices

    table = {"currency": "EUR", "models": {"m": {"input": 1.0, "output": 2.0}}}
    server.hub.hub.prices = Prices.parse(table)
    await begin(server)
    used = {"model": "m", "input_tokens": 1_000_000, "output_tokens": 0}
    await write(server, 1, {"type": "usage", "data": used})
    assert (await log(server))[-1] == ["usage", {**used, "cost": 1.0, "currency": "EUR"}]
