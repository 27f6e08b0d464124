"""Apprise: `apprise://URL`, where URL is any address of Apprise, such as `pover://…`.

Apprise knows more than a hundred services. It says only whether a service has taken a message, and
not why: so what was not taken is `uncertain`, and no message can be changed. A message is sent for
each question and at the end.

Apprise blocks, so it runs in a few threads of its own. Its records hold addresses, so what these
threads log is dropped. Private addresses are reached: Apprise looks names up itself.

Source: https://appriseit.com, and the package `apprise`.
"""

import asyncio
import hashlib
import html
import logging
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from runcast.channels.actions import Send
from runcast.channels.capability import Capability
from runcast.channels.html import to_html, to_plain
from runcast.channels.notices import Notice, NoticeKind, read
from runcast.channels.outcome import CallOutcome
from runcast.errors import InvalidValue

if TYPE_CHECKING:
    from apprise import NotifyBase

__all__ = ("AppriseChannel", "make_channel")

_THREADS: Final = 4
"""Most calls of Apprise at once in this process. The others wait."""
_THREAD_NAME: Final = "runcast-apprise"
_LOGGERS: Final = ("apprise", "requests", "urllib3.connectionpool", "urllib3.util.retry")
_URL: Final = re.compile(r"[A-Za-z0-9_-]+://[^/]*\S")

_CAPABILITY: Final = Capability(
    limit=30_000, can_edit=False, can_delete=False, is_quiet=True, interval_s=0.0
)

_TYPES: Final[Mapping[NoticeKind, str]] = {
    "asks": "warning",
    "done": "success",
    "failed": "failure",
}


class AppriseChannel:
    """A service that Apprise knows.

    Args:
        url: of Apprise. It holds secrets.

    Raises:
        InvalidValue: it is not an address, or the package is not installed. The message does not
            show the address. A service that Apprise does not know is found out by the first
            message, because loading Apprise takes half a second.
    """

    capability = _CAPABILITY

    def __init__(self, url: str) -> None:
        if not _URL.match(url):
            raise InvalidValue(
                "expected an address of Apprise behind apprise://, such as apprise://ntfy://TOPIC"
            )
        if find_spec("apprise") is None:
            raise InvalidValue(
                "this target needs the package apprise: pip install 'runcast[apprise]'"
            )
        self.scope = f"apprise:{hashlib.sha256(url.encode()).hexdigest()[:12]}"
        self._url = url
        self._service: NotifyBase | None = None

    async def send(self, message: Send) -> CallOutcome:
        """Send a message."""
        return await asyncio.get_running_loop().run_in_executor(_pool(), self._send, message)

    def _send(self, message: Send) -> CallOutcome:
        notice = read(message)
        try:
            service = self._service = self._service or _load(self._url)
            if service is None:
                return CallOutcome("forbidden", reason="Apprise does not know this address")
            # Not by `Apprise.notify`, whose own threads would log the address.
            is_taken = service.notify(
                body=_body_of(
                    message,
                    notice,
                    _form_of(service),
                ),
                title="" if notice.kind == "text" else notice.title,
                notify_type=_TYPES.get(notice.kind, "info"),
            )
        except Exception as error:  # noqa: BLE001 - of any service; its text may hold a secret
            return CallOutcome("uncertain", reason=f"Apprise raised {type(error).__name__}")
        if is_taken:
            return CallOutcome("ok")
        return CallOutcome("uncertain", reason="Apprise says that the service did not take it")

    async def close(self) -> None:
        """Between two messages no connection is open."""


def _form_of(service: "NotifyBase") -> str:
    """Return how a service takes texts by default: `text`, `markdown` or `html`."""
    known: object = service.notify_format
    first = known[0] if isinstance(known, tuple) else known
    return str(getattr(first, "value", first))


def _body_of(message: Send, notice: Notice, form: str) -> str:
    """Return the text as a service takes it: as Markdown, HTML or plain text."""
    if notice.kind != "text":
        text = notice.body or notice.title
        return html.escape(text) if form == "html" else text
    if message.is_plain or form == "markdown":
        return message.text
    return to_html(message.text) if form == "html" else to_plain(message.text)


def _load(url: str) -> "NotifyBase | None":
    from apprise import Apprise, OverflowMode

    made = Apprise()
    if not made.add(url) or len(made) != 1:
        return None
    service = made[0]
    if "overflow=" not in url:
        service.overflow_mode = (
            OverflowMode.SPLIT
        )  # at the longest message that Apprise knows of a service
    return service


@cache
def _pool() -> ThreadPoolExecutor:
    """Return the threads of Apprise, whose records are dropped."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_is_elsewhere)
    return ThreadPoolExecutor(_THREADS, thread_name_prefix=_THREAD_NAME)


def _is_elsewhere(record: logging.LogRecord) -> bool:
    return not str(record.threadName).startswith(_THREAD_NAME)


def make_channel(address: str, options: Mapping[str, str]) -> AppriseChannel:
    """Return the channel of a target."""
    return AppriseChannel(address)
