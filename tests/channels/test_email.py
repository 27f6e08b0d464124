"""E-mail to a real SMTP server."""

import contextlib
import email
import email.policy
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Final

import pytest

import runcast
from runcast.channels import Button, Send
from runcast.channels.platforms import make_channel
from runcast.channels.platforms.email import Email
from runcast.channels.targets import Target
from runcast.errors import InvalidValue

_PYTHON: Final = Path(__file__).parents[2] / ".venv-servers" / "bin" / "python"


@dataclass
class MailServer:
    port: int
    folder: Path

    def mails(self) -> list[EmailMessage]:
        files = sorted((self.folder / "new").iterdir(), key=lambda file: file.stat().st_mtime_ns)
        return [
            email.message_from_bytes(each.read_bytes(), policy=email.policy.default)
            for each in files
        ]


def options_for(server: MailServer) -> dict[str, str]:
    return {
        "server": "127.0.0.1",
        "port": str(server.port),
        "security": "none",
        "from": "me@example.org",
        "allow": "127.0.0.0/8",
    }


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MailServer]:
    if not _PYTHON.exists():
        pytest.skip("there is no aiosmtpd (python3 dev.py test --all brings it)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path / "mails"
    handler = ["-c", "aiosmtpd.handlers.Mailbox", str(folder)]
    command = [str(_PYTHON), "-W", "ignore", "-m", "aiosmtpd", "-n", "-l", f"127.0.0.1:{port}"]
    process = subprocess.Popen([*command, *handler], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        yield MailServer(port, folder)
    finally:
        process.kill()
        process.wait()


@pytest.mark.heavy
async def test_a_run_becomes_one_mail_at_its_end(server: MailServer) -> None:
    async def work() -> str:
        runcast.content("I look for it.\n\n")
        runcast.tool_call("find", {"q": "x"}, call_id="1")
        runcast.content("# Result\n\nIt is **here**: [the page](https://example.org/?a=1&b=2)")
        return "done"

    target = Target("email", "you@example.org", options_for(server))
    async with runcast.open_hub() as hub:
        run = await hub.start(work)
        delivery = await hub.deliver(run.run_id, make_channel(target))
        receipt = await delivery.wait()
    assert receipt is not None
    assert receipt.status == "delivered"
    (mail,) = server.mails()
    assert mail["To"] == "you@example.org"
    assert mail["From"] == "me@example.org"
    assert mail["Subject"] == "I look for it."
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert "It is here: the page (https://example.org/?a=1&b=2)" in plain.get_content()
    assert '<a href="https://example.org/?a=1&amp;b=2">the page</a>' in html.get_content()


@pytest.mark.heavy
async def test_the_mails_of_a_run_are_a_thread(server: MailServer) -> None:
    channel = Email(
        "you@example.org",
        server="127.0.0.1",
        port=server.port,
        security="none",
        sender="me@example.org",
    )
    for number in (1, 2):
        sent = await channel.send(
            Send(number, f"d.{number}", "Really?\n\nSo?", (Button("accept", "Yes"),))
        )
        assert sent.kind == "ok"
    await channel.close()
    first, second = server.mails()
    assert second["In-Reply-To"] == first["Message-ID"] == "<d.1@runcast>"


@pytest.mark.heavy
async def test_a_server_without_encryption_gets_no_mail(server: MailServer) -> None:
    channel = Email("you@example.org", server="127.0.0.1", port=server.port)
    assert (await channel.send(Send(1, "d.1", "secret"))).kind == "not_started"
    await channel.close()
    assert not (server.folder / "new").exists() or not server.mails()


async def test_a_server_that_is_not_there_is_not_started() -> None:
    channel = Email("you@example.org", server="127.0.0.1", port=9, security="none")
    assert (await channel.send(Send(1, "d.1", "x"))).kind == "not_started"
    await channel.close()


@pytest.mark.parametrize("address", ["you", "you@example.org\r\nBcc: all@example.org", ""])
def test_what_is_not_an_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidValue):
        Email(address, server="127.0.0.1")
