"""The end of a server, as a process of its own: what its clients are told, and that it comes."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from runcast.stores.base import LogInfo
from tests.cli.served import JSON, Answer, Served, frames, serve
from tests.http.client import Connection, Watching
from tests.http.serving import serving_here
from tests.waiting import WAIT_S

pytestmark = pytest.mark.anyio

STREAMS = 1000

RESULT = {**JSON, "Accept": "application/json"}

TARGET = """
import os
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

@runcast.function
async def block(entered: str, leave: str):
    os.close(os.open(entered, os.O_WRONLY))
    os.close(os.open(leave, os.O_RDONLY))

@runcast.function
async def ask():
    return (await runcast.ask("Go on?", interrupt_id="q")).type
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


async def test_requests_that_were_sent_before_the_address_is_closed_are_answered(
    tmp_path: Path,
) -> None:
    (tmp_path / "target.py").write_text(TARGET, "utf-8")
    gates = [tmp_path / "entered", tmp_path / "leave"]
    for gate in gates:
        os.mkfifo(gate)
    env = {"RUNCAST_BLOCKED_LOOP_S": "0", "RUNCAST_SHUTDOWN_GRACE_S": "5"}
    with serve("target.py", "--store", "memory://", cwd=tmp_path, env=env) as served:
        served.start("ask", "asks")
        with served.open("GET", "/runs/asks/events") as response:
            next(each for each in frames(response) if "interrupt_request" in each["data"])
        kept = await Connection.open("127.0.0.1", served.port)
        await kept.ask("GET", "/healthz")
        await kept.read_answer()
        served.start("block", "blocks", entered=str(gates[0]), leave=str(gates[1]))
        with await asyncio.to_thread(gates[0].open, "rb"):
            pass  # from now on the loop does nothing, as if it were busy
        opened = [await Connection.open("127.0.0.1", served.port) for _ in range(20)]
        for number, each in enumerate(opened):
            body = b'{"run_id": "run-%d", "inputs": {}}' % number
            fields = {**JSON, "Prefer": "respond-async"}
            await each.ask("POST", "/invoke/large", fields, body)
        await kept.ask("POST", "/runs/asks/interrupts/q", JSON, b'{"type": "accept"}')

        served.process.send_signal(signal.SIGTERM)
        with await asyncio.to_thread(gates[1].open, "wb"):
            pass
        answers = [await each.read_answer() for each in (*opened, kept)]
        code, out, err = await asyncio.to_thread(served.end)
        for each in (*opened, kept):
            await each.close()

    assert (code, out, err) == (0, "", "")
    assert [answer.status for answer in answers] == [202] * 20 + [200]


@pytest.mark.parametrize("protocol", ["direct-httptools", "direct-h11"])
async def test_a_kept_connection_is_not_closed_while_a_request_waits_in_it(protocol: str) -> None:
    async with serving_here(protocol) as server:
        with socket.create_connection(server.address, WAIT_S) as client:
            request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
            client.sendall(request)
            await asyncio.to_thread(receive, client, b"}")
            (connection,) = server.connections
            server.app.drain()
            client.sendall(request)
            connection.shutdown()  # before the loop could read it
            answer = await asyncio.to_thread(receive, client)

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in answer.lower()


def receive(client: socket.socket, until: bytes = b"\0") -> bytes:
    """Read until something comes, or the connection is closed."""
    received = b""
    while until not in received and (piece := client.recv(4096)):
        received += piece
    return received


async def test_a_server_drains_before_it_ends(tmp_path: Path) -> None:
    (tmp_path / "target.py").write_text(TARGET, "utf-8")
    env = {"RUNCAST_DRAIN_S": "600"}
    with serve("target.py", "--store", "memory://", cwd=tmp_path, env=env) as served:
        assert (await asyncio.to_thread(served.ask, "GET", "/readyz")).status == 200
        served.start("wait", "run")
        watcher = await watch(served)
        served.process.send_signal(signal.SIGTERM)
        ready = await until_not_ready(served)
        # It answers as ever, but no connection is kept.
        served.start("ask", "asks")
        later = await watch(served, "/runs/asks/events")
        said = await asyncio.to_thread(
            served.ask, "POST", "/runs/asks/interrupts/q", {"type": "accept"}
        )
        await later.until_cut()
        assert not watcher.ended

        code, out, err = await asyncio.to_thread(served.end, signal.SIGTERM)
        await watcher.until_cut()
        for each in (watcher, later):
            await each.connection.close()

    assert (code, out, err) == (0, "", "")
    assert (ready.status, ready.json["code"]) == (503, "overloaded")
    assert (ready.headers["retry-after"], ready.headers["connection"]) == ("1", "close")
    assert (said.status, said.headers["connection"]) == (200, "close")
    assert b'"type":"done"' in later.raw
    assert watcher.raw.endswith(b": goodbye, come back\n\n")


async def test_ctrl_c_ends_a_server_without_a_drain(tmp_path: Path) -> None:
    (tmp_path / "target.py").write_text(TARGET, "utf-8")
    env = {"RUNCAST_DRAIN_S": "600"}
    with serve("target.py", "--store", "memory://", cwd=tmp_path, env=env) as served:
        served.process.send_signal(signal.SIGTERM)
        await until_not_ready(served)
        code, _, err = await asyncio.to_thread(served.end, signal.SIGINT)

    assert code in (0, 130)
    assert err == ""


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_ctrl_c_does_not_wait_for_runs(
    tmp_path: Path, first: signal.Signals
) -> None:
    (tmp_path / "target.py").write_text(TARGET, "utf-8")
    env = {"RUNCAST_SHUTDOWN_GRACE_S": "600"}
    with serve("target.py", "--store", "sqlite:///r.db", cwd=tmp_path, env=env) as served:
        served.start("wait", "run")
        watcher = await watch(served)
        served.process.send_signal(first)
        await watcher.until_cut()  # the run has its time now
        code, out, err = await asyncio.to_thread(served.end, signal.SIGINT)
        await watcher.connection.close()

    assert (code, out, err) == (130 if first == signal.SIGINT else 0, "", "")


async def test_ctrl_c_twice_at_once_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "target.py").write_text(TARGET, "utf-8")
    with serve("target.py", "--store", "memory://", cwd=tmp_path) as served:
        served.start("wait", "run")
        watcher = await watch(served)
        for _ in range(3):
            served.process.send_signal(signal.SIGINT)
        code, out, err = await asyncio.to_thread(served.end, signal.SIGINT)
        await watcher.until_cut()
        await watcher.connection.close()

    assert (code, out, err) == (130, "", "")


async def until_not_ready(served: Served) -> Answer:
    """Ask until the server says that it is not ready."""
    async with asyncio.timeout(WAIT_S):
        while True:
            ready = await asyncio.to_thread(served.ask, "GET", "/readyz")
            if ready.status != 200:
                return ready


async def test_a_result_that_the_closed_store_can_no_longer_give_is_found_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving_here(store=f"sqlite:///{tmp_path / 'runs.db'}") as server:
        hub, script = server.hub.hub, server.scripts.new("run")
        read = hub.info

        async def read_when_closed(run_id: str) -> LogInfo:
            await server.app.close()
            return await read(run_id)

        async with await server.connect() as connection:
            body = b'{"inputs": {"key": "run"}, "run_id": "run"}'
            await connection.ask("POST", "/invoke/script", RESULT, body)
            await asyncio.to_thread(script.begun.wait, WAIT_S)
            monkeypatch.setattr(hub, "info", read_when_closed)
            closing = asyncio.create_task(server.app.close())
            answer = await connection.read_answer()
            await closing

    assert answer.problem() == (503, "overloaded")
    assert "the run is at /runs/run" in answer.detail()
