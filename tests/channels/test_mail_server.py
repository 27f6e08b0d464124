"""Which mail servers are reached, by which address, and with which encryption."""

import datetime
import email
import email.policy
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from runcast.channels import Send
from runcast.channels.platforms.email import Email, make_channel
from runcast.errors import InvalidValue
from runcast.testing import FakeClock

MAIL: Final = Send(1, "d.1", "secret text")
NAME: Final = "mail.test"


def certificate(folder: Path, name: str) -> str:
    """Write a certificate for a name, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=365 * 100))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    encoded = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(encoded + made.public_bytes(serialization.Encoding.PEM))
    return str(file)


class MailServer:
    """Takes one mail after the other, and offers STARTTLS if it has a certificate."""

    def __init__(self, certificate: str = "") -> None:
        self.mails: list[str] = []
        self._context: ssl.SSLContext | None = None
        if certificate:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            try:
                self._talk(connection)
            except OSError:
                pass
            finally:
                connection.close()

    def _talk(self, plain: socket.socket) -> None:
        connection: socket.socket = plain
        connection.sendall(b"220 mail.test\r\n")
        lines = connection.makefile("rb")
        while line := lines.readline():
            command = line.split()[0].upper()
            if command == b"STARTTLS" and self._context is not None:
                connection.sendall(b"220 go\r\n")
                connection = self._context.wrap_socket(connection, server_side=True)
                lines = connection.makefile("rb")
            elif command == b"DATA":
                connection.sendall(b"354 go\r\n")
                text = b""
                while (part := lines.readline()) != b".\r\n":
                    text += part
                self.mails.append(text.decode())
                connection.sendall(b"250 ok\r\n")
            elif command == b"EHLO" and self._context is not None:
                connection.sendall(b"250-mail.test\r\n250 STARTTLS\r\n")
            else:
                connection.sendall(b"250 ok\r\n")
        if isinstance(connection, ssl.SSLSocket):
            connection.close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the addresses that lookups give, one after the other."""
    answers: list[str] = []

    def lookup(host: str, port: int, *_: object, **__: object) -> list[Any]:
        try:
            address = str(ipaddress.ip_address(host))
        except ValueError:
            address = answers.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return answers


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Return a certificate of the mail server that this machine trusts."""
    file = certificate(tmp_path, NAME)
    make = ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda: make(cafile=file))
    return file


@pytest.fixture
def server(trusted: str) -> Iterator[MailServer]:
    made = MailServer(trusted)
    yield made
    made.close()


async def kind_of(channel: Email) -> str:
    outcome = await channel.send(MAIL)
    await channel.close()
    assert "secret" not in outcome.reason
    return outcome.kind


def mailbox(server: MailServer, /, **options: str) -> Email:
    return make_channel(
        "you@example.org",
        {"server": NAME, "port": str(server.port), "allow": "127.0.0.0/8", **options},
    )


async def test_the_address_that_was_checked_is_used_and_tls_checks_the_name(
    server: MailServer, names: list[str]
) -> None:
    names += ["127.0.0.1", "10.0.0.1"]
    assert await kind_of(mailbox(server)) == "ok"
    assert len(server.mails) == 1
    assert await kind_of(mailbox(server)) == "forbidden"  # its second address is private
    assert len(server.mails) == 1


async def test_a_private_server_is_refused_unless_it_is_allowed(server: MailServer) -> None:
    for host in ("127.0.0.1", "localhost"):
        channel = mailbox(server, server=host, allow="", security="none")
        assert await kind_of(channel) == "forbidden"
    assert await kind_of(mailbox(server, server="127.0.0.1", security="none")) == "ok"


async def test_a_server_whose_certificate_is_for_another_name_gets_no_mail(
    server: MailServer, names: list[str]
) -> None:
    names.append("127.0.0.1")
    assert await kind_of(mailbox(server, server="other.test")) == "not_started"
    assert server.mails == []


async def test_a_mail_that_was_taken_is_sent_whatever_follows(server: MailServer) -> None:
    # This server answers QUIT with 250, not with 221.
    assert await kind_of(mailbox(server, server="127.0.0.1", security="none")) == "ok"


async def test_a_server_that_offers_no_encryption_gets_no_mail(names: list[str]) -> None:
    names.append("127.0.0.1")
    plain = MailServer()
    assert await kind_of(mailbox(plain)) == "not_started"
    plain.close()
    assert plain.mails == []


async def test_a_mail_has_its_date_and_a_subject_that_ends_with_a_word(names: list[str]) -> None:
    names.append("127.0.0.1")
    server = MailServer()
    channel = Email(
        "you@example.org",
        server="127.0.0.1",
        port=server.port,
        security="none",
        clock=FakeClock(1_700_000_000.0),
    )
    for number, text in enumerate(("words " * 30, "字" * 120)):
        assert (await channel.send(Send(number, f"d.{number}", text))).kind == "ok"
    await channel.close()
    server.close()
    mail = email.message_from_string(server.mails[0], policy=email.policy.default)
    assert mail["Date"] == "Tue, 14 Nov 2023 22:13:20 -0000"
    assert mail["Auto-Submitted"] == "auto-generated"
    subjects = [
        str(email.message_from_string(each, policy=email.policy.default)["Subject"])
        for each in server.mails
    ]
    assert subjects == [" ".join(["words"] * 16) + "…", "字" * 99 + "…"]


def test_a_password_is_not_sent_without_encryption() -> None:
    with pytest.raises(InvalidValue) as refused:
        Email("a@b.c", server="x", user="u", password="T0P", security="none")
    assert "T0P" not in str(refused.value)
