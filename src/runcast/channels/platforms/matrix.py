"""Matrix: `matrix://!room:server?homeserver=https://…&token=…`.

An event holds at most 65,536 bytes, and an edit carries its text twice, each time as text and as
HTML. A send has a transaction id, so it repeats safely. Every edit is an event that clients load,
so a message takes 150 of them, and then the next one begins.

Source: https://spec.matrix.org/latest/client-server-api/ (m.room.message, m.replace, typing).
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

from runcast._addresses import Network
from runcast.channels.actions import Edit, Send
from runcast.channels.calls import Answer, Caller, check_token, seconds_of
from runcast.channels.capability import Capability
from runcast.channels.html import to_html
from runcast.channels.outcome import CallOutcome
from runcast.channels.platforms.options import are_answers_taken, networks_for, optional, required

__all__ = ("Matrix", "make_channel")

_TYPING_MS: Final = 30_000
_CAPABILITY: Final = Capability(
    limit=8_000,
    unit="utf8",
    can_type=True,
    typing_s=20.0,
    stops_typing=True,
    is_idempotent=True,
    interval_s=2.0,
    max_edits=150,
)
_GONE: Final = frozenset({"M_NOT_FOUND"})
_FORBIDDEN: Final = frozenset(
    {"M_FORBIDDEN", "M_UNKNOWN_TOKEN", "M_MISSING_TOKEN", "M_GUEST_ACCESS_FORBIDDEN"}
)


class Matrix:
    """A room on a homeserver.

    Args:
        room: the room's id, like `!abc:example.org`.
        user: the account's id; found by the token if it is not given.
        takes_replies: whether somebody reads what people write in the room.
        networks: if not None, private addresses outside these networks are refused.

    Raises:
        InvalidValue: the homeserver or the token is malformed. The message does not show the token.
    """

    def __init__(
        self,
        room: str,
        *,
        homeserver: str,
        token: str,
        user: str = "",
        takes_replies: bool = False,
        networks: Iterable[Network] | None = None,
    ) -> None:
        self.capability = dataclasses.replace(_CAPABILITY, takes_replies=takes_replies)
        self.scope = f"matrix:{room}"
        self._room = quote(room, safe="")
        self._user = user
        check_token(token, "a token of Matrix")
        self._caller = Caller(
            f"{homeserver.rstrip('/')}/_matrix/client/v3",
            secrets=(token,),
            headers={"authorization": f"Bearer {token}"},
            networks=networks,
        )

    async def send(self, message: Send) -> CallOutcome:
        """Send a message to the room."""
        return await self._put(message.key, _content(message))

    async def edit(self, message: Edit) -> CallOutcome:
        """Replace a message."""
        new = _content(message)
        content = {
            **new,
            "body": f"* {new['body']}",
            "m.new_content": new,
            "m.relates_to": {"rel_type": "m.replace", "event_id": message.message_id},
        }
        # Equal edits have one id: repeated, they make one event.
        digest = f"{message.page}.{_hash_of(message.text)}.{message.message_id}"
        return await self._put(f"e{_hash_of(digest)}", content)

    async def delete(self, message_id: str) -> CallOutcome:
        """Redact a message."""
        path = f"/rooms/{self._room}/redact/{quote(message_id, safe='')}/d{_hash_of(message_id)}"
        return self._outcome(await self._caller.call("PUT", path, {}))

    async def show_typing(self, is_on: bool) -> CallOutcome:
        """Show that somebody writes, or take it back."""
        if not self._user:
            answer = await self._caller.call("GET", "/account/whoami")
            if isinstance(answer, CallOutcome) or not answer.is_ok:
                return self._outcome(answer)
            self._user = answer.text("user_id")
        body = {"typing": True, "timeout": _TYPING_MS} if is_on else {"typing": False}
        path = f"/rooms/{self._room}/typing/{quote(self._user, safe='')}"
        return self._outcome(await self._caller.call("PUT", path, body))

    async def identify(self) -> CallOutcome:
        """Return the account's id."""
        answer = await self._caller.call("GET", "/account/whoami")
        if isinstance(answer, Answer) and answer.is_ok:
            return CallOutcome("ok", reason=answer.text("user_id"))
        return self._outcome(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._caller.close()

    async def _put(self, transaction: str, content: dict[str, Any]) -> CallOutcome:
        path = f"/rooms/{self._room}/send/m.room.message/{quote(transaction, safe='')}"
        return self._outcome(await self._caller.call("PUT", path, content))

    def _outcome(self, answer: Answer | CallOutcome) -> CallOutcome:
        if isinstance(answer, CallOutcome):
            return answer
        if answer.is_ok:
            return CallOutcome("ok", answer.text("event_id"))
        code = answer.text("errcode")
        said = answer.text("error") or code or f"HTTP {answer.status}"
        if code == "M_LIMIT_EXCEEDED" or answer.status == 429:
            named = answer.field("retry_after_ms")
            waits = named / 1000 if isinstance(named, int | float) else None
            seconds = seconds_of(answer.headers.get("retry-after") if waits is None else waits)
            return CallOutcome("limited", retry_after_s=seconds, reason=self._caller.clean(said))
        if code == "M_TOO_LARGE" or answer.status == 413:
            return self._caller.outcome("too_long", said)
        if code in _GONE:
            return self._caller.outcome("gone", said)
        return self._caller.outcome("forbidden" if code in _FORBIDDEN else "rejected", said)


def _hash_of(text: str) -> str:
    """Return a short digest, for ids of transactions."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _content(message: Send | Edit) -> dict[str, Any]:
    content: dict[str, Any] = {"msgtype": "m.text", "body": message.text}
    if not message.is_plain:
        content["format"] = "org.matrix.custom.html"
        content["formatted_body"] = to_html(message.text)
    return content


def make_channel(address: str, options: Mapping[str, str]) -> Matrix:
    """Return the channel of a target."""
    return Matrix(
        address,
        homeserver=required(options, "homeserver", "Matrix"),
        token=required(options, "token", "Matrix"),
        user=optional(options, "user"),
        takes_replies=are_answers_taken(options, "poll"),
        networks=networks_for(options),
    )
