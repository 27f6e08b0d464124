"""A hub mounted in somebody's application, under the servers that people use: it ends with them."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.environment import environment
from tests.waiting import WAIT_S, look_again

APP = """
import asyncio

import runcast
from fastapi import FastAPI


@runcast.function
async def tick():
    while True:
        yield "tick "
        await asyncio.sleep(0.05)


hub = runcast.OpenHub("memory://", functions=[tick], settings=runcast.Settings(drain_s=DRAIN_S))
runs = runcast.asgi(hub, authorize=runcast.everyone)
app = FastAPI(lifespan=runs.lifespan)
app.mount("/runcast", runs)
"""

SERVERS = {
    "uvicorn": ("-m", "uvicorn", "app:app", "--port", "PORT"),
    "uvicorn-asyncio": ("-m", "uvicorn", "app:app", "--port", "PORT", "--loop", "asyncio"),
    # Without --workers 0 the application is in a child process, which gets no signal.
    "hypercorn": ("-m", "hypercorn", "app:app", "--bind", "127.0.0.1:PORT", "--workers", "0"),
    "hypercorn-uvloop": (
        *("-m", "hypercorn", "app:app", "--bind", "127.0.0.1:PORT", "--workers", "0"),
        *("--worker-class", "uvloop"),
    ),
    "granian": ("-m", "granian", "--interface", "asgi", "app:app", "--port", "PORT"),
    "gunicorn": (
        *("-m", "gunicorn", "app:app", "--bind", "127.0.0.1:PORT"),
        *("--worker-class", "uvicorn_worker.UvicornWorker"),
    ),
}

OTHERS = [pytest.param(name, marks=pytest.mark.heavy) for name in SERVERS if name != "uvicorn"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(
    arguments: tuple[str, ...], folder: Path, *, drain_s: float = 0
) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Start a server and wait until it answers; in the end nothing of it is left."""
    (folder / "app.py").write_text(APP.replace("DRAIN_S", str(drain_s)))
    port = free_port()
    command = [part.replace("PORT", str(port)) for part in arguments]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env=environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        guard = threading.Timer(6 * WAIT_S, _kill, [process])
        guard.start()
        try:
            while not _answers(port):
                assert process.poll() is None, (folder / "log").read_text()
            yield process, port
        finally:
            guard.cancel()
            _kill(process)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a server with its workers: they are in one session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _child_of(parent: int) -> int:
    return int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])


def _answers(port: int, path: str = "/runcast/healthz") -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def open_stream(port: int) -> Iterator[http.client.HTTPResponse]:
    """Begin a run that never ends, and yield its stream once it flows."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2 * WAIT_S)
    fields = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    with closing(connection):
        connection.request("POST", "/runcast/invoke/tick", "{}", fields)
        with connection.getresponse() as response:
            assert response.status == 200
            while not response.readline().startswith(b"id: "):
                pass
            yield response


def rest_of(response: http.client.HTTPResponse) -> bytes:
    """Read to the end; hypercorn hangs up without saying that the response is complete."""
    try:
        return response.read()
    except http.client.IncompleteRead as error:
        return error.partial


@pytest.mark.parametrize("server", ["uvicorn", *OTHERS])
def test_an_open_stream_does_not_keep_the_server(tmp_path: Path, server: str) -> None:
    with started(SERVERS[server], tmp_path) as (process, port):
        with open_stream(port) as response:
            process.send_signal(signal.SIGTERM)
            rest = rest_of(response)
        process.wait(timeout=2 * WAIT_S)

    assert rest.endswith(b": goodbye, come back\n\n")


@pytest.mark.parametrize("server", ["uvicorn", pytest.param("gunicorn", marks=pytest.mark.heavy)])
def test_a_server_drains_until_a_second_signal(tmp_path: Path, server: str) -> None:
    with started(SERVERS[server], tmp_path, drain_s=600) as (process, port):
        with open_stream(port) as response:
            worker = process.pid if server == "uvicorn" else _child_of(process.pid)
            os.kill(worker, signal.SIGTERM)
            while _answers(port, "/runcast/readyz"):
                look_again()
            with open_stream(port) as later:  # it answers as ever
                assert response.readline()
                os.kill(worker, signal.SIGTERM)
                rest, more = rest_of(response), rest_of(later)
        if server == "uvicorn":
            process.wait(timeout=2 * WAIT_S)

    assert rest.endswith(b": goodbye, come back\n\n")
    assert more.endswith(b": goodbye, come back\n\n")


def test_a_drain_ends_by_itself(tmp_path: Path) -> None:
    with started(SERVERS["uvicorn"], tmp_path, drain_s=0.2) as (process, port):
        with open_stream(port) as response:
            process.send_signal(signal.SIGTERM)
            rest = rest_of(response)
        process.wait(timeout=2 * WAIT_S)

    assert rest.endswith(b": goodbye, come back\n\n")
    assert "drain_s" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("server", ["hypercorn", pytest.param("granian", marks=pytest.mark.heavy)])
def test_a_server_that_cannot_drain_says_so_once(tmp_path: Path, server: str) -> None:
    with started(SERVERS[server], tmp_path, drain_s=600) as (process, port):
        with open_stream(port) as response:
            process.send_signal(signal.SIGTERM)
            rest = rest_of(response)
        process.wait(timeout=2 * WAIT_S)

    assert rest.endswith(b": goodbye, come back\n\n")
    assert (tmp_path / "log").read_text().count("drain_s has no effect under this server") == 1


@pytest.mark.heavy
@pytest.mark.parametrize("server", [name for name in SERVERS if name != "gunicorn"])
def test_nor_does_it_after_ctrl_c(tmp_path: Path, server: str) -> None:
    """gunicorn's SIGINT waits for the worker until its own time is over, whatever is served."""
    with started(SERVERS[server], tmp_path) as (process, port):
        with open_stream(port) as response:
            process.send_signal(signal.SIGINT)
            rest = rest_of(response)
        process.wait(timeout=2 * WAIT_S)

    assert rest.endswith(b": goodbye, come back\n\n")


@pytest.mark.heavy
def test_hypercorn_with_workers_cuts_its_streams_and_ends(tmp_path: Path) -> None:
    arguments = ("-m", "hypercorn", "app:app", "--bind", "127.0.0.1:PORT")
    with started(arguments, tmp_path) as (process, port):
        with open_stream(port) as response:
            process.send_signal(signal.SIGTERM)
            rest = rest_of(response)
        process.wait(timeout=2 * WAIT_S)

    assert b"id: " in rest


@pytest.mark.heavy
def test_a_reload_arrives_although_somebody_watches(tmp_path: Path) -> None:
    arguments = (*SERVERS["uvicorn"], "--reload", "--reload-delay", "0.1")
    with started(arguments, tmp_path) as (_, port), open_stream(port) as response:
        source = tmp_path / "app.py"
        source.write_text(source.read_text() + "\n# changed\n")
        rest = rest_of(response)
        while not _answers(port):
            look_again()

    assert rest.endswith(b": goodbye, come back\n\n")
