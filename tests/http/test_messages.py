"""Messages into a run over HTTP: sent once, read in order, not lost when the server is killed."""

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import runcast
from tests.cli.inside import run
from tests.cli.served import Served, frames, serve
from tests.http.client import WAIT_S
from tests.http.serving import Server, serving_here

pytestmark = pytest.mark.anyio

READER = """
import runcast

async def go_on(interrupt_id: str, answer: runcast.Answer):
    async for message in runcast.inbox():
        yield f"then {message.data} "
        if message.data == "end":
            return

@runcast.function(resume=go_on)
async def reader():
    inbox = runcast.inbox()
    for _ in range(2):
        yield f"read {(await anext(inbox)).data} "
    await runcast.ask("Go on?", interrupt_id="q")
"""


async def reads(count: int) -> list[Any]:
    found: list[Any] = []
    async for message in runcast.inbox():
        found.append([message.id, message.data, message.sender])
        if len(found) == count:
            break
    return found


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving_here(functions=[reads]) as server:
        yield server


async def begin(server: Server, count: int) -> None:
    body = json.dumps({"inputs": {"count": count}, "run_id": "r"}).encode()
    answer = await server.post("/invoke/reads", body, {"Prefer": "respond-async"})
    assert answer.status == 202


async def test_a_message_is_posted_and_read(server: Server) -> None:
    await begin(server, 2)
    first = await server.post("/runs/r/messages", b'{"data":{"x":1},"message_id":"m","from":"ann"}')
    again = await server.post("/runs/r/messages", b'{"data":{"x":1},"message_id":"m","from":"ann"}')
    other = await server.post("/runs/r/messages", b'{"data":2,"message_id":"m"}')
    shown = await server.fetch("GET", "/runs/r")
    await server.post("/runs/r/messages", b'{"data":null}')
    page = await server.fetch("GET", "/runs/r/events?live=long-poll&types=done")
    while not page.json()["events"]:
        after = page.json()["position"]
        page = await server.fetch("GET", f"/runs/r/events?live=long-poll&types=done&after={after}")
    ended = await server.post("/runs/r/messages", b'{"data":3}')

    assert (first.status, first.json()["message_id"], first.json()["repeated"]) == (201, "m", False)
    assert (again.status, again.json()) == (200, {**first.json(), "repeated": True})
    assert other.problem() == (409, "conflict")
    assert shown.status == 200
    result = page.json()["events"][-1]["data"]["result"]
    assert [each[1:] for each in result] == [[{"x": 1}, "ann"], [None, ""]]
    assert ended.problem() == (409, "run_closed")


UNREADABLE = {
    b"{}": (400, "invalid_value"),
    b"[1]": (400, "invalid_value"),
    b'{"data":1,"message_id":7}': (400, "invalid_value"),
    b'{"data":1,"from":null}': (400, "invalid_value"),
    b'{"data":1,"message_id":"%s"}' % (b"x" * 129): (400, "invalid_value"),
    b'{"data":"%s"}' % (b"x" * 16_400): (413, "event_too_large"),
    b"not json": (400, "invalid_value"),
}


async def test_a_message_that_cannot_be_read_is_refused(server: Server) -> None:
    await begin(server, 1)

    problems = {
        body: (await server.post("/runs/r/messages", body)).problem() for body in UNREADABLE
    }
    assert problems == UNREADABLE
    assert (await server.post("/runs/x/messages", b'{"data":1}')).problem() == (404, "not_found")


def wait_for_event(served: Served, run_id: str, text: str) -> list[dict[str, Any]]:
    with served.open("GET", f"/runs/{run_id}/events") as response:
        seen: list[dict[str, Any]] = []
        for frame in frames(response):
            seen.append(json.loads(frame["data"]))
            if text in frame["data"]:
                return seen
    raise AssertionError(f"no {text} in {seen}")


def test_a_killed_server_loses_no_message(tmp_path: Path) -> None:
    (tmp_path / "reader.py").write_text(READER)
    arguments = ("reader.py", "--store", f"sqlite:///{tmp_path}/runs.db")
    with serve(*arguments, cwd=tmp_path) as served:
        served.start("reader", "r")
        for number in (1, 2, 3):
            sent = served.ask(
                "POST", "/runs/r/messages", {"data": number, "message_id": f"m{number}"}
            )
            assert sent.status == 201
        wait_for_event(served, "r", '"interrupt_request"')
        served.process.send_signal(signal.SIGKILL)
        served.process.wait(WAIT_S)
    with serve(*arguments, cwd=tmp_path) as served:
        unread = served.ask("GET", "/runs/r").json["state"]["messages"]
        again = served.ask("POST", "/runs/r/messages", {"data": 3, "message_id": "m3"})
        served.ask("POST", "/runs/r/messages", {"data": "end", "message_id": "m4"})
        served.ask("POST", "/runs/r/interrupts/q", {"type": "accept"})
        log = wait_for_event(served, "r", '"done"')

    assert [each["message_id"] for each in unread] == ["m2", "m3"]  # m1 was acknowledged
    assert again.json["repeated"]
    told = "".join(event["data"]["text"] for event in log if event["type"] == "content")
    assert told == "read 1 read 2 then 2 then 3 then end "
    read = [e["data"]["message_ids"] for e in log if e["type"] == "message_read"]
    assert read == [["m1"], ["m2"], ["m3"], ["m4"]]


def test_the_command_sends_a_message(tmp_path: Path) -> None:
    (tmp_path / "reader.py").write_text(READER)
    with serve("reader.py", cwd=tmp_path) as served:
        served.start("reader", "r")
        env = {"RUNCAST_URL": served.url}
        text = run("send", "r", "hello", "--from", "ann", "--id", "a", cwd=tmp_path, env=env)
        again = run("send", "r", "hello", "--from", "ann", "--id", "a", cwd=tmp_path, env=env)
        data = run("send", "r", "--json", '{"n": 1}', "--id", "b", cwd=tmp_path, env=env)
        other = run("send", "r", "bye", "--id", "a", cwd=tmp_path, env=env)
        wrong = run("send", "r", "--json", "{", cwd=tmp_path, env=env)
        missing = run("send", "x", "hello", cwd=tmp_path, env=env)
        log = wait_for_event(served, "r", '"interrupt_request"')

    assert (text.stdout, again.stdout) == ("a is sent\n", "a was sent before\n")
    assert (data.stdout, data.returncode) == ("b is sent\n", 0)
    assert other.returncode == 2
    assert "another message was sent under the id 'a' before" in other.stderr
    assert wrong.returncode == 2
    assert "expected the message as JSON" in wrong.stderr
    assert missing.returncode == 2
    sent = [event["data"] for event in log if event["type"] == "message"]
    assert sent[0] == {"message_id": "a", "data": "hello", "from": "ann"}
    assert sent[1]["data"] == {"n": 1}
