"""A chat in memory that deliveries of real hubs write to. It outlives them, as a platform does."""

import asyncio
from typing import TYPE_CHECKING, Literal

from runcast.channels import CallOutcome, Capability, Edit, Send

if TYPE_CHECKING:
    from collections.abc import Callable

Moment = Literal["before", "after"]

CAPABILITY = Capability(limit=500, unit="utf16", interval_s=0.01, slots=1000, window_s=1.0)


class Chat:
    """The messages of one chat, and a hook that is called around each call."""

    def __init__(self) -> None:
        self.messages: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self.calls: list[str] = []
        self.hook: Callable[[Moment, int], None] = lambda moment, number: None
        self.closed = 0
        self.called = asyncio.Event()


class ChatChannel:
    """A channel to a `Chat`."""

    scope = "chat:1"

    def __init__(self, chat: Chat, capability: Capability = CAPABILITY) -> None:
        self.capability = capability
        self._chat = chat

    async def send(self, message: Send) -> CallOutcome:
        number = self._begin("send")
        known = self._chat.keys.get(message.key) if self.capability.is_idempotent else None
        message_id = known or f"m{len(self._chat.messages) + 1}"
        if known is None:
            self._chat.messages[message_id] = message.text
            self._chat.keys[message.key] = message_id
        return await self._end(number, CallOutcome("ok", message_id))

    async def edit(self, message: Edit) -> CallOutcome:
        number = self._begin("edit")
        if self._chat.messages[message.message_id] == message.text:
            return CallOutcome("same")
        self._chat.messages[message.message_id] = message.text
        return await self._end(number, CallOutcome("ok"))

    async def delete(self, message_id: str) -> CallOutcome:
        number = self._begin("delete")
        gone = self._chat.messages.pop(message_id, None) is None
        return await self._end(number, CallOutcome("gone" if gone else "ok"))

    async def close(self) -> None:
        self._chat.closed += 1

    def _begin(self, kind: str) -> int:
        self._chat.calls.append(kind)
        self._chat.called.set()
        number = len(self._chat.calls)
        self._chat.hook("before", number)
        return number

    async def _end(self, number: int, outcome: CallOutcome) -> CallOutcome:
        await asyncio.sleep(0)
        self._chat.hook("after", number)
        return outcome
