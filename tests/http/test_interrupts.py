"""Questions over HTTP: seen by whoever comes, answered once, and there after a restart."""

import asyncio
import json
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

import runcast
from runcast._producing.answers import Answer
from runcast.events.lifecycle import STATUSES
from runcast.testing import FakeClock
from tests.cli.served import Served, frames, serve
from tests.http.client import WAIT_S
from tests.http.client import Answer as Response
from tests.http.serving import Server, serving_here

pytestmark = pytest.mark.anyio

Name = Callable[[], str]

SCHEMA: Final = {"type": "object", "properties": {"q": {"type": "string"}}}


FLOWS: Final = """
import runcast

def go_on(interrupt_id: str, answer: runcast.Answer):
    yield f"{interrupt_id}: {answer.type} {answer.args} by {answer.by}"

@runcast.function(resume=go_on)
async def resumable():
    runcast.content("ready")
    await runcast.ask("Deploy?", interrupt_id="deploy", config={"allow_respond": False})

@runcast.function
def forgetful():
    runcast.content("ready")
    runcast.ask("Deploy?", interrupt_id="deploy")
"""


async def asks(
    interrupt_id: str = "q",
    timeout_s: float | None = None,
    config: dict[str, Any] | None = None,
) -> Any:
    """Ask, and return what was answered."""
    answer = await runcast.ask(
        "Search the web?",
        action="web_search",
        args={"q": "x"},
        config=config,
        timeout_s=timeout_s,
        interrupt_id=interrupt_id,
    )
    return [answer.type, answer.args, answer.by]


async def asks_two(then_waits: bool = False) -> Any:
    """Ask two questions at once; then go on until cancelled, if told so."""
    answers = await asyncio.gather(*(runcast.ask(f"{key}?", interrupt_id=key) for key in "ab"))
    runcast.emit("both", [answer.type for answer in answers])
    if then_waits:
        await asyncio.Event().wait()
    return [answer.type for answer in answers]


async def asks_by_writing() -> None:
    """Write questions, and say of some that they are answered; go on until cancelled."""
    writer = runcast.StreamWriter("node")
    for key in "ab":
        writer.interrupt_request(key, "search", {"q": key}, "Search?")
    writer.interrupt_resolved("approved", "b")
    await asyncio.Event().wait()


@pytest.fixture(params=["direct-httptools", "plain-h11"])
async def asking(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """A server of functions that ask, by each path that streams can take."""
    settings = runcast.Settings(shutdown_grace_s=0.0)
    functions = [asks, asks_two, asks_by_writing]
    async with serving_here(request.param, functions=functions, settings=settings) as server:
        yield server


async def begin(server: Server, function: str, run_id: str, **inputs: Any) -> None:
    """Begin a run and wait for its first question."""
    body = json.dumps({"inputs": inputs, "run_id": run_id}).encode()
    answer = await server.post(f"/invoke/{function}", body, {"Prefer": "respond-async"})
    assert answer.status == 202, answer
    async with server.watch(f"/runs/{run_id}/events") as watching:
        await watching.read_until(b'"interrupt_request"')


async def answer(server: Server, run_id: str, given: object, interrupt_id: str = "q") -> Response:
    path = f"/runs/{run_id}/interrupts/{quote(interrupt_id, safe='')}"
    return await server.post(path, json.dumps(given).encode())


async def events(server: Server, run_id: str) -> list[dict[str, Any]]:
    """Return a run's events up to its end."""
    async with server.watch(f"/runs/{run_id}/events") as watching:
        return [json.loads(event.data) for event in await watching.rest()]


async def listed(server: Server, run_id: str) -> str:
    """Return the status that the list of runs shows."""
    runs = (await server.fetch("GET", "/runs?limit=500")).json()["runs"]
    return str({run["run_id"]: run["status"] for run in runs}[run_id])


async def statuses(server: Server, run_id: str) -> set[str]:
    """Return all statuses that are shown of a run, wherever one is: one, if they agree."""
    shown = (await server.fetch("GET", f"/runs/{run_id}")).json()
    found = {shown["status"], shown["state"]["status"], await listed(server, run_id)}
    for status in STATUSES:
        runs = (await server.fetch("GET", f"/runs?status={status}")).json()["runs"]
        found |= {status for run in runs if run["run_id"] == run_id}
    return found


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected", "approved"),
    [
        ({"type": "accept"}, ["accept", None, ""], True),
        ({"type": "reject", "by": "ann"}, ["reject", None, "ann"], False),
        ({"type": "edit", "args": {"q": "y"}, "by": "bob"}, ["edit", {"q": "y"}, "bob"], True),
        ({"type": "response", "args": "later"}, ["response", "later", ""], True),
        ({"approved": True}, ["accept", None, ""], True),
        ({"approved": False, "by": "ann"}, ["reject", None, "ann"], False),
        ({"approved": True, "content": "ok\n\nid: 9"}, ["response", "ok\n\nid: 9", ""], True),
        ({"type": "accept", "_trace": [1]}, ["accept", None, ""], True),
    ],
)
async def test_a_question_is_answered_in_either_form(
    asking: Server, name: Name, given: dict[str, Any], expected: list[Any], approved: bool
) -> None:
    run_id = name()
    await begin(asking, "asks", run_id)

    answered = await answer(asking, run_id, given)

    kind, args, by = expected
    decision = {"type": kind, "args": args, "by": by, "approved": approved}
    assert answered.status == 200
    assert answered.json() == {"decision": decision, "repeated": False}
    log = await events(asking, run_id)
    assert log[-1]["data"]["result"] == expected
    assert [event["type"] for event in log[1:-1]] == [
        *("interrupt_request", "interrupt_response", "interrupt_resolved")
    ]
    assert log[2]["data"].get("by", "") == by
    assert log[2]["data"]["answer"] == {"type": kind, "args": args}


async def test_the_same_answer_again_is_told_as_such_and_another_gets_the_first_decision(
    asking: Server, name: Name
) -> None:
    run_id, first = name(), {"type": "edit", "args": {"q": "first"}, "by": "ann"}
    await begin(asking, "asks", run_id)

    answers = [await answer(asking, run_id, first)]
    answers.append(await answer(asking, run_id, {**first, "by": "bob"}))
    refused = await answer(asking, run_id, {"type": "reject"})
    log = await events(asking, run_id)
    answers.append(await answer(asking, run_id, first))

    assert [each.json()["repeated"] for each in answers] == [False, True, True]
    assert {each.json()["decision"]["by"] for each in answers} == {"ann"}
    assert refused.problem() == (409, "conflict")
    assert '{"type":"edit","args":{"q":"first"}}' in refused.detail()
    assert json.loads(refused.body)["decision"] == answers[0].json()["decision"]
    assert [event["type"] for event in log].count("interrupt_response") == 1


async def test_of_many_who_answer_at_once_one_wins_and_all_learn_who(
    asking: Server, name: Name
) -> None:
    run_id = name()
    await begin(asking, "asks", run_id)

    answers = await asyncio.gather(
        *(answer(asking, run_id, {"type": "response", "args": n}) for n in range(12))
    )

    won = [each.json()["decision"]["args"] for each in answers if each.status == 200]
    lost = [each for each in answers if each.status != 200]
    assert len(won) == 1
    assert all(each.problem() == (409, "conflict") for each in lost)
    assert all(f'"args":{won[0]}' in each.detail() for each in lost)
    assert (await events(asking, run_id))[-1]["data"]["result"][1] == won[0]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"null", b"7", b'"accept"', b"[]", b"{}", b'{"type":"maybe"}', b"\xff"),
        *(b'{"type":"expired"}', b'{"approved":"yes"}', b'{"type":"accept","by":7}'),
        b'{"type":"edit","args":%b}' % (b"[" * 101 + b"]" * 101),
        b"[" * 100_000,
        b'{"type":"accept","approved":false}',
        b'{"type":"reject","approved":true}',
        b'{"type":"edit"}',
        b'{"type":"response"}',
        b'{"approved":true,"args":{"q":"other"}}',
        b'{"type":"accept","content":"yes"}',
    ],
)
async def test_what_is_no_answer_is_refused_and_the_question_stays_open(
    asking: Server, name: Name, body: bytes
) -> None:
    run_id = name()
    await begin(asking, "asks", run_id)

    refused = await asking.post(f"/runs/{run_id}/interrupts/q", body)

    assert refused.problem() == (400, "invalid_value")
    assert await listed(asking, run_id) == "waiting"
    assert (await answer(asking, run_id, {"type": "accept"})).status == 200


async def test_what_a_web_page_could_send_unasked_is_no_answer(asking: Server, name: Name) -> None:
    run_id = name()
    await begin(asking, "asks", run_id)
    path, body = f"/runs/{run_id}/interrupts/q", b'{"type":"accept"}'

    plain = await asking.fetch("POST", path, {"Content-Type": "text/plain"}, body)
    foreign = await asking.post(path, body, {"Origin": "https://evil.example"})

    assert plain.problem()[0] == 400
    assert foreign.problem()[0] == 403
    assert await listed(asking, run_id) == "waiting"


async def test_what_was_never_asked_and_runs_that_are_not_there_are_not_found(
    asking: Server, name: Name
) -> None:
    run_id = name()
    await begin(asking, "asks", run_id)

    for unknown, key in ((run_id, "another"), ("no-such-run", "q")):
        refused = await answer(asking, unknown, {"type": "accept"}, key)
        assert refused.problem() == (404, "not_found")


async def test_a_question_or_an_answer_that_no_event_holds_is_refused(name: Name) -> None:
    small = runcast.Settings(max_event_bytes=1000)
    async with serving_here(functions=[asks], settings=small) as server:
        run_id, too_much = name(), {"schema": "x" * 1000}
        await begin(server, "asks", run_id)
        refused = await answer(server, run_id, {"type": "edit", "args": "x" * 1000})
        assert refused.problem() == (413, "event_too_large")
        assert (await answer(server, run_id, {"type": "edit", "args": "x" * 100})).status == 200
        body = json.dumps({"inputs": {"config": too_much}}).encode()
        asked = await server.post("/invoke/asks", body, {"Accept": "application/json"})

    assert asked.problem() == (500, "event_too_large")


async def test_a_run_that_ended_without_an_answer_takes_none(asking: Server, name: Name) -> None:
    run_id = name()
    await begin(asking, "asks", run_id)
    await asking.post(f"/runs/{run_id}/cancel")

    refused = await answer(asking, run_id, {"type": "accept"})

    assert refused.problem() == (409, "run_closed")
    assert (await events(asking, run_id))[-1]["type"] == "cancelled"


@pytest.mark.parametrize("key", ["a b", "a?b#c", "50%", "q%2Fr", "深度", "...", "&=+;,"])
async def test_a_question_may_have_any_id_that_a_path_can_hold(
    asking: Server, name: Name, key: str
) -> None:
    run_id = name()
    await begin(asking, "asks", run_id, interrupt_id=key)

    assert (await answer(asking, run_id, {"type": "accept"}, key)).status == 200
    assert (await events(asking, run_id))[-1]["data"]["result"][0] == "accept"


@pytest.mark.parametrize("key", ["a/b", ".", "..", "a\nb", "\x1b[2J", "\u202e", "x" * 129])
async def test_an_id_that_no_url_or_terminal_could_hold_is_refused(key: str) -> None:
    async with runcast.open_hub() as hub:
        run = await hub.start(asks, {"interrupt_id": key})
        async with asyncio.timeout(WAIT_S):
            kind, data = await run.wait()

    assert (kind, data["code"]) == ("failed", "invalid_value")


async def test_a_question_says_which_answers_it_allows(asking: Server, name: Name) -> None:
    run_id = name()
    await begin(asking, "asks", run_id, config={"allow_edit": False, "allow_respond": False})

    for kind in ("edit", "response"):
        refused = await answer(asking, run_id, {"type": kind, "args": 1})
        assert refused.problem() == (400, "invalid_value")
        assert kind in refused.detail()
    assert (await answer(asking, run_id, {"type": "reject"})).status == 200


# --- who comes late -------------------------------------------------------------------------------


async def test_who_comes_late_finds_the_open_questions_and_what_they_allow(
    asking: Server, name: Name
) -> None:
    run_id, config = name(), {"allow_edit": True, "response_schema": SCHEMA}
    await begin(asking, "asks", run_id, timeout_s=3600, config=config)

    shown = (await asking.fetch("GET", f"/runs/{run_id}")).json()

    (question,) = shown["state"]["interrupts"]
    assert shown["status"] == shown["state"]["status"] == "waiting"
    assert (question["interrupt_id"], question["action"]) == ("q", "web_search")
    assert (question["message"], question["args"]) == ("Search the web?", {"q": "x"})
    assert question["config"] == config
    assert question["expires_at"] == pytest.approx(question["asked_at"] + 3600)
    assert shown["position"].endswith(f"-{question['seq']}")


async def test_a_question_that_is_only_written_is_waited_for(asking: Server, name: Name) -> None:
    run_id = name()
    await begin(asking, "asks_by_writing", run_id)
    async with asking.watch(f"/runs/{run_id}/events") as watching:
        await watching.read_until(b'"interrupt_resolved"')

    assert await statuses(asking, run_id) == {"waiting"}
    await answer(asking, run_id, {"type": "accept"}, "a")
    assert await statuses(asking, run_id) == {"running"}
    await asking.post(f"/runs/{run_id}/cancel")
    assert await statuses(asking, run_id) == {"cancelled"}


async def test_a_run_that_has_one_of_two_answers_waits_wherever_it_is_shown(
    asking: Server, name: Name
) -> None:
    run_id = name()
    await begin(asking, "asks_two", run_id, then_waits=True)
    async with asking.watch(f"/runs/{run_id}/events") as watching:
        await watching.read_until(b'"interrupt_id":"b"')

    assert await statuses(asking, run_id) == {"waiting"}
    await answer(asking, run_id, {"type": "accept"}, "a")
    assert await statuses(asking, run_id) == {"waiting"}
    await answer(asking, run_id, {"type": "accept"}, "b")
    assert await statuses(asking, run_id) == {"running"}


async def test_lists_tell_which_runs_wait(asking: Server, name: Name) -> None:
    run_id = name()
    await begin(asking, "asks", run_id)

    async def waiting() -> list[str]:
        found = (await asking.fetch("GET", "/runs?status=waiting")).json()["runs"]
        return [run["run_id"] for run in found]

    assert await waiting() == [run_id]
    await answer(asking, run_id, {"type": "accept"})
    await events(asking, run_id)
    assert await waiting() == []
    assert await listed(asking, run_id) == "done"


async def test_a_run_waits_as_long_as_one_of_its_questions_is_open(
    asking: Server, name: Name
) -> None:
    run_id = name()
    await begin(asking, "asks_two", run_id, then_waits=True)
    async with asking.watch(f"/runs/{run_id}/events") as watching:
        await watching.read_until(b'"b?"')
        await answer(asking, run_id, {"type": "accept"}, "a")
        assert await listed(asking, run_id) == "waiting"
        await answer(asking, run_id, {"type": "accept"}, "b")
        await watching.read_until(b'"both"')

    assert await listed(asking, run_id) == "running"


async def test_a_run_whose_questions_are_answered_at_the_same_time_does_not_seem_to_wait(
    asking: Server, name: Name
) -> None:
    run_id = name()
    await begin(asking, "asks_two", run_id, then_waits=True)
    async with asking.watch(f"/runs/{run_id}/events") as watching:
        await watching.read_until(b'"b?"')
        await asyncio.gather(*(answer(asking, run_id, {"type": "accept"}, key) for key in "ab"))
        await watching.read_until(b'"both"')

    assert await listed(asking, run_id) == "running"
    assert (await asking.fetch("GET", f"/runs/{run_id}")).json()["state"]["status"] == "running"


# --- deadlines ------------------------------------------------------------------------------------


async def test_a_question_expires_and_who_answers_then_is_told_so(
    asking: Server, name: Name
) -> None:
    run_id = name()
    body = json.dumps({"inputs": {"timeout_s": 0}, "run_id": run_id}).encode()
    await asking.post("/invoke/asks", body)

    log = await events(asking, run_id)
    refused = await answer(asking, run_id, {"type": "accept"})

    assert log[-1]["data"]["result"] == ["expired", None, ""]
    assert log[-2]["data"] == {"interrupt_id": "q", "outcome": "expired"}
    assert refused.problem() == (409, "conflict")
    assert '"expired"' in refused.detail()


@pytest.mark.parametrize("timeout_s", [-1, 1e400, "nan"])
async def test_a_timeout_that_is_no_time_is_refused(timeout_s: Any) -> None:
    async with runcast.open_hub() as hub:
        run = await hub.start(asks, {"timeout_s": float(timeout_s)})
        async with asyncio.timeout(WAIT_S):
            kind, data = await run.wait()

    assert (kind, data["code"]) == ("failed", "invalid_value")


async def test_after_its_deadline_no_answer_is_taken_although_nobody_has_noticed_yet(
    name: Name,
) -> None:
    clock, run_id = FakeClock(), name()
    async with serving_here(functions=[asks], clock=clock) as server:
        await begin(server, "asks", run_id, timeout_s=60)
        clock.advance(61)
        refused = await answer(server, run_id, {"type": "accept"})
        log = await events(server, run_id)

    assert refused.problem() == (409, "conflict")
    assert '"expired"' in refused.detail()
    assert log[-1]["data"]["result"][0] == "expired"


async def test_questions_whose_time_is_over_while_nobody_serves_expire_at_the_next_start(
    tmp_path: Path, name: Name
) -> None:
    clock, run_id, resumed = FakeClock(), name(), []

    async def first() -> None:
        await asyncio.gather(*(runcast.ask(key, timeout_s=60, interrupt_id=key) for key in "abc"))

    def second(interrupt_id: str, answer: Answer) -> None:
        resumed.append(answer.type)

    flow = runcast.function(name="flow", resume=second)(first)
    store = f"sqlite:///{tmp_path}/runs.db"
    settings = runcast.Settings(shutdown_grace_s=0.0)
    async with serving_here(functions=[flow], clock=clock, store=store, settings=settings) as one:
        await begin(one, "flow", run_id)
        async with one.watch(f"/runs/{run_id}/events") as watching:
            await watching.read_until(b'"interrupt_id":"c"')
    clock.advance(61)
    async with serving_here(functions=[flow], clock=clock, store=store, settings=settings) as two:
        async with two.watch(f"/runs/{run_id}/events") as watching:
            await watching.read_until(b'"interrupt_id":"c","outcome":"expired"')
        refused = await answer(two, run_id, {"type": "accept"}, "b")

    assert refused.problem() == (409, "conflict")


async def test_a_run_that_waits_over_a_restart_can_be_cancelled_and_forgotten(
    tmp_path: Path, name: Name
) -> None:
    cancelled, deleted, resumed = name(), name(), []

    async def first() -> None:
        await runcast.ask("go on?", interrupt_id="q")

    def second(interrupt_id: str, answer: Answer) -> None:
        resumed.append(interrupt_id)

    flow = runcast.function(name="flow", resume=second)(first)
    store, settings = f"sqlite:///{tmp_path}/runs.db", runcast.Settings(shutdown_grace_s=0.0)
    async with serving_here(functions=[flow], store=store, settings=settings) as one:
        await begin(one, "flow", cancelled)
        await begin(one, "flow", deleted)
    async with serving_here(functions=[flow], store=store, settings=settings) as two:
        ended = await two.post(f"/runs/{cancelled}/cancel?reason=enough")
        refused = await answer(two, cancelled, {"type": "accept"})
        gone = await two.fetch("DELETE", f"/runs/{deleted}")
        unknown = await two.fetch("GET", f"/runs/{deleted}")

        assert (ended.status, gone.status, unknown.status) == (200, 204, 404)
        assert refused.problem() == (409, "run_closed")
        assert (await events(two, cancelled))[-1]["data"] == {"reason": "enough"}
    assert resumed == []


# --- kill -9 --------------------------------------------------------------------------------------


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    path = tmp_path / "flows.py"
    path.write_text(FLOWS, "utf-8")
    return path


def killed_while_it_waits(served: Served, function: str) -> list[dict[str, str]]:
    """Begin the run `r`, kill the server once it has asked, and return what was seen of it."""
    served.start(function, "r")
    seen = []
    with served.open("GET", "/runs/r/events") as response:
        for frame in frames(response):
            seen.append(frame)
            if '"interrupt_request"' in frame["data"]:
                break
    served.process.send_signal(signal.SIGKILL)
    served.process.wait(WAIT_S)
    return seen


def test_a_resumable_run_waits_through_kill_9_and_its_answer_starts_the_next_attempt(
    flows: Path,
) -> None:
    path, given = "/runs/r/interrupts/deploy", {"type": "edit", "args": {"to": "b"}, "by": "ann"}
    with serve(str(flows), cwd=flows.parent) as served:
        seen = killed_while_it_waits(served, "resumable")
    with serve(str(flows), cwd=flows.parent) as served:
        shown = served.ask("GET", "/runs/r").json
        # Once more, and before anybody has answered.
        served.process.send_signal(signal.SIGKILL)
        served.process.wait(WAIT_S)
    with serve(str(flows), cwd=flows.parent) as served:
        answered = served.ask("POST", path, given)
        left = {"Last-Event-ID": seen[-1]["id"]}
        with served.open("GET", "/runs/r/events", headers=left) as response:
            rest = list(frames(response))
        again = served.ask("POST", path, given)
        refused = served.ask("POST", path, {"type": "reject"})

    assert shown["status"] == shown["state"]["status"] == "waiting"
    assert shown["state"]["interrupts"][0]["config"] == {"allow_respond": False}
    assert (answered.status, answered.json["repeated"]) == (200, False)
    log = [json.loads(frame["data"]) for frame in [*seen, *rest]]
    assert [event["seq"] for event in log] == list(range(1, len(log) + 1))
    assert {frame["id"].rpartition("-")[0] for frame in [*seen, *rest]} == {
        shown["position"].rpartition("-")[0]
    }
    assert [event["type"] for event in log] == [
        *("started", "content", "interrupt_request", "interrupt_response", "interrupt_resolved"),
        *("started", "content", "done"),
    ]
    assert log[-2]["data"]["text"] == "deploy: edit {'to': 'b'} by ann"
    assert again.json["repeated"]
    assert refused.status == 409


def test_a_run_without_a_handler_is_lost_with_its_process_and_its_question_closed(
    flows: Path,
) -> None:
    with serve(str(flows), cwd=flows.parent) as served:
        seen = killed_while_it_waits(served, "forgetful")
    with serve(str(flows), cwd=flows.parent) as served:
        refused = served.ask("POST", "/runs/r/interrupts/deploy", {"type": "accept"})
        shown = served.ask("GET", "/runs/r").json
        with served.open("GET", "/runs/r/events") as response:
            log = list(frames(response))

    last = json.loads(log[-1]["data"])
    assert log[:-1] == seen
    assert (last["type"], last["data"]["code"]) == ("failed", "lost")
    assert (refused.status, refused.json["code"]) == (409, "run_closed")
    assert (shown["status"], shown["state"]["interrupts_lapsed"]) == ("failed", 1)


# --- two servers on one store ---------------------------------------------------------------------

PATIENT: Final = """
import runcast

def go_on(interrupt_id: str, answer: runcast.Answer):
    yield f"{interrupt_id}: {answer.type} {answer.args}"

@runcast.function(resume=go_on)
async def patient():
    answer = await runcast.ask("Deploy?", interrupt_id="deploy")
    return [answer.type, answer.args]
"""


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Served, Served]]:
    """Two servers of the same functions on the same store."""
    (tmp_path / "flows.py").write_text(PATIENT, "utf-8")
    quick = {"RUNCAST_LEASE_S": "0.3"}
    with (
        serve("flows.py", cwd=tmp_path, env=quick) as one,
        serve("flows.py", cwd=tmp_path, env=quick) as two,
    ):
        yield one, two


def wait_for_event(served: Served, run_id: str, text: str) -> list[dict[str, str]]:
    """Watch a run until something is told; return what was seen."""
    seen = []
    with served.open("GET", f"/runs/{run_id}/events") as response:
        for frame in frames(response):
            seen.append(frame)
            if text in frame["data"]:
                return seen
    raise AssertionError(seen)


def test_of_answers_given_to_two_servers_at_once_one_wins_everywhere(
    both: tuple[Served, Served],
) -> None:
    path = "/runs/r/interrupts/deploy"
    both[0].start("patient", "r")
    for served in both:
        wait_for_event(served, "r", '"interrupt_request"')
    together = threading.Barrier(8)

    def give(number: int) -> tuple[int, Any]:
        together.wait(WAIT_S)
        told = both[number % 2].ask("POST", path, {"type": "response", "args": number})
        return told.status, told.json

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(give, range(8)))

    won = [told["decision"]["args"] for status, told in answers if status == 200]
    assert len(won) == 1
    refused = [told for status, told in answers if status == 409]
    assert len(refused) == 7
    assert all(f'"args":{won[0]}' in told["detail"] for told in refused)
    logs = [wait_for_event(served, "r", '"done"') for served in both]
    assert logs[0] == logs[1]
    assert json.loads(logs[0][-1]["data"])["data"]["result"] == ["response", won[0]]
    for served in both:
        again = served.ask("POST", path, {"type": "response", "args": won[0]})
        assert (again.status, again.json["repeated"]) == (200, True)


def test_an_answer_that_its_run_never_saw_goes_to_the_next_attempt_on_another_server(
    both: tuple[Served, Served],
) -> None:
    owner, other = both
    owner.start("patient", "r")
    wait_for_event(other, "r", '"interrupt_request"')
    owner.process.send_signal(signal.SIGSTOP)
    answered = other.ask("POST", "/runs/r/interrupts/deploy", {"type": "accept"})
    owner.process.send_signal(signal.SIGKILL)
    owner.process.wait(WAIT_S)

    log = [json.loads(frame["data"]) for frame in wait_for_event(other, "r", '"done"')]

    assert (answered.status, answered.json["repeated"]) == (200, False)
    assert [event["seq"] for event in log] == list(range(1, len(log) + 1))
    assert [event["type"] for event in log] == [
        *("started", "interrupt_request", "interrupt_response", "interrupt_resolved"),
        *("started", "content", "done"),
    ]
    assert log[-2]["data"]["text"] == "deploy: accept None"


def test_a_run_that_waits_is_not_taken_from_an_owner_that_lives(
    both: tuple[Served, Served],
) -> None:
    owner, other = both
    owner.start("patient", "r")
    wait_for_event(owner, "r", '"interrupt_request"')

    answered = other.ask("POST", "/runs/r/interrupts/deploy", {"type": "accept"})

    assert answered.status == 200
    log = [json.loads(frame["data"])["type"] for frame in wait_for_event(other, "r", '"done"')]
    assert log.count("started") == 1
