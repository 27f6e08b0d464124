"""Matrix: `matrix://!room:server?homeserver=https://…&token=…`.

An event holds at most 65,536 bytes, and an edit carries its text twice, each time as text and as
HTML. A send has a transaction id, so it repeats safely. Every edit is an event that clients load,
so a message takes 150 of them, and then the next one begins.

Source: https://spec.matrix.org/latest/client-server-api/ (m.room.message, m.replace, typing).
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from runcast._clock import SystemClock
from runcast.channels._http import Answer, Api, retry_after_of
from runcast.channels.actions import Edit, Send
from runcast.channels.capability import Capability
from runcast.channels.markup import to_html
from runcast.channels.outcome import CallOutcome
from runcast.channels.platforms.options import optional, required

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
    """

    capability = _CAPABILITY

    def __init__(self, room: str, *, homeserver: str, token: str, user: str = "") -> None:
        self.scope = f"matrix:{room}"
        self._room = quote(room, safe="")
        self._user = user
        self._api = Api(
            f"{homeserver.rstrip('/')}/_matrix/client/v3",
            headers={"Authorization": f"Bearer {token}"},
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
        return _outcome(await self._api.call("PUT", path, {}))

    async def show_typing(self, is_on: bool) -> CallOutcome:
        """Show that somebody writes, or take it back."""
        if not self._user:
            answer = await self._api.call("GET", "/account/whoami")
            if isinstance(answer, CallOutcome) or not answer.is_ok:
                return _outcome(answer)
            self._user = str(answer.body.get("user_id", ""))
        body = {"typing": True, "timeout": _TYPING_MS} if is_on else {"typing": False}
        path = f"/rooms/{self._room}/typing/{quote(self._user, safe='')}"
        return _outcome(await self._api.call("PUT", path, body))

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def _put(self, transaction: str, content: dict[str, Any]) -> CallOutcome:
        path = f"/rooms/{self._room}/send/m.room.message/{quote(transaction, safe='')}"
        return _outcome(await self._api.call("PUT", path, content))


def _hash_of(text: str) -> str:
    """Return a short digest, for ids of transactions."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _content(message: Send | Edit) -> dict[str, Any]:
    content: dict[str, Any] = {"msgtype": "m.text", "body": message.text}
    if not message.is_plain:
        content["format"] = "org.matrix.custom.html"
        content["formatted_body"] = to_html(message.text)
    return content


def _outcome(answer: Answer | CallOutcome) -> CallOutcome:
    if isinstance(answer, CallOutcome):
        return answer
    if answer.is_ok:
        return CallOutcome("ok", str(answer.body.get("event_id", "")))
    code, reason = answer.body.get("errcode"), answer.said("error", "errcode")
    if code == "M_LIMIT_EXCEEDED" or answer.status == 429:
        waits = answer.body.get("retry_after_ms")
        given = waits / 1000 if isinstance(waits, int | float) else None
        retry_after_s = given if given is not None else retry_after_of(answer, SystemClock().time())
        return CallOutcome("limited", retry_after_s=retry_after_s, reason=reason)
    if code == "M_TOO_LARGE" or answer.status == 413:
        return CallOutcome("too_long", reason=reason)
    if code in _GONE:
        return CallOutcome("gone", reason=reason)
    if code in _FORBIDDEN:
        return CallOutcome("forbidden", reason=reason)
    return CallOutcome("uncertain" if answer.status >= 500 else "rejected", reason=reason)


def make_channel(address: str, options: Mapping[str, str]) -> Matrix:
    """Return the channel of a target."""
    return Matrix(
        address,
        homeserver=required(options, "homeserver", "Matrix"),
        token=required(options, "token", "Matrix"),
        user=optional(options, "user"),
    )
