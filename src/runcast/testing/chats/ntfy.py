"""An ntfy for tests: publishing as JSON and by URL, sequences, and the limits of a server.

Source: https://docs.ntfy.sh/publish/. A server gives each sender 60 requests, and one more every
five seconds. A longer message becomes an attachment, which has no text: here it is refused.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

from runcast._clock import Clock
from runcast.testing.chats.faults import ChatMessage
from runcast.testing.chats.server import ChatReply, ChatServer, Request, Window

__all__ = ("FakeNtfy",)

_TOPIC: Final = re.compile(r"[-_A-Za-z0-9]{1,64}")
_MAX_BYTES: Final = 4096
_BURST, _REFILL_S = 60, 5.0


class FakeNtfy(ChatServer):
    """An ntfy server whose topics take messages from one account.

    Args:
        topics: the topics that may be published to.
        is_old: whether the server is older than 2.16, and knows no sequences.
    """

    TOKEN: Final = "tk_TESTtokenofthefakentfyserver"

    def __init__(
        self,
        topics: Iterable[str] = ("runs",),
        *,
        is_old: bool = False,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(clock)
        self.topics: Final = set(topics)
        self.published: Final[list[dict[str, Any]]] = []
        """What was published, oldest first: title, priority, tags, click, and others."""
        self._is_old = is_old
        self._window = Window(_BURST, _BURST * _REFILL_S)

    def method_of(self, request: Request) -> str:
        return "publish" if request.verb in ("POST", "PUT") else request.verb.lower()

    def scope_of(self, method: str, request: Request) -> str:
        return "visitor"

    def limited(self, wait_s: float) -> ChatReply:
        return _refusal(429, 42901, "limit reached: too many requests")

    def failed(self) -> ChatReply:
        return _refusal(500, 50001, "internal server error")

    def do(self, method: str, request: Request, now: float) -> ChatReply:
        if self._window.wait_s(now):
            return self.limited(0.0)
        self._window.count(now)
        values = dict(request.values)
        topic, _, sequence = request.path.strip("/").partition("/")
        if topic:
            values.setdefault("sequence_id", sequence)
        topic = topic or str(values.get("topic", ""))
        if not _TOPIC.fullmatch(topic):
            return _refusal(400, 40009, "invalid request: topic invalid")
        if _authorization(request) != f"Bearer {self.TOKEN}":
            return _refusal(401, 40101, "unauthorized")
        if topic not in self.topics:
            return _refusal(403, 40301, "forbidden")
        if method == "delete":
            return self._remove(topic, sequence)
        return self._publish(topic, values)

    def _remove(self, topic: str, sequence: str) -> ChatReply:
        if self._is_old:
            return _refusal(404, 40401, "page not found")
        for message in self.messages:
            if (message.chat, message.message_id) == (topic, sequence):
                message.is_deleted = True
        return ChatReply(200, {"event": "message_delete", "topic": topic, "sequence_id": sequence})

    def _publish(self, topic: str, values: dict[str, Any]) -> ChatReply:
        text, priority = values.get("message") or "triggered", values.get("priority", 3)
        if not isinstance(text, str) or not isinstance(values.get("title", ""), str):
            return _refusal(400, 40024, "invalid request: request body must be valid JSON")
        if priority not in (1, 2, 3, 4, 5):
            return _refusal(400, 40007, "invalid priority parameter")
        if len(text.encode()) > _MAX_BYTES:
            return _refusal(413, 41303, "JSON body too large")
        sequence = "" if self._is_old else str(values.get("sequence_id") or "")
        if sequence and not _TOPIC.fullmatch(sequence):
            return _refusal(400, 40049, "invalid request: sequence ID invalid")
        identity = f"m{len(self.published) + 1:011}"
        self.published.append({**values, "topic": topic, "id": identity})
        known = self.find(topic, sequence) if sequence else None
        if known is None:
            self.messages.append(ChatMessage(topic, sequence or identity, text))
        else:
            known.text, known.edits = text, known.edits + 1
        named = {"sequence_id": sequence} if sequence else {}
        return ChatReply(
            200, {"id": identity, "event": "message", "topic": topic, "message": text, **named}
        )


def _refusal(status: int, code: int, error: str) -> ChatReply:
    return ChatReply(status, {"code": code, "http": status, "error": error})


def _authorization(request: Request) -> str:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return headers.get("authorization", "")
