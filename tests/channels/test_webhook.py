"""Webhooks: a server on this machine, and addresses that must not be reached."""

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

import runcast
from runcast.channels import Send
from runcast.channels.calls import Caller
from runcast.channels.outcome import CallOutcome
from runcast.channels.platforms.webhook import Webhook, make_channel
from runcast.errors import InvalidValue


@dataclass
class Server:
    """Answers each request with the next of `answers`, and notes it."""

    port: int = 0
    answers: list[bytes] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                headers: dict[str, str] = {}
                while (header := await reader.readline()) not in (b"\r\n", b""):
                    name, _, value = header.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.requests.append((line.decode().split()[1], headers, body))
                answer = self.answers.pop(0) if self.answers else b"200 OK\r\n"
                if answer:
                    writer.write(b"HTTP/1.1 " + answer + b"Content-Length: 0\r\n\r\n")
                    await writer.drain()
                else:
                    break
        finally:
            writer.close()


@asynccontextmanager
async def serving(*answers: bytes) -> AsyncIterator[Server]:
    server = Server(answers=list(answers))
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield server


def webhook(server: Server, **options: str) -> Webhook:
    return make_channel(
        f"http://127.0.0.1:{server.port}/hook?key=T0PSECRET", {"allow": "127.0.0.0/8", **options}
    )


async def test_a_run_is_posted_with_a_signature() -> None:
    async with serving() as server, runcast.open_hub() as hub:
        async with hub.run("import") as run:
            runcast.content("Imported **all**.")
        delivery = await hub.deliver(run.run_id, webhook(server, secret="s3cret"))
        async with asyncio.timeout(5):
            receipt = await delivery.wait()
    assert receipt is not None
    assert receipt.status == "delivered"
    ((path, headers, body),) = server.requests
    assert path == "/hook?key=T0PSECRET"
    said = json.loads(body)
    assert said["text"] == "Imported **all**."
    assert said["is_final"] is True
    assert said["id"] == receipt.message_ids[0]
    digest = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert headers["x-runcast-signature"] == f"sha256={digest}"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"204 No Content\r\n", "ok"),
        (b"429 Slow\r\nRetry-After: 7\r\n", "limited"),
        (b"413 Long\r\n", "too_long"),
        (b"404 None\r\n", "forbidden"),
        (b"302 There\r\nLocation: http://127.0.0.1:1/\r\n", "forbidden"),
        (b"400 No\r\n", "rejected"),
        (b"500 Oh\r\n", "uncertain"),
        (b"", "uncertain"),
    ],
)
async def test_answers_are_classified(answer: bytes, kind: str) -> None:
    async with serving(answer) as server:
        channel = webhook(server)
        outcome = await channel.send(Send(1, "k", "x"))
        await channel.close()
    assert outcome.kind == kind
    assert outcome.retry_after_s == (7.0 if kind == "limited" else 0.0)
    assert "SECRET" not in outcome.reason
    assert len(server.requests) == 1  # no redirection is followed


async def test_a_private_address_is_refused_unless_it_is_allowed() -> None:
    async with serving() as server:
        for host in ("127.0.0.1", "localhost", "0x7f000001", "[::1]", "[::ffff:127.0.0.1]"):
            channel = make_channel(f"http://{host}:{server.port}/hook", {})
            outcome = await channel.send(Send(1, "k", "x"))
            await channel.close()
            assert outcome.kind in ("forbidden", "not_started"), host
    assert not server.requests


async def test_the_address_that_was_checked_is_the_one_that_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = ["127.0.0.1", "10.0.0.1"]

    async def lookup(self: object, host: str, port: int, **_: object) -> list[object]:
        return [(None, None, None, "", (answers.pop(0), port))]

    async with serving() as server:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(type(loop), "getaddrinfo", lookup)
        channel = make_channel(f"http://names.test:{server.port}/", {"allow": "127.0.0.0/8"})
        assert (await channel.send(Send(1, "k", "x"))).kind == "ok"
        await channel.close()
        assert (await channel.send(Send(1, "k", "x"))).kind == "forbidden"
        await channel.close()
    assert server.requests[0][1]["host"] == f"names.test:{server.port}"


async def test_a_token_in_a_path_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(b"200 OK\r\n", b"") as server:
        url, path = f"http://127.0.0.1:{server.port}", "/bot:T0PSECRET"
        caller = Caller(url, secrets=("T0PSECRET",), secret_path=path)
        assert not isinstance(await caller.call("POST", "/send", {}), CallOutcome)
        failed = await caller.call("POST", "/send", {})
        await caller.close()
    assert [path for path, *_ in server.requests] == ["/bot:T0PSECRET/send"] * 2
    assert isinstance(failed, CallOutcome)
    assert "SECRET" not in failed.reason
    logged = " ".join(record.getMessage() for record in caplog.records)
    assert "HTTP Request" in logged
    assert "SECRET" not in logged


def test_what_is_no_webhook_is_refused() -> None:
    for url in ("ftp://example.org/", "https://", "https://user:secret@example.org/"):
        with pytest.raises(InvalidValue) as refused:
            make_channel(url, {})
        assert "secret" not in str(refused.value)
    with pytest.raises(InvalidValue, match="networks"):
        make_channel("https://example.org/", {"allow": "inside"})
