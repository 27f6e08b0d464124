"""What the two parsers of HTTP (httptools, h11) make of requests that they see differently.

The bytes are what curl and Java's HttpClient send; `test_foreign.py` has them sent by the programs.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast import Settings
from tests.http.client import WAIT_S, Answer, Connection
from tests.http.serving import PROTOCOLS, Server, serving_here

pytestmark = pytest.mark.anyio

DIRECT = [flavour for flavour in PROTOCOLS if "direct" in flavour]
LOSES = "plain-httptools"
"""uvicorn's own protocol for httptools, which drops the body of a request that offers more."""

JSON = {"Content-Type": "application/json", "Accept": "application/json"}

# --- offers of another protocol -------------------------------------------------------------------

H2C = {
    "Connection": "Upgrade, HTTP2-Settings",
    "Upgrade": "h2c",
    "HTTP2-Settings": "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
}

OFFERS = [
    pytest.param(H2C, id="h2c"),
    pytest.param({"Connection": "keep-alive, upgrade", "Upgrade": "websocket"}, id="websocket"),
    pytest.param({"Connection": "close, Upgrade", "Upgrade": "TLS/1.0"}, id="tls"),
]

PIECES = ["together", "behind", "bytes", "together, chunked", "behind, chunked"]
"""How a body comes: in the segment of its head, in one behind it, or byte by byte."""

PAYMENT = b'{"inputs": {"a": 5}, "run_id": "paid"}'


async def send_in_pieces(
    connection: Connection, target: str, headers: dict[str, str], body: bytes, pieces: str
) -> None:
    """Post a body, in one of `PIECES`."""
    fields = {"Host": connection.host, **headers}
    if "chunked" in pieces:
        fields["Transfer-Encoding"] = "chunked"
        body = b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (body[:5], len(body) - 5, body[5:])
    else:
        fields["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    head = f"POST {target} HTTP/1.1\r\n{lines}\r\n".encode()
    if "together" in pieces:
        await connection.send(head + body)
        return
    await connection.send(head)
    for start in range(0, len(body), len(body) if "behind" in pieces else 1):
        await asyncio.sleep(0)  # the server reads what there is
        await connection.send(body[start:] if "behind" in pieces else body[start : start + 1])


@pytest.mark.parametrize("flavour", [flavour for flavour in PROTOCOLS if flavour != LOSES])
@pytest.mark.parametrize("offer", OFFERS)
async def test_the_body_of_a_request_that_offers_another_protocol_counts(
    flavour: str, offer: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """RFC 9110 §7.8: a server may ignore the offer, and not what is asked."""
    async with serving_here(flavour) as server:
        for number, pieces in enumerate(PIECES):
            body = b'{"inputs": {"a": 5}, "run_id": "paid-%d"}' % number
            async with await server.connect() as connection:
                await send_in_pieces(connection, "/invoke/add", {**JSON, **offer}, body, pieces)
                answer = await connection.read_answer()
                assert answer.json() == {"result": 6, "run_id": f"paid-{number}"}, pieces
                if "close" not in offer["Connection"]:
                    await connection.ask("GET", f"/runs/paid-{number}")
                    assert (await connection.read_answer()).status == 200
        runs = (await server.fetch("GET", "/runs")).json()["runs"]

    assert len(runs) == len(PIECES)
    if "direct" in flavour:
        assert caplog.text == ""


@pytest.mark.parametrize("flavour", PROTOCOLS)
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("target", "headers", "body"),
    [
        ("/invoke/add", JSON, PAYMENT),
        ("/uploads?name=hamlet.txt", {}, b"to be or not to be"),
        ("/runs/asks/interrupts/q", JSON, b'{"type": "accept"}'),
    ],
)
async def test_a_body_is_never_taken_for_empty(
    flavour: str,
    chunked: bool,
    target: str,
    headers: dict[str, str],
    body: bytes,
    tmp_path: Path,
) -> None:
    """A server that drops it has it refused."""

    async def asks() -> str:
        answer: runcast.Answer = await runcast.ask("Go on?", interrupt_id="q")
        return answer.type

    options: dict[str, Any] = {"settings": Settings(shutdown_grace_s=0.0)}
    options["store"] = f"sqlite:///{tmp_path}/runs.db"
    async with serving_here(flavour, functions=[asks], **options) as server:
        await server.post("/invoke/asks", b'{"run_id": "asks"}', {"Prefer": "respond-async"})
        await server.eventually(lambda: server.hub.runner.runs["asks"].writer.is_waiting)
        await server.hub.flush("asks")
        async with await server.connect() as connection:
            pieces = "together, chunked" if chunked else "together"
            await send_in_pieces(connection, target, {**headers, **H2C}, body, pieces)
            answer = await connection.read_answer()
        runs = (await server.fetch("GET", "/runs")).json()["runs"]

    if flavour == LOSES:
        assert answer.problem() == (400, "invalid_value")
        assert "Upgrade" in answer.detail()
        assert [(run["run_id"], run["status"]) for run in runs] == [("asks", "waiting")]
    else:
        assert answer.status in (200, 201)
        if "uploads" in target:
            assert json.loads(answer.body)["size"] == len(body)


@pytest.mark.parametrize("flavour", DIRECT)
async def test_a_body_behind_an_offer_is_not_taken_for_a_request(flavour: str) -> None:
    """Or else whoever gives a proxy a body would give the server a request."""
    smuggled = b"POST /invoke/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    async with serving_here(flavour) as server, await server.connect() as connection:
        await send_in_pieces(connection, "/invoke/add", {**JSON, **H2C}, smuggled, "behind")
        answer = await connection.read_answer()
        runs = (await server.fetch("GET", "/runs")).json()["runs"]

    assert answer.problem() == (400, "invalid_value")
    assert runs == []


@pytest.mark.parametrize("flavour", DIRECT)
@pytest.mark.parametrize("offer", OFFERS[:2])
async def test_requests_behind_an_offer_are_answered(flavour: str, offer: dict[str, str]) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in offer.items())
    get = "GET {} HTTP/1.1\r\nHost: localhost\r\n{}\r\n"
    async with serving_here(flavour) as server, await server.connect() as connection:
        await server.closed_log("run", 1)
        asked = [("/healthz", lines), ("/runs/run/events", lines), ("/runs/run", "")]
        await connection.send("".join(get.format(*each) for each in asked).encode())
        answers = [await connection.read_answer() for _ in asked]

    assert [answer.status for answer in answers] == [200, 200, 200]
    assert b'"type":"done"' in answers[1].body


@pytest.mark.parametrize("flavour", DIRECT)
async def test_offers_that_wait_behind_another_are_bounded(flavour: str) -> None:
    async with serving_here(flavour, settings=Settings(max_pipelined=10)) as server:
        await server.log("run")
        lines = "".join(f"{name}: {value}\r\n" for name, value in H2C.items())
        get = f"GET /healthz HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode()
        async with await server.connect() as connection:
            await connection.ask("GET", "/runs/run/events")
            await connection.read_head()
            (its,) = server.connections
            await connection.send(1000 * get)
            if flavour == "direct-h11":  # it no longer reads; one request is taken at a time
                await server.eventually(lambda: its.flow.read_paused)
            else:
                await server.eventually(lambda: not server.connections)
                assert len(its.pipeline) == 10


@pytest.mark.parametrize("flavour", DIRECT)
async def test_a_watcher_that_offers_another_protocol_may_leave(flavour: str) -> None:
    settings = Settings(heartbeat_s=0.05)
    async with serving_here(flavour, settings=settings) as server:
        await server.log("run")
        async with await server.connect() as connection:
            await connection.ask("GET", "/runs/run/events", H2C)
            assert (await connection.read_head()).status == 200

        await server.eventually(lambda: server.hub.hub.statistics().watchers == 0)


# --- clients of HTTP/1.0 --------------------------------------------------------------------------


async def bear() -> None:
    """Leave a file."""
    (runcast.workspace() / "data" / "outputs" / "report.txt").write_bytes(b"report" * 10_000)


@asynccontextmanager
async def with_runs(flavour: str, tmp_path: Path) -> AsyncIterator[tuple[Server, str]]:
    """Serve a run that has ended, whose epoch comes with it, and one that goes on."""
    store = f"sqlite:///{tmp_path}/runs.db"
    async with serving_here(flavour, functions=[bear], store=store) as server:
        await server.post("/invoke/bear", b'{"run_id": "bear"}', JSON)
        ended = await server.closed_log("ended")
        await (await server.log("runs")).emit(1)
        yield server, ended.epoch


async def ask_both(
    server: Server, method: str, target: str, headers: dict[str, str], body: bytes | None
) -> tuple[Answer, Answer]:
    """Return the answers to HTTP/1.1 and to HTTP/1.0, the latter up to the connection's end."""
    answers = []
    for version in ("1.1", "1.0"):
        async with await server.connect() as connection:
            await connection.ask(method, target, headers, body, version=version)
            answer = await connection.read_answer(method)
            answers.append(answer)
            if version == "1.0":
                assert await connection.read_rest() == b""
    return answers[0], answers[1]


ASKED: list[tuple[str, str, dict[str, str], bytes | None]] = [
    ("GET", "/runs/ended/events", {}, None),
    ("GET", "/runs/ended/events", {"Accept": "application/x-ndjson"}, None),
    ("GET", "/runs/ended/events", {"Accept": "application/json"}, None),
    ("GET", "/runs/ended/events?dialect=named&types=done", {}, None),
    ("GET", "/runs/ended/events?after={}-1", {}, None),
    ("GET", "/events?run=ended&run=bear", {}, None),
    ("HEAD", "/runs/ended/events", {}, None),
    ("GET", "/runs/runs/events?live=false", {}, None),
    ("POST", "/invoke/count", {"Accept": "text/event-stream"}, b'{"inputs": {"n": 3}}'),
    ("POST", "/invoke/add", JSON, b'{"inputs": {"a": 5}}'),
    ("GET", "/runs/bear/files/report.txt", {}, None),
    ("GET", "/runs/bear/files/report.txt", {"Range": "bytes=5-9"}, None),
    ("HEAD", "/runs/bear/files/report.txt", {}, None),
    ("GET", "/runs/nowhere", {}, None),
    ("GET", "/", {}, None),
]
"""Every kind of answer, with its length and without."""

OWN = {"transfer-encoding", "connection", "date", "location", "runcast-run-id"}
"""Headers that may differ from one answer to the next."""


@pytest.mark.parametrize("flavour", PROTOCOLS)
@pytest.mark.parametrize("kept", ["", "keep-alive"], ids=["", "keep-alive"])
async def test_a_client_of_http_1_0_gets_the_same_without_chunks(
    flavour: str, kept: str, tmp_path: Path
) -> None:
    """RFC 9112 §6.1: no transfer coding for a client of HTTP/1.0."""
    async with with_runs(flavour, tmp_path) as (server, epoch):
        for method, target, headers, body in ASKED:
            fields = {**headers, "Connection": kept}
            new, old = await ask_both(server, method, target.format(epoch), fields, body)

            assert "transfer-encoding" not in old.headers, target
            assert old.status == new.status
            assert old.headers.keys() - OWN == new.headers.keys() - OWN
            if method != "POST":  # another run has other times
                assert old.body == new.body
            elif "event-stream" in new.headers["content-type"]:
                assert old.body.count(b"\n\n") == new.body.count(b"\n\n")


@pytest.mark.parametrize("flavour", PROTOCOLS)
async def test_a_stream_to_a_client_of_http_1_0_is_live_and_noticed_when_it_leaves(
    flavour: str,
) -> None:
    async with serving_here(flavour, settings=Settings(heartbeat_s=0.05)) as server:
        log = await server.log("run")
        async with await server.connect() as connection:
            await connection.ask("GET", "/runs/run/events", version="1.0")
            assert "transfer-encoding" not in (await connection.read_head()).headers
            await log.emit(1, data="x" * 1000)
            beats = await connection._until(b": hb\n")
            await log.emit(2)
            more = await connection._until(b"\n\n")
        await server.eventually(lambda: server.hub.hub.statistics().watchers == 0)

    assert beats.startswith(b"retry: 2000\n: runcast\n\n")
    assert b"x" * 1000 in beats
    assert b"\r" not in beats + more


@pytest.mark.parametrize("flavour", DIRECT)
async def test_a_client_of_http_1_0_is_not_asked_to_go_on(flavour: str) -> None:
    """RFC 9110 §10.1.1: it does not know of 100."""
    async with serving_here(flavour) as server, await server.connect() as connection:
        headers = {**JSON, "Expect": "100-continue"}
        await connection.ask("POST", "/invoke/add", headers, b'{"inputs": {"a": 5}}', version="1.0")
        async with asyncio.timeout(WAIT_S):
            answer = await connection.read_answer()

    assert answer.status == 200


# --- answers --------------------------------------------------------------------------------------


class Recording:
    """A transport that counts what is written at once."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        self._transport.write(data)

    def writelines(self, parts: list[bytes]) -> None:
        self.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


@pytest.mark.parametrize(
    ("method", "target", "fields"),
    [
        ("GET", "/healthz", {}),
        ("HEAD", "/healthz", {}),
        ("GET", "/runs/none", {}),
        ("GET", "/healthz", {"Connection": "close"}),
    ],
)
async def test_an_answer_goes_out_with_its_head_by_one_write(
    method: str, target: str, fields: dict[str, str]
) -> None:
    async with serving_here("direct-httptools") as server, await server.connect() as connection:
        await connection.ask("GET", "/healthz")
        await connection.read_answer()
        (its,) = server.connections
        recording = its._joined._transport = Recording(its.transport)
        await connection.ask(method, target, fields)
        answer = await connection.read_answer(method)

    assert answer.status == (404 if target == "/runs/none" else 200)
    (written,) = recording.writes
    assert written.startswith(b"HTTP/1.1 ")
    assert written.endswith(b"\r\n\r\n" + answer.body)
