"""The end of a server, as a process of its own: what its clients are told, and that it comes."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.cli.served import Served, serve
from tests.http.client import Connection, Watching

pytestmark = pytest.mark.anyio

STREAMS = 1000

TARGET = """
import threading
import runcast

@runcast.function
def wait():
    yield "begun"
    while True:
        threading.Event().wait(0.01)
        yield None

@runcast.function
def large():
    yield "x" * 900_000
"""


async def watch(served: Served, target: str = "/runs/run/events") -> Watching:
    connection = await Connection.open("127.0.0.1", served.port)
    await connection.ask("GET", target)
    watching = Watching(connection, await connection.read_head())
    assert watching.head.status == 200
    await watching.event()
    return watching


async def test_a_thousand_watchers_are_told_goodbye_and_the_process_ends(tmp_path: Path) -> None:
    (tmp_path / "target.py").write_text(TARGET, "utf-8")
    with serve("target.py", "--store", "memory://", cwd=tmp_path) as served:
        served.start("wait", "run")
        watchers = [await watch(served) for _ in range(STREAMS)]
        # They wait in turn for their end, each at most as long as a test waits for anything: were
        # they ended one by one, or only with the process, this would take too long.
        ended = asyncio.create_task(asyncio.to_thread(served.end, signal.SIGTERM))
        await asyncio.gather(*(each.until_cut() for each in watchers))
        code, out, err = await ended
        for each in watchers:
            await each.connection.close()

    assert (code, out, err) == (0, "", "")
    assert sum(each.ended for each in watchers) == STREAMS
    assert sum(each.raw.endswith(b": goodbye, come back\n\n") for each in watchers) == STREAMS
    assert sum(b'"type":"cancelled"' in each.raw for each in watchers) == 0  # they come back for it


async def test_clients_that_keep_the_server_waiting_do_not_hold_it_up(tmp_path: Path) -> None:
    (tmp_path / "target.py").write_text(TARGET, "utf-8")
    with serve("target.py", "--store", "memory://", cwd=tmp_path) as served:
        served.start("wait", "run")
        opened = [await Connection.open("127.0.0.1", served.port) for _ in range(5)]
        idle, head, body, result, poll = opened
        await head.send(b"GET /healthz HT")
        await body.ask("POST", "/invoke/wait", {"Content-Length": "100"}, b"{")
        await result.ask("POST", "/invoke/wait", {"Accept": "application/json"}, b"")
        await poll.ask("GET", "/runs/run/events?live=long-poll&after=" + await position(served))
        await idle.ask("GET", "/healthz")
        await idle.read_answer()

        code, out, err = await asyncio.to_thread(served.end, signal.SIGTERM)
        answers = [await body.read_answer(), await result.read_answer(), await poll.read_answer()]
        for each in opened:
            await each.close()

    assert (code, out, err) == (0, "", "")
    assert [answer.status for answer in answers] == [503, 500, 200]
    assert b"cancelled" in answers[1].body


async def test_clients_that_do_not_read_do_not_hold_it_up(tmp_path: Path) -> None:
    (tmp_path / "target.py").write_text(TARGET, "utf-8")
    with serve("target.py", "--store", "memory://", cwd=tmp_path) as served:
        served.start("large", "run")
        with served.open("GET", "/runs/run/events") as response:
            response.read()
        fields = {"Accept": "application/json"}
        first = served.ask("GET", "/runs/run/events?live=false", headers=fields).json
        opened = []
        for requests in (1, 2, 20):  # what kernels hold of them is not for us to say
            connection = await Connection.open("127.0.0.1", served.port, receive_bytes=4096)
            for _ in range(requests):
                target = f"/runs/run/events?live=false&after={first['position']}"
                await connection.ask("GET", target, fields)
            assert int((await connection.read_head()).headers["content-length"]) > 900_000
            opened.append(connection)

        code, out, err = await asyncio.to_thread(served.end, signal.SIGTERM)
        for each in opened:
            await each.close()

    assert (code, out, err) == (0, "", "")  # uvicorn would tell of those it gave up waiting for


async def position(served: Served) -> str:
    answer = await asyncio.to_thread(served.ask, "GET", "/runs/run")
    return str(answer.json["position"])
