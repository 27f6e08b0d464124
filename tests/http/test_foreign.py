"""Clients of other makers, whose requests differ from those that we write ourselves.

curl and Java's HttpClient offer HTTP/2 by `Upgrade: h2c`, Java with the first request of each
connection and without being asked.
"""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.http.serving import Server

pytestmark = pytest.mark.anyio

Name = Callable[[], str]

START_S = 60.0
"""Longest run of a program, seconds: a virtual machine starts slowly on a busy machine."""

HAMLET = "to be or not to be"


async def run(*command: str) -> str:
    """Return what a program prints."""

    def call() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, timeout=START_S)

    done = await asyncio.to_thread(call)
    assert done.returncode == 0, done.stderr
    return done.stdout


def is_right(server: Server, answer: str, wanted: dict[str, object]) -> bool:
    """Tell whether an answer is right, or a refusal where the server has dropped the body."""
    if not server.is_direct and answer == "Invalid HTTP request received.":
        return True  # uvicorn's own 400: it took the dropped body for the next request
    got = json.loads(answer)
    if not server.is_direct and got.get("status") == 400:
        return "drops a body behind `Upgrade: h2c`" in got["detail"]
    return bool(got == {**got, **wanted})


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2"])
async def test_curl_may_speak_any_version(server: Server, name: Name, version: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    curl = ["curl", "-sSN", "--max-time", "30", version]
    base = f"http://127.0.0.1:{server.port}{server.prefix}"
    json_type, of_json = (
        ["-H", "Content-Type: application/json"],
        ["-H", "Accept: application/json"],
    )
    run_id = name()
    body = json.dumps({"inputs": {"a": 5}, "run_id": run_id})

    added = await run(*curl, *json_type, *of_json, "-d", body, f"{base}/invoke/add")
    stored = await run(*curl, "--data-binary", HAMLET, f"{base}/uploads?name=hamlet.txt")
    # An empty body, which no server can lose.
    watched = await run(*curl, "-X", "POST", *json_type, f"{base}/invoke/echo?types=done")
    closed = await server.closed_log(name(), 1, 2)
    events = await run(*curl, f"{base}/runs/{closed.run_id}/events")

    assert is_right(server, added, {"result": 6, "run_id": run_id})
    assert is_right(server, stored, {"size": len(HAMLET)})
    assert watched.count("data: ") == 1
    assert '"type":"done"' in watched
    assert [line[:3] for line in events.splitlines() if line] == ["ret", ": r", *3 * ["id:", "dat"]]


JAVA = """
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;

public class Client {
    public static void main(String[] given) throws Exception {
        String base = given[0], json = "application/json";
        // Each has a connection of its own, and so offers HTTP/2 anew.
        System.out.println(HttpClient.newHttpClient().send(
            HttpRequest.newBuilder(URI.create(base + "/invoke/add"))
                .header("Content-Type", json).header("Accept", json)
                .POST(BodyPublishers.ofString(given[1])).build(),
            BodyHandlers.ofString()).body());
        System.out.println(HttpClient.newHttpClient().send(
            HttpRequest.newBuilder(URI.create(base + "/uploads?name=hamlet.txt"))
                .POST(BodyPublishers.ofString(given[2])).build(),
            BodyHandlers.ofString()).body());
        HttpClient.newHttpClient().send(
            HttpRequest.newBuilder(URI.create(base + given[3])).build(),
            BodyHandlers.ofLines()).body().forEach(System.out::println);
    }
}
"""


@pytest.mark.heavy
async def test_java_offers_http_2_and_is_answered(
    server: Server, name: Name, tmp_path: Path
) -> None:
    if shutil.which("javac") is None:
        pytest.skip("a JDK is not installed")
    source = tmp_path / "Client.java"
    source.write_text(JAVA)
    base = f"http://127.0.0.1:{server.port}{server.prefix}"
    run_id = name()
    body = json.dumps({"inputs": {"a": 5}, "run_id": run_id})
    closed = await server.closed_log(name(), 1, 2)

    told = await run("java", str(source), base, body, HAMLET, f"/runs/{closed.run_id}/events")
    added, stored, *events = told.splitlines()

    assert is_right(server, added, {"result": 6, "run_id": run_id})
    assert is_right(server, stored, {"size": len(HAMLET)})
    assert [line[:3] for line in events if line] == ["ret", ": r", *3 * ["id:", "dat"]]
