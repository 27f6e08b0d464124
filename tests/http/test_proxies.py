"""Real proxies in front of a real server, with the configurations of docs/proxy.md."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

import runcast
from tests.cli.served import Answer, Served, frames, serve
from tests.documents import ROOT, blocks_of
from tests.waiting import START_S, WAIT_S, look_again

pytestmark = pytest.mark.heavy

NAME = "runs.example.org"
TOKEN = "the-token"

FUNCTIONS = """
import runcast

@runcast.function
async def wait():
    runcast.content("begun")
    return (await runcast.ask("Go on?", interrupt_id="q")).type
"""

NGINX = """
daemon off;
pid nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    scgi_temp_path scgi;
    uwsgi_temp_path uwsgi;
    %s
}
"""
"""What surrounds the document's block, so that it writes to its own folder only."""

CADDY = "{\n    admin off\n    auto_https off\n}\n%s"


class Proxy(NamedTuple):
    """A proxy, as a client that has resolved the server's name sees it."""

    port: int
    host: str

    @contextmanager
    def open(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> Iterator[http.client.HTTPResponse]:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_S)
        with closing(connection):
            fields = {"Host": self.host, "Authorization": f"Bearer {TOKEN}", **given}
            connection.request(method, path, body, fields)
            with connection.getresponse() as response:
                yield response

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        with self.open(method, path, body, **headers) as response:
            return Answer(response.status, dict(response.headers), response.read())


@pytest.fixture(params=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Proxy]:
    program = shutil.which(request.param, path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip(f"there is no {request.param} (Debian: {request.param})")
    (tmp_path / "functions.py").write_text(FUNCTIONS, "utf-8")
    arguments = ["functions.py", "--store", "memory://", "--allow-host", NAME]
    with serve(*arguments, cwd=tmp_path, env={"RUNCAST_TOKEN": TOKEN}) as served:
        port = free_port()
        folder = tmp_path / "proxy"
        folder.mkdir()
        config = folder / "config"
        config.write_text(configure(request.param, served, port), "utf-8")
        with started(commands(program, config)[request.param], folder, port):
            yield Proxy(port, f"{NAME}:{port}")


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as found:
        return int(found.getsockname()[1])


def configure(kind: str, served: Served, port: int) -> str:
    """Return the document's configuration, for our ports and without TLS."""
    (text,) = (b.text for b in blocks_of(ROOT / "docs" / "proxy.md") if b.language == kind)
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{served.port}")
    if kind == "caddy":
        assert text.startswith(NAME)
        return CADDY % f"http://{NAME}:{port}{text.removeprefix(NAME)}"
    lines = [line for line in text.splitlines() if "ssl_certificate" not in line]
    text = "\n".join(lines)
    assert "listen 443 ssl http2;" in text
    return NGINX % text.replace("listen 443 ssl http2;", f"listen 127.0.0.1:{port};")


def commands(program: str, config: Path) -> Mapping[str, list[str]]:
    return {
        "nginx": [program, "-p", str(config.parent), "-c", str(config)],
        "caddy": [program, "run", "--adapter", "caddyfile", "--config", str(config)],
    }


@contextmanager
def started(command: list[str], folder: Path, port: int) -> Iterator[None]:
    """Run a proxy until the block ends; it takes connections when this begins."""
    folder.chmod(0o755)  # nginx's worker gives up root, and must still reach its files
    for parent in folder.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    env = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with (folder / "printed").open("wb") as printed:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=printed, stderr=printed)
    try:
        while True:
            assert process.poll() is None, (folder / "printed").read_text("utf-8", "replace")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=START_S).close()
            except ConnectionRefusedError:
                look_again()
                continue
            break
        yield
    finally:
        process.terminate()
        try:
            process.wait(START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(START_S)
            raise


JSON = {"Content_Type": "application/json"}


def begin(proxy: Proxy) -> None:
    """Begin the run r, and return when it waits for its answer."""
    body = b'{"run_id": "r"}'
    assert proxy.ask("POST", "/invoke/wait", body, Prefer="respond-async", **JSON).status == 202
    with proxy.open("GET", "/runs/r/events") as response:
        while b"interrupt_request" not in response.readline():
            pass


def answer(proxy: Proxy, run_id: str) -> None:
    body = b'{"type": "accept"}'
    assert proxy.ask("POST", f"/runs/{run_id}/interrupts/q", body, **JSON).status == 200


# What most people write first: everything else is as the proxy has it.
BARE = {
    "nginx": "server { listen 127.0.0.1:%d; location / { proxy_pass http://127.0.0.1:%d;%s } }",
    "caddy": "http://127.0.0.1:%d {\n reverse_proxy 127.0.0.1:%d {\n%s\n }\n}\n",
}
SHORT = {
    "nginx": " proxy_read_timeout 1s;",
    "caddy": "  transport http {\n   read_timeout 1s\n  }",
}
"""A time-out of one second, as others have one of a minute."""


@contextmanager
def bare(kind: str, tmp_path: Path, *, more: str = "", heartbeat_s: float = 15) -> Iterator[Proxy]:
    """Run a proxy with its default settings in front of a server."""
    program = shutil.which(kind, path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip(f"there is no {kind} (Debian: {kind})")
    (tmp_path / "functions.py").write_text(FUNCTIONS, "utf-8")
    env = {"RUNCAST_TOKEN": TOKEN, "RUNCAST_HEARTBEAT_S": str(heartbeat_s)}
    env["RUNCAST_RETRY_S"] = "0.05"
    with serve("functions.py", "--store", "memory://", cwd=tmp_path, env=env) as served:
        port = free_port()
        folder = tmp_path / "proxy"
        folder.mkdir()
        config = folder / "config"
        text = BARE[kind] % (port, served.port, more)
        config.write_text((NGINX if kind == "nginx" else CADDY) % text, "utf-8")
        with started(commands(program, config)[kind], folder, port):
            yield Proxy(port, f"127.0.0.1:{port}")


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
def test_with_default_settings_events_leave_when_they_come(kind: str, tmp_path: Path) -> None:
    with bare(kind, tmp_path) as proxy:
        # Caddy collects lines of JSON until it is told not to: docs/proxy.md says so.
        forms = ["text/event-stream", *(["application/x-ndjson"] if kind == "nginx" else [])]
        for number, accept in enumerate(forms):
            body = json.dumps({"run_id": f"r{number}"}).encode()
            with proxy.open("POST", "/invoke/wait", body, Accept=accept, **JSON) as response:
                seen = ""
                while "interrupt_request" not in seen:
                    seen += response.readline().decode()
                answer(proxy, f"r{number}")
                assert '"result":"accept"' in response.read().decode()


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
def test_a_stream_that_is_silent_for_longer_than_the_proxy_waits_loses_nothing(
    kind: str, tmp_path: Path
) -> None:
    with bare(kind, tmp_path, more=SHORT[kind]) as proxy:
        cut = threading.Event()
        seen: list[int] = []

        def watch() -> None:
            with runcast.Client(f"http://127.0.0.1:{proxy.port}", token=TOKEN) as client:
                pages = client.watch_pages("r", on_cut=lambda *_: cut.set())
                seen.extend(received.event.seq for page in pages for received in page)

        begin(proxy)
        watching = threading.Thread(target=watch)
        watching.start()
        assert cut.wait(WAIT_S)  # the proxy gave up on the silent stream
        answer(proxy, "r")
        watching.join(WAIT_S)
        assert not watching.is_alive()
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) > 4


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
def test_heartbeats_keep_a_stream_open_for_longer_than_the_proxy_waits(
    kind: str, tmp_path: Path
) -> None:
    with bare(kind, tmp_path, more=SHORT[kind], heartbeat_s=0.25) as proxy:
        begin(proxy)
        with proxy.open("GET", "/runs/r/events") as response:
            beats = 0
            while beats < 8:  # which take two seconds
                beats += response.readline() == b": hb\n"
            answer(proxy, "r")
            assert b'"result":"accept"' in response.read()


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
def test_events_leave_when_they_come(proxy: Proxy, accept: str) -> None:
    body = json.dumps({"run_id": "r"}).encode()
    with proxy.open("POST", "/invoke/wait", body, Accept=accept, **JSON) as response:
        assert response.status == 200
        seen = ""
        while "interrupt_request" not in seen:  # the run waits: what is held back never comes
            seen += response.readline().decode()
        answer(proxy, "r")
        rest = response.read().decode()
    assert '"result":"accept"' in rest


def test_a_position_goes_through(proxy: Proxy) -> None:
    begin(proxy)
    answer(proxy, "r")
    with proxy.open("GET", "/runs/r/events") as response:
        positions = [frame["id"] for frame in frames(response)]
    with proxy.open("GET", "/runs/r/events", Last_Event_ID=positions[2]) as response:
        assert [frame["id"] for frame in frames(response)] == positions[3:]
    assert proxy.ask("GET", "/runs/r/events", Last_Event_ID=positions[-1]).status == 204


def test_pages_of_the_server_are_told_from_others(proxy: Proxy) -> None:
    """The host that a browser sends is the one that its origin names, port and all."""
    own, foreign = f"https://{proxy.host}", "https://evil.example"
    assert proxy.ask("GET", "/runs", Origin=own).status == 200
    assert proxy.ask("GET", "/runs", Origin=foreign).status == 403
    assert b'"runs":' not in proxy.ask("GET", "/runs", Host="evil.example").body


def test_the_cookie_is_for_tls_only(proxy: Proxy) -> None:
    answer = proxy.ask("POST", "/session", TOKEN.encode())
    cookie = answer.headers["set-cookie" if "set-cookie" in answer.headers else "Set-Cookie"]
    assert answer.status == 204
    assert "; secure" in cookie.lower()
    assert "; httponly" in cookie.lower()
    signed_in = proxy.ask("GET", "/runs", Authorization="", Cookie=cookie.split(";")[0])
    assert signed_in.status == 200


def test_a_large_file_goes_through(proxy: Proxy) -> None:
    answer = proxy.ask("POST", "/uploads?name=a.bin", b"x" * 20_000_000)
    assert (answer.status, answer.json["size"]) == (201, 20_000_000)
