"""ntfy: `ntfy://HOST/TOPIC?token=…`, push notifications of ntfy.sh or of a server of one's own.

A notification is published under a sequence id of ours, so a repeated one replaces the first, and
an answered question becomes quiet. Servers before 2.16 do not know such ids: there a notification
stays as it is, and a repeated one may be there twice.

A token is optional. On a public server the name of a topic is its only secret.

Source: https://docs.ntfy.sh/publish/ (publish as JSON; updating and deleting notifications;
limitations).
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Final

from runcast._addresses import Network
from runcast.channels.actions import Edit, Send
from runcast.channels.calls import Answer, Caller, check_token, seconds_of
from runcast.channels.capability import Capability
from runcast.channels.notices import NoticeKind, read
from runcast.channels.outcome import CallOutcome
from runcast.channels.platforms.options import digest_of, link_of, networks_for, optional
from runcast.errors import InvalidValue

__all__ = ("Ntfy", "make_channel")

_HOST: Final = "ntfy.sh"
_TOPIC: Final = re.compile(r"[-_A-Za-z0-9]{1,64}")
_DAY_CODE: Final = 42908
_DAY_S: Final = 3600.0
"""Pause when the messages of a day are used up: the server does not say when its day ends."""
_REFILL_S: Final = 10.0
"""Pause when the server names none: it gives back one request in five seconds."""

_LOOKS: Final[Mapping[NoticeKind, tuple[int, str]]] = {
    "asks": (4, "question"),
    "answered": (2, "arrow_right"),  # no sound: a person has just answered
    "done": (3, "white_check_mark"),
    "failed": (4, "x"),
    "cancelled": (2, "black_square_button"),
    "text": (3, ""),
}
"""Priority, of 1 to 5, and the tag that ntfy shows as an emoji."""

_CAPABILITY: Final = Capability(
    limit=4096,
    unit="utf8",
    is_notice=True,
    is_idempotent=True,
    interval_s=0.0,
    slots=60,
    window_s=300.0,
)


class Ntfy:
    """A topic on a server.

    Args:
        address: `HOST/TOPIC`, or a topic on ntfy.sh.
        url: of the server, in place of `https://HOST`.
        token: of an account that may publish.
        link: opened by a tap; `{run_id}` stands for the run's id.
        networks: if not None, private addresses outside these networks are refused.

    Raises:
        InvalidValue: the address, the token or the link is malformed. The message does not show
            them.
    """

    capability = _CAPABILITY

    def __init__(
        self,
        address: str,
        *,
        url: str = "",
        token: str = "",
        link: str = "",
        networks: Iterable[Network] | None = None,
    ) -> None:
        host, _, topic = address.strip("/").rpartition("/")
        if not _TOPIC.fullmatch(topic):
            raise InvalidValue(
                "expected a topic of ntfy like ntfy.sh/TOPIC: 1 to 64 letters, digits, - and _"
            )
        if token:
            check_token(token, "a token of ntfy")
        self._topic, self._link = topic, link
        # The server counts by sender, not by topic.
        self.scope = f"ntfy:{host or _HOST}"
        self.place = f"{self.scope}#{digest_of(topic)}"
        self._caller = Caller(
            url or f"https://{host or _HOST}",
            secrets=(token, topic),
            headers={"authorization": f"Bearer {token}"} if token else {},
            networks=networks,
        )

    async def send(self, message: Send) -> CallOutcome:
        """Publish a notification."""
        digest = hashlib.sha256(message.key.encode("utf-8", "surrogatepass")).hexdigest()
        return await self._publish(message, digest[:32])

    async def edit(self, message: Edit) -> CallOutcome:
        """Replace a notification."""
        return await self._publish(message, message.message_id)

    async def delete(self, message_id: str) -> CallOutcome:
        """Take a notification off the devices."""
        answer = await self._caller.call("DELETE", f"/{self._topic}/{message_id}")
        return answer if isinstance(answer, CallOutcome) else self._outcome(answer)

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await self._caller.close()

    async def _publish(self, message: Send | Edit, sequence: str) -> CallOutcome:
        notice = read(message)
        priority, tag = _LOOKS[notice.kind]
        body: dict[str, object] = {
            "topic": self._topic,
            "title": notice.title,
            "message": notice.body or notice.title,
            "priority": priority,
            "sequence_id": sequence,
        }
        if tag:
            body["tags"] = [tag]
        run_url = link_of(self._link, message.run_id) if self._link else ""
        if click := message.answer_url or run_url:
            body["click"] = click
        if message.answer_url:
            pages = {"Answer": message.answer_url, "Open the run": run_url}
            body["actions"] = [
                {"action": "view", "label": label, "url": url}
                for label, url in pages.items()
                if url
            ]
        answer = await self._caller.call("POST", "/", body)
        if isinstance(answer, CallOutcome):
            return answer
        outcome = self._outcome(answer)
        # A server that does not know sequences takes no changes: then the message has no id.
        is_known = answer.text("sequence_id") == sequence
        return CallOutcome("ok", sequence if is_known else "") if answer.is_ok else outcome

    def _outcome(self, answer: Answer) -> CallOutcome:
        if answer.is_ok:
            return CallOutcome("ok")
        said = answer.text("error") or f"HTTP {answer.status}"
        if answer.status == 429:
            otherwise = _DAY_S if answer.field("code") == _DAY_CODE else _REFILL_S
            seconds = seconds_of(answer.headers.get("retry-after")) or otherwise
            return CallOutcome("limited", retry_after_s=seconds, reason=self._caller.clean(said))
        if answer.status == 413:
            return self._caller.outcome("too_long", said)
        is_refused = answer.status in (401, 403, 404)
        return self._caller.outcome("forbidden" if is_refused else "rejected", said)


def make_channel(address: str, options: Mapping[str, str]) -> Ntfy:
    """Return the channel of a target."""
    has_server = "/" in address.strip("/") or bool(options.get("url"))
    return Ntfy(
        address,
        url=optional(options, "url"),
        token=optional(options, "token"),
        link=optional(options, "link"),
        networks=networks_for(options) if has_server else None,
    )
