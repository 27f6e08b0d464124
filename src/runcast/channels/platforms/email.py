"""E-mail over SMTP: `email://me@example.org?server=smtp.example.org&user=…&password=…`.

A message is sent for each question, for the text before it, and at the end. The messages of one
run are one thread.

The connection is encrypted: TLS from the beginning on port 465, else STARTTLS. The server must show
a certificate for its name that this machine trusts. If it offers no encryption, nothing is sent.
`security=none` turns that off, for a relay that takes mails without a password.

Private addresses are refused, unless the option `allow` names their networks. The name is looked up
once, and the connection goes to the address that was checked.

Source: RFC 5321, RFC 5322, RFC 3834; `smtplib` of the standard library, in a thread.
"""

import asyncio
import ipaddress
import smtplib
import socket
import ssl
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from typing import Any, Final

from runcast._addresses import Network, is_public
from runcast._clock import Clock, SystemClock
from runcast.channels.actions import Send
from runcast.channels.capability import Capability
from runcast.channels.html import to_html, to_plain
from runcast.channels.outcome import CallOutcome
from runcast.channels.platforms.options import networks_for, optional, required
from runcast.errors import InvalidValue

__all__ = ("Email", "make_channel")

_TIMEOUT_S: Final = 20.0
_IMPLICIT_TLS: Final = 465
_SECURITIES: Final = ("starttls", "tls", "none")
_MAX_SUBJECT_CHARS: Final = 100

_CAPABILITY: Final = Capability(
    limit=200_000, can_edit=False, can_delete=False, is_quiet=True, interval_s=0.0
)


class Email:
    """A mailbox.

    Args:
        address: the receiver.
        sender: the sender's address; by default the user, or the receiver.
        security: `starttls`, `tls`, or `none`.
        networks: if not None, private addresses outside these networks are refused.

    Raises:
        InvalidValue: the address or an option is malformed, or a password would be sent without
            encryption. The message does not show the password.
    """

    capability = _CAPABILITY

    def __init__(
        self,
        address: str,
        *,
        server: str,
        port: int = 0,
        user: str = "",
        password: str = "",
        sender: str = "",
        security: str = "",
        networks: Iterable[Network] | None = None,
        clock: Clock | None = None,
    ) -> None:
        if "@" not in parseaddr(address)[1] or any(each in address for each in "\r\n"):
            raise InvalidValue(f"expected a mail address like me@example.org, got {address!r:.80}")
        self.scope = f"email:{server}"
        self.place = f"email:{address}"
        self._address, self._server = address, server
        self._security = security or ("tls" if port == _IMPLICIT_TLS else "starttls")
        if self._security not in _SECURITIES:
            raise InvalidValue(
                f"expected security of {', '.join(_SECURITIES)}, got {security!r:.40}"
            )
        if password and self._security == "none":
            raise InvalidValue("expected no password without encryption; see the option security")
        self._networks = None if networks is None else tuple(networks)
        self._port = port or (_IMPLICIT_TLS if self._security == "tls" else 587)
        self._user, self._password = user, password
        self._sender = sender or (user if "@" in user else address)
        self._first_id = ""
        self._clock: Clock = clock or SystemClock()
        # Its own: runs may keep all of asyncio's threads busy.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="runcast-mail")

    async def send(self, message: Send) -> CallOutcome:
        """Send a mail."""
        mail = self._mail(message)
        loop = asyncio.get_running_loop()
        outcome = await loop.run_in_executor(self._thread, self._send, mail)
        if outcome.kind == "ok" and not self._first_id:
            self._first_id = outcome.message_id
        return outcome

    def _mail(self, message: Send) -> EmailMessage:
        mail = EmailMessage()
        text = to_plain(message.text)
        mail["Subject"] = _subject_of(text)
        mail["Date"] = formatdate(self._clock.time())
        mail["From"], mail["To"] = self._sender, self._address
        # From the key, so that the copies of a repeated mail can be recognised.
        mail["Message-ID"] = f"<{message.key}@runcast>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answer of an absent person
        if self._first_id:
            mail["In-Reply-To"] = mail["References"] = self._first_id
        mail.set_content(text)
        if not message.is_plain:
            mail.add_alternative(f"<div>{to_html(message.text)}</div>", subtype="html")
        return mail

    def _send(self, mail: EmailMessage) -> CallOutcome:
        try:
            smtp = self._connect()
        except smtplib.SMTPAuthenticationError as error:
            return CallOutcome("forbidden", reason=f"SMTP {error.smtp_code}")
        except _Refused as error:
            return CallOutcome("forbidden", reason=str(error))
        except (OSError, UnicodeError, smtplib.SMTPException) as error:
            return CallOutcome("not_started", reason=type(error).__name__)
        try:
            smtp.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            codes = {code for code, _ in error.recipients.values()}
            return _refused(max(codes, default=550))
        except smtplib.SMTPResponseException as error:
            return _refused(error.smtp_code)
        except (OSError, smtplib.SMTPException) as error:
            return CallOutcome("uncertain", reason=type(error).__name__)
        finally:
            with suppress(OSError, smtplib.SMTPException):  # the mail was taken, or refused, before
                smtp.quit()
            smtp.close()
        return CallOutcome("ok", str(mail["Message-ID"]))

    def _connect(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        address = self._address_of_server()
        smtp: smtplib.SMTP
        if self._security == "tls":
            smtp = _TlsSession(self._server, self._port, address, context)
        else:
            smtp = _Session(self._server, self._port, address)
        try:
            if self._security == "starttls":
                smtp.starttls(context=context)
            if self._user:
                smtp.login(self._user, self._password)
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _address_of_server(self) -> str:
        """Return the address to connect to. Raises `_Refused`, `OSError`."""
        if self._networks is None:
            return self._server
        found = socket.getaddrinfo(self._server, self._port, type=socket.SOCK_STREAM)
        for _, _, _, _, where in found:
            address = str(where[0]).partition("%")[0]
            if is_public(ipaddress.ip_address(address), self._networks):
                return address
        raise _Refused("its server is not in the public network; the option allow names networks")

    async def close(self) -> None:
        """End the thread. Between two mails no connection is open."""
        self._thread.shutdown(wait=False)


def _subject_of(text: str) -> str:
    """Return the first line of a text; a long line ends after a word, if it has words."""
    line = next((" ".join(each.split()) for each in text.splitlines() if each.strip()), "runcast")
    if len(line) <= _MAX_SUBJECT_CHARS:
        return line
    start = line[: _MAX_SUBJECT_CHARS - 1]
    words = start.rpartition(" ")[0] if line[len(start)] != " " else start
    return f"{words if len(words) > _MAX_SUBJECT_CHARS // 2 else start}…"


class _Refused(Exception):
    """An address that may not be reached."""


class _Session(smtplib.SMTP):
    """A session with a server that is connected to by its address. TLS checks its name."""

    def __init__(self, server: str, port: int, address: str) -> None:
        self._pinned = address
        super().__init__(server, port, timeout=_TIMEOUT_S)

    def _get_socket(self, host: str, port: int, timeout: Any) -> socket.socket:
        return socket.create_connection((self._pinned, port), timeout)


class _TlsSession(smtplib.SMTP_SSL):
    """The same, encrypted from the beginning."""

    def __init__(self, server: str, port: int, address: str, context: ssl.SSLContext) -> None:
        self._pinned, self._server = address, server
        super().__init__(server, port, timeout=_TIMEOUT_S, context=context)

    def _get_socket(self, host: str, port: int, timeout: Any) -> socket.socket:
        plain = socket.create_connection((self._pinned, port), timeout)
        try:
            return self.context.wrap_socket(plain, server_hostname=self._server)
        except BaseException:
            plain.close()
            raise


def _refused(code: int) -> CallOutcome:
    """Return what a reply means: 4xx may work later, 5xx never. Nothing was sent."""
    if 400 <= code < 500:
        return CallOutcome("limited", retry_after_s=60.0, reason=f"SMTP {code}")
    if code == 552:
        return CallOutcome("too_long", reason="SMTP 552")
    return CallOutcome("forbidden", reason=f"SMTP {code}")


def make_channel(address: str, options: Mapping[str, str]) -> Email:
    """Return the channel of a target."""
    port = optional(options, "port", "0")
    if not port.isdecimal():
        raise InvalidValue(f"expected a port, got {port!r:.40}")
    return Email(
        address,
        server=required(options, "server", "e-mail"),
        port=int(port),
        user=optional(options, "user"),
        password=optional(options, "password"),
        sender=optional(options, "from"),
        security=optional(options, "security"),
        networks=networks_for(options),
    )
