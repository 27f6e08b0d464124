"""A streaming function as a service, over HTTP: runcast beside Cog and Gradio.

    python -m benchmarks.services [--python PYTHON]

Prints one table. *First event*: from the request to the first event, with the service at rest.
*Rate*: texts of 160 characters that a generator yields as fast as it can, from the request until
the answer has ended. *Came*: how many of them did; Gradio shows the latest value, and may leave
others out.

PYTHON is an interpreter that has `cog` and `gradio` (`pip install cog gradio`), which want versions
of their own of much that runcast uses; a service that it cannot start is left out, and said so.
"""

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

_START_S = 60.0
_YIELDS = "for seq in range(n): yield f'{seq} ' + 'x' * 160"

_RUNCAST = f"""import runcast
from collections.abc import Iterator
@runcast.function({{options}})
def tell(n: int) -> Iterator[str]:
    {_YIELDS}
"""

_COG = f"""from typing import Iterator
from cog import BasePredictor, Input, streaming
class Predictor(BasePredictor):
    @streaming
    def predict(self, n: int = Input(default=1)) -> Iterator[str]:
        {_YIELDS}
"""

# What `cog build` would write, as far as the server reads it.
_COG_SCHEMA = {
    "openapi": "3.0.2",
    "info": {"title": "Cog", "version": "0.1.0"},
    "paths": {"/predictions": {"post": {"x-cog-streaming": True}, "x-cog-streaming": True}},
    "components": {
        "schemas": {
            "Input": {"type": "object", "properties": {"n": {"type": "integer"}}},
            "Output": {"type": "array", "items": {"type": "string"}},
        }
    },
}

_GRADIO = f"""import sys, gradio
def tell(n):
    {_YIELDS}
with gradio.Blocks() as demo:
    given, shown, button = gradio.Number(precision=0), gradio.Textbox(), gradio.Button()
    button.click(tell, given, shown, api_name="tell")
demo.queue().launch(server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True)
"""


class Service(NamedTuple):
    """How a service is started, and what its clients send."""

    files: Mapping[str, str]
    command: tuple[str, ...]
    path: str
    body: str
    mark: bytes
    """What each event has once."""
    then: str = ""
    """A second request, for what the first one began."""


def services(python: str) -> dict[str, Service]:
    """Return the services by name; `python` has the packages of the others."""

    def runcast(options: str) -> Service:
        code = _RUNCAST.replace("{options}", options)
        command = (sys.executable, "-m", "runcast", "serve", "tell.py", "--port", "{port}")
        return Service(
            {"tell.py": code}, command, "/invoke/tell", '{"inputs":{"n":N}}', b'"type":"content"'
        )

    return {
        "runcast, process": runcast('isolation="process"'),
        "runcast, new interpreter": runcast('isolation="process", preload=False'),
        "runcast, thread": runcast(""),
        "cog": Service(
            {"predict.py": _COG, ".cog/openapi_schema.json": json.dumps(_COG_SCHEMA)},
            (python, "-m", "cog.server.http", "--host", "127.0.0.1"),
            "/predictions",
            '{"input":{"n":N}}',
            b"event: output",
        ),
        "gradio": Service(
            {"_app.py": _GRADIO},
            (python, "_app.py", "{port}"),
            "/gradio_api/call/tell",
            '{"data":[N]}',
            b"event: generating",
            "/gradio_api/call/tell/ID",
        ),
    }


@contextlib.contextmanager
def running(service: Service) -> Iterator[int]:
    """Start a service in a folder of its own; return its port once a call has worked."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        for name, text in service.files.items():
            Path(folder, name).parent.mkdir(exist_ok=True)
            Path(folder, name).write_text(text, "utf-8")
        command = [part.replace("{port}", str(port)) for part in service.command]
        environment = {
            **os.environ,
            "PORT": str(port),
            "COG_PREDICT_TYPE_STUB": "predict.py:Predictor",
            "GRADIO_ANALYTICS_ENABLED": "False",
            "PATH": f"{Path(command[0]).parent}{os.pathsep}{os.environ['PATH']}",
        }
        log = Path(folder, "log")
        with log.open("wb") as out:
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out)
        try:
            _wait(service, port, process, log)
            yield port
        finally:
            process.terminate()
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(service: Service, port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        with contextlib.suppress(OSError):
            if call(service, port, 1)[2]:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(log.read_text("utf-8", "replace").strip()[-300:] or "no answer")
        time.sleep(0.2)


def call(service: Service, port: int, n: int) -> tuple[float, float, int]:
    """Call once; return seconds to the first event and to the end, and how many events came."""
    before = time.perf_counter()
    first, count = 0.0, 0
    path, body = service.path, service.body.replace("N", str(n))
    if service.then:
        with _request(port, "POST", path, body) as answer:
            told = b"".join(iter(lambda: answer.recv(65536), b""))
        identity = json.loads(told[told.index(b"{") : told.rindex(b"}") + 1])["event_id"]
        path, body = service.then.replace("ID", identity), ""
    with _request(port, "POST" if body else "GET", path, body) as stream:
        rest = b""
        while data := stream.recv(262144):
            found = (rest + data).count(service.mark)
            if found and not count:
                first = time.perf_counter() - before
            count += found
            # What may be the beginning of a mark, and cannot hold a whole one.
            rest = (rest + data)[-(len(service.mark) - 1) :]
    return first, time.perf_counter() - before, count


def _request(port: int, method: str, path: str, body: str) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", port), timeout=_START_S)
    stream.sendall(
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"Connection: close\r\n\r\n{body}".encode()
    )
    return stream


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--python", default=sys.executable)
    found = parser.parse_args()
    print("| service | first event (ms) | events/s | came |")
    print("|---|---|---|---|")
    left_out = []
    for name, service in services(found.python).items():
        try:
            with running(service) as port:
                firsts, rates, came = [], [], []
                for _ in range(found.rounds):
                    time.sleep(0.5)  # at rest: a process is ready again
                    firsts.append(1000 * call(service, port, 1)[0])
                for _ in range(found.rounds):
                    time.sleep(0.5)
                    _, end, count = call(service, port, found.events)
                    rates.append(count / end)
                    came.append(count / found.events)
        except (OSError, RuntimeError) as error:
            left_out.append(f"{name} is left out: {error}")
            continue
        print(
            f"| `{name}` | {_shown(firsts, '.1f')} | {_shown(rates, ',.0f')} | {min(came):.0%} |",
            flush=True,
        )
    print("\n".join(["", *left_out]))


def _shown(values: list[float], form: str) -> str:
    middle = format(statistics.median(values), form)
    return f"{middle} ({format(min(values), form)}–{format(max(values), form)})"


if __name__ == "__main__":
    main()
