"""E-mail over SMTP: `email://me@example.org?server=smtp.example.org&user=…&password=…`.

A message is sent for each question and at the end. The messages of one run are one thread. The
connection is encrypted: TLS from the beginning on port 465, else STARTTLS. `security=none` turns
that off, for a relay on this machine.

Source: RFC 5321, RFC 5322; `smtplib` of the standard library, in a thread.
"""

import asyncio
import smtplib
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Final

from runcast.channels.actions import Send
from runcast.channels.capability import Capability
from runcast.channels.html import to_html, to_plain
from runcast.channels.outcome import CallOutcome
from runcast.channels.platforms.options import optional, required
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
    ) -> None:
        if "@" not in parseaddr(address)[1] or any(each in address for each in "\r\n"):
            raise InvalidValue(f"expected a mail address like me@example.org, got {address!r:.80}")
        self.scope = f"email:{server}"
        self._address, self._server = address, server
        self._security = security or ("tls" if port == _IMPLICIT_TLS else "starttls")
        if self._security not in _SECURITIES:
            raise InvalidValue(
                f"expected security of {', '.join(_SECURITIES)}, got {security!r:.40}"
            )
        self._port = port or (_IMPLICIT_TLS if self._security == "tls" else 587)
        self._user, self._password = user, password
        self._sender = sender or (user if "@" in user else address)
        self._first_id = ""
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
        title = next((line for line in text.splitlines() if line.strip()), "runcast")
        mail["Subject"] = title.strip()[:_MAX_SUBJECT_CHARS]
        mail["From"], mail["To"] = self._sender, self._address
        # From the key, so that the copies of a repeated mail can be recognised.
        mail["Message-ID"] = f"<{message.key}@runcast>"
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
        except (OSError, smtplib.SMTPException) as error:
            return CallOutcome("not_started", reason=type(error).__name__)
        try:
            with smtp:
                smtp.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            codes = {code for code, _ in error.recipients.values()}
            return _refused(max(codes, default=550))
        except smtplib.SMTPResponseException as error:
            return _refused(error.smtp_code)
        except (OSError, smtplib.SMTPException) as error:
            return CallOutcome("uncertain", reason=type(error).__name__)
        return CallOutcome("ok", str(mail["Message-ID"]))

    def _connect(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        smtp: smtplib.SMTP
        if self._security == "tls":
            smtp = smtplib.SMTP_SSL(self._server, self._port, timeout=_TIMEOUT_S, context=context)
        else:
            smtp = smtplib.SMTP(self._server, self._port, timeout=_TIMEOUT_S)
        try:
            if self._security == "starttls":
                smtp.starttls(context=context)
            if self._user:
                smtp.login(self._user, self._password)
        except BaseException:
            smtp.close()
            raise
        return smtp

    async def close(self) -> None:
        """End the thread. Between two mails no connection is open."""
        self._thread.shutdown(wait=False)


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
    )
